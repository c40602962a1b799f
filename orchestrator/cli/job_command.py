"""Whether a command line can run as a job of a cluster, away from this folder."""

import argparse
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cluster.checks import Place
from cluster.package import SourceTree
from models.config import names_file
from orchestrator.base.errors import InputError
from orchestrator.cli.argparsing import SECRETS, without_secrets
from orchestrator.cli.arguments import configure, prepare_options, recipe_of, settings
from orchestrator.cli.parser import parse
from orchestrator.config.layers import check_settings
from orchestrator.config.settings import Config
from orchestrator.search.space_settings import check_space
from search_spaces import get

COMMANDS = ("prepare", "train", "sweep", "report", "predict", "evaluate", "drift", "explain")


class JobCommand(NamedTuple):
    """What is known here of a command line that is to run on a cluster."""

    places: list[Place]
    """What all nodes must see; none where no node's folder is seen."""
    config: Config | None
    """Its settings; None: not all of them are known here, or it has none."""


def check_job(arguments: Sequence[str], tree: SourceTree, *, sent: bool = True) -> JobCommand:
    """Look at a command line that is to run on a cluster.

    The job runs in an unpacked copy of the source tree: a relative place would be lost with that
    copy, and a relative file must be among what is sent.

    Parameters
    ----------
    sent
        Whether the tree is sent. If not, the job runs in a container, which sees no folder of a
        node.

    Raises
    ------
    InputError
        It would fail there, or mean something else: also for settings, as far as they are known.
    """
    if not arguments or arguments[0] not in COMMANDS:
        given = arguments[0] if arguments else "nothing"
        raise InputError(
            f"submit: {given} is not one of {', '.join(COMMANDS)}; write submit -- sweep …"
        )
    parsed = parse(arguments)
    places = list(_places(arguments[0], vars(parsed)))
    for name, value, is_made in places:
        if not (_is_everywhere(value) or _is_synthetic(name, value)):
            raise InputError(
                f"{name} {value}: a job does not run in this folder; give an absolute path or URI "
                f"that every node of the cluster sees, for example {Path(value).absolute()}"
            )
        if is_made and not sent and "://" not in value:
            raise InputError(
                f"{name} {value}: would be lost with the container of --env image:…, which sees no "
                "folder of a node; give a URI, as s3://BUCKET/…"
            )
    for name, value in _named_files(vars(parsed)):
        if not _is_everywhere(value) and not (sent and Path(value).as_posix() in tree.files):
            where = f"relative to {tree.root} (and not ignored by git), or as "
            raise InputError(
                f"{name} {value}: not among the files that are sent; give it {where * sent}"
                "an absolute path that the cluster sees"
            )
    judged = [Place(*place) for place in places if not _is_synthetic(place[0], place[1])]
    return JobCommand(judged if sent else [], known_settings(parsed, tree.root))


def known_settings(arguments: argparse.Namespace, root: Path) -> Config | None:
    """Check what a command line sets, and return the configuration.

    Parameters
    ----------
    root
        What its relative files are relative to.

    Returns
    -------
    Config or None
        None where not all is known here: the command has no settings, or goes on with a run, or a
        file of it is on the cluster alone. Of settings, keys and values are checked even then.

    Raises
    ------
    InputError
        As the command itself would.
    """
    if arguments.command_name == "prepare":
        prepare_options(arguments).check()
    if arguments.command_name not in ("train", "sweep"):
        return None
    file = root / arguments.config if arguments.config else None
    if arguments.resume or (file is not None and not file.is_file()):
        check_settings(arguments.set, settings(arguments))
        return None
    arguments.config = str(file) if file else None
    config = configure(arguments, recipe_of(arguments))
    space = config.sweep.space
    if arguments.command_name == "sweep" and not (space.endswith(".py") and _is_elsewhere(space)):
        own = str(root / space) if space.endswith(".py") else space
        check_space(get(own), config)
    return config


def split_secrets(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Take what may hold secrets out of a job's command line, which all who list jobs are shown.

    Returns
    -------
    tuple
        The command line without it, and the variables that say it in its place, also where it was
        in this environment.
    """
    if arguments[0] != "sweep":
        return list(arguments), {}
    given = vars(parse(arguments))
    left, said = without_secrets(arguments), {}
    for option, variable in SECRETS.items():
        value = given[option.removeprefix("--").replace("-", "_")] or os.environ.get(variable)
        if value:
            said[variable] = value if isinstance(value, str) else " ".join(value)
    return left, said


def _places(command: str, parsed: Mapping[str, Any]) -> Iterator[tuple[str, str, bool]]:
    """Give what a command line calls a place, the place, and whether the job makes it."""
    run = "RUN" if command == "report" else "--run"
    names = {
        "source": "SOURCE", "target": run, "data": "--data", "out": "--out", "images": "--images",
        "table": "--table",
    }  # fmt: skip
    for key, name in names.items():
        if (value := parsed.get(key)) is not None:
            yield name, value, key == "out" and not parsed.get("resume")
    for other in parsed.get("warm_start") or ():
        yield "--warm-start", other, False
    for tracker in parsed.get("track") or ():
        kind, _, place = tracker.partition(":")
        if kind == "mlflow" and place and "://" not in place:  # a server is asked by the job
            yield "--track", place, True


def _is_everywhere(place: str) -> bool:
    return "://" in place or Path(place).is_absolute()


def _is_elsewhere(file: str) -> bool:
    return _is_everywhere(file) and not Path(file).is_file()


def _is_synthetic(name: str, value: str) -> bool:
    return name == "SOURCE" and value.partition(":")[0] == "synthetic"


def _named_files(parsed: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Give the files that a command line names and that may be sent along."""
    if config := parsed.get("config"):
        yield "--config", config
    if (space := parsed.get("space")) and space.endswith(".py"):
        yield "--space", space
    for setting in parsed.get("set") or ():
        key, _, value = setting.partition("=")
        if key == "model.weights" and names_file(value):
            yield "--set model.weights", value
