import base64
import hashlib
import json
import re
from html import unescape
from html.parser import HTMLParser

import pytest
from fakes import SWEEP, FakeTrial, make_run

from orchestrator.base.errors import InputError
from orchestrator.judging.intended_use import INTENDED_USE, LIMITS
from orchestrator.report.digits import limits
from orchestrator.report.report import write_report
from orchestrator.report.served import fails_most, served
from orchestrator.report.words import in_short, levelling, threshold_words, verdict
from orchestrator.run.directory import Run

pytestmark = pytest.mark.usefixtures("no_picture")

NASTY = "<script>alert('x')</script>&\"{{ 1 }}"
PLAIN = {"acc_women": 0.90, "acc_men": 0.95}


def change(women: float, men: float, fair: float = 0.01) -> dict:
    return {
        "acc_women": women,
        "acc_men": men,
        "acc_women_ci95": [women - 0.01, women + 0.01],
        "acc_men_ci95": [men - 0.01, men + 0.01],
        "fair": fair,
        "levelled_down": fair > 0 and men + 0.01 < 0,
    }


@pytest.mark.parametrize(
    ("changed", "conclusion"),
    [
        (change(0.02, 0.01), "no levelling down"),
        (change(0.02, 0.0), "men stay as accurate: this is no levelling down"),
        (change(0.01, -0.02), "levelling down, paid for by men"),
        (change(0.01, -0.002), "whether men, the better-off gender, pay for it is within chance"),
        (change(-0.012, -0.03), "levelling down, since both became less accurate"),
        (change(-0.01, -0.03, fair=-0.02), "the fair metric did not rise"),
    ],
)
def test_levelling_down_is_said_in_words(changed, conclusion):
    assert conclusion in levelling(changed, PLAIN)


def test_what_each_gender_gained_or_lost_is_in_points():
    text = levelling(change(0.012, -0.0002), PLAIN)
    assert "women gain 1.2 points of accuracy (95% interval +0.2 to +2.2)" in text
    assert "men lose under 0.05 points" in text


def test_the_verdict_names_best_its_interval_and_both_baselines(tmp_path):
    summary = write_report(make_run(tmp_path / "run"))
    word, first, plain, levels, reference = verdict(summary)
    assert word == summary["verdict"]["paragraph"]
    low, high = summary["best"]["test"]["fair_ci95"]
    assert summary["best"]["trial_id"] in first
    assert f"{low:.3f} to {high:.3f}" in first
    assert "plain recipe" in plain
    assert "face by face" in plain
    assert "reference recipe" in reference
    assert summary["baselines"]["reference"]["change_vs_plain"]["levelled_down"]
    assert "levelling down, paid for by men" in reference
    assert "Against plain, women" in levels


def test_intervals_that_do_not_overlap_are_said_not_to(tmp_path):
    trials = [FakeTrial("t000", 0.6, 0.95, "plain"), FakeTrial("t001", 0.95, 0.95)]
    text = " ".join(verdict(write_report(make_run(tmp_path / "run", trials))))
    assert "the two intervals do not overlap" in text
    assert "that excludes 0" in text


def test_a_baseline_that_wins_is_said_to(tmp_path):
    trials = [FakeTrial("t000", 0.95, 0.95, "plain"), FakeTrial("t001", 0.6, 0.9)]
    summary = write_report(make_run(tmp_path / "run", trials, rows=400))
    assert "No other trial has a higher fair metric" in verdict(summary)[2]


def test_other_thresholds_are_told_in_words(tmp_path):
    run = make_run(tmp_path / "run", rows=600)
    entry = write_report(run)["best"]
    shared, pair = threshold_words(entry)
    assert f"One threshold of {entry['thresholds']['shared']['threshold']:.3g} for all" in shared
    assert "Compared face by face" in shared
    assert f"{entry['thresholds']['by_gender']['threshold_men']:.3g} for men" in pair
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert "treats people differently by gender" in page
    assert "has to know each face's gender" in page


def test_a_threshold_that_need_not_move_is_said_not_to(tmp_path):
    entry = write_report(make_run(tmp_path / "run", [FakeTrial("t000", 1.0, 1.0)]))["best"]
    assert threshold_words(entry)[0].startswith("No threshold for all is better than 0.5")


def test_strings_of_the_run_are_escaped(tmp_path):
    trials = [
        FakeTrial("t000", recipe="plain", params={NASTY: NASTY}),
        FakeTrial("t001", state="failed", reason=NASTY, params={NASTY: NASTY}),
        FakeTrial('t"<&>$x_$', 0.8, 0.8),
    ]
    run = make_run(tmp_path / 'run"<b>', trials, rows=300)
    write_report(run)
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert NASTY not in page
    assert "<b>'" not in page
    assert _scripts(page) == 2  # the figures, and what draws them
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page)
    told = {trial["id"]: trial["params"] for trial in json.loads(data[1])["trials"]}
    assert told == {"t000": {NASTY: NASTY}, 't"<&>$x_$': {}}


