"""A trial's process that Ray ends to free memory has died, which is no end of the whole search."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import OutOfMemoryError, RayActorError

HANDLER = "_actor_task_failed"


@contextmanager
def taken_for_dead() -> Iterator[None]:
    """Have Tune try such a trial again from its checkpoint, as any whose process died.

    Ray 2.60's Tune expects a `RayActorError` of a process that is gone, and raises everything else
    out of the search: so another program that took a node's memory ended a sweep.
    """
    handle = getattr(RayActorManager, HANDLER)

    # Named as Ray's, which gives them by name.
    def told(self: RayActorManager, tracked_actor_task: Any, exception: Exception) -> None:
        if isinstance(exception, OutOfMemoryError):
            exception = RayActorError(error_msg=str(exception))
        handle(self, tracked_actor_task, exception)

    setattr(RayActorManager, HANDLER, told)
    try:
        yield
    finally:
        setattr(RayActorManager, HANDLER, handle)
