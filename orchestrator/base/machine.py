"""What this machine, or this container, may use, and what processes begun on it are given."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ALLOCATOR = {
    # glibc returns blocks of activations to the system after each step, and page faults to get
    # them back cost a fifth of a CPU's training time. It reads these as a process starts.
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "MALLOC_TOP_PAD_": str(2**26),
    # Ray runs a training in a thread, and threads beside the first have arenas of their own, which
    # hold no block of more than 64 MiB: those would come from the system every time all the same.
    "MALLOC_ARENA_MAX": "1",
}
"""Variables for the processes that run networks: of their memory."""
THREADS = {
    # A thread that has done its part of an operation spins until the others have theirs, by
    # default 300,000 times (14 ms). Where other programs have a core as well, that is most of a
    # training: this is what GNU OpenMP itself takes where it knows of more threads than cores.
    "GOMP_SPINCOUNT": "1000",
}
COMPUTING = ALLOCATOR | THREADS
"""Variables for the processes that run networks."""


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Have some variables in the environment of what is started within."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def cores() -> int:
    """Return the CPUs that this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS has none
        return os.cpu_count() or 1


def memory() -> int:
    """Return the bytes of memory."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(total, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    except (OSError, ValueError):  # no control group, or "max"
        return total
