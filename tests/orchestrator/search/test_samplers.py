"""Each of Optuna's samplers, and what it is told of trials that stopped or failed."""

import pytest
from searching import SPACE, begin, config, finish, session

from orchestrator.base.errors import InputError
from orchestrator.search.record import values
from orchestrator.search.study import open_study


@pytest.mark.parametrize("sampler", ["tpe", "gp", "cmaes", "nsga2", "random"])
@pytest.mark.parametrize("objective", ["fair", "pareto"])
def test_every_sampler_works_with_stopped_and_failed_trials(tmp_path, sampler, objective):
    if (sampler, objective) == ("cmaes", "pareto"):
        with pytest.raises(InputError, match="cmaes has one objective only"):
            config(f"sweep.sampler={sampler}", f"sweep.objective={objective}")
        return
    settings = [f"sweep.{key}" for key in ("trials=12", "startup_trials=3")]
    run = begin(
        tmp_path / "run", *settings, f"sweep.sampler={sampler}", f"sweep.objective={objective}"
    )
    searching = session(run)
    for number in range(12):
        name = str(number)
        searching.suggest(name)
        state = {4: "pruned", 5: "failed", 6: "pruned"}.get(number, "complete")
        finish(run, searching, name, state, acc_women=0.8 + number / 100)
    assert searching.remaining == 0
    assert [len(run.ended()), len(run.complete())] == [12, 9]


@pytest.mark.parametrize(("sampler", "learns"), [("gp", True), ("cmaes", True), ("tpe", False)])
def test_gp_and_cmaes_are_told_what_a_stopped_trial_had_reached(tmp_path, sampler, learns):
    run = begin(tmp_path / "run", f"sweep.sampler={sampler}")
    searching = session(run)
    for name in "abc":
        searching.suggest(name)
    finish(run, searching, "c", state="pruned")
    told = open_study(run, run.config, SPACE).trials[2]
    assert told.state.name == ("COMPLETE" if learns else "PRUNED")
    if learns:
        assert told.values == values(run.trial("t002"), run.config)
