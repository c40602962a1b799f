"""What a sweep takes in of the trials of others."""

import pytest
from ray.tune.search import Searcher
from searching import SPACE, begin, finish, session

from orchestrator.base.errors import InputError
from orchestrator.config.layers import with_overrides
from orchestrator.run.directory import Run
from orchestrator.search.record import WARM, own, values
from orchestrator.search.searcher import StudyTrials
from orchestrator.search.study import open_study
from orchestrator.search.warm_start import warm_start
from search_spaces import get


def test_a_warm_start_tells_the_study_and_counts_for_nothing(tmp_path):
    before = begin(tmp_path / "before")
    searching = session(before)
    for name in "abcd":
        searching.suggest(name)
        finish(before, searching, name, "complete" if name != "d" else "failed")
    run = begin(tmp_path / "run")
    study = open_study(run, run.config, SPACE)
    said = warm_start(study, SPACE, run.config, run, before)
    assert said.startswith("warm start: 3 of 3 trials of")
    warm = [trial for trial in study.get_trials() if WARM in trial.user_attrs]
    assert [trial.values for trial in warm] == [values(t, run.config) for t in before.complete()]
    assert [trial.params for trial in warm] == [dict(t.params) for t in before.complete()]
    searching = StudyTrials(study, SPACE, run.config, run, "here")
    names = [name for name in "abcdefgh" if searching.suggest(name) != Searcher.FINISHED]
    assert [searching.assignments[name].trial.id for name in names] == [
        f"t{number:03}" for number in range(6)
    ]
    assert searching.remaining == 6
    assert sum(map(own, study.get_trials())) == 6


def test_a_warm_start_from_other_data_or_another_space_is_one_line(tmp_path):
    file = tmp_path / "space.py"
    file.write_text(
        "def suggest(trial):\n    return {'loss.gamma': trial.suggest_float('gamma', 9, 10)}\n"
    )
    before = begin(tmp_path / "before")
    searching = session(before)
    searching.suggest("a")
    finish(before, searching, "a")
    run, space = begin(tmp_path / "run"), get(str(file))
    study = open_study(run, run.config, space)
    with pytest.raises(InputError, match="none of its 1 complete trials lies in the space"):
        warm_start(study, space, run.config, run, before)
    run.record(run.config, {**run.data, "fingerprint": "other"})
    with pytest.raises(InputError, match="made with other data"):
        warm_start(study, SPACE, run.config, Run(run.path), before)


def test_a_warm_start_takes_no_trials_that_were_trained_otherwise(tmp_path):
    before = begin(tmp_path / "before", "data.folds=4", "data.fold=3")
    searching = session(before)
    for name in "abc":
        searching.suggest(name)
        finish(before, searching, name)
    run = begin(tmp_path / "run")
    study = open_study(run, run.config, SPACE)
    with pytest.raises(InputError, match=r"otherwise \(data.folds 4 instead of None\)"):
        warm_start(study, SPACE, run.config, run, before)
    assert not [trial for trial in study.get_trials() if WARM in trial.user_attrs]
    for setting in ("data.residence=stream", "seed=7", "train.max_failures=0"):
        like = begin(tmp_path / setting, "data.folds=4", "data.fold=3", setting)
        said = warm_start(open_study(like, like.config, SPACE), SPACE, like.config, like, before)
        assert said == f"warm start: 3 of 3 trials of {before.path} taken in"
    odd = before.trial("t002")
    result = odd.result.model_copy(
        update={"config": with_overrides(odd.result.config, {"model.depth": 4})}
    )
    odd.write_result(result)
    mixed, edited = begin(tmp_path / "mixed", "data.folds=4", "data.fold=3"), Run(before.path)
    said = warm_start(open_study(mixed, mixed.config, SPACE), SPACE, mixed.config, mixed, edited)
    assert said.endswith("taken in; 1 were trained otherwise (model.depth 4 instead of 3)")


def test_a_warm_start_takes_the_fair_metric_as_this_sweep_weighs_it(tmp_path):
    before = begin(tmp_path / "before", "fair_lambda=0.5")
    searching = session(before)
    searching.suggest("a")
    finish(before, searching, "a")
    run = begin(tmp_path / "run", "fair_lambda=3")
    study = open_study(run, run.config, SPACE)
    warm_start(study, SPACE, run.config, run, before)
    (warm,) = [trial for trial in study.get_trials() if WARM in trial.user_attrs]
    kept = before.trial("t000").metrics.set_index("epoch").loc[10]
    mean = (kept["acc_women"] + kept["acc_men"]) / 2
    assert warm.values == [pytest.approx(mean - 3 * kept["gap"])]
    assert warm.values != [pytest.approx(kept["fair"])]