def test_the_policy_lets_only_what_is_in_the_page_run(tmp_path):
    run = make_run(tmp_path / "run", SWEEP[:2], rows=300)
    write_report(run)
    page = (run.path / "report.html").read_text(encoding="utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for tag in ("script", "style"):
        (source,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert not re.search(r'\sstyle="|\son[a-z]+="', page)  # which it would not let act


def test_the_page_needs_no_other_file(tmp_path):
    run = make_run(tmp_path / "run", SWEEP[:5], rows=300)
    write_report(run)
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert not re.search(r'(src|href|action)="(?!#)', page)
    assert not re.search(r"@import|url\((?!#)|fetch\(|XMLHttpRequest", page)
    links = set(re.findall(r"https?://[^\s\"'<]+", page))
    assert links <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xhtml"}


def test_the_first_screen_says_what_to_use_and_who_is_served_worse(tmp_path):
    run = make_run(tmp_path / "run")
    summary = write_report(run)
    use, why = in_short(summary)
    assert use.startswith(f"Use {summary['best']['trial_id']}")
    assert why[0].split(":")[0].lower() == summary["verdict"]["word"]
    assert "95% interval" in why[1]
    assert "women" in why[1]
    page = (run.path / "report.html").read_text(encoding="utf-8")
    first = page[page.index('<section class="first"') : page.index("</section>")]
    assert use in first
    test = summary["best"]["test"]
    worse = "women" if test["acc_women"] < test["acc_men"] else "men"
    assert f"it serves {worse} worse, by" in first
    assert ("which may be chance." in served(summary)) == (test["gap_ci95"][0] == 0)
    rates = {f"{who} of class {k}": test["rates"][who] for who in ("women", "men") for k in (0, 1)}
    wrong = {name: 1 - of["tpr"] if name.endswith("1") else of["fpr"] for name, of in rates.items()}
    assert f"{summary['best']['trial_id']} fails most for {max(wrong, key=wrong.get)}: " in first
    assert len(re.findall(r'<tr data-trial="', first)) == 3  # none tuned plain, which is said
    assert "No trial tuned plain" in first
    low, high = summary["best"]["test"]["rates"]["women"]["tpr_ci95"]
    assert limits([low, high]) in first
    assert first.count('class="mark women"') == first.count('class="mark men"') == 3 + 1  # the key


def test_a_run_without_a_trial_or_a_claim_is_short_too(tmp_path):
    assert in_short(write_report(make_run(tmp_path / "none", [])))[0] == (
        "There is no trial to use yet."
    )
    alone = write_report(make_run(tmp_path / "one", [FakeTrial("t000")], rows=300))
    assert in_short(alone)[0] == "Use t000 at threshold 0.5."
    assert served(write_report(make_run(tmp_path / "still none", []))) is None


def test_who_is_served_as_well_or_never_wrong_is_said_so(tmp_path):
    right = write_report(make_run(tmp_path / "run", [FakeTrial("t000", 1.0, 1.0)], rows=300))
    assert served(right).endswith("right, on test: it serves neither worse.")
    assert fails_most(right) is None


def test_whoever_answers_for_it_is_told_of_sessions_test_and_limits(tmp_path):
    run = make_run(tmp_path / "run", SWEEP[:2], rows=300)
    before = Run(run.path).sessions
    assert [one["command"] for one in before] == [None]
    assert before[0]["commit"] == run.recorded["versions"]["git_commit"]
    for command in ("fairfront sweep --out 'a b'", f"fairfront sweep {NASTY}"):
        run.record(run.config, run.data, command)
    run = Run(run.path)
    assert [one["command"] for one in run.sessions][1:] == [f"fairfront sweep {NASTY}"]
    write_report(run)
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert NASTY not in page
    section = unescape(page[page.index('id="answer"') : page.index('id="versions"')])
    assert "<code>fairfront sweep --out 'a b'</code>" in section
    assert "figures on them of 2 trials of the search; fairfront evaluate was not" in section
    for sentence in (*INTENDED_USE, *LIMITS):
        assert sentence in section
    run.sessions_file.write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"sessions\.jsonl: not valid JSON"):
        write_report(Run(run.path))


def test_what_the_fronts_trials_do_is_said_in_words(tmp_path):
    run = make_run(tmp_path / "run")
    summary = write_report(run)
    page = (run.path / "report.html").read_text(encoding="utf-8")
    folded = page[page.index('<details class="not-chosen">') :]
    table = folded[: folded.index("</table>")]
    assert "do to each gender, on test</summary>" in table
    assert "To look at, and not to pick by" in table
    for entry in summary["pareto"]:
        row = re.search(rf'<tr data-trial="{entry["trial_id"]}".*?</tr>', table, re.DOTALL)[0]
        for who in ("women", "men"):
            low, high = entry["change_vs_plain"][f"acc_{who}_ci95"]
            word = f"raises {who}" if low > 0 else f"lowers {who}" if high < 0 else "undecided"
            assert word in row or low == high == 0
        assert entry["change_vs_plain_tuned"] is None
        assert "no such baseline" in row


def test_training_rows_are_shown_where_the_run_knows_them(tmp_path):
    run = make_run(tmp_path / "run", SWEEP[:1], rows=300)
    train = {"women": {"0": 1111, "1": 222}, "men": {"0": 3333, "1": 444}}
    run.record(run.config, {**run.data, "counts": {"train": train}})
    del run.__dict__["recorded"]
    write_report(run)
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert "1,333" in page
    assert "3,777" in page


def _scripts(page: str) -> int:
    found = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, _attributes: found.append(tag)
    parser.feed(page)
    return found.count("script")
