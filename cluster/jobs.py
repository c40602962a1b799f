"""Runs fairfront's commands as jobs of a Ray cluster, through Ray's Jobs API.

A job is the working tree, unpacked on the head, and one command line run in it.
"""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from cluster.checks import Place, check_name, check_places, check_versions
from cluster.client import connect, one_line_errors
from cluster.code_state import CodeState, code_state
from cluster.environments import LOCK, Environment, without_passwords, without_secrets
from cluster.following import follow_job, how_to_go_on
from cluster.lock import Lock, lock
from cluster.package import SourceTree, pack
from cluster.submission import DIFF, VARIABLE, Resources, Submission, now
from orchestrator.base.versions import git_commit, versions

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

STOP_SECONDS = 60
"""How long a stopped job may take to write what it has finished; Ray's own default is 3."""
NO_AGENT, AGENT_SECONDS = "No available agent", 120.0
"""What a head says whose part for jobs does not answer yet, and how long it is asked again."""


class Options(NamedTuple):
    """How a command is run as a job; the defaults are those of `submit`'s options."""

    environment: Environment = Environment()
    variables: Mapping[str, str] = {}
    """Of the job's environment, secrets among them."""
    resources: Resources = Resources()
    name: str | None = None
    """The job's id; None: Ray makes one."""
    metadata: Mapping[str, str] = {}
    places: Sequence[Place] = ()
    """What all nodes must see."""
    config: Mapping[str, Any] | None = None
    """Every setting of the command, to be kept; None: not all are known here."""
    code: CodeState | None = None
    """Which code `tree` is; None: that is yet to be told."""


DEFAULTS = Options()


def submit(
    arguments: Sequence[str],
    tree: SourceTree,
    *,
    address: str | None,
    wait: bool,
    out: TextIO,
    options: Options = DEFAULTS,
) -> int:
    """Run ``fairfront`` with `arguments` as a job on a cluster.

    Parameters
    ----------
    arguments
        The command and its options, checked: places are such as every node of the cluster sees.
    tree
        What is sent along, unless the environment is an image, which has it.
    address
        The cluster's dashboard, ``http://HOST:8265``; by default what the environment variable
        RAY_API_SERVER_ADDRESS or RAY_ADDRESS says, else this machine's.
    wait
        Print the job's log until it ends.

    Returns
    -------
    int
        With `wait`, as `follow_job`; else 0.

    Raises
    ------
    InputError
        No cluster answers, it would not run the job, or it refuses it. Nothing is sent before that
        is looked at.
    """
    environment = options.environment
    command = environment.entry_point(arguments)
    locked = lock(tree.root) if environment.is_locked else Lock([], [])
    client = connect(address)
    if environment.knows_python:
        check_versions(client)
    if options.name is not None:
        check_name(client, options.name)
    check_places(client, options.places)
    for note in locked.notes:
        print(note, file=out)
    code, commit = options.code, None
    if code:
        commit = f"{code.commit}{'-dirty' * (code.diff != '')}"
    elif environment.takes_tree:
        code, commit = code_state(tree), git_commit(tree.root)
    else:
        code = CodeState(None, None)
    runtime_env = environment.fields(locked.lines)
    submission = _submission(arguments, options, code, runtime_env)
    with TemporaryDirectory(prefix="fairfront-") as folder, one_line_errors(client):
        if environment.takes_tree:
            more = _beside(code, locked if environment.kind == "uv" else Lock([], []))
            package = pack(tree.root, tree.files, Path(folder) / "source.zip", more)
            runtime_env["working_dir"] = str(package)
        runtime_env["env_vars"] = _variables(options, commit, submission)
        job = _taken(
            client,
            entrypoint=command,
            runtime_env=runtime_env,
            submission_id=options.name,
            metadata=dict(options.metadata),
            entrypoint_num_cpus=options.resources.num_cpus or None,
            entrypoint_num_gpus=options.resources.num_gpus or None,
            entrypoint_memory=options.resources.memory or None,
        )
    print(f"job {job} submitted to {client.get_address()}", file=out)
    if wait:
        return follow_job(client, job, address, out)
    print(how_to_go_on(job, address), file=out)
    return 0


def _taken(client: "JobSubmissionClient", **job: Any) -> str:
    """Submit a job to a cluster that may just have started, or be busy; return its name."""
    deadline = time.monotonic() + AGENT_SECONDS
    while True:
        try:
            return str(client.submit_job(**job))
        except RuntimeError as error:  # and then nothing was submitted
            if NO_AGENT not in str(error) or time.monotonic() >= deadline:
                raise
        time.sleep(1)


def _submission(
    arguments: Sequence[str], options: Options, code: CodeState, runtime_env: Mapping[str, Any]
) -> Submission:
    """Tell what is submitted, as the run is to have it."""
    shown = without_secrets(options.variables)
    return Submission(
        at=now(),
        command=list(arguments),
        environment=str(options.environment),
        variables=shown,
        secrets=sorted(options.variables.keys() - shown.keys()),
        resources=options.resources,
        metadata=dict(options.metadata),
        config=None if options.config is None else dict(options.config),
        fairfront=str(versions()["fairfront"]),
        commit=code.commit,
        runtime_env={**runtime_env, "env_vars": shown},
    )


def _beside(code: CodeState, locked: Lock) -> dict[str, bytes]:
    """Return what is sent beside the source tree, by name."""
    more = {}
    if code.diff is not None:
        more[DIFF] = code.diff.encode(errors="surrogateescape")
    if locked.lines:
        more[LOCK] = "".join(f"{line}\n" for line in locked.lines).encode()
    return more


def _variables(options: Options, commit: str | None, submission: Submission) -> dict[str, str]:
    own = {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS), VARIABLE: submission.told()}
    if commit:  # the copy has no .git to ask
        own["FAIRFRONT_GIT_COMMIT"] = commit
    return {**own, **options.variables}


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
