"""Which trials a sweep asks for, and what it does about those that a killed session left."""

import errno
import os

from fakes import FakeTrial, make_run
from ray.exceptions import RayTaskError
from ray.tune.search import Searcher
from searching import SPACE, begin, config, finish, session, states, write

from orchestrator.config.layers import resolve
from orchestrator.run.directory import Run
from orchestrator.search.record import values
from orchestrator.search.searcher import StudyTrials
from orchestrator.search.study import open_study, working_on
from orchestrator.training.trial import write_failure
from search_spaces import get

STALE = RayTaskError("f", "", OSError(errno.ESTALE, os.strerror(errno.ESTALE), "/run"))


def test_it_asks_for_as_many_as_wanted_the_baselines_first(tmp_path):
    run = begin(tmp_path / "run")
    searching = session(run)
    given = [searching.suggest(f"a{number}") for number in range(7)]
    assert given[6] == Searcher.FINISHED
    assignments = [searching.assignments[f"a{number}"] for number in range(6)]
    assert [one.trial.id for one in assignments] == [f"t{n:03}" for n in range(6)]
    assert [one.config.recipe for one in assignments[:3]] == ["plain", "reference", "default"]
    assert searching.remaining == 6
    for number, state in enumerate(("complete", "failed", "pruned")):
        finish(run, searching, f"a{number}", state)
    assert states(searching)[:3] == ["COMPLETE", "FAIL", "PRUNED"]
    assert searching.remaining == 3
    told = searching._study.get_trials()[0]
    assert told.values == values(run.trial("t000"), run.config)


def test_a_trial_that_a_scheduler_stopped_is_pruned_and_an_interrupted_one_has_not_ended(tmp_path):
    run = begin(tmp_path / "run", "sweep.objective=pareto")
    searching = session(run)
    for name in "abc":
        searching.suggest(name)
    searching.stopped = {"b": "stopped at epoch 2"}
    for name in "abc":
        searching.on_trial_complete(name, error=name == "c")
    searching.failed("c", None)
    assert [run.trial(f"t{n:03}").has_ended for n in range(3)] == [False, True, True]
    assert run.trial("t001").result.state == "pruned"
    assert "process died" in run.trial("t002").result.reason
    assert states(searching)[:3] == ["RUNNING", "PRUNED", "FAIL"]


def test_what_the_machine_failed_of_is_no_verdict(tmp_path):
    run = begin(tmp_path / "run")
    searching = session(run)
    unknown = RayTaskError("f", "", ValueError("what"))
    for name, error in {"a": STALE, "b": unknown, "c": STALE}.items():
        searching.suggest(name)
        searching.on_trial_complete(name, error=True)
        searching.failed(name, error)
    assert searching.faults == dict.fromkeys(("t000", "t002"), "/run: Stale file handle")
    assert states(searching)[:3] == ["RUNNING", "FAIL", "RUNNING"]
    assert run.trial("t001").result.reason == "ValueError: what"
    assert searching.interrupted == 0
    assert searching.remaining == 5
    again = session(run)
    assert [again.suggest(name)["path"][-4:] for name in "xy"] == ["t000", "t002"]


def test_a_machine_that_fails_trial_after_trial_gets_no_more(tmp_path):
    searching = session(begin(tmp_path / "run"))
    for name in "abc":
        assert searching.suggest(name) != Searcher.FINISHED
        searching.failed(name, STALE)
    assert searching.suggest("d") == Searcher.FINISHED
    assert len(searching.faults) == 3
    assert searching.interrupted == 0


def test_what_a_killed_session_left_is_told_or_gone_on_with(tmp_path):
    run = begin(tmp_path / "run")
    killed = session(run)
    for name in "abc":
        killed.suggest(name)
    asked = dict(killed.assignments["c"].params)
    params = dict(killed.assignments["a"].params)
    write(run, FakeTrial("t000", recipe="plain", params=params))  # nobody told the study
    write_failure(killed.assignments["b"], "out of memory")

    resumed = session(run)
    assert states(resumed)[:3] == ["COMPLETE", "FAIL", "RUNNING"]
    assert resumed.remaining == 4
    resumed.suggest("x")
    assert resumed.assignments["x"].trial.id == "t002"
    assert dict(resumed.assignments["x"].params) == asked
    resumed.suggest("y")
    assert resumed.assignments["y"].trial.id == "t003"


def test_a_sweep_is_extended_by_asking_for_more(tmp_path):
    run = begin(tmp_path / "run", "sweep.trials=2")
    searching = session(run)
    for name in "ab":
        searching.suggest(name)
        finish(run, searching, name)
    assert searching.suggest("c") == Searcher.FINISHED
    run.record(config("sweep.trials=3"), run.data)
    more = session(Run(run.path))
    assert more.remaining == 1
    more.suggest("c")
    assert more.assignments["c"].trial.id == "t002"


