"""The Optuna study of a sweep: where it is kept, who suggests, and what it has been told.

Ray's own `OptunaSearch` is not used: it cannot mark a trial as a baseline, tells trials that a
scheduler stopped as complete, and forgets which trials were running when its process was killed.
Here a trial's files are the record of how it ended, and the study is told what they say.
"""

import contextlib
import secrets
import uuid
import warnings
from collections.abc import Iterator

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from sqlalchemy.engine import URL, make_url

from orchestrator.base.errors import InputError
from orchestrator.base.files import one_line, read_json, write_json
from orchestrator.base.locks import held
from orchestrator.config.settings import Config, SweepConfig
from orchestrator.judging.fairness import fair_of
from orchestrator.run.directory import Run, Trial
from orchestrator.run.progress import BASELINES, EndedTrial
from orchestrator.search.halving import Direction
from search_spaces import Space

OBJECTIVES: dict[str, dict[str, Direction]] = {
    "fair": {"fair": "maximize"},
    "pareto": {"mean_accuracy": "maximize", "gap": "minimize"},
}
"""What each objective tells the study of a trial's kept epoch, and which way is better."""
JOURNAL, PLACE = "optuna.journal", "study.json"
SESSION, WARM, RECIPE = "session", "warm_start", "recipe"
"""Attributes of the study's trials: who runs it, whose it was, which baseline it is."""
ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


def open_study(run: Run, config: Config, space: Space, url: str | None = None) -> optuna.Study:
    """Open the run's study, or make it with the two baselines first in its queue.

    Parameters
    ----------
    run
        Held by this process: nobody else writes to its journal.
    config, space
        What is searched.
    url
        A database (SQLAlchemy's URL) that holds the study instead of the run's journal, so that
        several processes can work on it.

    Raises
    ------
    InputError
        The database cannot be reached, or is not the one that the run's study is in.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    objectives = OBJECTIVES[config.sweep.objective]
    name, storage = _storage(run, url)
    with held(run.trials_path, wait=True):  # two that join must not both make it
        study = optuna.create_study(
            storage=storage,
            study_name=name,
            directions=list(objectives.values()),
            load_if_exists=True,
        )
        # A generator started anew would repeat the suggestions of the first session, and sessions
        # that join before any of them has asked each other's.
        own_seed = len(study.trials) if url is None else secrets.randbits(32)
        study.sampler = make_sampler(config.sweep, (config.seed + own_seed) % 2**32)
        if not study.metric_names:
            study.set_metric_names(list(objectives))
            for recipe in BASELINES:
                study.enqueue_trial(space.points.get(recipe, {}), user_attrs={RECIPE: recipe})
    return study


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


def is_joint(run: Run) -> bool:
    """Tell whether the run's study is in a database, which several processes may work on."""
    return (run.path / PLACE).exists()


def own(trial: optuna.trial.FrozenTrial) -> bool:
    """Tell whether a trial of the study is one of this sweep's, which has begun."""
    return WARM not in trial.user_attrs and trial.state != TrialState.WAITING


def tell(study: optuna.Study, number: int, trial: Trial, config: Config) -> None:
    """Tell the study how a trial ended, which its files say.

    A baseline outside the space is told as failed: it has no parameters to learn from, and the
    parameters common to all trials, which are what GP, NSGA-II and CMA-ES model, would be none.
    """
    result = trial.result
    if result.state == "complete" and trial.params:
        study.tell(number, values(trial, config))
    elif result.state == "pruned":
        study.tell(number, state=TrialState.PRUNED)
    else:
        study.tell(number, state=TrialState.FAIL)


def values(trial: Trial, config: Config) -> list[float]:
    """Read what a complete trial reached in each objective: on validation, the epoch it kept.

    The fair metric is that of the sweep, whose weight of the gap may not be that of the run which
    the trial is from.
    """
    score = EndedTrial.of(trial).score
    assert score is not None  # a complete trial has kept an epoch
    known = {
        "fair": fair_of(score.acc_women, score.acc_men, config.fair_lambda),
        "mean_accuracy": score.mean_accuracy,
        "gap": score.gap,
    }
    return [float(known[name]) for name in OBJECTIVES[config.sweep.objective]]


def forget_killed_writer(run: Run) -> None:
    """Mend what a process that was killed as it wrote may have left of the journal.

    Optuna would wait half a minute for its lock, and could not read past half a line.
    """
    journal = run.path / JOURNAL
    journal.with_name(f"{JOURNAL}.lock").unlink(missing_ok=True)
    if not journal.exists():
        return
    with journal.open("rb+") as file:
        whole = file.read().rfind(b"\n") + 1
        file.truncate(whole)


@contextlib.contextmanager
def working_on(run: Run) -> Iterator[str]:
    """Show that this session is alive, for those that join; gives its name."""
    folder, name = run.path / "sessions", uuid.uuid4().hex[:8]
    folder.mkdir(exist_ok=True)
    mine = folder / name
    mine.touch()
    try:
        with held(mine):
            yield name
    finally:
        mine.unlink(missing_ok=True)


def is_alive(run: Run, session: str) -> bool:
    """Tell whether a session still works on the run."""
    mark = run.path / "sessions" / session
    try:
        with held(mark) as free:
            return not free
    except FileNotFoundError:
        return False


def _storage(run: Run, url: str | None) -> tuple[str, BaseStorage]:
    """Return the study's name and where it is kept."""
    place = run.path / PLACE
    if url is None:
        if place.exists():
            where = read_json(place)["storage"]
            raise InputError(f"{run.path}: its study is in {where}; give that with --study-storage")
        forget_killed_writer(run)
        journal = JournalStorage(JournalFileBackend(str(run.path / JOURNAL)))
        return "sweep", journal  # not the run's name: it may be moved, or renamed
    shown = _without_password(url)
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


def _without_password(url: str) -> str:
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
