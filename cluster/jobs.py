"""Runs fairfront's commands as jobs of a Ray cluster, through Ray's Jobs API.

A job is the working tree, unpacked on the head, and one command line run in it.
"""

import asyncio
import os
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TextIO

from cluster.client import connect, last_line, one_line_errors
from cluster.package import pack, project_root, source_files
from orchestrator.errors import InputError

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

COMMANDS = ("prepare", "train", "sweep", "report", "predict")
STOP_SECONDS = 60
"""How long a stopped job may take to write what it has finished; Ray's own default is 3."""

INTERRUPTED = 1


def submit(arguments: Sequence[str], *, address: str | None, wait: bool, out: TextIO) -> int:
    """Run ``fairfront`` with `arguments` as a job on a cluster.

    Parameters
    ----------
    arguments
        The command and its options; places must be such as every node of the cluster sees.
    address
        The cluster's dashboard, ``http://HOST:8265``; by default what the environment variable
        RAY_API_SERVER_ADDRESS or RAY_ADDRESS says, else this machine's.
    wait
        Print the job's log until it ends.

    Returns
    -------
    int
        With `wait`, the job's own exit code (1 when it has none, or when Ctrl-C ended the
        waiting); else 0.

    Raises
    ------
    InputError
        The command cannot run as a job, there is no source tree, or no cluster answers.
    """
    root = project_root(Path.cwd())
    files = source_files(root)
    check_command(arguments, root, files)
    client = connect(address)
    with TemporaryDirectory(prefix="fairfront-") as folder, one_line_errors(client):
        package = pack(root, files, Path(folder) / "source.zip")
        job = client.submit_job(
            entrypoint=entry_point(arguments), runtime_env=_environment(package)
        )
    print(f"job {job} submitted to {client.get_address()}", file=out)
    if wait:
        return follow_job(client, job, address, out)
    print(_how_to_go_on(job, address), file=out)
    return 0


def jobs(address: str | None, out: TextIO) -> int:
    """Print a line for every submitted job: its id, state, start and command."""
    client = connect(address)
    with one_line_errors(client):
        found = [job for job in client.list_jobs() if job.submission_id is not None]
    for job in sorted(found, key=lambda job: job.start_time or 0):
        started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime((job.start_time or 0) / 1000))
        command = job.entrypoint.rpartition(" -m orchestrator ")[2]
        print(f"{job.submission_id}  {job.status:<9}  {started}  {command}", file=out)
    if not found:
        print(f"no jobs at {client.get_address()}", file=out)
    return 0


def logs(job: str, address: str | None, follow: bool, out: TextIO) -> int:
    """Print what a job has written; with `follow` until it ends, returning its exit code."""
    client = connect(address)
    with one_line_errors(client, job):
        if not follow:
            out.write(client.get_job_logs(job))
            return 0
        client.get_job_info(job)  # refuses an unknown job
    return follow_job(client, job, address, out)


def stop(job: str, address: str | None, out: TextIO) -> int:
    """Ask a job to end; it has `STOP_SECONDS` to write what it has finished."""
    client = connect(address)
    with one_line_errors(client, job):
        running = client.stop_job(job)
        state = client.get_job_status(job)
    print(f"job {job}: {'stopping' if running else f'had ended before ({state})'}", file=out)
    return 0


def check_command(arguments: Sequence[str], root: Path, files: Sequence[str]) -> None:
    """Raise `InputError` where a command line would fail on the cluster, or mean something else.

    The job runs in an unpacked copy of `root` that holds only `files`: a relative place would be
    lost with that copy, and a relative file must be among what is sent.
    """
    from orchestrator.cli import parse

    if not arguments or arguments[0] not in COMMANDS:
        given = arguments[0] if arguments else "nothing"
        raise InputError(
            f"submit: {given} is not one of {', '.join(COMMANDS)}; write submit -- sweep …"
        )
    parsed = vars(parse(arguments))
    run = "--run" if arguments[0] == "predict" else "RUN"
    places = {
        "source": "SOURCE", "target": run, "data": "--data", "out": "--out", "images": "--images",
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
        if not _is_everywhere(value) and Path(value).as_posix() not in files:
            raise InputError(
                f"{name} {value}: not among the files that are sent; give it relative to {root} "
                "(and not ignored by git), or as an absolute path that the cluster sees"
            )


def follow_job(client: "JobSubmissionClient", job: str, address: str | None, out: TextIO) -> int:
    """Print a job's log until it ends; return its exit code, as `submit` does."""
    from aiohttp import ClientError

    async def tail() -> None:
        async for text in client.tail_job_logs(job):
            out.write(text)
            out.flush()

    try:
        asyncio.run(tail())
        details = _end(client, job)
    except KeyboardInterrupt:
        print(f"\nno longer waiting; the job goes on. {_how_to_go_on(job, address)}", file=out)
        return INTERRUPTED
    except (ClientError, OSError, RuntimeError) as error:
        lost = f"lost the connection ({last_line(error)}); the job may go on."
        print(f"\n{lost} {_how_to_go_on(job, address)}", file=out)
        return 1
    code: int | None = details.driver_exit_code
    if code is None:  # it never ran, or it was stopped
        print(f"job {job} {details.status}: {details.message}", file=out)
        return 0 if details.status == "SUCCEEDED" else 1
    print(f"job {job} {details.status} with exit code {code}", file=out)
    if code == 127:  # a shell's "not found"
        print("the head has no such python; name its interpreter in FAIRFRONT_PYTHON", file=out)
    return code if code >= 0 else 128 - code


def entry_point(arguments: Sequence[str]) -> str:
    """Return the shell command of a job.

    ``python`` means the one on the PATH that the head was started with, which on one's own
    machine is often not the project's. So the submitting environment's interpreter is used where
    the head has it too; FAIRFRONT_PYTHON names another.
    """
    python = "python"
    if chosen := os.environ.get("FAIRFRONT_PYTHON"):
        python = shlex.quote(chosen)
    elif sys.prefix != sys.base_prefix:  # an environment's path does not recur by accident
        python = f'"$(command -v {shlex.quote(sys.executable)} || echo python)"'
    return f"exec {python} -m orchestrator {shlex.join(arguments)}"


def _is_everywhere(place: str) -> bool:
    return "://" in place or Path(place).is_absolute()


def _is_synthetic(key: str, value: str) -> bool:
    return key == "source" and value.partition(":")[0] == "synthetic"


def _named_files(parsed: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Give the files that a command line names and that may be sent along."""
    from models.config import names_file

    if config := parsed.get("config"):
        yield "--config", config
    if (space := parsed.get("space")) and space.endswith(".py"):
        yield "--space", space
    for setting in parsed.get("set") or ():
        key, _, value = setting.partition("=")
        if key == "model.weights" and names_file(value):
            yield "--set model.weights", value


def _environment(package: Path) -> dict[str, Any]:
    from orchestrator.runs import versions

    variables = {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS)}
    if commit := versions()["git_commit"]:  # the copy has no .git to ask
        variables["FAIRFRONT_GIT_COMMIT"] = commit
    return {"working_dir": str(package), "env_vars": variables}


def _end(client: "JobSubmissionClient", job: str) -> Any:
    """Wait for the state that ends a job: it follows the last line of the log by a moment."""
    while not (details := client.get_job_info(job)).status.is_terminal():
        time.sleep(0.2)
    return details


def _how_to_go_on(job: str, address: str | None) -> str:
    option = f" --address {address}" if address else ""
    return f"Log: fairfront logs {job} --follow{option}   Stop: fairfront stop {job}{option}"
