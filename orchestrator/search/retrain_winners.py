"""Retraining the finalists and the baselines: whether what won wins on other faces, too.

::

    RUN/confirm/<trial>/<trial>-seed<k>[-fold<j>of<n>]/    a trial's files each
"""

from typing import Any, NamedTuple

from orchestrator.config.layers import with_overrides
from orchestrator.config.settings import Config
from orchestrator.judging.confirmation import Confirmation
from orchestrator.judging.judge import Evaluated, evaluate
from orchestrator.judging.race import Key, rounds
from orchestrator.run.directory import Run
from orchestrator.run.progress import BASELINES
from orchestrator.run.trial import Trial
from orchestrator.training.trial import Assignment


class Round(NamedTuple):
    """What is to be trained next, all of it on the same rows."""

    fold: int | None
    """The fold of ``sweep.confirm_folds`` that validates; None: the splits are as prepared."""
    assignments: list[Assignment]
    at_most: int
    """How many trainings there are from here on, these among them, if none is given up."""


def next_round(run: Run, config: Config) -> Round | None:
    """Return what is to be trained next; None: the race has ended.

    Parameters
    ----------
    run
        A sweep whose trials have ended.
    config
        How many finalists, seeds and folds.
    """
    confirmation = Confirmation(run, evaluate(run), config)
    race, course = confirmation.race, confirmation.course
    if not race.missing:
        return None
    number = next(n for n, keys in enumerate(course) if not {*keys} <= {*race.keys})
    assignments = [
        retraining(one.trial, run, config, key)
        for one in race.left
        for key in race.missing.get(one.trial.id, ())
    ]
    still = sum(one.trial.id in confirmation.wanted for one in race.left)
    later = still * sum(map(len, course[number + 1 :]))
    fold = None if config.sweep.confirm_folds is None else course[number][0].fold
    return Round(fold, assignments, len(assignments) + later)


def retraining(one: Evaluated, run: Run, config: Config, key: Key) -> Assignment:
    """Return a trial's training on another seed, and perhaps a fold."""
    name = f"{one.id}-seed{key.seed - config.seed}"
    overrides: dict[str, Any] = {"seed": key.seed}
    if (folds := config.sweep.confirm_folds) is not None:
        name += f"-fold{key.fold}of{folds}"
        overrides |= {"data.folds": folds, "data.fold": key.fold}
    trial = Trial(run.confirm_path / one.id / name)
    return Assignment(trial, with_overrides(one.result.config, overrides), one.params)


def most_retrainings(config: Config) -> int:
    """Return how many retrainings a search ends with, if no finalist is given up early."""
    sweep = config.sweep
    if not (sweep.finalists and sweep.confirm):
        return 0
    best = _finalists(config)
    members = best + len(BASELINES) + (best > 1 and sweep.plain_share > 0)  # the best that tuned it
    return members * sum(map(len, rounds(config)))


def words_before(config: Config) -> str | None:
    """Say, before a search, that its finalists are retrained; None: they are not."""
    sweep = config.sweep
    if not (most := most_retrainings(config)):
        return None
    folds = f" on {sweep.confirm_folds} folds" if sweep.confirm_folds else ""
    seeds = f" and {sweep.confirm} seeds" if sweep.confirm > 1 else ""
    return (
        f"after the search the best {_finalists(config)} and the baselines are retrained"
        f"{folds}{seeds}: at most {most} trainings beside its {sweep.trials}, "
        "fewer where some cannot win any more (--finalists 0: none)"
    )


def _finalists(config: Config) -> int:
    return min(config.sweep.finalists, max(1, config.sweep.trials - len(BASELINES)))
