"""Computing the features of a shard's images, and writing them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from orchestrator.base.errors import InputError
from orchestrator.base.files import writing
from orchestrator.data.store.meta import Shard
from orchestrator.training.features.stored import MIRRORED, Features
from orchestrator.training.images import as_tensor
from orchestrator.training.inference import EVALUATION_BATCH, to_input

if TYPE_CHECKING:
    from models.backbone import BackboneNetwork


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
