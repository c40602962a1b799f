"""Small faces that a network learns in a second: class 1 is brighter."""

import numpy as np
import pyarrow as pa

from orchestrator.data.store.arrays import Arrays

SIDE = 24


def toy_arrays(rows: int, seed: int = 0) -> Arrays:
    """Rows of noise on grey, brighter for class 1; women are class 1 more often, as in CelebA."""
    rng = np.random.default_rng(seed)
    gender = np.where(np.arange(rows) % 5 < 3, -1, 1).astype(np.int8)
    label = (rng.random(rows) < np.where(gender == -1, 0.4, 0.25)).astype(np.int8)
    base = np.where(label == 1, 190, 60)[:, None, None, None]
    images = np.clip(base + rng.normal(0, 40, (rows, SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
    rank = np.zeros(rows, np.int32)
    for woman_or_man in (-1, 1):
        for value in (0, 1):
            stratum = np.flatnonzero((gender == woman_or_man) & (label == value))
            rank[stratum] = rng.permutation(len(stratum))
    return Arrays(
        images=images,
        label=label,
        gender=gender,
        rank=rank,
        filename=pa.array([f"{seed}-{row:04}.jpg" for row in range(rows)], pa.large_string()),
        identity=np.arange(rows, dtype=np.int32),
        block=np.arange(rows, dtype=np.int32) // 16,
    )


def toy_data() -> dict[str, Arrays]:
    """Return the three splits."""
    return {"train": toy_arrays(160, 1), "val": toy_arrays(61, 2), "test": toy_arrays(63, 3)}
