from types import SimpleNamespace

import numpy as np
import pytest
from fakes import SWEEP, FakeTrial, make_run

from orchestrator.base.files import append_line
from orchestrator.judging.fairness import MAN, WOMAN, predict_labels
from orchestrator.judging.frontier import hypervolume
from orchestrator.judging.judge import evaluate
from orchestrator.report.course import ENOUGH, axes, course, importances, stopped_at
from orchestrator.report.live import GRID, live_data, right_by_cut
from orchestrator.report.report import write_report


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = make_run(tmp_path_factory.mktemp("course") / "run", SWEEP[:9] + SWEEP[12:13], rows=300)
    begun = {"t000": 2, "t001": 1, "t012": 0}  # the others began after these
    for n, trial in enumerate(run.ended()):
        append_line(
            trial.path / "starts.txt", f"2026-01-01T00:{begun.get(trial.id, 10 + n):02d}:00"
        )
    return run


def test_the_course_is_in_the_order_of_ending_and_only_rises(run):
    evaluated = evaluate(run)
    found = course(run.ended(), evaluated, (0.5, 0.5))
    # t000 began last of the three and took longest; t012 was stopped at epoch 3.
    assert found["trial_ids"][:3] == ["t012", "t001", "t000"]
    assert found["fair"][0] is None
    known = [value for value in found["fair"] if value is not None]
    assert known == sorted(known)
    assert known[-1] == max(one.judged["fixed"].val.fair for one in evaluated)
    vals = [one.judged["fixed"].val for one in evaluated]
    area = hypervolume([val.mean_accuracy for val in vals], [val.gap for val in vals], (0.5, 0.5))
    assert found["hypervolume"][-1] == pytest.approx(area)
    seconds = sum(trial.result.seconds for trial in run.ended())
    assert found["hours"][-1] == pytest.approx(seconds / 3600)


def test_what_was_stopped_is_counted_by_epoch(run):
    assert stopped_at(run.ended()) == {3: 1}


def test_importance_finds_what_matters_and_says_nothing_of_few(tmp_path):
    rng = np.random.default_rng(0)
    trials = [FakeTrial("t000", recipe="plain")]
    for n in range(1, 25):
        gamma, lr = rng.uniform(0, 5), 10 ** rng.uniform(-4, -2)
        params = {"gamma": gamma, "lr": lr, "policy": str(n % 2), "epochs": 3 + n % 4, "same": 1}
        trials.append(FakeTrial(f"t{n:03d}", 0.95 - 0.08 * abs(gamma - 1), 0.95, params=params))
    evaluated = evaluate(make_run(tmp_path / "run", trials, rows=200))
    found = importances(evaluated)
    assert found.keys() == {"gamma", "lr", "policy", "epochs"}
    assert max(found, key=found.get) == "gamma"
    assert sum(found.values()) == pytest.approx(1)
    assert importances(evaluated[:ENOUGH]) is None  # plain has no parameters


def test_axes_hold_what_varied_by_what_it_is():
    def tried(**params):
        return SimpleNamespace(params=params)

    found = axes(
        [
            tried(lr=1e-4, gamma=0.0, policy="none", same=1, flip=True, depth=2),
            tried(lr=1e-2, gamma=5.0, policy="weights", same=1, flip=False),
            tried(lr=1e-3, gamma=9.0, policy="none", same=1, flip=True, depth=4),
            tried(),
        ],
        {"gamma": 0.7, "lr": 0.3},
    )
    assert found == [
        {"name": "gamma", "values": None, "log": False},  # of 0 there is no logarithm
        {"name": "lr", "values": None, "log": True},
        {"name": "depth", "values": None, "log": False},
        {"name": "flip", "values": [False, True], "log": False},
        {"name": "policy", "values": ["none", "weights"], "log": False},
    ]


def test_the_script_is_given_counts_that_make_up_the_summarys_figures(run):
    summary, evaluated = write_report(run), evaluate(run)
    told = live_data(run, evaluated, summary)
    women, men = sum(told["faces"][:2]), sum(told["faces"][2:])
    by_id = {trial["id"]: trial for trial in told["trials"]}
    for entry in summary["pareto"]:
        of = by_id[entry["trial_id"]]
        assert sum(of["right"]["fixed"][:2]) / women == entry["val"]["acc_women"]
        assert sum(of["right"]["fixed"][2:]) / men == entry["val"]["acc_men"]
        at = GRID.tolist().index(0.5)
        assert of["cuts"][0][at] == sum(of["right"]["fixed"][:2])
        assert of["epochs"][0][-1] == round(entry["val"]["acc_women"] * told["steps"])


def test_faces_that_are_right_are_counted_at_each_threshold(run):
    rows = evaluate(run)[0].rows["val"]
    for gender in (WOMAN, MAN):
        of = rows.gender == gender
        for cut, right in zip(GRID, right_by_cut(rows, gender), strict=True):
            assert right == np.sum((predict_labels(rows.logit, cut) == rows.label)[of])
