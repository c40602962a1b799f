import json
import math
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
from fairlearn.metrics import MetricFrame
from fakes import SWEEP, FakeTrial, make_run
from optuna.study import StudyDirection
from optuna.study._multi_objective import _get_pareto_front_trials_by_trials
from PIL import Image
from sklearn.metrics import accuracy_score

from orchestrator.base.errors import InputError
from orchestrator.cli import main
from orchestrator.config.layers import resolve
from orchestrator.judging.judge import evaluate
from orchestrator.report.report import write_report
from orchestrator.run.directory import Run
from orchestrator.run.progress import Progress

pytestmark = pytest.mark.usefixtures("no_picture")

FILES = ("trials.csv", "pareto.csv", "summary.json", "pareto.png", "report.html")
METRICS = (
    "accuracy",
    "acc_women",
    "acc_men",
    "gap",
    "fair",
    "fair_lambda1",
    "worst_gender",
    "worst_group",
    "n_women",
    "n_men",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = make_run(tmp_path_factory.mktemp("report") / "run")
    write_report(run)
    return run


@pytest.fixture(scope="module")
def summary(run: Run) -> dict:
    return json.loads((run.path / "summary.json").read_text())


def test_summary_has_every_key_of_the_contract(summary):
    baselines = dict(summary["baselines"])
    assert baselines.pop("plain_tuned") is None  # no trial tuned it
    assert set(baselines) == {"plain", "reference"}
    entries = [summary["best"], *baselines.values(), *summary["pareto"]]
    for entry in entries:
        assert isinstance(entry["trial_id"], str)
        assert isinstance(entry["params"], dict)
        assert entry["threshold"] == 0.5
        for split in ("val", "test"):
            assert all(math.isfinite(entry[split][name]) for name in METRICS)
            for name in ("fair", "gap"):
                low, high = entry[split][f"{name}_ci95"]
                assert low <= high
        assert entry["change_vs_plain"].keys() >= {"acc_women", "acc_men"}
        assert entry["change_vs_plain_tuned"] is None
    assert 0 < summary["hypervolume"] < 0.25
    assert summary["trials"] == {"complete": 12, "failed": 1, "pruned": 1, "unfinished": 0}
    assert summary["seconds"] > 0
    assert summary["images_per_second"] > 600


def test_other_thresholds_are_the_best_on_validation_and_judged_on_test(run, summary):
    baselines = filter(None, summary["baselines"].values())
    for entry in [summary["best"], *baselines, *summary["pareto"]]:
        shared, pair = entry["thresholds"]["shared"], entry["thresholds"]["by_gender"]
        assert entry["val"]["fair"] <= shared["val"]["fair"] <= pair["val"]["fair"]
        rows = run.trial(entry["trial_id"]).predictions
        rows = rows[rows["split"] == "test"]
        cut = np.where(rows["gender"] == -1, pair["threshold_women"], pair["threshold_men"])
        for judged, threshold in ((shared, shared["threshold"]), (pair, cut)):
            predicted = 1 / (1 + np.exp(-rows["logit"].to_numpy(np.float64))) > threshold
            correct = predicted == (rows["label"] == 1)
            for who, gender in (("women", -1), ("men", 1)):
                share = correct[rows["gender"] == gender].mean()
                assert judged["test"][f"acc_{who}"] == pytest.approx(share)
            change = judged["test"]["fair"] - entry["test"]["fair"]
            assert judged["change_vs_fixed"]["fair"] == pytest.approx(change)


def test_fronts_at_other_thresholds_have_their_own_members(run, summary):
    write_report(run, all_test=True)
    table = pd.read_csv(run.path / "trials.csv")
    write_report(run)
    complete = table[table["state"] == "complete"].set_index("trial_id")
    assert 0 < summary["hypervolume_shared"] < 0.25  # of the best fair metrics, not the best front
    gaps = [entry["val"]["gap"] for entry in summary["pareto_shared"]]
    assert gaps == sorted(gaps)
    for entry in summary["pareto_shared"]:
        row = complete.loc[entry["trial_id"]]
        assert entry["threshold"] == row["threshold_shared"]
        for split in ("val", "test"):
            assert entry[split]["fair"] == row[f"shared_{split}_fair"]
            assert entry[split]["gap"] == row[f"shared_{split}_gap"]
    assert summary["pareto_by_gender"]
    for entry in summary["pareto_by_gender"]:
        assert 0 <= entry["threshold_women"] <= 1
        assert 0 <= entry["threshold_men"] <= 1
        assert entry["change_vs_plain"].keys() >= {"acc_women", "levelled_down"}
    assert (complete["shared_val_fair"] >= complete["val_fair"] - 1e-12).all()
    assert table.set_index("trial_id").loc["t003"].isna()["threshold_shared"]


def test_metrics_agree_with_fairlearn(run, summary):
    best = summary["best"]
    predictions = run.trial(best["trial_id"]).predictions
    for split in ("val", "test"):
        rows = predictions[predictions["split"] == split]
        frame = MetricFrame(
            metrics=accuracy_score,
            y_true=rows["label"],
            y_pred=(1 / (1 + np.exp(-rows["logit"].to_numpy(np.float64))) > 0.5).astype(int),
            sensitive_features=rows["gender"],
        )
        assert best[split]["acc_women"] == pytest.approx(frame.by_group[-1])
        assert best[split]["acc_men"] == pytest.approx(frame.by_group[1])
        assert best[split]["gap"] == pytest.approx(frame.difference())
        assert best[split]["accuracy"] == pytest.approx(frame.overall)
        assert best[split]["worst_gender"] == pytest.approx(frame.group_min())
        groups = rows.assign(right=(rows["logit"] > 0) == (rows["label"] == 1))
        by_group = groups.groupby(["gender", "label"])["right"].mean()
        assert best[split]["worst_group"] == pytest.approx(by_group.min())


def test_front_is_optunas(run, summary):
    table = pd.read_csv(run.path / "trials.csv")
    complete = table[table["state"] == "complete"]
    values = zip(complete["val_mean_accuracy"], complete["val_gap"], strict=True)
    trials = [optuna.trial.create_trial(values=list(pair)) for pair in values]
    directions = [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE]
    front = _get_pareto_front_trials_by_trials(trials, directions)
    expected = {
        trial_id
        for trial_id, trial in zip(complete["trial_id"], trials, strict=True)
        if any(trial is member for member in front)
    }
    assert {entry["trial_id"] for entry in summary["pareto"]} == expected
    assert len(expected) > 2


def test_front_is_ordered_by_gap_and_its_csv_has_the_same_rows(run, summary):
    gaps = [entry["val"]["gap"] for entry in summary["pareto"]]
    assert gaps == sorted(gaps)
    trials, front = (pd.read_csv(run.path / name) for name in ("trials.csv", "pareto.csv"))
    assert list(front["trial_id"]) == [entry["trial_id"] for entry in summary["pareto"]]
    assert list(front.columns) == list(trials.columns)


def test_best_is_the_highest_fair_metric_on_validation(run, summary):
    table = pd.read_csv(run.path / "trials.csv")
    assert summary["best"]["trial_id"] == table.loc[table["val_fair"].idxmax(), "trial_id"]


def test_ties_go_to_the_smaller_gap_then_to_the_first_id(tmp_path):
    run = make_run(tmp_path / "run", [FakeTrial(f"t00{n}") for n in (2, 0, 1)], rows=300)
    same = run.trial("t000").predictions
    for trial_id in ("t001", "t002"):
        run.trial(trial_id).write_predictions(same)
    assert write_report(run)["best"]["trial_id"] == "t000"
    # With lambda 0 the fair metric is the mean accuracy, so that only the gap tells these apart.
    run = make_run(tmp_path / "zero", [], config=resolve(overrides={"fair_lambda": 0.0}))
    _write_exact(run, "t000", women_wrong=10, men_wrong=30)
    _write_exact(run, "t001", women_wrong=20, men_wrong=20)
    assert write_report(run)["best"]["trial_id"] == "t001"


def test_selection_ignores_test(tmp_path):
    run = make_run(tmp_path / "run", rows=400)
    before = write_report(run)
    for trial in run.complete():
        predictions = trial.predictions.copy()
        worse = predictions["split"] == "test"
        if trial.id == before["best"]["trial_id"]:
            predictions.loc[worse, "logit"] *= -1
        trial.write_predictions(predictions)
    after = write_report(run)
    assert after["best"]["trial_id"] == before["best"]["trial_id"]
    assert after["best"]["test"]["fair"] < 0.5 < before["best"]["test"]["fair"]
    assert after["best"]["val"] == before["best"]["val"]
    assert [e["trial_id"] for e in after["pareto"]] == [e["trial_id"] for e in before["pareto"]]
    assert after["hypervolume"] == before["hypervolume"]
    assert after["hypervolume_shared"] == before["hypervolume_shared"]
    for kind in ("pareto_shared", "pareto_by_gender"):
        thresholds = [
            [{name: e[name] for name in e if name.startswith("thresh")} for e in report[kind]]
            for report in (before, after)
        ]
        assert thresholds[0] == thresholds[1]


def test_a_probability_of_exactly_a_half_is_label_0(tmp_path):
    run = make_run(tmp_path / "run", [FakeTrial("t000")], rows=200)
    predictions = run.trial("t000").predictions
    run.trial("t000").write_predictions(predictions.assign(logit=np.float32(0)))
    best = write_report(run)["best"]["test"]
    test = predictions[predictions["split"] == "test"]
    assert best["accuracy"] == pytest.approx((test["label"] == 0).mean())


def test_only_complete_trials_are_chosen(tmp_path):
    trials = [
        FakeTrial("t000", 0.8, 0.85),
        FakeTrial("t001", 0.95, 0.95, state="pruned", epochs=2),
        FakeTrial("t002", state="failed", reason="out of memory"),
    ]
    run = make_run(tmp_path / "run", trials, rows=300)
    run.trial("t003").write_params({"loss.gamma": 1.0})  # one that still runs
    summary = write_report(run)
    assert summary["best"]["trial_id"] == "t000"
    assert [entry["trial_id"] for entry in summary["pareto"]] == ["t000"]
    assert summary["trials"] == {"complete": 1, "failed": 1, "pruned": 1, "unfinished": 1}


@pytest.mark.parametrize("trials", [[], [FakeTrial("t000", state="failed", reason="no disk")]])
def test_a_run_without_complete_trials_has_a_report_that_says_so(tmp_path, trials):
    run = make_run(tmp_path / "run", trials)
    summary = write_report(run)
    assert summary["best"] is None
    assert summary["baselines"] == dict.fromkeys(("plain", "reference", "plain_tuned"))
    assert summary["pareto"] == []
    assert summary["hypervolume"] == 0
    assert summary["images_per_second"] is None
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert "No trial is complete" in page
    assert all(trial.reason in page for trial in trials)
    assert all((run.path / name).stat().st_size for name in FILES)


def test_a_single_trial(tmp_path):
    run = make_run(tmp_path / "run", [FakeTrial("plain", recipe="plain")], rows=300)
    summary = write_report(run)
    assert summary["best"] == summary["baselines"]["plain"] == summary["pareto"][0]
    assert summary["best"]["change_vs_plain"]["fair"] == 0
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert "plain = recommended" in page
    assert "plain is the only complete trial" in page


def test_no_plain_baseline_means_no_change_against_it(tmp_path):
    run = make_run(tmp_path / "run", [FakeTrial("t000")], rows=300)
    assert write_report(run)["best"]["change_vs_plain"] is None


def test_the_same_files_give_the_same_report(run):
    before = {name: (run.path / name).read_bytes() for name in FILES}
    write_report(Run.open(str(run.path)))
    assert {name: (run.path / name).read_bytes() for name in FILES} == before


def test_the_order_of_rows_does_not_matter(tmp_path):
    run = make_run(tmp_path / "run", SWEEP[:3], rows=300)
    before = write_report(run)
    shuffled = run.trial("t001").predictions.sample(frac=1, random_state=0)
    run.trial("t001").write_predictions(shuffled)
    assert write_report(run) == before


def test_trials_of_other_faces_are_refused(tmp_path):
    run = make_run(tmp_path / "run", SWEEP[:2], rows=300)
    predictions = run.trial("t001").predictions
    run.trial("t001").write_predictions(predictions.assign(gender=-predictions["gender"]))
    with pytest.raises(
        InputError, match=r"t001.*predictions\.parquet: not the faces of trial t000"
    ):
        write_report(run)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda rows: rows.assign(logit=np.nan), "NaN"),
        (lambda rows: rows[rows["split"] == "val"], "no women"),
        (lambda rows: rows.assign(gender=1), "no women"),
        (lambda rows: rows.assign(label=2), "label"),
    ],
)
def test_damaged_predictions_are_named(tmp_path, damage, message):
    run = make_run(tmp_path / "run", SWEEP[:1], rows=300)
    run.trial("t000").write_predictions(damage(run.trial("t000").predictions))
    with pytest.raises(InputError, match=rf"t000.predictions\.parquet: .*{message}"):
        evaluate(run)


