import io
import json
from pathlib import Path

import numpy as np
import pytest
from fakes import SWEEP, FakeTrial, confirm_run, make_run

from orchestrator.base.errors import InputError
from orchestrator.judging.confirmation import METRICS, interval, resample, spread
from orchestrator.judging.fairness import fair_of
from orchestrator.report.page import verdict
from orchestrator.report.report import write_report
from orchestrator.report.tables import print_summary
from orchestrator.run.directory import Run
from orchestrator.run.trial import Trial

RETRAINED = [trial for trial in SWEEP if trial.id in ("t000", "t001", "t010", "t013")]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = make_run(tmp_path_factory.mktemp("confirmation") / "run")
    confirm_run(run, RETRAINED)
    write_report(run)
    return run


@pytest.fixture(scope="module")
def confirmed(run: Run) -> dict:
    return json.loads((run.path / "summary.json").read_text())["confirmed"]


def test_every_retrained_trial_has_means_and_deviations_over_its_seeds(run, confirmed):
    assert set(confirmed["trials"]) == {trial.id for trial in RETRAINED}
    for trial_id, entry in confirmed["trials"].items():
        assert entry["retrainings"] == [{"seed": k, "fold": None} for k in (1, 2, 3)]
        for k, split in ((k, split) for k in (1, 2, 3) for split in ("val", "test")):
            rows = Trial(run.path / "confirm" / trial_id / f"{trial_id}-seed{k}").predictions
            assert (rows["split"] == split).any()
        for split in ("val", "test"):
            assert set(entry[split]) == set(METRICS)
            assert all(figure["sd"] > 0 for figure in entry[split].values())
        low, high = entry["fair_ci95"]
        assert low < entry["test"]["fair"]["mean"] < high


def test_means_are_those_of_the_retrainings_at_a_half(run, confirmed):
    found = []
    for k in (1, 2, 3):
        rows = Trial(run.path / "confirm" / "t010" / f"t010-seed{k}").predictions
        women = rows[(rows["split"] == "test") & (rows["gender"] == -1)]
        found.append(((women["logit"] > 0) == (women["label"] == 1)).mean())
    figure = confirmed["trials"]["t010"]["test"]["acc_women"]
    assert figure["mean"] == pytest.approx(np.mean(found))
    assert figure["sd"] == pytest.approx(np.std(found, ddof=1))


def test_the_change_against_plain_is_the_difference_of_the_means(confirmed):
    plain = confirmed["trials"]["t000"]
    for entry in confirmed["trials"].values():
        for name in ("fair", "acc_women", "acc_men"):
            difference = entry["test"][name]["mean"] - plain["test"][name]["mean"]
            low, high = entry["change_vs_plain"][f"{name}_ci95"]
            assert entry["change_vs_plain"][name] == pytest.approx(difference)
            assert low <= difference + 1e-12
            assert high >= difference - 1e-12
    assert plain["change_vs_plain"]["fair_ci95"] == [0, 0]


def test_the_confirmed_best_is_chosen_on_validation(confirmed):
    vals = {name: entry["val"]["fair"]["mean"] for name, entry in confirmed["trials"].items()}
    assert confirmed["best"] == max(vals, key=vals.get)


def test_a_winner_that_holds_is_said_to(tmp_path):
    trials = [FakeTrial("t000", 0.88, 0.95, "plain"), FakeTrial("t001", 0.93, 0.94)]
    summary, text = _confirmed(tmp_path, trials, trials)
    assert summary["confirmed"]["holds"] is True
    assert "t001 holds: over 3 new seeds its fair metric on test is" in text
    assert "plain's" in text
    assert "chance cannot be excluded" not in text


def test_a_winner_that_does_not_hold_is_marked(tmp_path):
    lucky = [FakeTrial("t000", 0.90, 0.94, "plain"), FakeTrial("t001", 0.93, 0.94)]
    again = [lucky[0], FakeTrial("t001", 0.89, 0.96)]
    summary, text = _confirmed(tmp_path, lucky, again)
    assert summary["best"]["trial_id"] == "t001"
    assert summary["confirmed"]["holds"] is False
    assert summary["confirmed"]["best"] == "t000"
    assert "t001 does not hold: over 3 new seeds" in text
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert page.count(">does not hold<") == 2  # over new seeds, and where the search is told
    assert 'class="loss-said">t001 does not hold' in page
    terminal = io.StringIO()
    print_summary(summary, terminal)
    lines = terminal.getvalue().splitlines()
    assert lines[0].startswith("On test faces, threshold 0.5, means over 3 new seeds")
    assert lines[2].split()[:2] == ["confirmed", "t000"]
    assert any(line.startswith("t001 does not hold") for line in lines)
    assert all("…" not in line for line in lines)


def test_a_winner_that_other_validation_faces_refute_does_not_hold(tmp_path):
    trials = [FakeTrial("t000", 0.88, 0.95, "plain"), FakeTrial("t001", 0.93, 0.94)]
    run = make_run(tmp_path / "run", trials, rows=4000)
    confirm_run(run, trials, rows=4000)
    for folder in (run.path / "confirm" / "t001").iterdir():
        rows = Trial(folder).predictions
        men = np.flatnonzero((rows["split"] == "val") & (rows["gender"] == 1))[::8]
        rows.loc[rows.index[men], "logit"] *= -1
        Trial(folder).write_predictions(rows)
    summary = write_report(run)
    confirmed, text = summary["confirmed"], " ".join(verdict(summary))
    change = confirmed["trials"]["t001"]["change_vs_plain"]
    assert change["fair_ci95"][0] > 0  # on test it is better, and not by chance
    assert confirmed["holds"] is False
    assert confirmed["best"] == "t000"
    assert "t001 does not hold: over 3 new seeds" in text
    val, of_plain = (spread(confirmed["trials"][name], "val") for name in ("t001", "t000"))
    assert text.count(f" But on validation it is {val}, plain's {of_plain}.") == 1


