"""The page in a real browser: Debian's chromium, driven by Playwright; skipped where it is not."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import ARGUMENTS, CHROMIUM, playwright
from fakes import SWEEP, FakeTrial, make_run

from orchestrator.report.report import write_report

NASTY = "<img src=x onerror=\"document.title='hit'\">'{{ 7 * 7 }}$x^2$&lt;"
WIDTHS = (390, 768, 1440, 2560)


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The report of a run whose names all hold markup, formulae and quotes."""
    trials = [
        *(trial for trial in SWEEP if trial.id != "t013"),
        FakeTrial(NASTY.replace("/", "|"), 0.894, 0.903, params={NASTY: NASTY, "lr": 1e-3}),
    ]
    folder = tmp_path_factory.mktemp("browser") / f"run {NASTY}".replace("/", "|")
    run = make_run(folder, trials, rows=600)
    return {"path": run.path / "report.html", **write_report(run)}


@pytest.fixture(scope="module")
def browser(
    summary: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Any, list[str], list[str]]]:
    """One browser for the module, with what its console said and what it asked for."""
    said: list[str] = []
    asked: list[str] = []
    with playwright.sync_playwright() as driver:
        context = driver.chromium.launch_persistent_context(
            str(tmp_path_factory.mktemp("profile")),
            executable_path=CHROMIUM,
            headless=True,
            args=ARGUMENTS,
        )
        context.set_default_timeout(float(os.environ.get("FAIRFRONT_BROWSER_MS", "120000")))
        page = context.pages[0]
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.set_viewport_size({"width": 1440, "height": 900})
        page.goto(summary["path"].as_uri())
        yield page, said, asked
        context.close()


@pytest.fixture
def page(browser: tuple[Any, list[str], list[str]]) -> Any:
    found, _, _ = browser
    found.set_viewport_size({"width": 1440, "height": 900})
    found.reload()
    return found


def unfold(page: Any) -> None:
    """Open all sections, and wait for what is drawn in them, this last."""
    page.evaluate("for (const fold of document.querySelectorAll('details')) fold.open = true")
    page.locator("#reliability-men svg").wait_for()


def best(page: Any) -> str:
    return page.get_attribute("#chosen", "data-id")


def kept(page: Any) -> str:
    return page.get_attribute(".trial.pinned", "data-id")


