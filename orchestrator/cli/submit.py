"""`fairfront submit`: from its options to a job, or to the repetition of one."""

import argparse
import re
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

from cluster import jobs
from cluster.code_state import CodeState, restore
from cluster.environments import Environment, parse_pairs, parse_variables
from cluster.package import SourceTree, project_root, source_files, source_tree
from cluster.submission import Resources, Submission, last_submission, repeated_secrets
from orchestrator.base.errors import InputError
from orchestrator.cli.job_command import JobCommand, check_job, split_secrets
from orchestrator.cli.parser import parse

UNITS = {"": 1, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
UNITS |= {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def submit(arguments: argparse.Namespace, out: TextIO) -> int:
    """Run a command on a Ray cluster, or again what a run was submitted as."""
    words = arguments.command
    command = words[1:] if words[:1] == ["--"] else words
    before = last_submission(arguments.again) if arguments.again else None
    environment = Environment.parse(arguments.env or (before.environment if before else "none"))
    with ExitStack() as stack:
        tree, code = SourceTree(Path.cwd(), []), None
        if environment.takes_tree:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="fairfront-"))
            tree, code = _code(before, Path(folder), out)
        command = _repeated(before, arguments.again, command) if before else command
        checked = check_job(command, tree, sent=environment.takes_tree)
        options = _options(arguments, environment, before, checked)
        command, study = split_secrets(command)
        options = options._replace(variables={**options.variables, **study}, code=code)
        address, wait = arguments.address, arguments.wait
        return jobs.submit(command, tree, address=address, wait=wait, out=out, options=options)


def _code(
    before: Submission | None, folder: Path, out: TextIO
) -> tuple[SourceTree, CodeState | None]:
    """Return what is to be sent, the code of a submission written into `folder`, and its state."""
    if before is None:
        return source_tree(Path.cwd()), None
    code = CodeState(before.commit, before.diff)
    if code.commit is None or code.diff is None:
        why = "no git repository" if code.commit is None else "too much was not committed"
        print(f"The code of that submission was not kept ({why}); this tree is sent.", file=out)
        return source_tree(Path.cwd()), None
    root = folder.resolve()
    restore(code, project_root(Path.cwd()), root)
    return SourceTree(root, source_files(root)), code


def _repeated(before: Submission, run: str, more: list[str]) -> list[str]:
    """Return the command of a submission, with what is given now after it.

    Raises
    ------
    InputError
        It would make the run that it has made.
    """
    command = [*before.command, *more]
    was, now = parse(before.command), parse(command)
    if was.command_name in ("train", "sweep") and now.out == was.out and not now.resume:
        raise InputError(
            f"--again {run}: that run is there; say where the next one goes (submit --again {run} "
            f"-- --out OTHER), or go on with it (submit --again {run} -- --resume)"
        )
    return command


def _options(
    arguments: argparse.Namespace,
    environment: Environment,
    before: Submission | None,
    checked: JobCommand,
) -> jobs.Options:
    """Return how the job is run: as before, but for what is given now."""
    variables, metadata = parse_variables(arguments.env_var), parse_pairs(arguments.metadata)
    resources = Resources()
    if before:
        secrets = repeated_secrets(before, variables)
        variables = {**before.variables, **secrets, **variables}
        metadata, resources = {**before.metadata, **metadata}, before.resources
    given = {
        "num_cpus": _amount("--num-cpus", arguments.num_cpus),
        "num_gpus": _amount("--num-gpus", arguments.num_gpus),
        "memory": _bytes(arguments.memory),
    }
    return jobs.Options(
        environment=environment,
        variables=variables,
        resources=resources.model_copy(
            update={name: amount for name, amount in given.items() if amount is not None}
        ),
        name=arguments.name,
        metadata=metadata,
        places=checked.places,
        config=checked.config.model_dump() if checked.config else None,
    )


def _amount(option: str, amount: float | None) -> float | None:
    if amount is not None and not 0 <= amount < float("inf"):
        raise InputError(f"{option} {amount:g}: give a number from 0")
    return amount


def _bytes(text: str | None) -> int | None:
    """Read ``--memory``: a number of bytes, perhaps with a unit."""
    if text is None:
        return None
    parts = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", text)
    if parts is None or parts[2].upper() not in UNITS:
        raise InputError(f"--memory {text}: give bytes, or a number with a unit, as 8GiB")
    return int(float(parts[1]) * UNITS[parts[2].upper()])
