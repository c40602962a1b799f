"""Who may work on a run, and on a part of it: locks on a disk, a lease on an object store."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.base.errors import InputError
from orchestrator.base.files import Anywhere
from orchestrator.base.lease import Lease
from orchestrator.base.locks import held

LEASE = ".lease"
"""In a run on an object store: the folder of its lease."""


@contextmanager
def claimed(run: Anywhere, *, jointly: bool = False) -> Iterator[Callable[[], None]]:
    """Keep other processes off a run, but for those that work on its study with this one.

    Parameters
    ----------
    run
        The run's folder.
    jointly
        Share it with others that share it, too.

    Yields
    ------
    callable
        Raises `LeaseLostError` where another session has taken the run over, as may happen while
        an object store is out of reach.

    Raises
    ------
    InputError
        Another process is at work on it.
    """
    if not isinstance(run, Path):
        if jointly:
            raise InputError(
                f"{run}: one session at a time works on a run that is an object store's; leave "
                "--study-storage out, or give an --out that all sessions mount"
            )
        with Lease(run / LEASE, str(run)) as lease:
            yield lease.check
        return
    with held(run / ".run.lock", shared=jointly) as ours:
        if not ours:
            raise InputError(
                f"{run}: another fairfront is at work on this run; wait for it, or stop it "
                "(sweeps with --study-storage can be worked on together)"
            )
        yield _do_nothing


@contextmanager
def part_held(run: Anywhere, part: str, *, wait: bool = False) -> Iterator[bool]:
    """Hold a part of a run that one session at a time may change; tell whether nobody else does.

    On an object store there is one session at all, which holds the lease.
    """
    if isinstance(run, Path):
        with held(run / f".{part}.lock", wait=wait) as ours:
            yield ours
    else:
        yield True


def _do_nothing() -> None:
    """Check nothing: a lock goes with its process alone."""
