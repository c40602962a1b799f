"""Retraining the front and the baselines on new seeds: whether what won wins again.

::

    RUN/confirm/<trial>/<trial>-seed<k>[-fold<j>]/    a trial's files each
"""

from collections.abc import Iterator

from orchestrator.config.layers import with_overrides
from orchestrator.config.settings import Config
from orchestrator.judging.judge import Evaluated, evaluate, select_front
from orchestrator.run.directory import Run
from orchestrator.run.progress import BASELINES
from orchestrator.run.trial import Trial
from orchestrator.training.trial import Assignment


def retrainings(run: Run, config: Config) -> dict[int | None, list[Assignment]]:
    """Return the trainings that confirm a run's results, by fold; some may have ended already.

    Parameters
    ----------
    run
        A sweep whose trials have ended.
    config
        How many seeds, and perhaps folds.
    """
    evaluated = evaluate(run)
    front = {one.id for one in select_front(evaluated)}
    members = [one for one in evaluated if one.id in front or one.result.recipe in BASELINES]
    seeds = range(1, config.sweep.confirm + 1)
    return {
        fold: [
            _retraining(run, one, seed, config.sweep.confirm_folds, fold)
            for seed in seeds
            for one in members
        ]
        for fold in _folds(config)
    }


def _folds(config: Config) -> Iterator[int | None]:
    if config.sweep.confirm_folds is None:
        yield None
    else:
        yield from range(config.sweep.confirm_folds)


def _retraining(
    run: Run, one: Evaluated, seed: int, folds: int | None, fold: int | None
) -> Assignment:
    config = one.result.config
    name, overrides = f"{one.id}-seed{seed}", {"seed": config.seed + seed}
    if folds is not None and fold is not None:
        name += f"-fold{fold}"
        overrides |= {"data.folds": folds, "data.fold": fold}
    trial = Trial(run.confirm_path / one.id / name)
    return Assignment(trial, with_overrides(config, overrides), one.params)