def test_names_are_text_and_nothing_is_asked_for_or_complained_of(
    browser: tuple[Any, list[str], list[str]], summary: dict[str, Any]
) -> None:
    page, said, asked = browser
    assert page.title() == f"fairfront: {summary['path'].parent.name}"
    assert page.locator("img").count() == 0
    unfold(page)
    for part in ("#course-fair", "#slices", "#parallel", "#reliability-women"):
        assert page.locator(f"{part} svg").count()
    hostile = page.locator(".trial[data-id*='onerror']")
    assert NASTY.split("/", maxsplit=1)[0] in hostile.get_attribute("aria-label")
    hostile.dispatch_event("focus")
    assert page.title().startswith("fairfront: ")
    assert said == []
    assert {url.split(":")[0] for url in asked} == {"file"}
    # What the policy forbids does not run, wherever it came from.
    page.evaluate("document.body.append(Object.assign(document.createElement('script'), "
                  "{textContent: 'window.ran = 1'}))")  # fmt: skip
    assert page.evaluate("window.ran") is None
    said.clear()


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_fits_its_screen(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.reload()
    unfold(page)
    wide = page.evaluate(
        "[...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll, pre') && "
        "!e.closest('svg') && e.getBoundingClientRect().right > innerWidth + 1)"
        ".map(e => e.outerHTML)"
    )
    assert wide == []
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    stuck = page.evaluate(
        "[...document.querySelectorAll('.scroll')].map(frame => { frame.scrollLeft = 9999; return "
        "frame.querySelector('tbody th').getBoundingClientRect().left - "
        "frame.getBoundingClientRect().left; })"
    )
    assert max(map(abs, stuck)) <= 1  # the first column stays


def test_the_front_is_that_of_the_summary_at_each_kind_of_threshold(
    page: Any, summary: dict[str, Any]
) -> None:
    for kind, name in (("fixed", ""), ("shared", "_shared"), ("by_gender", "_by_gender")):
        page.check(f"input[name=kind][value={kind}]")
        drawn = page.evaluate("[...onFront(shown)]")
        assert set(drawn) == {entry["trial_id"] for entry in summary[f"pareto{name}"]}
        told = page.evaluate("shown.map(({trial, of}) => [trial.id, of.women, of.men, of.gap])")
        for trial_id, women, men, gap in told:
            entries = [e for e in summary[f"pareto{name}"] if e["trial_id"] == trial_id]
            for entry in entries:
                assert women == pytest.approx(entry["val"]["acc_women"])
                assert men == pytest.approx(entry["val"]["acc_men"])
                assert gap == pytest.approx(women - men)


def test_the_slider_moves_the_best_point_and_switches_move_all(
    page: Any, summary: dict[str, Any]
) -> None:
    assert best(page) == summary["searched_best"]
    found = {}
    for weight in ("0", "5"):
        page.locator("#lambda").fill(weight)
        found[weight] = best(page)
    accurate = page.evaluate("shown.reduce((a, b) => b.of.mean > a.of.mean ? b : a).trial.id")
    even = page.evaluate(
        "shown.reduce((a, b) => b.of.mean - 5 * Math.abs(b.of.gap) > "
        "a.of.mean - 5 * Math.abs(a.of.gap) ? b : a).trial.id"
    )
    assert (found["0"], found["5"]) == (accurate, even)
    assert accurate != even
    before = page.get_attribute(f".trial[data-id='{accurate}']", "transform")
    page.check("input[name=measure][value=balanced]")
    assert page.get_attribute(f".trial[data-id='{accurate}']", "transform") != before
    assert "balanced" in page.locator("#measures").inner_text()


def test_pointing_shows_a_trial_and_a_click_keeps_it(page: Any) -> None:
    mark = page.locator(".trial[data-id='t009']")  # far from all others
    mark.scroll_into_view_if_needed()
    box = mark.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tip = page.locator("#tip")
    assert tip.is_visible()
    assert "t009 (default), validation" in tip.inner_text()
    assert "loss.gamma 4.9" in tip.inner_text()
    page.mouse.down()
    page.mouse.up()
    assert kept(page) == "t009"
    panel = page.locator("#panel")
    assert panel.locator("h3").first.inner_text() == "t009"
    assert panel.locator("#learning svg, #cuts svg").count() == 2
    rows = panel.locator("table").nth(1).locator("tbody tr")
    faces = page.evaluate("data.faces")
    for index in range(4):
        labelled = [int(cell) for cell in rows.nth(index).locator("td").all_inner_texts()[:2]]
        assert sum(labelled) == faces[index]


def test_a_mark_or_a_line_of_the_search_keeps_its_trial_too(
    page: Any, summary: dict[str, Any]
) -> None:
    unfold(page)
    page.locator("#slices .dot[data-trial='t009']").first.dispatch_event("click")
    assert kept(page) == "t009"
    page.locator("#parallel .way[data-trial='t007']").dispatch_event("click")
    assert kept(page) == "t007"
    lit = page.locator(".dot.lit, .way.lit")
    assert {lit.nth(n).get_attribute("data-trial") for n in range(lit.count())} == {"t007"}
    searched = page.evaluate("data.trials.filter(t => Object.keys(t.params).length).length")
    assert page.locator("#parallel .way").count() == searched
    # Each line ends at its trial's fair metric, as the summary has it.
    ends = page.evaluate(
        "[...document.querySelectorAll('#parallel .way')].map(way => "
        "[way.dataset.trial, Number(way.getAttribute('d').split('L').at(-1).split(',')[0])])"
    )
    by_place = [trial for trial, _ in sorted(ends, key=lambda one: one[1])]
    by_fair = page.evaluate("searched().map(one => one.trial.id)")
    assert by_place == by_fair
    assert by_fair[-1] == summary["searched_best"]


def test_a_bin_of_few_faces_is_not_drawn_as_sure(page: Any) -> None:
    unfold(page)
    for who in ("women", "men"):
        bins = page.evaluate(f"data.reliability.{who}")
        few = page.evaluate("data.few")
        drawn = page.locator(f"#reliability-{who} .mark")
        assert drawn.count() == len(bins)
        unsure = sum(n < few for n, *_ in bins)
        assert page.locator(f"#reliability-{who} .mark.unsure").count() == unsure
        assert page.locator(f"#reliability-{who} .bar").count() == len(bins) - unsure
        counts = page.locator(f"#reliability-{who} .tick.halo").all_text_contents()
        assert counts == [str(n) for n, *_ in bins]


def test_the_front_is_reached_and_walked_by_keyboard(page: Any) -> None:
    page.locator("#lambda").focus()
    page.keyboard.press("Tab")
    order = page.evaluate("shown.map(one => one.trial.id)")
    assert page.evaluate("document.activeElement.dataset.id") == best(page)
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.dataset.id") == order[1]
    assert page.locator("#tip").is_visible()
    page.keyboard.press("Enter")
    assert kept(page) == order[1]


def test_axe_finds_no_serious_fault(page: Any) -> None:
    axe = pytest.importorskip("axe_playwright_python")
    unfold(page)
    source = (Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
    page.evaluate(source)
    for scheme, rules in (("light", None), ("dark", ["color-contrast"])):
        page.emulate_media(color_scheme=scheme)
        options = {"resultTypes": ["violations"], **({"runOnly": rules} if rules else {})}
        found = page.evaluate("options => axe.run(document, options)", options)
        grave = [
            (fault["id"], fault["nodes"][0]["html"])
            for fault in found["violations"]
            if fault["impact"] in ("serious", "critical")
        ]
        assert grave == []
    page.emulate_media(color_scheme="light")
