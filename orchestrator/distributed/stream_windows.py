"""Images that are streamed from disk, read ahead on Ray Data while a training uses others."""

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import ray.data
from numpy.typing import NDArray

from orchestrator.base.errors import InputError
from orchestrator.data.store.arrays import image_column, pixels
from orchestrator.data.store.streaming import StreamedImages

AHEAD = 2
"""Windows that are read while one is used."""


def read_on_ray(images: StreamedImages, order: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
    """Read the images of rows `order`, shape (m,), on Ray Data; give them a window at a time.

    Tasks read ahead on any node. They ask for no CPU, since the trial that waits for them may
    hold the last one, and reading takes little beside training.

    Raises
    ------
    InputError
        A shard is damaged.
    """
    if not len(order):
        return
    pieces = [{"start": start, "stop": stop} for start, stop in images.window_bounds(order)]
    shared = [ray.put((images, order))]
    data = ray.data.from_items(pieces, override_num_blocks=len(pieces)).map_batches(
        functools.partial(_read_piece, shared),
        batch_size=1,
        num_cpus=0,
        compute=ray.data.TaskPoolStrategy(size=min(AHEAD, len(pieces))),
    )
    data.context.execution_options.preserve_order = True
    for table in data.iter_batches(
        batch_size=None, batch_format="pyarrow", prefetch_batches=AHEAD - 1
    ):
        if table["error"][0].is_valid:
            raise InputError(table["error"][0].as_py())
        yield pixels(table["image"])


def _read_piece(shared: Any, piece: dict[str, Any]) -> pa.Table:
    images, order = ray.get(shared[0])
    try:
        read = images.read(order[piece["start"][0] : piece["stop"][0]])
        error = None
    except InputError as damaged:  # raised here, it would reach the user in Ray's wrapping
        read, error = np.zeros((1, *images.shape[1:]), np.uint8), str(damaged)
    errors = pa.repeat(pa.scalar(error, pa.string()), len(read))
    return pa.table({"image": image_column(read), "error": errors})
