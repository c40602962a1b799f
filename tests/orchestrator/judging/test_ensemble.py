"""What retrained networks say together, and what a run with an ensemble recommends."""

import io
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from fakes import FakeTrial, confirm_run, make_run
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.base.errors import InputError
from orchestrator.config.layers import resolve
from orchestrator.judging.ensemble import mean_logits
from orchestrator.judging.fairness import group_metrics
from orchestrator.report.report import write_report
from orchestrator.report.tables import print_summary
from orchestrator.report.words import in_short
from orchestrator.run.trial import PredictedRows, Trial
from orchestrator.search.keep_ensemble import keep_ensemble

TRIALS = [
    FakeTrial("t000", 0.90, 0.95, "plain"),
    FakeTrial("t001", 0.70, 0.80, "reference"),
    FakeTrial("t002", 0.94, 0.95),
    FakeTrial("t003", 0.88, 0.95),
]
FOUR = resolve(settings=["sweep.finalists=2", "sweep.confirm_folds=4"])

logits = st.floats(-20, 20, width=32)


@given(st.lists(st.dictionaries(st.integers(0, 9), logits, min_size=1), min_size=1, max_size=5))
def test_a_faces_logit_is_the_mean_over_the_networks_that_judged_it(networks):
    parts = [
        PredictedRows(
            filename=np.array([f"{n}.jpg" for n in sorted(of)], object),
            label=np.array([n % 2 for n in sorted(of)], np.int8),
            gender=np.array([(-1) ** n for n in sorted(of)], np.int8),
            logit=np.array([of[n] for n in sorted(of)], np.float32),
        )
        for of in networks
    ]
    found = mean_logits(parts)
    table = pd.concat([pd.DataFrame(vars(part)) for part in parts]).groupby("filename")
    np.testing.assert_array_equal(found.filename, list(table.groups))
    np.testing.assert_allclose(
        found.logit, table["logit"].agg(lambda of: of.astype(float).mean()), rtol=1e-6, atol=1e-6
    )
    for column in ("label", "gender"):
        np.testing.assert_array_equal(getattr(found, column), table[column].first())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = make_run(tmp_path_factory.mktemp("ensemble") / "run", TRIALS, rows=600, config=FOUR)
    confirm_run(run, TRIALS, seeds=1, folds=4, rows=600)
    keep(run)
    return run


def keep(run, config=FOUR):
    """Keep the ensemble of a run whose networks have no weights; return whether it was written."""
    with patch("orchestrator.search.keep_ensemble.save_ensemble") as save:
        keep_ensemble(run, config)
    return save.called


def test_the_winners_ensemble_is_kept_with_a_trials_files(run):
    (kept,) = run.ensembles()
    assert kept.id == "t002-ensemble"
    assert kept.result.members == [f"t002-seed1-fold{n}of4" for n in range(4)]
    members = [Trial(run.confirm_path / "t002" / name) for name in kept.result.members]
    tables = [member.predictions for member in members]
    ours = kept.predictions.set_index(["split", "filename"])["logit"]
    every = pd.concat(tables).groupby(["split", "filename"])["logit"].mean()
    assert len(ours) == 4 * 600 + 600
    np.testing.assert_allclose(ours.sort_index(), every.sort_index(), rtol=1e-6)
    assert kept.result.seconds == pytest.approx(sum(one.result.seconds for one in members))


def test_it_is_written_once_and_anew_for_others(tmp_path):
    run = make_run(tmp_path / "run", TRIALS, rows=300, config=FOUR)
    assert not keep(run)  # nothing is retrained yet
    assert not run.ensembles()
    confirm_run(run, TRIALS, seeds=1, folds=4, rows=300)
    assert keep(run)
    assert not keep(run)
    confirm_run(run, TRIALS, seeds=1, folds=2, rows=300)
    halves = resolve(settings=["sweep.finalists=2", "sweep.confirm_folds=2"])
    assert keep(run, halves)
    assert len(run.ensembles()[0].result.members) == 2
    # The run's own configuration has four folds: the ensemble is of others, and is not used.
    assert write_report(run)["ensembles"] is None


