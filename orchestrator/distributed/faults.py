"""Whose fault it is that a training ended: the trial's own, the machine's, or a lost process's.

A trial's own fault is its verdict. Anything else is tried again on a fresh process; what the
machine goes on failing of says nothing of the trial, which is left to be gone on with.
"""

from collections.abc import Sequence

from ray.exceptions import OutOfMemoryError, RayError, RayTaskError

from orchestrator.base.errors import InputError, ReadingError, StorageError
from orchestrator.base.files import one_line
from orchestrator.config.settings import Config
from orchestrator.training.loop import TrainingError

OWN_FAULTS = (TrainingError, InputError)
"""What a trial would fail of again, whoever trains it; but for `DeviceError`."""
MOST_OF_REASON = 300
"""Characters."""
CUDA_FAULTS = (
    "CUDA error",
    "cudnn error",
    "cuDNN error",
    "CUBLAS_STATUS",
    "NCCL error",
)
"""Of torch's messages: after these a process is of no more use. Out of memory is none of them."""
CLIENTS = ("botocore", "aiobotocore", "aiohttp")
"""Packages that speak to servers, whose exceptions are no `OSError`."""
LOST_NODES = ("node was terminated", "node has died", "Node failure", "node died", "node failed")
"""Of Ray's messages."""
MEND = "mend that and go on with --resume"


class MachineError(RuntimeError):
    """The machine failed a training, which can be gone on with; the message is one line."""


class DeviceError(InputError):
    """A worker's machine lacks what it is to train on."""


def is_own(error: BaseException | None) -> bool:
    """Tell whether a trial would fail of this again, whoever trains it."""
    return isinstance(error, OWN_FAULTS) and not isinstance(error, DeviceError)


def fault_of(error: BaseException | None) -> str | None:
    """Say in a line what a machine failed of; None where an error is no machine's."""
    if isinstance(error, RayTaskError):
        error = error.cause
    if isinstance(error, MachineError | DeviceError | ReadingError | StorageError):
        return str(error)
    if isinstance(error, OSError):
        named = error.filename and error.strerror  # a full disk, mostly
        return f"{error.filename}: {error.strerror}" if named else _in_a_line(error)
    if type(error).__module__.partition(".")[0] in CLIENTS:  # an answer that broke off
        return _in_a_line(error) if error else None
    if isinstance(error, RuntimeError | RayError) and any(m in str(error) for m in CUDA_FAULTS):
        return _in_a_line(error)
    if isinstance(error, RayError) and any(words in str(error) for words in LOST_NODES):
        return "the node that it ran on was lost"
    return None


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


def verdict(errors: Sequence[BaseException], config: Config) -> Exception:
    """Return what to raise for a training that was tried often enough.

    Parameters
    ----------
    errors
        What its workers ended with.
    config
        The trial's.
    """
    causes = [error.cause if isinstance(error, RayTaskError) else error for error in errors]
    for cause in causes:
        if isinstance(cause, OWN_FAULTS):
            return cause
    # The others fail as well when one is lost, for want of its answers: that explains nothing.
    lost = [cause for cause in causes if isinstance(cause, RayError)]
    if faults := [fault for cause in lost or causes if (fault := fault_of(cause))]:
        return MachineError(f"{faults[0]}; {MEND}")
    if lost:
        return TrainingError(reason_of_loss(lost, config))
    return TrainingError(_in_a_line(causes[0]))


def _in_a_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {one_line(error)}"[:MOST_OF_REASON]
