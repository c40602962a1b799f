"""Whether a node of the cluster is about to be taken away, as clouds announce of spot machines."""

from typing import Any

import ray


def a_node_leaves() -> bool:
    """Tell whether a node is being drained, so that trainings on it had better be kept now.

    Any node counts, since a training's data may lie on another than itself. Ray knows of it by
    ``ray drain-node``, which autoscalers and clouds' agents call; it takes a millisecond to ask.
    """
    state: Any = ray._private.state.state  # as Ray Train's own watcher asks; there is no other way
    return bool(state.get_draining_nodes())
