"""The winner's retrained networks kept as one, which is what a run recommends to use.

::

    RUN/ensembles/<trial>-ensemble/     a trial's files, of which the network's holds all of theirs
"""

from orchestrator.config.settings import Config
from orchestrator.judging.confirmation import Confirmation
from orchestrator.judging.ensemble import (
    FEWEST,
    members_of,
    predicted_together,
    result_together,
)
from orchestrator.judging.judge import evaluate
from orchestrator.run.directory import Run
from orchestrator.run.trial import ENSEMBLE
from orchestrator.training.model_file import save_ensemble


def keep_ensemble(run: Run, config: Config) -> None:
    """Write the ensemble of the trial that won the race, unless it is there.

    Parameters
    ----------
    run
        A sweep whose finalists have been retrained.
    config
        As they were.

    Raises
    ------
    InputError
        A retraining's files are damaged.
    """
    best = Confirmation(run, evaluate(run), config).winner
    if best is None:
        return
    members = members_of(run, best)
    if len(members) < FEWEST:
        return
    trial, result = run.trial(best.trial.id + ENSEMBLE), result_together(best.trial, members)
    if trial.has_ended and trial.result.members == result.members:
        return
    (trial.path / "result.json").unlink(missing_ok=True)  # of other members
    trial.write_params(best.trial.params)
    save_ensemble(trial.path, [member.path for member in members])
    trial.write_predicted(predicted_together(members))
    trial.write_result(result)
