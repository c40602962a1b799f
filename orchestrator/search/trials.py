"""Trials as Ray Tune asks for them, one after the other, and what becomes of each."""

import sys
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ray.exceptions import RayTaskError
from ray.tune.search import Searcher
from typing_extensions import override

from orchestrator.distributed.faults import fault_of, verdict
from orchestrator.training.trial import Assignment, write_failure, write_pruned

DIED = "the trial's process died, again and again; it may have run out of memory"
MOST_FAULTS = 3
"""So many trials in a row that the machine failed: it would fail those to come."""


class Trials(Searcher):
    """Hands trials to Ray Tune, and learns from their files how they ended."""

    def __init__(self) -> None:
        super().__init__()  # with no metric: a trial that fails at once reports none
        self.assignments: dict[str, Assignment] = {}
        """The trials handed out, by Tune's id."""
        self.stopped: Mapping[str, str] = {}
        """Why a scheduler stopped a trial, by Tune's id."""
        self.faults: dict[str, str] = {}
        """What the machine went on failing of, by the trial's id; those have not ended."""
        self._faults_in_a_row = 0
        self.limit: Callable[[], int] = lambda: sys.maxsize
        """How many trials may be at work at a time, by now."""
        self._at_work: set[str] = set()
        """Those handed out and not back, by Tune's id."""

    def __getstate__(self) -> dict[str, Any]:
        """Leave the limit out of Tune's saved state, which nobody reads."""
        return {**self.__dict__, "limit": None}

    @abstractmethod
    def next(self) -> Assignment | None:
        """Give the next trial; None when there is none left."""

    def ended(self, assignment: Assignment) -> None:
        """Take note of a trial whose files say how it ended."""

    @override
    def suggest(self, trial_id: str) -> Any:
        """Give Tune the next trial as a plain dict, which `Assignment.unpack` reads."""
        if len(self._at_work) >= self.limit():
            return None  # Tune asks again
        assignment = self.next() if self._faults_in_a_row < MOST_FAULTS else None
        if assignment is None:
            return Searcher.FINISHED
        self.assignments[trial_id] = assignment
        self._at_work.add(trial_id)
        return assignment.pack()

    def settle(self, trial_id: str) -> Assignment:
        """Have the trial's files say how it ended, where Tune knows more than the trial did.

        A trial that was interrupted has not ended: its files say nothing, and it can be gone on
        with.
        """
        assignment = self.assignments[trial_id]
        if not assignment.trial.has_ended and trial_id in self.stopped:
            write_pruned(assignment, self.stopped[trial_id])
        return assignment

    def failed(self, trial_id: str, error: BaseException | None) -> Assignment:
        """Take note of a trial that Tune does not try again: the machine's fault is no verdict.

        Parameters
        ----------
        error
            What it ended with, the last time.
        """
        assignment = self.settle(trial_id)
        if not assignment.trial.has_ended:
            if fault := fault_of(error):
                self.faults[assignment.trial.id] = fault
                self._faults_in_a_row += 1
                return assignment
            told = isinstance(error, RayTaskError)
            reason = str(verdict([error], assignment.config)) if told and error else DIED
            write_failure(assignment, reason)
        self._faults_in_a_row = 0
        self.ended(assignment)
        return assignment

    @override
    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Do nothing: only the epoch that is kept counts."""

    @override
    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Take note of how the trial ended; of what it failed of, `failed` is told."""
        self._at_work.discard(trial_id)
        assignment = self.assignments[trial_id] if error else self.settle(trial_id)
        if assignment.trial.has_ended:
            self._faults_in_a_row = 0
            self.ended(assignment)

    @override
    def save(self, checkpoint_path: str) -> None:
        """Save nothing: the run has it all."""

    @override
    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing: the run has it all."""


class ListedTrials(Trials):
    """Hands out given trials, but for those that have ended already."""

    def __init__(self, assignments: Sequence[Assignment]) -> None:
        super().__init__()
        self._left = [one for one in assignments if not one.trial.has_ended]

    @property
    def left(self) -> int:
        """How many trials are still to be handed out."""
        return len(self._left)

    @override
    def next(self) -> Assignment | None:
        return self._left.pop(0) if self._left else None
