"""Whose fault it is that a training ended, and what is tried again."""

import errno
import os

import pytest
import torch
from ray.exceptions import ActorDiedError, OutOfMemoryError, RayTaskError

from orchestrator.base.errors import InputError, ReadingError
from orchestrator.config.layers import resolve
from orchestrator.distributed import one_worker
from orchestrator.distributed.faults import DeviceError, MachineError, fault_of, is_own, verdict
from orchestrator.run.trial import Trial
from orchestrator.training.loop import TrainingError
from orchestrator.training.trial import Assignment

CONFIG = resolve(settings=["train.max_failures=2"])
STALE = OSError(errno.ESTALE, os.strerror(errno.ESTALE), "/run/trials")
CUDA = "CUDA error: an illegal memory access was encountered\nCompile with TORCH_USE_CUDA_DSA"
LOST = ActorDiedError()
LOST.error_msg = "The actor died because its node has died. Node Id: 5f"


def in_a_task(error):
    return RayTaskError("train", "a traceback", error)


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (STALE, "/run/trials: Stale file handle"),
        (OSError(errno.ENOSPC, "No space left on device"), "OSError: [Errno 28] No space left on "),
        (ReadingError("s3://b/x: no answer"), "s3://b/x: no answer"),
        (RuntimeError(CUDA), "RuntimeError: CUDA error: an illegal memory access was encountered "),
        (torch.AcceleratorError(CUDA), "AcceleratorError: CUDA error: an illegal memory access"),
        (DeviceError("no CUDA"), "no CUDA"),
        (LOST, "the node that it ran on was lost"),
        (ActorDiedError(), None),
        (torch.OutOfMemoryError("CUDA out of memory"), None),
        (TrainingError("training diverged"), None),
        (InputError("train.lr=-1"), None),
        (ValueError("what"), None),
        (None, None),
    ],
)
def test_a_machines_fault_is_told_from_a_trials(error, fault):
    for shape in (error, in_a_task(error)) if isinstance(error, Exception) else (error,):
        found = fault_of(shape)
        assert found == fault or found.startswith(fault)
        assert "\n" not in (found or "")


def test_what_is_the_trials_own_would_happen_again():
    assert is_own(TrainingError("training diverged"))
    assert is_own(InputError("train.lr=-1"))
    assert not any(map(is_own, (DeviceError("no CUDA"), STALE, ValueError(), None)))


@pytest.mark.parametrize(
    ("errors", "kind", "says"),
    [
        ([in_a_task(STALE)], MachineError, "Stale file handle; mend that and go on with --resume"),
        ([LOST, RuntimeError("NCCL error: closed")], MachineError, "the node that it ran on was"),
        ([ActorDiedError(), RuntimeError("NCCL error: closed")], TrainingError, "a worker died"),
        ([ActorDiedError(), TrainingError("diverged")], TrainingError, "diverged"),
        ([OutOfMemoryError("low")], TrainingError, "a worker ran out of memory, after 2 restarts"),
        ([in_a_task(ValueError("what"))], TrainingError, "ValueError: what"),
    ],
)
def test_the_verdict_names_what_explains_most(errors, kind, says):
    found = verdict(errors, CONFIG)
    assert type(found) is kind
    assert says in str(found)


@pytest.mark.parametrize(
    ("error", "raised", "times"),
    [
        (in_a_task(STALE), MachineError, 3),
        (in_a_task(RuntimeError(CUDA)), MachineError, 3),
        (in_a_task(ValueError("what")), TrainingError, 3),
        (in_a_task(TrainingError("diverged")), TrainingError, 1),
        (in_a_task(InputError("damaged")), InputError, 1),
        (ActorDiedError(), TrainingError, 1),  # Ray has begun it again as often
    ],
)
def test_only_what_is_not_the_trials_is_tried_again(error, raised, times, tmp_path, monkeypatch):
    tried = []

    def train(*_):
        tried.append(1)
        raise error

    monkeypatch.setattr(one_worker, "_train_once", train)
    with pytest.raises(raised):
        one_worker.train_alone(Assignment(Trial(tmp_path), CONFIG, {}), None)
    assert len(tried) == times


def test_a_fault_that_passes_costs_a_try(tmp_path, monkeypatch):
    faults = [in_a_task(STALE), in_a_task(STALE)]

    def train(*_):
        if faults:
            raise faults.pop()

    monkeypatch.setattr(one_worker, "_train_once", train)
    one_worker.train_alone(Assignment(Trial(tmp_path), CONFIG, {}), None)
    assert not faults
