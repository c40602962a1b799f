"""The Optuna study of a sweep: where it is kept, who suggests, and what it has been told.

Ray's own `OptunaSearch` is not used: it cannot mark a trial as a baseline, tells trials that a
scheduler stopped as complete, and forgets which trials were running when its process was killed.
Here a trial's files are the record of how it ended, and the study is told what they say.
"""

import contextlib
import itertools
import secrets
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy.engine import URL, make_url

from orchestrator.base.errors import InputError
from orchestrator.base.files import is_local, one_line, read_json, write_json, writing
from orchestrator.base.locks import held
from orchestrator.config.settings import Config, SweepConfig
from orchestrator.run.claims import part_held
from orchestrator.run.directory import Run
from orchestrator.run.progress import BASELINES
from orchestrator.search.record import OBJECTIVES, RECIPE, contradiction, tell_lost
from search_spaces import Space

JOURNAL, PLACE = "optuna.journal", "study.json"


def open_study(
    run: Run,
    config: Config,
    space: Space,
    url: str | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> optuna.Study:
    """Open the run's study, or make it with the two baselines first in its queue.

    A study that was lost, as a whole or in part, is told again what the trials' files say.

    Parameters
    ----------
    run
        Held by this process: nobody else writes to its journal.
    config, space
        What is searched.
    url
        A database (SQLAlchemy's URL) that holds the study instead of the run's journal, so that
        several processes can work on it.
    say
        Told, in a line, what had to be mended.

    Raises
    ------
    InputError
        The database cannot be reached, or is not the one that the run's study is in.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    with part_held(run.path, "study", wait=True):  # two that join must not both make it
        study = _load(run, config, url, say)
        lost = tell_lost(study, run, space, config)
        if lost and is_local(run.path):  # else it is always made from them
            say(f"{run.path}: its study lacked {lost} trials, and has them again from their files")
        # A generator started anew would repeat the suggestions of the first session, and sessions
        # that join before any of them has asked each other's.
        own_seed = len(study.trials) if url is None else secrets.randbits(32)
        study.sampler = make_sampler(config.sweep, (config.seed + own_seed) % 2**32)
        if not study.metric_names:
            study.set_metric_names(list(OBJECTIVES[config.sweep.objective]))
            for recipe in BASELINES[lost:]:
                study.enqueue_trial(space.points.get(recipe, {}), user_attrs={RECIPE: recipe})
    return study


def _load(run: Run, config: Config, url: str | None, say: Callable[[str], None]) -> optuna.Study:
    """Load the study, or make it; a journal that cannot be used is put aside."""
    while True:
        name, storage = _storage(run, url, say)
        study = optuna.create_study(
            storage=storage,
            study_name=name,
            directions=list(OBJECTIVES[config.sweep.objective].values()),
            load_if_exists=True,
        )
        other = contradiction(study, run)
        if other is None:
            return study
        what = f"tells another thing of {other} than the trial's files"
        if url is not None:
            raise InputError(
                f"--study-storage {without_password(url)}: {what}, so it is no study of "
                f"{run.path}; give the one that is"
            )
        journal = run.path / JOURNAL
        assert isinstance(journal, Path)  # what is told from the files cannot tell another thing
        say(_put_aside(journal, what))


def _put_aside(journal: Path, why: str) -> str:
    """Keep a journal that cannot be used, under another name; return what there is to say."""
    names = (journal.with_name(f"{JOURNAL}.damaged{n or ''}") for n in itertools.count())
    aside = next(name for name in names if not name.exists())
    journal.replace(aside)
    return f"{journal}: {why}; it is {aside.name} now, and the trials' files make it anew"


def make_sampler(config: SweepConfig, seed: int) -> optuna.samplers.BaseSampler:
    """Make the sampler that a sweep asks for."""
    samplers, startup = optuna.samplers, config.startup_trials
    match config.sampler:
        case "random":
            return samplers.RandomSampler(seed=seed)
        case "nsga2":
            # Its default of 50 a generation would be random search for most sweeps.
            return samplers.NSGAIISampler(seed=seed, population_size=max(8, startup))
        case "gp":
            return samplers.GPSampler(
                seed=seed, n_startup_trials=startup, warn_independent_sampling=False
            )
        case "cmaes":
            return samplers.CmaEsSampler(
                seed=seed, n_startup_trials=startup, warn_independent_sampling=False
            )
        case "tpe":
            return samplers.TPESampler(
                seed=seed,
                n_startup_trials=startup,
                multivariate=True,
                group=True,  # alpha and tau exist only in some trials
                constant_liar=True,  # trials that run at the same time must not repeat each other
            )


def forget_killed_writer(run: Run) -> None:
    """Mend what a process that was killed as it wrote, or a shared disk, left of the journal.

    Optuna would wait half a minute for its lock, and can read past neither half a line nor a blank
    one.
    """
    journal = run.path / JOURNAL
    assert isinstance(journal, Path)
    journal.with_name(f"{JOURNAL}.lock").unlink(missing_ok=True)
    if not journal.exists():
        return
    content = journal.read_bytes()
    lines = content[: content.rfind(b"\n") + 1].splitlines(keepends=True)
    whole = b"".join(line for line in lines if line.strip())
    if whole != content:
        with writing(journal) as file:
            file.write(whole)


@contextlib.contextmanager
def working_on(run: Run) -> Iterator[str]:
    """Show that this session is alive, for those that join; gives its name."""
    folder, name = run.path / "sessions", uuid.uuid4().hex[:8]
    if not isinstance(folder, Path):  # it has the run's lease, and nobody joins
        yield name
        return
    folder.mkdir(exist_ok=True)
    mine = folder / name
    try:
        with held(mine):
            yield name
    finally:
        mine.unlink(missing_ok=True)


def is_alive(run: Run, session: str) -> bool:
    """Tell whether a session still works on the run, which is a joint one."""
    mark = run.path / "sessions" / session
    assert isinstance(mark, Path)
    try:
        with held(mark, make=False) as free:
            return not free
    except FileNotFoundError:
        return False


def _storage(run: Run, url: str | None, say: Callable[[str], None]) -> tuple[str, BaseStorage]:
    """Return the study's name and where it is kept.

    On an object store, where nothing can be added to a file, that is this process's memory: there
    the study is made from the trials' files each time.
    """
    if not isinstance(run.path, Path):
        return "sweep", InMemoryStorage()
    place = run.path / PLACE
    if url is None:
        if place.exists():
            where = read_json(place)["storage"]
            raise InputError(f"{run.path}: its study is in {where}; give that with --study-storage")
        forget_killed_writer(run)
        # The study has not the run's name: a run may be moved, or renamed.
        return "sweep", _journal(run.path / JOURNAL, say)
    shown = without_password(url)
    if not place.exists() and (run.path / JOURNAL).exists():
        raise InputError(
            f"{run.path}: its study is in {JOURNAL}; go on without --study-storage, or start a "
            "new run with another --out"
        )
    if not place.exists():
        write_json(place, {"storage": shown, "name": f"fairfront-{uuid.uuid4().hex}"})
    known = read_json(place)
    if known["storage"] != shown:
        raise InputError(
            f"--study-storage {shown}: the run's study is in {known['storage']}; give that"
        )
    try:
        # Sessions that wait for each other's locks keep a connection each.
        return known["name"], RDBStorage(url, engine_kwargs={"pool_pre_ping": True})
    except Exception as error:  # SQLAlchemy's and the driver's own, or a package that lacks
        raise InputError(
            f"--study-storage {shown}: cannot open it ({one_line(error)[:200]}); give a URL such "
            "as postgresql+psycopg://USER@HOST/DATABASE of a database that runs"
        ) from None


def _journal(path: Path, say: Callable[[str], None]) -> JournalStorage:
    try:
        return JournalStorage(JournalFileBackend(str(path)))
    except OSError:
        raise
    except Exception:  # whatever its replay stumbles on
        say(_put_aside(path, "damaged"))
        return JournalStorage(JournalFileBackend(str(path)))


def without_password(url: str) -> str:
    """Return a database's URL as it may be kept and shown, without user and password."""
    try:
        parsed = make_url(url)
    except Exception:  # what it raises shows the URL
        raise InputError(
            "--study-storage: not a URL of a database; give one such as "
            "postgresql+psycopg://USER@HOST/DATABASE"
        ) from None
    without = URL.create(
        parsed.drivername,
        host=parsed.host,
        port=parsed.port,
        database=parsed.database,
        query=parsed.difference_update_query(["user", "password"]).query,
    )
    return without.render_as_string()
