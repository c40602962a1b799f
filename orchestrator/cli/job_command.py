"""Whether a command line can run as a job of a cluster, away from this folder."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cluster.package import SourceTree
from models.config import names_file
from orchestrator.base.errors import InputError
from orchestrator.cli.parser import parse

COMMANDS = ("prepare", "train", "sweep", "report", "predict")
STUDY_STORAGE = "FAIRFRONT_STUDY_STORAGE"


def check_job(arguments: Sequence[str], tree: SourceTree) -> None:
    """Raise `InputError` where a command line would fail on the cluster, or mean something else.

    The job runs in an unpacked copy of the source tree: a relative place would be lost with that
    copy, and a relative file must be among what is sent.
    """
    if not arguments or arguments[0] not in COMMANDS:
        given = arguments[0] if arguments else "nothing"
        raise InputError(
            f"submit: {given} is not one of {', '.join(COMMANDS)}; write submit -- sweep …"
        )
    parsed = vars(parse(arguments))
    run = "--run" if arguments[0] == "predict" else "RUN"
    places = {
        "source": "SOURCE", "target": run, "data": "--data", "out": "--out", "images": "--images",
        "table": "--table",
    }  # fmt: skip
    named = [(key, name, parsed.get(key)) for key, name in places.items()]
    named += [("", "--warm-start", other) for other in parsed.get("warm_start") or ()]
    for key, name, value in named:
        if value is not None and not (_is_everywhere(value) or _is_synthetic(key, value)):
            raise InputError(
                f"{name} {value}: a job does not run in this folder; give an absolute path or URI "
                f"that every node of the cluster sees, for example {Path(value).absolute()}"
            )
    for name, value in _named_files(parsed):
        if not _is_everywhere(value) and Path(value).as_posix() not in tree.files:
            raise InputError(
                f"{name} {value}: not among the files that are sent; give it relative to "
                f"{tree.root} (and not ignored by git), or as an absolute path that the cluster "
                "sees"
            )


def split_secrets(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Take a study's database out of a job's command line, which all who list jobs are shown.

    Returns
    -------
    tuple
        The command line without it, and the variables that say it in its place, also where it was
        in this environment.
    """
    if arguments[0] != "sweep":
        return list(arguments), {}
    url = parse(arguments).study_storage or os.environ.get(STUDY_STORAGE)
    left, words = [], iter(arguments)
    for word in words:
        if word == "--study-storage":
            next(words)
        elif not word.startswith("--study-storage="):
            left.append(word)
    return left, {STUDY_STORAGE: url} if url else {}


def _is_everywhere(place: str) -> bool:
    return "://" in place or Path(place).is_absolute()


def _is_synthetic(key: str, value: str) -> bool:
    return key == "source" and value.partition(":")[0] == "synthetic"


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