def test_one_retraining_is_no_ensemble(tmp_path):
    config = resolve(settings=["sweep.finalists=2", "sweep.confirm_folds=null", "sweep.confirm=1"])
    run = make_run(tmp_path / "run", TRIALS, rows=300, config=config)
    confirm_run(run, TRIALS, seeds=1, rows=300)
    assert not keep(run, config)
    summary = write_report(run)
    assert summary["ensembles"] is None
    assert summary["verdict"]["trial_id"] == summary["best"]["trial_id"]


def test_seeds_are_an_ensemble_too(tmp_path):
    config = resolve(settings=["sweep.finalists=2", "sweep.confirm_folds=null", "sweep.confirm=3"])
    run = make_run(tmp_path / "run", TRIALS, rows=300, config=config)
    confirm_run(run, TRIALS, seeds=3, rows=300)
    assert keep(run, config)
    (kept,) = run.ensembles()
    assert len(kept.predictions) == 600  # all three judged each face of val
    assert write_report(run)["verdict"]["trial_id"] == kept.id


def test_a_run_recommends_it_and_compares_it_with_its_like(run):
    summary = write_report(run)
    ensembles = summary["ensembles"]
    assert ensembles["recommended"]["trial_id"] == summary["verdict"]["trial_id"] == "t002-ensemble"
    assert summary["best"]["trial_id"] == "t002"
    assert ensembles["plain"]["trial_id"] == "t000-ensemble"
    assert ensembles["plain_tuned"] is None
    assert ensembles["reference"] is None or ensembles["reference"]["members"] == 4
    for role, name in (("recommended", "t002"), ("plain", "t000")):
        tables = [Trial(path).predictions for path in (run.confirm_path / name).iterdir()]
        test = pd.concat(tables).query("split == 'test'").groupby("filename")
        mean = test["logit"].mean()
        label, gender = test["label"].first(), test["gender"].first()
        expected = group_metrics(label, (mean > 0).astype(int), gender)
        for figure in ("acc_women", "acc_men", "fair"):
            assert ensembles[role]["test"][figure] == pytest.approx(getattr(expected, figure))
    change = ensembles["recommended"]["change_vs_plain"]
    difference = ensembles["recommended"]["test"]["fair"] - ensembles["plain"]["test"]["fair"]
    assert change["fair"] == pytest.approx(difference)
    assert ensembles["recommended"]["val"]["n_women"] > 4 * summary["best"]["val"]["n_women"] - 1


def test_what_it_is_is_said_on_the_page_and_the_terminal(run):
    summary = write_report(run)
    use, why = in_short(summary)
    assert use == "Use t002-ensemble at threshold 0.5."
    assert why[0].startswith("It is t002's 4 retrained networks as one, their logits averaged.")
    assert (
        "Use t002-ensemble at threshold 0.5: t002's 4 retrained networks as one"
        in (summary["verdict"]["paragraph"])
    )
    page = (run.path / "report.html").read_text(encoding="utf-8")
    first = page[page.index('<section class="first"') : page.index("</section>")]
    assert 'data-trial="t002" class="best"' in first  # the trial that the chart has
    assert "t002-ensemble" in first
    assert "t000-ensemble" in first
    stream = io.StringIO()
    print_summary(summary, stream)
    fair = summary["ensembles"]["recommended"]["test"]["fair"]
    line = next(line for line in stream.getvalue().splitlines() if "t002-ensemble" in line)
    assert f"{fair:.4f}" in line


def test_a_retraining_that_is_damaged_is_named(tmp_path):
    run = make_run(tmp_path / "run", TRIALS, rows=300, config=FOUR)
    confirm_run(run, TRIALS, seeds=1, folds=4, rows=300)
    damaged = run.confirm_path / "t002" / "t002-seed1-fold2of4" / "predictions.parquet"
    damaged.write_bytes(damaged.read_bytes()[:100])
    with pytest.raises(InputError, match=r"t002-seed1-fold2of4/predictions.parquet"):
        keep(run)
    assert not run.ensembles()
