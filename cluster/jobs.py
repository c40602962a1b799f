"""Runs fairfront's commands as jobs of a Ray cluster, through Ray's Jobs API.

A job is the working tree, unpacked on the head, and one command line run in it.
"""

import asyncio
import json
import os
import re
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TextIO

from cluster.client import connect, last_line, one_line_errors
from cluster.package import SourceTree, pack
from orchestrator.base.interrupts import INTERRUPTED
from orchestrator.base.versions import git_commit

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

STOP_SECONDS = 60
"""How long a stopped job may take to write what it has finished; Ray's own default is 3."""


def submit(
    arguments: Sequence[str],
    tree: SourceTree,
    *,
    address: str | None,
    wait: bool,
    out: TextIO,
    secrets: Mapping[str, str] | None = None,
) -> int:
    """Run ``fairfront`` with `arguments` as a job on a cluster.

    Parameters
    ----------
    arguments
        The command and its options, checked: places are such as every node of the cluster sees.
    tree
        What is sent along.
    address
        The cluster's dashboard, ``http://HOST:8265``; by default what the environment variable
        RAY_API_SERVER_ADDRESS or RAY_ADDRESS says, else this machine's.
    wait
        Print the job's log until it ends.
    secrets
        Variables of the job's environment that are no business of those who see its command line.

    Returns
    -------
    int
        With `wait`, the job's own exit code (1 when it has none, or when Ctrl-C ended the
        waiting); else 0.

    Raises
    ------
    InputError
        No cluster answers, or it refuses the job.
    """
    client = connect(address)
    with TemporaryDirectory(prefix="fairfront-") as folder, one_line_errors(client):
        package = pack(tree.root, tree.files, Path(folder) / "source.zip")
        job = client.submit_job(
            entrypoint=entry_point(arguments), runtime_env=_environment(package, secrets or {})
        )
    print(f"job {job} submitted to {client.get_address()}", file=out)
    if wait:
        return follow_job(client, job, address, out)
    print(_how_to_go_on(job, address), file=out)
    return 0


def jobs(address: str | None, out: TextIO, *, as_json: bool = False) -> int:
    """Print a line, or with `as_json` an entry, for every submitted job, the oldest first."""
    client = connect(address)
    with one_line_errors(client):
        found = [job for job in client.list_jobs() if job.submission_id is not None]
    listed = [
        {
            "job": job.submission_id,
            "status": str(job.status),
            "started": time.strftime(
                "%Y-%m-%d %H:%M:%S", time.localtime((job.start_time or 0) / 1000)
            ),
            "command": without_passwords(job.entrypoint.rpartition(" -m orchestrator ")[2]),
        }
        for job in sorted(found, key=lambda job: job.start_time or 0)
    ]
    if as_json:
        print(json.dumps(listed, indent=2), file=out)
        return 0
    for job in listed:
        print(f"{job['job']}  {job['status']:<9}  {job['started']}  {job['command']}", file=out)
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


def without_passwords(command: str) -> str:
    """Return a command line with the passwords of its URLs hidden."""
    hidden = re.sub(r"(://[^/\s:@']*):[^/\s']*@", r"\1:***@", command)
    return re.sub(r"([?&]password=)[^&\s']*", r"\1***", hidden)


def _environment(package: Path, secrets: Mapping[str, str]) -> dict[str, Any]:
    variables = {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS), **secrets}
    if commit := git_commit():  # the copy has no .git to ask
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
