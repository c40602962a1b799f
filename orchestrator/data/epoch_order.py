"""The order of an epoch: a permutation that can be read from disk as well as from memory."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

WINDOW_BLOCKS = 128
"""Blocks (of about a megabyte) whose rows are shuffled together."""


def epoch_order(
    rows: NDArray[np.int64], block: NDArray[np.int32], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Shuffle an epoch's rows.

    The blocks are shuffled, and then the rows within each window of `WINDOW_BLOCKS` of them: a
    window is a random sample of blocks from all over the split, and holds thousands of rows. A
    split of one window is permuted uniformly. Whoever reads the rows in this order has each block
    once, in one go.

    Parameters
    ----------
    rows
        Positions of the rows that are drawn, shape (m,), perhaps with repeats.
    block
        The block of each row of the split, shape (n,).
    rng
        Decides the order.

    Returns
    -------
    ndarray of int64, shape (m,)
        A permutation of `rows`.
    """
    window_of_block = rng.permutation(int(block.max(initial=-1)) + 1) // WINDOW_BLOCKS
    shuffled = rng.permutation(rows)
    return shuffled[np.argsort(window_of_block[block[shuffled]], kind="stable")]


class Deal(NamedTuple):
    """Who of several workers trains which of an epoch's m rows, in order."""

    epoch: int
    worker: NDArray[np.int32]
    """Of each row, counted from 0, shape (m,)."""
    rank: int
    """The worker that asks."""

    @property
    def mine(self) -> NDArray[np.bool_]:
        """Which rows are this worker's, shape (m,)."""
        mine: NDArray[np.bool_] = self.worker == self.rank
        return mine


def deal(epoch: int, rows: int, batch: int, rank: int, world: int) -> Deal:
    """Deal an epoch's rows, in order, to `world` workers, of whom `rank` asks.

    Of each global batch of `batch` rows the workers take turns, so that their shares differ by one
    row at most, and all of a worker's but the last are of one size.
    """
    return Deal(epoch, (np.arange(rows) % batch % world).astype(np.int32), rank)
