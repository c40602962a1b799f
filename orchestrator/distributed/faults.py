"""Whose fault it is that a training ended: the trial's own, or a process that was lost."""

from collections.abc import Sequence

from ray.exceptions import OutOfMemoryError, RayError

from orchestrator.base.errors import InputError
from orchestrator.base.files import one_line
from orchestrator.config.settings import Config
from orchestrator.training.loop import TrainingError

OWN_FAULTS = (TrainingError, InputError)
"""What a trial would fail of again, whoever trains it."""
MOST_OF_REASON = 300
"""Characters."""


def reason_of_loss(lost: Sequence[RayError], config: Config) -> str:
    """Say in a line why a training ended whose workers were lost.

    Parameters
    ----------
    lost
        What Ray says of each that was.
    config
        The trial's.
    """
    out_of_memory = any(
        isinstance(failure, OutOfMemoryError) or "low on memory" in str(failure) for failure in lost
    )
    what = "ran out of memory" if out_of_memory else "died, perhaps because memory ran out"
    restarts = config.train.max_failures
    again = f", after {restarts} restart{'s' * (restarts != 1)}" if restarts else ""
    return (
        f"a worker {what}{again}; lower train.batch_size ({config.train.batch_size}) or choose a "
        f"smaller model ({config.model.name})"
    )


def reason_of_failure(error: BaseException) -> str:
    """Say in a line of what a training failed that is no fault of its own."""
    if isinstance(error, OSError) and error.filename and error.strerror:  # a full disk, mostly
        return f"{error.filename}: {error.strerror}; mend that and go on with --resume"
    return f"{type(error).__name__}: {one_line(error)}"[:MOST_OF_REASON]
