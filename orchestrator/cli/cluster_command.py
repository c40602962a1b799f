"""`fairfront cluster`: a launcher's files, and a cluster on this machine."""

import argparse
import os
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

from pydantic import ValidationError

from cluster.launchers.config import ClusterConfig
from cluster.package import SourceTree
from orchestrator.base.errors import InputError
from orchestrator.base.files import make_folder, parse_uri, write_text
from orchestrator.base.machine import cores
from orchestrator.cli.argparsing import did_you_mean
from orchestrator.cli.job_command import COMMANDS, check_job
from orchestrator.config.layers import first_fault, read_yaml
from orchestrator.distributed.before_ray import temporary_parent, why_unusable


def render(arguments: argparse.Namespace, out: TextIO) -> None:
    """Write the files that a launcher reads."""
    from cluster.launchers.render import LAUNCHERS

    config = _configuration(arguments.config, arguments.launcher)
    try:
        files = LAUNCHERS[arguments.launcher](config)
    except InputError as error:
        raise InputError(f"{arguments.config or 'the defaults'}: {error}") from None
    folder = Path(arguments.out)
    make_folder(folder)
    for name, text in files.items():
        write_text(folder / name, text)
        print(folder / name, file=out)


def local(arguments: argparse.Namespace, out: TextIO) -> None:
    """Start a cluster on this machine, and say how to use it."""
    from cluster.launchers import local as launcher

    cpus = arguments.cpus_per_node
    if cpus is None:
        cpus = max(1, cores() // max(1, arguments.nodes))
    gpus = arguments.gpus_per_node
    for option, given, least in (
        ("--nodes", arguments.nodes, 1),
        ("--cpus-per-node", cpus, 1),
        ("--gpus-per-node", gpus, 0),
    ):
        if given < least:
            raise InputError(f"{option} {given}: give {least} or more")
    cluster = launcher.start(_folder(), arguments.nodes, cpus, gpus)
    each = f"{cpus} CPU{'s' * (cpus != 1)}" + f" and {gpus} GPU{'s' * (gpus != 1)}" * bool(gpus)
    print(
        f"A cluster of {arguments.nodes} node{'s' * (arguments.nodes != 1)} with {each} each. Its "
        "token, for all that follows:\n"
        f"  export RAY_AUTH_TOKEN_PATH={shlex.quote(cluster.token_path)}\n"
        "A command as a job of it, or one from here:\n"
        f"  fairfront submit --address {cluster.dashboard} --wait -- COMMAND\n"
        f"  RAY_ADDRESS={cluster.address} fairfront COMMAND\n"
        f"Its processes, to end one as a machine would: {_pids(cluster.nodes)}\n"
        "All of it ends with:\n"
        "  fairfront cluster down",
        file=out,
    )


def down(_arguments: argparse.Namespace, out: TextIO) -> None:
    """End the cluster on this machine."""
    from cluster.launchers import local as launcher

    ended = launcher.stop(_folder())
    print(f"ended a cluster of {ended} node{'s' * (ended != 1)}", file=out)


ACTIONS: dict[str, Callable[[argparse.Namespace, TextIO], None]] = {
    "render": render,
    "local": local,
    "down": down,
}


def _pids(nodes: Sequence[tuple[int, float]]) -> str:
    head, *others = (str(pid) for pid, _started in nodes)
    return ", ".join([f"{head} (the head)", *others])


def _folder() -> Path:
    """Return where this user's cluster has its files, as short as Ray's sockets want it."""
    folder = temporary_parent() / f"ff-{os.geteuid()}"
    if why := why_unusable(folder / "0"):
        raise InputError(f"{folder}: {why}; set TMPDIR to another folder")
    return folder


def _configuration(file: str | None, launcher: str) -> ClusterConfig:
    """Read a cluster's configuration, and check its command."""
    named = file or "the defaults"
    values = read_yaml(parse_uri(file)) if file else {}
    try:
        config = ClusterConfig.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{named}: {_unknown_key(error) or first_fault(error)}") from None
    try:
        _check_command(config, launcher)
    except InputError as error:
        raise InputError(f"{named}: command: {error}") from None
    return config


def _unknown_key(error: ValidationError) -> str:
    """Say which key does not exist, and what may be meant; empty: that is not what is wrong."""
    first = error.errors()[0]
    if first["type"] != "extra_forbidden":
        return ""
    *parents, key = (str(part) for part in first["loc"])
    known: dict[str, Any] = ClusterConfig().model_dump()
    for parent in parents:
        known = known[parent]
    meant = did_you_mean(key, known) or f"known: {', '.join(known)}"
    return f"unknown key {'.'.join([*parents, key])}; {meant}"


def _check_command(config: ClusterConfig, launcher: str) -> None:
    """Raise `InputError` for a command that would fail on the cluster's nodes."""
    try:
        words = shlex.split(config.command)
    except ValueError as error:
        raise InputError(f"{str(error).lower()} in {config.command!r}") from None
    if not words or words[0] not in COMMANDS:
        given = words[0] if words else "nothing"
        raise InputError(f"{given} is not one of {', '.join(COMMANDS)}")
    places = check_job(words, SourceTree(Path.cwd(), [])).places  # no file of here is on the nodes
    if launcher == "slurm":
        return  # whose nodes have what they have
    shared = config.shared.path if config.shared else None
    for option, place, _ in places:
        if "://" in place or (shared and Path(shared) in Path(place).parents):
            continue
        where = f"a place below shared.path ({shared})" if shared else "a URI"
        raise InputError(f"{option} {place}: the nodes would not see it; give {where}")
