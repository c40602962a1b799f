"""Asynchronous successive halving by fronts: which trials of a sweep are worth their next epochs.

At a rung, an epoch of a geometric series, a trial goes on only if fewer than 1/eta of the trials
that got there are better. With one objective this is the stopping rule of ASHA [1]_; with two,
better is decided by non-dominated sorting [2]_, as in MO-ASHA [3]_, and within a front by the area
that a trial alone dominates, as in SMS-EMOA [4]_. Two more things differ from MO-ASHA: a trial on
its rung's front always goes on, however large the front is, and no trial is stopped in its last
epoch. And a rung decides only once some of the search's own trials have got there, eta of them by
default: two baselines are no sample of the space.

A decision depends on what has been recorded and not on the order in which it was, so the rungs of
a resumed sweep are read from its trials' ``metrics.csv``, and no state is kept anywhere else.

.. [1] L. Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020.
.. [2] K. Deb et al., "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II", IEEE
   Transactions on Evolutionary Computation 6(2), 2002.
.. [3] R. Schmucker et al., "Multi-objective Asynchronous Successive Halving", arXiv:2106.12639.
.. [4] N. Beume et al., "SMS-EMOA: Multiobjective selection based on dominated hypervolume",
   European Journal of Operational Research 181(3), 2007.
"""

import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orchestrator.base.files import read_bytes
from orchestrator.config.settings import Config, TrainConfig
from orchestrator.run.directory import Run
from orchestrator.run.progress import BASELINES
from orchestrator.run.trial import Trial
from orchestrator.training.early_stopping import kept_so_far

Direction = Literal["maximize", "minimize"]


class Standing(NamedTuple):
    """Where a trial stands among those that reached a rung."""

    better: int
    """Trials that are strictly better."""
    trials: int
    """All of them, with this one."""
    on_front: bool
    """Whether none dominates it."""


@dataclass(frozen=True)
class Rungs:
    """When trials are compared.

    Parameters
    ----------
    max_epochs
        What a trial takes that is not stopped; there is no rung at it or beyond.
    grace
        The first rung: the fewest epochs before a trial is stopped.
    eta
        The ratio of one rung to the one before, and of the trials at it to those that go on.
    fewest
        The trials at a rung, without the baselines, from which on it decides; None: eta.
    """

    max_epochs: int
    grace: int = 1
    eta: float = 3
    fewest: int | None = None

    def __post_init__(self) -> None:
        if self.grace < 1 or self.eta <= 1:
            raise ValueError(
                f"Rungs begin at an epoch of at least 1 and grow by a factor of more than 1, but "
                f"grace is {self.grace} and eta is {self.eta}."
            )

    @property
    def epochs(self) -> tuple[int, ...]:
        """The rungs, ascending."""
        found, epoch = [], float(self.grace)
        while int(epoch) < self.max_epochs:
            found.append(int(epoch))
            epoch *= self.eta
        return tuple(sorted(set(found)))

    @property
    def mean_epochs(self) -> float:
        """The epochs of a trial on average, if 1/eta of those at each rung go on."""
        ends = [*self.epochs, self.max_epochs]
        steps = zip([0, *ends], ends, strict=False)
        return sum((end - begin) / self.eta**n for n, (begin, end) in enumerate(steps))


