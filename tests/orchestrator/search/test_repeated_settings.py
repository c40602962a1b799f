"""Settings that a space suggests again are not trained again, and shift no trial's number."""

from ray.tune.search import Searcher
from searching import begin, finish

from orchestrator.search.searcher import StudyTrials
from orchestrator.search.study import open_study
from search_spaces import get

THREE = """
KINDS = ["none", "weights", "undersample"]
def suggest(trial):
    return {"balance.policy": trial.suggest_categorical("policy", KINDS)}
"""


def few_settings(folder):
    """A sweep of a space of three settings, of which one is plain's."""
    (folder / "space.py").write_text(THREE)
    run = begin(folder / "run", f"sweep.space={folder}/space.py", "sweep.trials=8")
    space = get(str(folder / "space.py"))
    return StudyTrials(open_study(run, run.config, space), space, run.config, run, "here")


def test_settings_that_were_trained_are_not_trained_again(tmp_path):
    searching = few_settings(tmp_path)
    names = []
    while searching.suggest(str(len(names))) != Searcher.FINISHED:
        names.append(str(len(names)))
    given = [searching.assignments[name] for name in names]
    assert [one.trial.id for one in given] == ["t000", "t001", "t002", "t003"]
    assert {one.config.balance.policy for one in given[2:]} == {"weights", "undersample"}
    assert "20 suggestions in a row were settings that other trials have had" in searching.enough
    assert (searching.remaining, searching.interrupted) == (8, 4)
    trials = searching._study.get_trials()
    repeated = {trial.user_attrs.get("repeat") for trial in trials[2:]}
    assert repeated == {None, "t000", "t002", "t003"}
    finish(searching._run, searching, "2", "failed")  # perhaps the machine's fault: not had
    again = few_settings_again(searching)
    running = [trial.number for trial in trials if trial.state.name == "RUNNING"]
    assert [trial.number for trial in again._left_running] == [
        number for number in running if number != searching_number(trials, 2)
    ]
    names = []
    while again.suggest(f"again{len(names)}") != Searcher.FINISHED:
        names.append(f"again{len(names)}")
    given = [again.assignments[name] for name in names]
    assert [one.trial.id for one in given] == ["t000", "t001", "t003", "t004"]
    assert given[3].config.balance == searching.assignments["2"].config.balance


def searching_number(trials, place):
    """The study's number of a trial of the sweep's own."""
    return [trial.number for trial in trials if "repeat" not in trial.user_attrs][place]


def few_settings_again(searching):
    run = searching._run
    return StudyTrials(searching._study, searching._space, run.config, run, "there")


def test_a_repeated_setting_does_not_shift_the_numbers_of_those_after_it(tmp_path):
    space = tmp_path / "space.py"
    space.write_text(
        "def suggest(trial):\n"
        "    gamma = trial.suggest_float('gamma', 0, 3)\n"
        "    return {'loss.gamma': 1.0 if trial.number in (3, 4) else gamma}\n"
    )
    run = begin(tmp_path / "run", f"sweep.space={space}")
    own_space = get(str(space))

    def open_again():
        study = open_study(run, run.config, own_space)
        return StudyTrials(study, own_space, run.config, run, "here")

    searching = open_again()
    for name in "abcdef":
        searching.suggest(name)
    ids = [searching.assignments[name].trial.id for name in "abcdef"]
    assert ids == [f"t{n:03}" for n in range(6)]
    assert [bool(t.user_attrs.get("repeat")) for t in searching._study.get_trials()] == [
        *[False] * 4,
        True,
        *[False] * 2,
    ]
    asked = {one.trial.id: dict(one.params) for one in searching.assignments.values()}
    again = open_again()
    for name in "uvwxyz":
        again.suggest(name)
    assert {one.trial.id: dict(one.params) for one in again.assignments.values()} == asked