def test_it_has_enough_when_too_many_fail(tmp_path):
    run = begin(tmp_path / "run", "sweep.max_failed=2")
    searching = session(run)
    for name in "ab":
        searching.suggest(name)
        finish(run, searching, name, "failed")
    assert searching.suggest("c") == Searcher.FINISHED
    assert "2 trials failed" in searching.enough
    assert searching.remaining == 4


def test_a_space_that_fails_now_and_then_costs_its_trials_alone(tmp_path):
    file = tmp_path / "space.py"
    file.write_text(
        "def suggest(trial):\n"
        "    gamma = trial.suggest_float('gamma', 0, 3)\n"
        "    if trial.number % 2: raise RuntimeError('odd')\n"
        "    return {'loss.gamma': gamma}\n"
    )
    run = begin(tmp_path / "run", f"sweep.space={file}")
    space = get(str(file))
    study = open_study(run, run.config, space)
    searching = StudyTrials(study, space, run.config, run, "here")
    unseen = []
    searching.unseen = unseen.append
    names = [name for name in "abcdef" if searching.suggest(name) != Searcher.FINISHED]
    assert len(names) == 4  # two baselines outside the space, and two of four
    failed = [trial for trial in run.ended() if trial.result.state == "failed"]
    assert [trial.id for trial in failed] == ["t003", "t005"]
    assert failed[0].result.reason.endswith("space.py: suggest(trial): RuntimeError: odd")
    assert [trial.id for trial in unseen] == ["t003", "t005"]
    assert searching.remaining == 4


def test_sessions_that_join_at_once_do_not_repeat_each_other(tmp_path):
    url = f"sqlite:///{tmp_path}/study.db"
    run = begin(tmp_path / "run", "sweep.trials=20", "sweep.sampler=random")
    studies = [open_study(run, run.config, SPACE, url) for _ in range(2)]
    with working_on(run) as one, working_on(run) as two:
        sessions = [
            StudyTrials(study, SPACE, run.config, run, name)
            for study, name in zip(studies, (one, two), strict=True)
        ]
        given = {}
        for number in range(4):
            for place, searching in enumerate(sessions):
                searching.suggest(f"{place}-{number}")
                asked = searching.assignments[f"{place}-{number}"]
                given[asked.trial.id] = tuple(sorted(asked.params.items()))
    assert sorted(given) == [f"t{n:03}" for n in range(8)]
    drawn = [given[f"t{n:03}"] for n in range(2, 8)]  # but for the baselines
    assert len(set(drawn)) == 6


def test_sessions_count_what_the_others_ended(tmp_path):
    url = f"sqlite:///{tmp_path}/study.db"
    run = begin(tmp_path / "run", "sweep.epoch_budget=15")
    first, second = session(run, url), session(run, url)
    unseen = []
    second.unseen = unseen.append
    first.suggest("a")
    first.suggest("b")
    finish(run, first, "a")
    assert second.suggest("c") != Searcher.FINISHED  # 10 epochs are trained
    finish(run, first, "b")
    assert second.suggest("d") == Searcher.FINISHED
    assert second.enough == "epochs trained: 20, and sweep.epoch_budget is 15"
    assert [trial.id for trial in unseen] == ["t000", "t001"]
    assert (first.interrupted, second.interrupted) == (0, 1)


def test_a_recipe_that_a_sweep_begins_from_makes_no_baselines_of_its_trials(tmp_path):
    begun = resolve("group-dro", settings=["sweep.trials=4"])
    run = make_run(tmp_path / "run", [], rows=40, config=begun)
    searching = session(run)
    for name in "abcd":
        searching.suggest(name)
    configs = [searching.assignments[name].config for name in "abcd"]
    assert [one.recipe for one in configs] == ["plain", "reference", "default", "default"]
    assert [one.method.name for one in configs] == ["erm", "erm", "group_dro", "group_dro"]


def test_a_share_of_the_trials_tunes_plain(tmp_path):
    run = begin(tmp_path / "run", "sweep.trials=9", "sweep.plain_share=0.4")
    searching = session(run)
    plain = []
    for name in "abcdefghi":
        searching.suggest(name)
        one = searching.assignments[name]
        if one.config.recipe == "default" and one.config.loss.gamma == 0:
            assert one.config.balance.policy == "none"
            assert one.config.balance.weight_women == one.config.balance.weight_men == 1
            assert one.params["lr"] != 1e-3  # which is what it tunes
            plain.append(one.trial.id)
        finish(run, searching, name)
    assert plain == ["t004", "t006"]  # of five that are none of the baselines, two
