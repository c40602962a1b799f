"""The features of a frozen backbone, computed on Ray Data with all of the cluster's devices."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray
import ray.data
import torch
from numpy.typing import NDArray
from ray.exceptions import RayError, RayTaskError, UserCodeException
from torch import Tensor

from orchestrator.errors import InputError
from orchestrator.features import MIRRORED, Features
from orchestrator.files import one_line, reason_of, writing
from orchestrator.images import as_tensor
from orchestrator.inference import EVALUATION_BATCH, Precision, pick_device, to_input, uses_bf16
from orchestrator.meta import Shard

if TYPE_CHECKING:
    from models.backbone import BackboneNetwork

GO_ON = "the same command goes on where it was"
DEATHS = 2
"""How often Ray starts a process in place of one that died, and gives a file to another."""


def extract(
    features: Features,
    pieces: list[tuple[str, Shard]],
    network: "BackboneNetwork",
    precision: Precision,
    show: Callable[[int, int], None],
) -> None:
    """Compute some files of features.

    NOTE: Ray Data runs in a task, not in this process, since Ray aborts a process that breaks an
    execution off (2.60: "Check failed: it != submissible_tasks_.end()"); here that is the task's.

    Parameters
    ----------
    features
        What they belong to.
    pieces
        The files, as `Features.pieces` gives them.
    network
        Has the backbone.
    precision
        To compute in.
    show
        Called with the images done so far and those to do.

    Raises
    ------
    InputError
        A shard of the data is damaged, the features cannot be written, or processes die.
    """
    total = sum(shard.rows for _, shard in pieces)
    done = 0
    show(done, total)
    outcomes: Any = _extract.remote(features, pieces, [ray.put(network)], precision)
    try:
        for outcome in outcomes:
            rows, error = ray.get(outcome)
            if error:
                raise InputError(error)
            done += rows
            show(done, total)
    except RayError as error:
        cause = error.cause if isinstance(error, RayTaskError) else error
        if isinstance(cause, RayTaskError | UserCodeException) or not isinstance(cause, RayError):
            raise  # a fault in our own code
        reason = (one_line(cause) or type(cause).__name__)[:200]
        raise InputError(
            f"{features.store.path}: Ray lost a process while it computed features, perhaps "
            f"because memory ran out ({reason}); {GO_ON}"
        ) from None
    finally:
        ray.cancel(outcomes, force=True)
    if done != total:
        raise RuntimeError(f"{total - done} of {total} images were left undone")


@ray.remote(num_cpus=0, max_retries=0, num_returns="streaming")
def _extract(
    features: Features, pieces: list[tuple[str, Shard]], network: list[Any], precision: Precision
) -> Iterator[tuple[int, str]]:
    """Give the rows of each file as it is done, and what went wrong."""
    cluster = ray.cluster_resources()
    gpus, cpus = int(cluster.get("GPU", 0)), int(cluster.get("CPU", 1))
    rows = [{"variant": variant, "shard": shard.model_dump_json()} for variant, shard in pieces]
    # Actors, which keep the network, on all devices that there are and on those that join.
    outcomes = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        _Extractor,
        fn_constructor_args=(features, network, precision),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(
            min_size=1,
            initial_size=max(1, min(gpus or cpus, len(rows))),
            max_size=len(rows),
            max_tasks_in_flight_per_actor=2,
        ),
        num_cpus=0 if gpus else 1,
        num_gpus=1 if gpus else None,
        max_restarts=DEATHS,
        max_task_retries=DEATHS,
    )
    for outcome in outcomes.iter_rows():
        yield outcome["rows"], outcome["error"]


class _Extractor:
    """A process that holds the network on its device, and makes files."""

    def __init__(self, features: Features, network: list[Any], precision: Precision) -> None:
        torch.set_num_threads(1)
        self._features = features
        self._network: BackboneNetwork = ray.get(network[0]).to(pick_device())
        self._autocast = uses_bf16(precision, pick_device())

    def __call__(self, piece: dict[str, NDArray[Any]]) -> dict[str, list[Any]]:
        variant, error = str(piece["variant"][0]), ""
        shard = Shard.model_validate_json(piece["shard"][0])
        try:
            write_file(self._features, variant, shard, self._network, self._autocast)
        except InputError as failure:  # raised here, it would reach the user in Ray's wrapping
            error = str(failure)
        except OSError as failure:
            error = (
                f"{self._features.folder(variant)}: {reason_of(failure)}; mend that, then {GO_ON}"
            )
        return {"rows": [shard.rows], "error": [error]}


def write_file(
    features: Features, variant: str, shard: Shard, network: "BackboneNetwork", autocast: bool
) -> None:
    """Compute the features of a shard's images, and write them.

    Raises
    ------
    InputError
        The shard is damaged, or features are too large for float16.
    OSError
        The file cannot be written.
    """
    network.to(memory_format=torch.channels_last).eval()
    path, schema = features.folder(variant) / shard.file, features.schema(variant)
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        writing(path) as sink,
        # As the store's pixels: as they are, and with nothing about them in the footer.
        pq.ParquetWriter(
            sink,
            schema,
            compression="none",
            use_dictionary=False,
            write_statistics=False,
            write_page_checksum=True,
        ) as parquet,
    ):
        for pixels in _batches(features, shard):
            images = to_input(as_tensor(pixels).to(network.mean.device))
            made = _compute(network, images.flip(3) if variant == MIRRORED else images, autocast)
            if not np.isfinite(made).all():
                raise InputError(
                    f"{shard.file}: this network's features of it do not fit in float16; mend "
                    "model.weights, or choose another model.name"
                )
            buffers = [None, pa.py_buffer(made)]
            column = pa.Array.from_buffers(schema.field(0).type, len(made), buffers)
            parquet.write_batch(pa.record_batch([column], schema=schema))


def _batches(features: Features, shard: Shard) -> Iterator[NDArray[np.uint8]]:
    """Read a shard's images, some blocks of the store at a time."""
    size = features.store.meta.block_rows
    blocks, together = range(-(-shard.rows // size)), max(1, EVALUATION_BATCH // size)
    for start in blocks[::together]:
        yield features.store.read_blocks(shard.file, blocks[start : start + together])


@torch.inference_mode()
def _compute(network: "BackboneNetwork", images: Tensor, autocast: bool) -> NDArray[np.float16]:
    """Return what the backbone makes of images, shape (n, D)."""
    with torch.autocast(images.device.type, torch.bfloat16, enabled=autocast):
        made = network.features(images)
    array: NDArray[np.float16] = made.half().cpu().contiguous().numpy()
    return array