def test_missing_predictions_are_named(tmp_path):
    run = make_run(tmp_path / "run", SWEEP[:1], rows=300)
    (run.path / "trials" / "t000" / "predictions.parquet").unlink()
    with pytest.raises(InputError, match=r"t000.predictions\.parquet: no such file"):
        write_report(run)


def test_trials_csv_has_a_row_a_trial_and_empty_cells_where_nothing_was_measured(run):
    table = pd.read_csv(run.path / "trials.csv").set_index("trial_id")
    assert list(table.index) == [trial.id for trial in SWEEP]
    assert table.loc["t004", "params.loss.gamma"] == 1.92
    assert np.isnan(table.loc["t003", "val_fair"])
    assert table.loc["t003", "reason"].startswith("CUDA out of memory")
    assert table.loc["t001", "epochs"] == 4
    # Whole numbers stay whole though other trials lack them.
    line = (run.path / "trials.csv").read_text().splitlines()[1]
    assert ".0,cpu," not in line.split(",val_", 1)[0]
    assert table["val_n_women"].dropna().nunique() == 1


def test_test_figures_are_of_what_was_chosen_unless_asked_for(run, summary):
    named = (summary["best"], *summary["baselines"].values())
    told = {entry["trial_id"] for entry in named if entry} | {summary["verdict"]["claim"]}
    for name in ("trials.csv", "pareto.csv"):
        table = pd.read_csv(run.path / name).set_index("trial_id")
        complete = table[table["state"] == "complete"]
        of_test = [column for column in table.columns if "test_" in column]
        has = complete[of_test].notna()
        assert (has.all(axis=1) == complete.index.isin(told)).all()
        assert not has[~complete.index.isin(told)].any(axis=None)
        assert complete["val_fair"].notna().all()
    assert main(["report", str(run.path), "--all-test", "--json"]) == 0
    complete = pd.read_csv(run.path / "trials.csv").query("state == 'complete'")
    assert len(complete) > len(told)
    assert complete[of_test].notna().all(axis=None)
    write_report(run)