class Halving:
    """What the trials of a sweep came to at each rung, and which of them should stop there.

    Parameters
    ----------
    directions
        The objectives by name, and which way is better.
    rungs
        When trials are compared.
    """

    def __init__(self, directions: Mapping[str, Direction], rungs: Rungs) -> None:
        self._signs = {name: 1 if way == "minimize" else -1 for name, way in directions.items()}
        self._eta = rungs.eta
        self._fewest = rungs.eta if rungs.fewest is None else rungs.fewest
        self._rungs: dict[int, dict[str, tuple[float, ...]]] = {e: {} for e in rungs.epochs}
        self._baselines: set[str] = set()

    def record(
        self, trial_id: str, epoch: int, kept: Mapping[str, Any], *, baseline: bool = False
    ) -> None:
        """Take in a trial's objectives; a trial that was redone replaces what it was at a rung.

        Parameters
        ----------
        trial_id
            The study's name of the trial.
        epoch
            Where the trial is; ignored between the rungs.
        kept
            The metrics of the epoch that the trial keeps so far.
        baseline
            It is none of the search's own: others are compared with it, and it is no sample.
        """
        if baseline:
            self._baselines.add(trial_id)
        if epoch in self._rungs:
            losses = tuple(sign * float(kept[name]) for name, sign in self._signs.items())
            self._rungs[epoch][trial_id] = losses

    def recorded(self) -> dict[int, dict[str, tuple[float, ...]]]:
        """Return the objectives by rung and trial, as losses: negated where they are maximised."""
        return {epoch: dict(trials) for epoch, trials in self._rungs.items()}

    def standing(self, trial_id: str, epoch: int) -> Standing:
        """Compare a trial with all that were recorded at a rung."""
        trials = self._rungs[epoch]
        losses = np.array(list(trials.values()))
        front, own = front_numbers(losses), list(trials).index(trial_id)
        beside = front == front[own]
        better = int(np.sum(front < front[own]))
        if len(self._signs) > 1:  # on one objective's fronts all are equal
            areas = exclusive_areas(losses[beside], losses.max(axis=0))
            better += int(np.sum(areas > areas[beside[:own].sum()]))
        return Standing(better, len(trials), on_front=bool(front[own] == 0))

    def judge(
        self, trial_id: str, config: Config, epoch: int, kept: Mapping[str, Any]
    ) -> str | None:
        """Take in an epoch of a running trial, and say why it should stop there, if it should.

        Parameters
        ----------
        trial_id
            The study's name of the trial.
        config
            The trial's.
        epoch
            Epochs finished.
        kept
            The metrics of the epoch that it keeps so far, ``epoch`` among them.

        Returns
        -------
        The reason, or None when the trial should go on: between rungs, at one that few have
        reached, always for a baseline, and in an epoch after which it ends by itself.
        """
        if epoch not in self._rungs or epoch > config.train.epochs:
            return None
        baseline = config.recipe in BASELINES
        self.record(trial_id, epoch, kept, baseline=baseline)
        if baseline or _ends_by_itself(config.train, epoch, kept["epoch"]):
            return None
        if len(self._rungs[epoch].keys() - self._baselines) < self._fewest:
            return None
        better, trials, on_front = self.standing(trial_id, epoch)
        if on_front or better < trials / self._eta:
            return None
        measure = "non-dominated rank" if len(self._signs) > 1 else next(iter(self._signs))
        return (
            f"stopped at epoch {epoch}: {better} of {trials} trials are better there by {measure}"
        )

    def recall(self, trial: Trial, config: Config) -> None:
        """Record what a trial's files say of it, whether it has ended or will be gone on with."""
        try:
            content = read_bytes(trial.path / "metrics.csv")
        except FileNotFoundError:  # it failed, or was killed, in its first epoch
            return
        # Before pandas 3.1 its parser missed last bits, and equal trials were equal no more.
        table = pd.read_csv(io.BytesIO(content), dtype=str).astype(float)
        baseline = config.recipe in BASELINES
        for epoch, kept in kept_so_far(table, config.train):
            metrics = {**asdict(kept), "mean_accuracy": kept.mean_accuracy}
            self.record(trial.id, epoch, metrics, baseline=baseline)


def restore(run: Run, halving: Halving) -> None:
    """Record the trials of a run that have ended, however they did.

    Trials that were running when the run was killed are recorded by `Halving.recall` once it is
    known what they are: no file of theirs holds their configuration.
    """
    for trial in run.ended():
        halving.recall(trial, trial.result.config)


def _ends_by_itself(config: TrainConfig, epoch: int, kept_epoch: int) -> bool:
    if epoch >= config.epochs:
        return True
    # With keep=last the best epoch is not known here, so that such a trial may be stopped in the
    # epoch in which its patience runs out.
    waited = epoch - kept_epoch if config.keep == "best" else 0
    return config.patience is not None and waited >= config.patience


def front_numbers(losses: NDArray[np.float64]) -> NDArray[np.intp]:
    """Sort points into fronts: 0 when no point dominates it, 1 when only those of 0 do, and so on.

    A point dominates another when it is at least as good in all objectives and better in one, so
    equal points share a front.

    Parameters
    ----------
    losses
        Shape (n, objectives), smaller is better.

    Returns
    -------
    Shape (n,).
    """
    at_least, better = losses[:, None] <= losses, losses[:, None] < losses
    dominates: NDArray[np.bool_] = np.all(at_least, axis=2) & np.any(better, axis=2)
    numbers = np.zeros(len(losses), dtype=np.intp)
    left, number = np.arange(len(losses)), 0
    while left.size:
        dominated = dominates[np.ix_(left, left)].any(axis=0)
        numbers[left[~dominated]] = number
        left, number = left[dominated], number + 1
    return numbers


def exclusive_areas(losses: NDArray[np.float64], worst: NDArray[np.float64]) -> NDArray[np.float64]:
    """Measure what each point of a front dominates that none of the others does.

    Equal points count as one, so that the order of the points does not matter. In other units of an
    objective all areas change by the same factor.

    Parameters
    ----------
    losses
        Shape (n, 2), of one front, smaller is better.
    worst
        Shape (2,): where the areas end, no better than any point in either objective.

    Returns
    -------
    Shape (n,), at least 0.
    """
    # Sorted by the first objective; along a front the second falls.
    points, place = np.unique(losses, axis=0, return_inverse=True)
    ends = np.append(points[1:, 0], worst[0]), np.append(worst[1], points[:-1, 1])
    areas: NDArray[np.float64] = (ends[0] - points[:, 0]) * (ends[1] - points[:, 1])
    return areas[place.reshape(-1)]