def test_chance_is_named_where_it_cannot_be_excluded(tmp_path):
    trials = [FakeTrial("t000", 0.90, 0.94, "plain"), FakeTrial("t001", 0.905, 0.942)]
    _, text = _confirmed(tmp_path, trials, trials, sd=0.01)
    assert "over faces and seeds; chance cannot be excluded." in text


def test_another_baseline_that_is_better_refutes_the_winner(tmp_path):
    trials = [
        FakeTrial("t000", 0.88, 0.95, "plain"),
        FakeTrial("t001", 0.90, 0.94, "reference"),
        FakeTrial("t002", 0.93, 0.94),
    ]
    again = [trials[0], FakeTrial("t001", 0.94, 0.94, "reference"), FakeTrial("t002", 0.90, 0.94)]
    summary, text = _confirmed(tmp_path, trials, again)
    assert summary["confirmed"]["holds"] is False
    assert "reference's" in text


def test_what_was_not_retrained_is_not_judged(tmp_path):
    trials = [FakeTrial("t000", 0.88, 0.95, "plain"), FakeTrial("t001", 0.93, 0.94)]
    for again, words in ((trials[:1], "t001 was not retrained"), (trials[1:], "No baseline")):
        summary, text = _confirmed(tmp_path / again[0].id, trials, again)
        assert summary["confirmed"]["holds"] is None
        assert words in text


def test_without_retrainings_nothing_is_said(tmp_path):
    run = make_run(tmp_path / "run", SWEEP[:2], rows=300)
    assert write_report(run)["confirmed"] is None
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert "Retrained" not in page
    assert "new seeds" not in page


def test_only_complete_retrainings_count(tmp_path):
    trials = [FakeTrial("t000", 0.88, 0.95, "plain"), FakeTrial("t001", 0.93, 0.94)]
    run = make_run(tmp_path / "run", trials, rows=300)
    confirm_run(run, trials, rows=300)
    failed = Trial(run.path / "confirm" / "t001" / "t001-seed1")
    failed.write_result(failed.result.model_copy(update={"state": "failed"}))
    (run.path / "confirm" / "t000" / "t000-seed3" / "result.json").unlink()  # it still runs
    entries = write_report(run)["confirmed"]["trials"]
    assert [one["seed"] for one in entries["t001"]["retrainings"]] == [2, 3]
    assert [one["seed"] for one in entries["t000"]["retrainings"]] == [1, 2]
    assert entries["t001"]["change_vs_plain"] is not None  # of seed 2, which both have


def test_one_seed_has_no_deviation(tmp_path):
    trials = [FakeTrial("t000", 0.88, 0.95, "plain"), FakeTrial("t001", 0.93, 0.94)]
    summary, text = _confirmed(tmp_path, trials, trials, seeds=1)
    assert summary["confirmed"]["trials"]["t001"]["test"]["fair"]["sd"] is None
    assert "over 1 new seed its" in text
    assert "over faces alone" in text


def test_folds_share_their_test_faces_only(tmp_path):
    trials = [FakeTrial("t000", 0.88, 0.95, "plain"), FakeTrial("t001", 0.93, 0.94)]
    summary, text = _confirmed(tmp_path, trials, trials, seeds=2, folds=2)
    retrainings = summary["confirmed"]["trials"]["t001"]["retrainings"]
    assert retrainings == [{"seed": s, "fold": f} for s in (1, 2) for f in (0, 1)]
    assert "over 2 new seeds and 2 folds" in text


def test_retrainings_on_other_test_faces_are_refused(tmp_path):
    run = make_run(tmp_path / "run", SWEEP[:2], rows=300)
    confirm_run(run, SWEEP[:1], rows=300, seed=1)
    with pytest.raises(InputError, match=r"t000-seed1.*not the test faces of trial t000"):
        write_report(run)


def test_resampled_accuracies_are_those_of_resampled_rows():
    rng = np.random.default_rng(0)
    women = rng.random(800) < 0.6
    correct = rng.random((3, 800)) < np.where(women, 0.8, 0.95)
    ours = resample(correct, women, draws=4000)
    assert ours.shape == (2, 4001, 3)
    for group, rows in enumerate((women, ~women)):
        assert ours[group, 0] == pytest.approx(correct[:, rows].mean(axis=1))
        drawn = [
            correct[:, rng.choice(np.flatnonzero(rows), rows.sum())].mean(axis=1)
            for _ in range(4000)
        ]
        assert np.cov(ours[group, 1:].T) == pytest.approx(np.cov(np.transpose(drawn)), abs=4e-5)


def test_the_interval_covers_the_truth_though_seeds_are_few():
    """Seeds decide here, as they do at full size; resampling 3 of them would cover some 80%."""
    rng, covered, sd, n = np.random.default_rng(0), 0, 0.01, 4000
    women = np.arange(n) % 2 == 0
    for _ in range(200):
        accuracy = np.where(women, *(0.9 + sd * rng.standard_normal((2, 3, 1))))
        values = fair_of(*resample(rng.random((3, n)) < accuracy, women, draws=300), 0.0)
        low, high = interval(values)
        covered += low <= 0.9 <= high
    assert covered / 200 > 0.93


def _confirmed(folder: Path, trials, again, **options) -> tuple[dict, str]:
    run = make_run(folder / "run", trials, rows=4000)
    confirm_run(run, again, rows=4000, **options)
    summary = write_report(run)
    return summary, " ".join(verdict(summary))