def test_wall_time_comes_from_the_progress_file(tmp_path):
    run = make_run(tmp_path / "run", SWEEP[:2], rows=300)
    assert write_report(run)["wall_seconds"] is None
    progress = Progress(
        command="sweep", trials_total=2, epochs=10, started=100.0, updated=160.0, seconds_before=5.0
    )
    (run.path / "progress.json").write_text(progress.model_dump_json())
    assert write_report(run)["wall_seconds"] == 65.0


def test_lambda_is_the_runs(tmp_path):
    config = resolve(overrides={"fair_lambda": 1.0})
    run = make_run(tmp_path / "run", SWEEP[:3], rows=300, config=config)
    best = write_report(run)["best"]["val"]
    assert best["fair"] == best["fair_lambda1"]


def test_pareto_png_is_a_wide_picture(run):
    with Image.open(run.path / "pareto.png") as picture:
        assert picture.size == (1440, 1035)
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 100  # something is drawn


def _write_exact(run: Run, trial_id: str, women_wrong: int, men_wrong: int) -> None:
    """A trial with the given number of mistakes among 100 women and 100 men, in each split."""
    donor = make_run(Path(run.path).parent / f"donor-{trial_id}", [FakeTrial(trial_id)])
    run.trial(trial_id).write_params({})
    run.trial(trial_id).write_result(donor.trial(trial_id).result)
    wrong = np.r_[np.arange(100) < women_wrong, np.arange(100) < men_wrong]
    half = pd.DataFrame({"gender": np.repeat([-1, 1], 100), "label": np.tile([0, 1], 100)})
    half["logit"] = np.where((half["label"] == 1) ^ wrong, 1.0, -1.0)
    parts = [
        half.assign(split=s, filename=[f"{n:03d}" for n in half.index]) for s in ("val", "test")
    ]
    run.trial(trial_id).write_predictions(pd.concat(parts))


def test_an_empty_stratum_is_said_beside_the_figures(tmp_path, capsys):
    run = make_run(tmp_path / "run", SWEEP[:1], rows=200)
    trial = run.trial("t000")
    rows = trial.predictions
    rows.loc[rows["gender"] == -1, "label"] = 0
    trial.write_predictions(rows)
    counts = {"women": {"0": 9, "1": 0}, "men": {"0": 5, "1": 4}}
    run.record(run.config, {**run.data, "counts": {"train": counts}})
    assert main(["report", str(run.path)]) == 0
    said = "No women of class 1 in train, val and test: networks never see one; on val and test"
    assert said in capsys.readouterr().out
    assert said in (run.path / "report.html").read_text()
    assert said in json.loads((run.path / "summary.json").read_text())["notes"][0]
