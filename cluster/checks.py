"""What a cluster is asked before anything is sent to it."""

import platform
import re
import socket
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cluster.client import ask
from cluster.environments import PYTHON
from orchestrator.base.errors import InputError

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

LOCAL_DISKS = frozenset(
    [
        "apfs",
        "bcachefs",
        "btrfs",
        "ext2",
        "ext3",
        "ext4",
        "f2fs",
        "overlay",
        "ramfs",
        "tmpfs",
        "xfs",
        "zfs",
    ]
)
"""File systems of one machine, as ``/proc/mounts`` calls them; others may be shared."""


class Place(NamedTuple):
    """A place that a command line names."""

    option: str
    """What it is called there."""
    where: str
    is_made: bool
    """Whether it is for the job to make."""


def check_versions(client: "JobSubmissionClient") -> None:
    """Raise `InputError` for a Ray or Python here that Ray would not let join the cluster."""
    import ray

    where = client.get_address()
    there, here = str(ask(client, "/api/version")["ray_version"]), ray.__version__
    mend = f"or name an interpreter of the cluster in {PYTHON}"
    if there != here:
        raise InputError(
            f"{where}: the cluster has Ray {there} and this machine {here}, and Ray refuses to mix "
            f"them; start the cluster with {here}, install {there} here (fairfront needs 2.60 or "
            f"newer), {mend}"
        )
    # None: a head without this page is not refused for that.
    answer = ask(client, "/api/v0/cluster_metadata") or {}
    there = str(answer.get("data", {}).get("pythonVersion", ""))
    here = platform.python_version()
    if there and there.split(".")[:2] != here.split(".")[:2]:
        minor = ".".join(there.split(".")[:2])
        raise InputError(
            f"{where}: the cluster has Python {there} and this machine {here}, and Ray refuses to "
            f"mix them; submit from an environment of Python {minor}, {mend}"
        )


def check_name(client: "JobSubmissionClient", name: str) -> None:
    """Raise `InputError` for a name that cannot be a job's, or is another's."""
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,99}", name, re.ASCII):
        raise InputError(f"--name {name}: give letters, digits, '.', '_' and '-', at most 100")
    if (taken := ask(client, f"/api/jobs/{name}")) is not None:
        raise InputError(
            f"--name {name}: a job of this cluster has it ({taken['status']}); choose another"
        )


def check_places(client: "JobSubmissionClient", places: Iterable[Place]) -> None:
    """Raise `InputError` for a place on a disk of this machine, which a node does not see.

    A place that is not there on this machine may be on the cluster, and is not judged; neither is
    one on a file system that may be a network's, nor ``file:///…``, which says that it is the same
    everywhere.
    """
    nodes = ask(client, "/nodes?view=summary") or {}
    summary = nodes.get("data", {}).get("summary", ())
    hosts = {str(node["hostname"]) for node in summary if node.get("hostname")}
    others = sorted(hosts - {socket.gethostname()})
    if not others:
        return
    for option, where, is_made in places:
        if "://" in where or not _is_here(Path(where), is_made=is_made):
            continue
        if (kind := file_system(Path(where))) in LOCAL_DISKS:
            raise InputError(
                f"{option} {where}: lies on a disk of this machine ({kind}), which the cluster's "
                f"node {others[0]} does not see; give a mounted path, a URI, or file://{where} if "
                "every node has the same there"
            )


def _is_here(path: Path, *, is_made: bool) -> bool:
    """Tell whether a place is of this machine, or one that a job makes would be."""
    if not is_made or path.exists():
        return path.exists()
    # /mnt or /data is on every machine, and may be another file system on the nodes.
    above = next(parent for parent in path.parents if parent.exists())
    return len(above.parts) > 2 or above == Path(tempfile.gettempdir())


def file_system(path: Path, mounts: Path = Path("/proc/mounts")) -> str | None:
    """Return the kind of file system that a path is on; None where that cannot be told."""
    try:
        lines = mounts.read_text(encoding="utf-8").splitlines()
    except OSError:  # no Linux
        return None
    inside, kind, best = path.resolve(), None, -1
    for line in lines:
        _, point, name, *_ = line.split(" ")
        mounted = Path(point.encode("latin-1", "replace").decode("unicode_escape"))
        if inside.is_relative_to(mounted) and len(mounted.parts) >= best:  # a later one hides it
            kind, best = name, len(mounted.parts)
    return kind
