"""Retrained finalists as the report tells them: pooled counts, the winner, and the verdict."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from fakes import SWEEP, FakeTrial, confirm_run, make_run
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from orchestrator.base.errors import InputError
from orchestrator.config.layers import resolve
from orchestrator.judging.fairness import count_correct, metrics_from_counts
from orchestrator.judging.judge import spared
from orchestrator.judging.pooled import Judged, worse_served
from orchestrator.report.report import write_report
from orchestrator.report.tables import print_summary
from orchestrator.report.words import verdict
from orchestrator.run.directory import Run
from orchestrator.run.trial import Trial

pytestmark = pytest.mark.usefixtures("no_picture")

RETRAINED = [trial for trial in SWEEP if trial.id in ("t000", "t001", "t010", "t013")]
PAIR = [FakeTrial("t000", 0.88, 0.95, "plain"), FakeTrial("t001", 0.93, 0.94)]
FIGURES = ("accuracy", "acc_women", "acc_men", "gap", "fair", "fair_lambda1", "worst_gender")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = make_run(tmp_path_factory.mktemp("confirmation") / "run", rows=1000)
    confirm_run(run, RETRAINED, seeds=1, folds=4, rows=1000)
    write_report(run)
    return run


@pytest.fixture(scope="module")
def summary(run: Run) -> dict:
    return json.loads((run.path / "summary.json").read_text())


def predictions(run: Run, trial_id: str, split: str) -> list:
    folders = sorted((run.path / "confirm" / trial_id).iterdir())
    tables = [Trial(folder).predictions for folder in folders]
    return [table[table["split"] == split] for table in tables]


def test_metrics_are_computed_once_from_the_counts_of_all_folds(run, summary):
    for trial_id, entry in summary["confirmed"]["trials"].items():
        assert [one["fold"] for one in entry["retrainings"]] == [0, 1, 2, 3]
        for split in ("val", "test"):
            counts = [
                count_correct(rows["label"], (rows["logit"] > 0).astype(int), rows["gender"])
                for rows in predictions(run, trial_id, split)
            ]
            pooled = metrics_from_counts(*(sum(part) for part in zip(*counts, strict=True)))
            for name in FIGURES:
                assert entry[split][name] == pytest.approx(getattr(pooled, name))
            for name in ("fair", "gap", "acc_women", "acc_men"):
                low, high = entry[split][f"{name}_ci95"]
                assert low <= entry[split][name] <= high
            by_fold = np.mean([metrics_from_counts(*one).fair for one in counts])
            assert entry[split]["fair"] >= by_fold - 1e-12  # which counts each fold's luck as gap
        assert entry["val"]["n_women"] + entry["val"]["n_men"] == 4000
        assert entry["test"]["n_women"] + entry["test"]["n_men"] == 1000


def test_the_change_against_plain_is_the_difference_of_the_pooled_metrics(summary):
    trials = summary["confirmed"]["trials"]
    for entry in trials.values():
        for split, name in ((s, n) for s in ("val", "test") for n in ("fair", "acc_men", "gap")):
            difference = entry[split][name] - trials["t000"][split][name]
            assert entry["change_vs_plain"][split][name] == pytest.approx(difference)
    assert trials["t000"]["change_vs_plain"]["val"]["fair_ci95"] == [0, 0]


def test_the_best_is_chosen_by_pooled_counts_of_validation_faces(summary):
    trials = summary["confirmed"]["trials"]
    best = max(trials, key=lambda name: trials[name]["val"]["fair"])
    assert summary["best"]["trial_id"] == summary["confirmed"]["best"] == best
    assert summary["verdict"]["trial_id"] == best
    searched = summary["searched_best"]
    assert searched == "t013"
    on_val = next(one for one in summary["pareto"] if one["trial_id"] == searched)["val"]["fair"]
    assert summary["optimism"] == pytest.approx(on_val - trials[searched]["val"]["fair"])


def test_a_gain_on_both_kinds_of_faces_is_supported(tmp_path):
    summary, text = _confirmed(tmp_path, PAIR, PAIR)
    assert summary["verdict"]["word"] == "supported"
    assert summary["verdict"]["claim"] == summary["verdict"]["trial_id"] == "t001"
    said = "Supported: t001, the best that was searched for, is fairer than plain."
    assert text.startswith(f"{said} Its fair metric changes by +0.")
    assert "Use t001 at threshold 0.5: against plain, women gain" in text
    assert summary["verdict"]["faces_needed"] == {}


def test_a_winner_that_is_worse_on_other_faces_is_refuted(tmp_path):
    again = [PAIR[0], FakeTrial("t001", 0.86, 0.96)]
    summary, text = _confirmed(tmp_path, PAIR, again)
    assert summary["searched_best"] == "t001"
    assert summary["best"]["trial_id"] == summary["verdict"]["trial_id"] == "t000"
    assert summary["verdict"]["word"] == "refuted"
    assert "Refuted: t001, the best that was searched for, is no fairer than plain." in text
    assert "Use t000 at threshold 0.5: with t001, against plain, women lose" in text
    assert summary["optimism"] > 0.05
    assert "t001, the best of the search, had" in text
    terminal = io.StringIO()
    print_summary(summary, terminal)
    lines = terminal.getvalue().splitlines()
    assert "threshold 0.5: 4 folds and 1 new seed" in lines[0]
    assert [line.split()[:2] for line in lines[2:4]] == [["best", "t000"], ["searched", "t001"]]
    assert any(line.startswith("Refuted: t001") for line in lines)
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert 'class="lowers">Refuted: t001' in page
    told = page[page.index("<summary>The finalists on test</summary>") :]
    assert (
        f"did so by {summary['optimism']:.3f} of the fair metric" in told[: told.index("<table>")]
    )


LEVELLED = [
    FakeTrial("t000", 0.90, 0.97, "plain"),
    FakeTrial("t001", 0.86, 0.86),
    FakeTrial("t002", 0.91, 0.965),
]
"""By the fair metric t001 is first: it serves both genders alike, and both worse."""


@pytest.mark.parametrize("retrained", [True, False])
def test_what_serves_those_worse_who_are_served_worst_is_passed_over(tmp_path, retrained):
    run = make_run(tmp_path / "run", LEVELLED, rows=2000)
    if retrained:
        confirm_run(run, LEVELLED, seeds=1, folds=4, rows=2000)
    summary = write_report(run)
    found, text = summary["verdict"], " ".join(verdict(summary))
    assert summary["best"]["trial_id"] == found["trial_id"] == found["claim"] == "t002"
    by_fair = {one["trial_id"]: one["val"]["fair"] for one in summary["pareto"]}
    assert max(by_fair, key=by_fair.get) == "t001"
    passed = found["passed_over"]
    assert (passed["trial_id"], passed["plain"]) == ("t001", "t000")
    assert passed["served_worst_plain"] == "women"
    by = passed["worst_gender"] - passed["worst_gender_plain"]
    assert passed["change"] == pytest.approx(by)
    low, high = passed["change_ci95"]
    assert low < by < high < 0
    higher = f"t001 has a higher fair metric, {passed['fair']:.3f}, but is not recommended"
    assert f"{higher}: of those whom it serves worst" in text
    assert passed["fair"] > 0.8
    assert f"{100 * passed['worst_gender']:.1f}% are right" in text
    assert "trials by which the worse-served gender does not lose" in text
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert page.count(higher) == 2


def test_by_how_much_they_may_lose_is_a_setting(tmp_path):
    config = resolve(overrides={"sweep.may_lose": 0.1})
    run = make_run(tmp_path / "run", LEVELLED, rows=2000, config=config)
    summary = write_report(run)
    assert summary["verdict"]["trial_id"] == summary["searched_best"] == "t001"
    assert summary["verdict"]["passed_over"] is None
    assert "not recommended" not in " ".join(verdict(summary))


@given(
    accuracies=st.lists(st.tuples(*[st.integers(0, 20)] * 2), min_size=1, max_size=6),
    plain=st.sets(st.integers(0, 5)),
    may_lose=st.sampled_from([0.0, 0.05, 0.3, 1.0]),
)
def test_nobody_loses_more_than_may_be(accuracies, plain, may_lose):
    metrics = [metrics_from_counts([[w, 0], [m, 0]], [[20, 0], [20, 0]]) for w, m in accuracies]
    names = [f"t{n}" for n in range(len(metrics))]
    base = [name for n, name in enumerate(names) if n in plain]
    order = spared(names, metrics, base, may_lose)
    worst = {name: of.worst_gender for name, of in zip(names, metrics, strict=True)}
    assert sorted(order) == names  # nobody is dropped
    least = max([worst[name] for name in base], default=0) - may_lose
    spared_ones = [name for name in names if worst[name] >= least]
    assert order[: len(spared_ones)] == spared_ones  # in the order that there was
    if base:
        assert spared_ones


@given(data=st.data(), n=st.integers(2, 40))
def test_how_those_fare_who_are_served_worst_is_counted(data, n):
    flags = arrays(bool, n)
    women = data.draw(flags.filter(lambda of: of.any() and not of.all()))
    now, then = data.draw(flags), data.draw(flags)
    served = worse_served([Judged(women, now[None], then[None])])
    for (who, worst), right in ((served.now, now), (served.then, then)):
        accuracy = {"women": right[women].mean(), "men": right[~women].mean()}
        assert worst == pytest.approx(min(accuracy.values()))
        assert accuracy[who] == pytest.approx(worst)
    assert served.change.value == pytest.approx(served.now[1] - served.then[1])
    assert served.change.low <= served.change.high


def test_where_all_that_was_searched_for_serves_worse_plain_is_used(tmp_path):
    trials = [FakeTrial("t000", 0.90, 0.99, "plain"), LEVELLED[1]]
    summary, text = _confirmed(tmp_path, trials, trials)
    found = summary["verdict"]
    assert (found["trial_id"], found["claim"]) == ("t000", "t001")
    assert (found["word"], found["passed_over"]["trial_id"]) == ("supported", "t001")
    assert "Supported: t001, the best that was searched for, is fairer than plain." in text
    assert "t001 has a higher fair metric" in text


def test_a_small_gain_is_undecided_and_faces_that_would_decide_it_are_named(tmp_path):
    trials = [FakeTrial("t000", 0.90, 0.94, "plain"), FakeTrial("t001", 0.905, 0.942)]
    summary, text = _confirmed(tmp_path, trials, trials, sd=0.01)
    told = summary["verdict"]
    assert told["word"] == "undecided"
    assert "which may be chance" in text
    for split, needed in told["faces_needed"].items():
        low, high = told["change"][split]["fair_ci95"]
        assert low <= 0 <= high
        assert needed > (8000 if split == "val" else 2000)
        assert f"about {needed:,}" in text or f"{needed:,} test faces" in text


def test_without_retrainings_nothing_is_supported(tmp_path):
    run = make_run(tmp_path / "run", PAIR, rows=4000)
    summary = write_report(run)
    assert summary["confirmed"] is summary["optimism"] is None
    assert summary["verdict"]["word"] == "undecided"
    assert summary["verdict"]["change"]["test"]["fair_ci95"][0] > 0
    assert "No finalists were retrained" in summary["verdict"]["paragraph"]
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert "not trained on, which chooses" not in page


def test_finalists_that_are_yet_to_be_retrained_choose_nothing(tmp_path):
    config = resolve(settings=["sweep.confirm=1", "sweep.confirm_folds=2"])
    again = [PAIR[0], FakeTrial("t001", 0.86, 0.96)]
    run = make_run(tmp_path / "run", PAIR, rows=400, config=config)
    confirm_run(run, again, seeds=1, folds=2, rows=400)
    (run.path / "confirm" / "t000" / "t000-seed1-fold1of2" / "result.json").unlink()
    summary = write_report(run)
    assert summary["confirmed"]["best"] is None
    assert not summary["confirmed"]["ended"]
    assert summary["best"]["trial_id"] == "t001"
    assert "have not all been retrained" in " ".join(verdict(summary))


def test_a_retraining_that_failed_is_told_and_is_in_no_comparison(tmp_path):
    run = make_run(tmp_path / "run", PAIR, rows=1000)
    confirm_run(run, PAIR, seeds=1, folds=4, rows=1000)
    failed = Trial(run.path / "confirm" / "t001" / "t001-seed1-fold2of4")
    failed.write_result(failed.result.model_copy(update={"state": "failed"}))
    summary = write_report(run)
    entry = summary["confirmed"]["trials"]["t001"]
    assert [one["fold"] for one in entry["retrainings"]] == [0, 1, 3]
    assert entry["failed"] == [{"seed": 1, "fold": 2}]
    assert summary["confirmed"]["out"] == {"t001": "a retraining failed"}
    assert summary["best"]["trial_id"] == "t000"
    plain = predictions(run, "t000", "val")
    kept = [plain[fold] for fold in (0, 1, 3)]  # of the same faces, and so not plain's own figure
    men = [(rows["logit"] > 0) == (rows["label"] == 1) for rows in kept]
    right = sum(of[rows["gender"] == 1].sum() for of, rows in zip(men, kept, strict=True))
    before = right / sum((rows["gender"] == 1).sum() for rows in kept)
    change = entry["change_vs_plain"]["val"]["acc_men"]
    assert change == pytest.approx(entry["val"]["acc_men"] - before)
    assert "1 failed" in (run.path / "report.html").read_text(encoding="utf-8")


def test_folds_that_were_dealt_otherwise_are_left_out(tmp_path):
    config = resolve(settings=["sweep.confirm_folds=5"])
    run = make_run(tmp_path / "run", PAIR, rows=400, config=config)
    confirm_run(run, PAIR, seeds=1, folds=4, rows=400)
    confirm_run(run, PAIR, seeds=1, folds=5, rows=400)
    entry = write_report(run)["confirmed"]["trials"]["t001"]
    assert len(list((run.path / "confirm" / "t001").iterdir())) == 9
    assert [one["fold"] for one in entry["retrainings"]] == [0, 1, 2, 3, 4]
    assert entry["val"]["n_women"] + entry["val"]["n_men"] == 2000


def test_a_gain_is_one_over_plain_as_well_tuned(tmp_path):
    tuned = FakeTrial("t002", 0.92, 0.945, tunes_plain=True)
    summary, text = _confirmed(tmp_path, [*PAIR, tuned], [*PAIR, tuned])
    trials = summary["confirmed"]["trials"]
    assert summary["baselines"]["plain_tuned"]["trial_id"] == "t002"
    assert summary["verdict"]["against"] == "plain_tuned"
    assert summary["verdict"]["claim"] == "t001"
    gain = trials["t001"]["val"]["fair"] - trials["t002"]["val"]["fair"]
    assert summary["verdict"]["change"]["val"]["fair"] == pytest.approx(gain)
    assert "fairer than plain_tuned" in text
    worse = FakeTrial("t002", 0.80, 0.945, tunes_plain=True)
    summary, _ = _confirmed(tmp_path / "worse", [*PAIR, worse], [*PAIR, worse], rows=500)
    assert summary["baselines"]["plain_tuned"]["trial_id"] == "t000"  # tuning brought nothing


def test_seeds_and_folds_are_counted_as_they_are(tmp_path):
    summary, text = _confirmed(tmp_path, PAIR, PAIR, seeds=2, folds=2, rows=1000)
    assert "All were trained anew on 2 folds and 2 new seeds." in text
    entry = summary["confirmed"]["trials"]["t001"]
    assert len(entry["retrainings"]) == 4
    assert entry["val"]["n_women"] + entry["val"]["n_men"] == 2000  # each judged twice
    one, text = _confirmed(tmp_path / "one", PAIR, PAIR, seeds=1, folds=None, rows=1000)
    assert "trained anew on 1 new seed." in text
    assert one["confirmed"]["trials"]["t001"]["retrainings"] == [{"seed": 1, "fold": None}]


def test_retrainings_on_other_test_faces_are_refused(tmp_path):
    run = make_run(tmp_path / "run", SWEEP[:2], rows=300)
    confirm_run(run, SWEEP[:1], rows=300, seed=1)
    with pytest.raises(InputError, match=r"t000-seed1.*not the test faces of trial t000"):
        write_report(run)


def test_retrainings_on_other_validation_faces_are_not_compared(tmp_path):
    run = make_run(tmp_path / "run", PAIR, rows=300)
    confirm_run(run, PAIR, rows=300, folds=2, seeds=1)
    other = Trial(run.path / "confirm" / "t001" / "t001-seed1-fold1of2")
    rows = other.predictions
    rows.loc[rows["split"] == "val", "filename"] += "x"
    other.write_predictions(rows)
    with pytest.raises(InputError, match=r"fold1of2.* not judged by the same val faces"):
        write_report(run)


def _confirmed(folder: Path, trials, again, *, seeds=1, folds=4, rows=2000, **more):
    run = make_run(folder / "run", trials, rows=rows)
    confirm_run(run, again, seeds=seeds, folds=folds, rows=rows, **more)
    summary = write_report(run)
    return summary, " ".join(verdict(summary))


def test_intervals_of_few_folds_hold_nothing_that_cannot_be(tmp_path):
    run = make_run(tmp_path / "run", PAIR, rows=300)
    confirm_run(run, PAIR, seeds=1, folds=2, rows=300, sd=0.1)
    wide = 0
    for entry in write_report(run)["confirmed"]["trials"].values():
        for split in ("val", "test"):
            for name, least in (("acc_women", 0), ("acc_men", 0), ("gap", 0), ("fair", -2)):
                low, high = entry[split][f"{name}_ci95"]
                assert least <= low <= entry[split][name] <= high <= 1
                wide += high == 1
    assert wide > 0
