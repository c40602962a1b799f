import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.data import epoch_order as shuffle
from orchestrator.data.epoch_order import WINDOW_BLOCKS, epoch_order
from orchestrator.data.store import streaming
from orchestrator.data.store.arrays import block_rows, blocks_of
from orchestrator.data.store.streaming import window_bounds


@given(
    shards=st.lists(st.integers(1, 2000), max_size=30),
    size=st.sampled_from([40, 80, 200]),
    share=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_an_epoch_is_a_permutation_read_block_by_block(shards, size, share, seed):
    rng = np.random.default_rng(seed)
    block = blocks_of(shards, block_rows(size))
    rows = np.sort(rng.choice(len(block), int(share * 1.5 * len(block))))  # some repeatedly
    order = epoch_order(rows, block, np.random.default_rng(seed))
    assert np.array_equal(np.sort(order), rows)
    assert np.array_equal(order, epoch_order(rows, block, np.random.default_rng(seed)))
    bounds = window_bounds(block[order])
    assert [stop for _, stop in bounds] == [start for start, _ in bounds][1:] + [len(order)] * bool(
        bounds
    )
    touched = [set(block[order[start:stop]]) for start, stop in bounds]
    assert all(len(blocks) <= WINDOW_BLOCKS for blocks in touched)
    assert sum(map(len, touched)) == len(set(block[rows]))  # each is read once, in one window


@given(block=st.lists(st.integers(0, 9), max_size=60), most=st.integers(1, 4))
def test_any_order_at_all_is_cut_into_windows(block, most):
    block = np.array(block, np.int32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streaming, "WINDOW_BLOCKS", most)
        bounds = window_bounds(block)
    assert [row for start, stop in bounds for row in range(start, stop)] == list(range(len(block)))
    seen: set[int] = set()
    for start, stop in bounds:
        new = set(block[start:stop].tolist()) - seen
        assert stop > start
        assert len(new) <= most  # whoever reads on meets so few blocks that there were not before
        seen |= new


def test_a_split_of_one_window_is_permuted_uniformly():
    block = blocks_of([60], 2)
    orders = [
        epoch_order(np.arange(60), block, np.random.default_rng(seed)) for seed in range(4000)
    ]
    mean = np.mean(orders, axis=0)  # of row numbers, at each place
    assert np.abs(mean - 29.5).max() < 5 * 17.3 / 4000**0.5
    after = np.mean([np.flatnonzero(o == 1)[0] == np.flatnonzero(o == 0)[0] + 1 for o in orders])
    assert abs(after - 1 / 60) < 5 * (1 / 60 / 4000) ** 0.5  # neighbours on disk are parted


def test_a_window_is_a_sample_of_the_whole_split(monkeypatch):
    monkeypatch.setattr(shuffle, "WINDOW_BLOCKS", 16)
    block = np.repeat(np.arange(256, dtype=np.int32), 10)
    order = epoch_order(np.arange(2560), block, np.random.default_rng(0))
    for window in order.reshape(16, 160):
        assert len(set(block[window])) == 16
        assert np.ptp(window) > 1000
        assert np.count_nonzero(np.diff(block[window])) > 100  # blocks are mixed


@given(shards=st.lists(st.integers(1, 500), min_size=1, max_size=9), size=st.integers(100, 591))
def test_blocks_are_a_shards_own(shards, size):
    block = blocks_of(shards, block_rows(size))
    assert len(block) == sum(shards)
    starts = np.cumsum([0, *shards])[:-1]
    assert len(set(block[starts])) == len(shards)
    assert np.all(np.diff(block) >= 0)
    assert set(np.diff(block)) <= {0, 1}
    assert np.unique(block, return_counts=True)[1].max() * size * size * 3 <= 2**20
