"""A GPU that torch cannot use is not passed over in silence."""

import subprocess
import sys

import pytest
import ray
import torch
from preparing import synthetic

from orchestrator.cli.doctor import check_device
from orchestrator.distributed import no_cuda
from orchestrator.distributed.faults import DeviceError, fault_of
from orchestrator.distributed.no_cuda import refuse_no_cuda

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="torch has CUDA here")


@pytest.fixture(params=[None, "550.54.15"])
def driver(request, monkeypatch):
    monkeypatch.setattr(no_cuda, "driver_version", lambda: request.param)
    return f"under driver {request.param}" if request.param else "under no driver (nvidia-smi does"


@pytest.mark.parametrize("wheel", [None, "13.0"])
def test_a_worker_that_holds_a_gpu_names_driver_and_wheel(driver, wheel, monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", wheel)
    monkeypatch.setattr(ray, "get_gpu_ids", lambda: [0])
    with pytest.raises(DeviceError) as caught:
        refuse_no_cuda()
    said = str(caught.value)
    assert f"torch {torch.__version__}" in said
    assert driver in said
    assert ("for CUDA 13.0" if wheel else "a wheel without CUDA") in said
    assert "; install " in said
    assert fault_of(caught.value) == said  # the machine's, not the trial's


def test_one_that_holds_none_trains_on_its_cpu(monkeypatch):
    monkeypatch.setattr(ray, "get_gpu_ids", list)
    refuse_no_cuda()


def test_the_doctor_says_so_too(driver, monkeypatch):
    monkeypatch.setattr(no_cuda, "has_gpu", lambda: True)
    first, second = check_device()
    assert first.state == "fail"
    assert driver in first.text
    assert second.text.startswith("device cpu")
    monkeypatch.setattr(no_cuda, "has_gpu", lambda: False)
    assert [check.state for check in check_device()] == ["ok"]


@pytest.mark.slow
def test_trainings_on_such_a_gpu_are_refused_and_leave_no_run(tmp_path):
    data = synthetic(tmp_path / "data", faces=60)
    code = (
        "import ray, sys; from orchestrator.cli import main; "
        "ray.init('local', num_cpus=2, num_gpus=2, log_to_driver=False); "
        "print([main([*sys.argv[1:], '--workers', workers]) for workers in '12'])"
    )
    words = ["train", "--data", data, "--out", tmp_path / "run", "--set", "train.max_failures=0"]
    command = [sys.executable, "-c", code, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "[2, 2]", done.stderr
    refusals = [line for line in done.stderr.splitlines() if line.startswith("fairfront: ")]
    assert len(refusals) == 2
    assert all("Ray gives workers a GPU there, and torch" in line for line in refusals)
    assert not (tmp_path / "run").exists()
