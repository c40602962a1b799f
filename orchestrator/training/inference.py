"""Evaluating a network: the device, the precision, and each row by exactly one worker."""

from typing import Literal

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn

from orchestrator.training.images import Images

EVALUATION_BATCH, CUDA_EVALUATION_BYTES = 256, 48 * 2**20
"""Images that are evaluated together, and on a GPU, which so few leave idle, the bytes of them."""

Precision = Literal["auto", "fp32", "bf16"]


def pick_device() -> torch.device:
    """Return this process's CUDA device, or the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def uses_bf16(precision: Precision, device: torch.device) -> bool:
    """Tell whether to compute in bf16; auto: where the device does, since emulated it is slow."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    features = torch.cpu.get_capabilities()
    return any(bool(features.get(name, False)) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def computed_in(precision: Precision, device: torch.device) -> Literal["bf16", "fp32"]:
    """Return what a precision comes to on a device."""
    return "bf16" if uses_bf16(precision, device) else "fp32"


def to_input(images: Tensor) -> Tensor:
    """Turn uint8 (n, H, W, 3) into floats (n, 3, H, W) in [0, 1], still channels last in memory.

    Of features, float16 (n, V, D), it takes those of the image as it is, as floats (n, D).
    """
    if images.ndim == 3:
        return images[:, 0].float()
    return images.permute(0, 3, 1, 2).float() / 255.0


@torch.inference_mode()
def predict_logits(
    model: nn.Module, images: Images, rows: int, autocast: bool = False
) -> NDArray[np.float32]:
    """Return the logits of the first `rows` images, shape (rows,), on every worker."""
    model.eval()
    device, size = images.device, EVALUATION_BATCH
    if device.type == "cuda":
        size = max(size, CUDA_EVALUATION_BYTES // images.row_bytes)
    parts = []
    for batch in images.batches(np.arange(rows)[own_part(rows)], size):
        parts.append(logits_of(model, batch, autocast))
    return gathered(torch.cat(parts) if parts else torch.zeros(0, device=device), rows)


@torch.inference_mode()
def logits_of(model: nn.Module, batch: Tensor, autocast: bool) -> Tensor:
    """Return the logits, float32 of shape (n,), of one batch on the model's device.

    Parameters
    ----------
    model
        In evaluation mode.
    batch
        As `to_input` takes it.
    autocast
        Compute in bf16.
    """
    with torch.autocast(batch.device.type, torch.bfloat16, enabled=autocast):
        logits: Tensor = model(to_input(batch)).float()
    return logits


def own_part(rows: int) -> slice:
    """Return which of some rows this worker evaluates: neighbours, since those lie together."""
    rank, world = rank_and_world()
    return slice(rows * rank // world, rows * (rank + 1) // world)


def gathered(part: Tensor, rows: int) -> NDArray[np.float32]:
    """Return what all workers have found of some rows, shape (rows, …), each of its own part."""
    if rank_and_world()[1] > 1:
        whole = part.new_zeros((rows, *part.shape[1:]))
        whole[own_part(rows)] = part
        dist.all_reduce(whole)
        part = whole
    return part.cpu().numpy()


def rank_and_world() -> tuple[int, int]:
    """Return this process's rank and the number of workers; 0 and 1 without a process group."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1
