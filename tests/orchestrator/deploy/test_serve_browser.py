"""The page to drop a picture on, in a real browser; skipped where there is none."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import ARGUMENTS, CHROMIUM, playwright
from serving import in_a_thread, picture, server

from orchestrator.judging.thresholds import Thresholds

NASTY = "<img src=x onerror=alert(1)>.gif"


@pytest.fixture
def page(tmp_path: Path) -> Iterator[tuple[Any, str, list[str], list[str]]]:
    """The page, where it is, what the browser's console said and what it asked for."""
    said: list[str] = []
    asked: list[str] = []
    made = server(threshold=0.3, by_gender=Thresholds(0.25, 0.75), token="word")
    with in_a_thread(made.app) as port, playwright.sync_playwright() as driver:
        context = driver.chromium.launch_persistent_context(
            str(tmp_path / "profile"), executable_path=CHROMIUM, headless=True, args=ARGUMENTS
        )
        context.set_default_timeout(float(os.environ.get("FAIRFRONT_BROWSER_MS", "120000")))
        found = context.pages[0]
        found.on("console", lambda message: said.append(message.text))
        found.on("pageerror", lambda error: said.append(str(error)))
        found.on("request", lambda request: asked.append(request.url))
        url = f"http://127.0.0.1:{port}/"
        found.goto(url)
        yield found, url, said, asked
        context.close()


def chosen(name: str, data: bytes) -> Any:
    return {"name": name, "mimeType": "image/png", "buffer": data}


def test_a_picture_is_dropped_and_its_probability_and_threshold_are_seen(page: Any) -> None:
    shown, url, said, asked = page
    answer = shown.locator("#answer")

    def expect(text: str) -> None:
        answer.filter(has_text=text).wait_for()

    shown.set_input_files("#file", chosen("a.png", picture(127)))
    expect("give the server's token")
    said.clear()  # of the 401
    shown.fill("#token", "word")
    shown.locator("#token").blur()
    expect("Probability of class 1: 0.4961, above the threshold 0.3: label 1")
    shown.select_option("#gender", "1")
    expect("not above the threshold 0.75: label -1")
    shown.select_option("#gender", "-1")
    expect("above the threshold 0.25: label 1")
    assert float(shown.get_attribute("#cut", "x1")) == 25
    assert float(shown.get_attribute("#is", "width")) == pytest.approx(49.6, abs=0.1)
    assert shown.locator("#picture").is_visible()
    assert said == []

    # Dropped, as from a folder; by a name that is markup, of a format that is not read.
    shown.evaluate(
        "([name, bytes]) => { const dropped = new DataTransfer();"
        "dropped.items.add(new File([new Uint8Array(bytes)], name));"
        "document.getElementById('drop').dispatchEvent(new DragEvent('drop', "
        "{dataTransfer: dropped, bubbles: true, cancelable: true})); }",
        [NASTY, list(picture(9, "GIF"))],
    )
    expect(f"{NASTY}: not a picture that is read here")
    assert shown.locator("img").count() == 1
    assert not shown.locator("#scale").is_visible()
    assert {address.split("/")[2] for address in asked if address.startswith("http")} == {
        url.split("/")[2]
    }
    assert {address.split(":")[0] for address in asked} == {"http", "blob"}

    axe = pytest.importorskip("axe_playwright_python")
    said.clear()
    source = (Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
    shown.evaluate(source)
    for scheme in ("light", "dark"):
        shown.emulate_media(color_scheme=scheme)
        found = shown.evaluate("axe.run(document, {resultTypes: ['violations']})")
        assert [(fault["id"], fault["nodes"][0]["html"]) for fault in found["violations"]] == []
    for width in (390, 1440):
        shown.set_viewport_size({"width": width, "height": 900})
        assert shown.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
