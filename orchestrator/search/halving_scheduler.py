"""Ray Tune's view of `orchestrator.search.halving`: which trials it stops, and why."""

from collections.abc import Mapping
from typing import Any

from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import FIFOScheduler
from typing_extensions import override

from orchestrator.search.halving import Halving
from orchestrator.training.trial import Assignment


class HalvingScheduler(FIFOScheduler):
    """Starts trials in the searcher's order and stops those that a `Halving` says should stop.

    Ray Tune tells the searcher and the callbacks of a stopped trial as it does of one that ended,
    by ``on_trial_complete``: they must look into `stopped`. It saves no scheduler either, so the
    rungs of a resumed sweep come from the run's files (`orchestrator.search.halving.restore`).

    Parameters
    ----------
    halving
        With what earlier sessions recorded.
    assignments
        The trials handed out, by Tune's id; the searcher adds to it.
    """

    def __init__(self, halving: Halving, assignments: Mapping[str, Assignment]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._halving, self._assignments = halving, assignments
        self.stopped: dict[str, str] = {}
        """Why each trial was stopped, by Tune's id."""

    @override
    def on_trial_add(self, tune_controller: Any, trial: TuneTrial) -> None:
        """Record the epochs that an earlier session left of the trial, if it left any."""
        assignment = self._assignments[trial.trial_id]
        self._halving.recall(assignment.trial, assignment.config)

    @override
    def on_trial_result(
        self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]
    ) -> str:
        """Take in an epoch as `trial.report_row` gives it, flattened by Tune."""
        assignment = self._assignments[trial.trial_id]
        kept = {
            name.removeprefix("kept/"): value
            for name, value in result.items()
            if name.startswith("kept/")
        }
        reason = self._halving.judge(
            assignment.trial.id, assignment.config, int(result["epoch"]), kept
        )
        if reason is None:
            return str(self.CONTINUE)
        self.stopped[trial.trial_id] = reason
        return str(self.STOP)

    @override
    def debug_string(self) -> str:
        return f"Successive halving by fronts: stopped {len(self.stopped)} trials."
