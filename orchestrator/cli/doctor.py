"""Checks this machine for what the commands need, a line a check."""

import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal, TextIO

from packaging.requirements import Requirement

from orchestrator.base import machine
from orchestrator.base.errors import InputError

State = Literal["ok", "warn", "fail"]

GIB = 2**30
OBJECT_STORE_SHARE = 0.3
"""Of the memory: what Ray asks of /dev/shm for its object store when it is not told."""
OBJECT_STORE_LIMIT = 200 * 10**9
"""Bytes; Ray asks for no more than this by itself."""
FULL_DISK_SHARE = 0.95
"""Ray stops making objects on a file system that is fuller."""
ROOM = 10 * GIB
"""Bytes of free disk to work in: the 192,576 faces of the full data set are 3.7 GB prepared."""


@dataclass(frozen=True)
class Check:
    """What a check found; only ``fail`` keeps the commands from running."""

    state: State
    text: str


def doctor(out: TextIO, *, as_json: bool = False) -> int:
    """Print what this machine has and lacks; return 0 when nothing is fatal, else 1."""
    checks = []
    for check in CHECKS:
        for found in check():
            checks.append(asdict(found))
            if not as_json:
                print(f"{found.state:<5}{found.text}", file=out, flush=True)
    if as_json:
        print(json.dumps(checks, indent=2), file=out)
    return 1 if any(check["state"] == "fail" for check in checks) else 0


def check_packages() -> Iterator[Check]:
    """Compare the installed versions with the ranges that the distribution asks for."""
    yield Check("ok", f"python {platform.python_version()} ({sys.executable})")
    try:
        requirements = [Requirement(text) for text in metadata.requires("fairfront") or ()]
    except metadata.PackageNotFoundError:
        yield Check("warn", "fairfront is not installed; pip install -e . in its checkout")
        return
    for need in requirements:
        extra = need.marker is not None and not need.marker.evaluate({"extra": ""})
        if not extra:
            yield _package(need, missing="fail")
        elif need.marker is not None and need.marker.evaluate({"extra": "dashboard"}):
            yield _package(need, missing="warn")


def _package(need: Requirement, missing: State) -> Check:
    mend = f"pip install '{need.name}{need.specifier}'"
    try:
        version = metadata.version(need.name)
    except metadata.PackageNotFoundError:
        return Check(missing, f"{need.name} is not installed; {mend}")
    if need.specifier.contains(version, prereleases=True):
        return Check("ok", f"{need.name} {version}")
    return Check("fail", f"{need.name} {version} is outside {need.specifier}; {mend}")


def check_device() -> Iterator[Check]:
    """Name the devices that training would use, and whether they compute in bf16."""
    import torch

    from orchestrator.distributed.no_cuda import has_gpu, why_no_cuda
    from orchestrator.training.inference import uses_bf16

    if not torch.cuda.is_available() and has_gpu():
        yield Check("fail", f"device: this machine has a GPU, and {why_no_cuda()}")

    devices = [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    for device in devices or [torch.device("cpu")]:
        cuda = device.type == "cuda"
        name = f"{device} {torch.cuda.get_device_name(device)}" if cuda else "cpu, no CUDA device"
        yield Check("ok", f"device {name}, {'bf16' if uses_bf16('auto', device) else 'fp32'}")


def check_memory() -> Iterator[Check]:
    """Compare memory and shared memory with what Ray will ask for."""
    cores, memory = machine.cores(), machine.memory()
    few = "; two trials at a time want 2 cores" if cores < 2 else ""
    yield Check("warn" if few else "ok", f"{cores} cores, {memory / GIB:.1f} GiB memory{few}")
    shared = Path("/dev/shm")
    if not shared.is_dir():  # only Linux keeps Ray's objects there
        return
    wish = min(OBJECT_STORE_SHARE * memory, OBJECT_STORE_LIMIT)
    free = shutil.disk_usage(shared).free
    text = f"{shared}: {free / GIB:.1f} GiB free, Ray asks for {wish / GIB:.1f}"
    if free < wish:
        yield Check("warn", f"{text}; Ray falls back to disk, so give a container a --shm-size")
    else:
        yield Check("ok", text)


def check_disk() -> Iterator[Check]:
    """Look at the free space where Ray and the commands write."""
    for what, folder in (("temporary", Path(tempfile.gettempdir())), ("current", Path.cwd())):
        disk = shutil.disk_usage(folder)
        text = f"{what} folder {folder}: {disk.free / GIB:.1f} GiB free"
        if disk.used > FULL_DISK_SHARE * disk.total:
            yield Check("warn", f"{text}; over {FULL_DISK_SHARE:.0%} full, Ray refuses to write")
        elif disk.free < ROOM:
            yield Check("warn", f"{text}; the full data set wants {ROOM / GIB:.0f}")
        else:
            yield Check("ok", text)


def check_ray() -> Iterator[Check]:
    """Make the checks that the commands make before Ray starts, or a cluster is joined."""
    from cluster.client import connect, find_token
    from orchestrator.distributed.before_ray import check_address

    mode, address = os.environ.get("RAY_AUTH_MODE", "unset"), os.environ.get("RAY_ADDRESS", "")
    try:
        found = find_token()
        yield Check("ok", f"RAY_AUTH_MODE {mode}, token {f'in {found[1]}' if found else 'none'}")
        if address.startswith(("http://", "https://")):
            connect(address)
            mend = "RAY_API_SERVER_ADDRESS is the variable for it"
            yield Check(
                "warn", f"RAY_ADDRESS {address} answers, but only submit can use it; {mend}"
            )
        elif address:
            check_address(address)
            yield Check("ok", f"RAY_ADDRESS {address} answers")
        else:
            yield Check("ok", "RAY_ADDRESS unset: the commands start Ray here")
            yield _ray_folder()
    except InputError as error:
        yield Check("fail", str(error))


def _ray_folder() -> Check:
    """Look where Ray can have its sockets and logs."""
    from orchestrator.distributed.before_ray import temporary_parent, usual_parent, why_unusable

    usual, chosen = usual_parent(), temporary_parent()
    if usual == chosen:
        return Check("ok", f"Ray's folder {usual / 'ray'}")
    why = why_unusable(usual / "ray")
    return Check("warn", f"Ray's folder {usual / 'ray'}: {why}; {chosen / 'ray'} is used instead")


CHECKS: tuple[Callable[[], Iterator[Check]], ...] = (
    check_packages,
    check_device,
    check_memory,
    check_disk,
    check_ray,
)
