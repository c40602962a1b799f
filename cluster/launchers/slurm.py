"""A command as a job of Slurm: an sbatch script around ``ray symmetric-run``."""

import shlex
from collections.abc import Iterator

from cluster.launchers.config import ClusterConfig, most_cost
from cluster.launchers.templates import render

FILE = "slurm.sh"


def script(config: ClusterConfig) -> str:
    """Return the sbatch script; all of its nodes are workers, the first one the head as well."""
    workers = config.workers
    return render(
        "slurm.sh.j2",
        name=config.name,
        file=FILE,
        cost=most_cost(config),
        options=list(_options(config)),
        start_seconds=config.start_minutes * 60,
        environment=config.slurm.environment,
        cpus=workers.cpus,
        gpus=workers.gpus,
        command=shlex.join(shlex.split(config.command)),
    )


def _options(config: ClusterConfig) -> Iterator[str]:
    workers = config.workers
    fewest = max(1, workers.min)
    yield f"job-name={config.name}"
    yield f"nodes={fewest}-{workers.max}" if fewest < workers.max else f"nodes={fewest}"
    yield "ntasks-per-node=1"
    yield f"cpus-per-task={workers.cpus}"
    if workers.gpus:
        kind = f"{workers.kind}:" if workers.kind else ""
        yield f"gpus-per-node={kind}{workers.gpus}"
    yield f"mem={workers.memory_gib}G"
    yield f"time={_time(config.seconds)}"
    # `ray symmetric-run` ends with `ray stop`, which ends all of a user's Ray on a node.
    yield "exclusive"
    yield "no-kill"
    yield "requeue" if config.retries else "no-requeue"
    yield "open-mode=append"
    yield f"output={config.name}-%j.log"
    if config.queue:
        yield f"partition={config.queue}"
    if config.slurm.account:
        yield f"account={config.slurm.account}"


def _time(seconds: int) -> str:
    """Write a time as Slurm takes it, in whole minutes: days-hours:minutes."""
    minutes = -(-seconds // 60)
    return f"{minutes // 1440}-{minutes % 1440 // 60:02}:{minutes % 60:02}"
