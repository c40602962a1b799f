"""Streamed images are those in memory, whoever reads them and in whatever order."""

import functools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.base.errors import InputError
from orchestrator.config.settings import BalanceConfig
from orchestrator.data import epoch_order as shuffle
from orchestrator.data.balance import POLICIES, draw_rows, expected_counts
from orchestrator.data.prepare.prepare import Options, prepare
from orchestrator.data.sources.registry import open_source
from orchestrator.data.splits import count_strata
from orchestrator.data.store import arrays, streaming
from orchestrator.data.store.arrays import Arrays
from orchestrator.data.store.store import Store
from orchestrator.data.store.streaming import stream
from orchestrator.distributed.stream_windows import Dealer, read_on_ray, read_together
from orchestrator.training.images import place_on_device, rebatch


@pytest.fixture
def small_windows(monkeypatch):
    """Blocks of two rows of 6x6 pixels, windows of three blocks: a small store has several."""
    monkeypatch.setattr(arrays, "BLOCK_BYTES", 2 * 6 * 6 * 3)
    for module in (shuffle, streaming):
        monkeypatch.setattr(module, "WINDOW_BLOCKS", 3)


@pytest.fixture
def faces(request, make_faces, tmp_path):
    for name in ("small_windows", "small_chunks", "in_process"):
        request.getfixturevalue(name)
    source = open_source(str(make_faces(80)))
    return prepare(source, tmp_path / "data", Options(image_size=6))


def test_rows_are_read_in_the_order_asked_for(faces):
    resident, streamed = faces.load("train"), stream(faces, "train")
    assert streamed.images.shape == resident.images.shape
    for name in ("label", "gender", "rank", "filename", "identity", "block"):
        assert np.array_equal(getattr(streamed, name), getattr(resident, name)), name
    rng = np.random.default_rng(0)
    for rows in (rng.permutation(48), np.arange(48), np.array([7, 7, 0, 47]), np.array([], int)):
        assert np.array_equal(streamed.images.read(rows), resident.images[rows])
    some = rng.permutation(48)[:20]
    assert np.array_equal(streamed.images[some].read(np.arange(20)), resident.images[some])
    both = streamed.images[some] + stream(faces, "val").images
    assert np.array_equal(both.read(np.arange(36))[20:], faces.load("val").images)


def damage(faces):
    """Change the pixels of one image on disk."""
    shard = faces.path / faces.meta.shards["train"][0].file
    image = faces.load("train").images[0].tobytes()
    shard.write_bytes(shard.read_bytes().replace(image, bytes(len(image))))
    return shard


def test_a_damaged_block_is_named(faces):
    shard = damage(faces)
    with pytest.raises(InputError, match=rf"{shard.name}: damaged .*; prepare the data again"):
        stream(faces, "train").images.read(np.arange(4))


@settings(deadline=None, max_examples=40)
@given(
    policy=st.sampled_from(sorted(POLICIES)),
    over=st.sampled_from(["gender", "gender_class"]),
    workers=st.integers(1, 4),
    batch=st.integers(1, 17),
    seed=st.integers(0, 999),
    epoch=st.integers(0, 3),
    counts=st.tuples(*[st.integers(0, 40)] * 4),
)
def test_workers_share_an_epoch_whose_counts_are_those_stated(**case):
    """Random tables: the workers' batches, put together, are the epoch's draw."""
    config = BalanceConfig(policy=case["policy"], over=case["over"])
    workers, batch, seed, epoch, counts = (
        case[name] for name in ("workers", "batch", "seed", "epoch", "counts")
    )
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(sum(counts))
    gender = np.repeat(np.array([-1, -1, 1, 1], np.int8), counts)[shuffled]
    label = np.repeat(np.array([0, 1, 0, 1], np.int8), counts)[shuffled]
    rank = np.zeros(len(label), np.int32)
    for stratum in range(4):
        mine = np.flatnonzero((gender > 0) * 2 + label == stratum)
        rank[mine] = rng.permutation(len(mine))
    block = np.arange(len(label), dtype=np.int32) // 5
    drawn = draw_rows(config, gender, label, rank, epoch=epoch)
    order = shuffle.epoch_order(drawn, block, np.random.default_rng([seed, epoch]))
    images = np.arange(len(label), dtype=np.int64).view(np.uint8).reshape(-1, 2, 4, 1)
    held = place_on_device(images, torch.device("cpu"))
    shares, steps = [], []
    for worker in range(workers):
        deal = shuffle.deal(epoch, len(order), batch, worker, workers)
        size = max(1, len(range(worker, batch, workers)))
        got = [b.numpy().tobytes() for b in held.batches(order, size, deal)]
        steps.append([np.frombuffer(rows, np.int64) for rows in got])
        shares.append(np.concatenate([*steps[-1], np.empty(0, np.int64)]))
    # A step's global batch is the same rows, whoever trains them.
    for step, at in enumerate(range(0, len(order), batch)):
        parts = [mine[step] for mine in steps if step < len(mine)]
        whole = np.sort(order[at : at + batch])
        assert np.array_equal(np.sort(np.concatenate(parts)), whole)
    # Each block of a window is read once, though each worker has rows in nearly all of them.
    windows = streaming.window_bounds(block[order])
    assert sum(len(set(block[order[a:b]])) for a, b in windows) == len(set(block[order]))
    assert all(abs(len(s) - len(order) / workers) <= len(order) / batch + 1 for s in shares)
    together = np.sort(np.concatenate(shares))
    assert np.array_equal(together, np.sort(drawn))
    stated = expected_counts(config, count_strata(gender, label))
    assert count_strata(gender[together], label[together]) == stated


@given(sizes=st.lists(st.integers(0, 30), max_size=8), size=st.integers(1, 12))
def test_rebatching_keeps_every_row_in_order(sizes, size):
    rows = np.arange(sum(sizes), dtype=np.uint8).reshape(-1, 1, 1, 1)
    windows = np.split(rows, np.cumsum(sizes)[:-1]) if sizes else []
    batches = list(rebatch(iter(windows), size))
    assert np.array_equal(np.concatenate([rows[:0], *batches]), rows)
    assert all(len(batch) == size for batch in batches[:-1])
    assert all(len(batch) for batch in batches)


def test_resident_and_streamed_batches_are_the_same(faces):
    resident, streamed = faces.load("train"), stream(faces, "train")
    order = shuffle.epoch_order(np.arange(48), resident.block, np.random.default_rng(5))
    ours, theirs = (
        list(place_on_device(arrays.images, torch.device("cpu")).batches(order, 7))
        for arrays in (resident, streamed)
    )
    assert [len(batch) for batch in ours] == [7] * 6 + [6]
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.usefixtures("ray_cluster")
def test_ray_data_reads_the_windows_in_order(faces):
    arrays: Arrays = stream(Store.open(faces.path), "train", read_on_ray)
    order = shuffle.epoch_order(np.arange(48), arrays.block, np.random.default_rng(1))
    windows = list(arrays.images.windows(order))
    assert len(windows) > 3
    assert np.array_equal(np.concatenate(windows), faces.load("train").images[order])
    assert list(arrays.images.windows(order[:0])) == []
    damage(faces)
    with pytest.raises(InputError, match="damaged"):
        list(arrays.images.windows(order))


def noting(store, noted):
    """Open a store that notes each block that is read, whoever reads it."""

    class Noting(Store):  # in a function, or Ray's processes would look for this module
        def read_blocks(self, file, blocks):
            with noted.open("a") as notes:
                notes.writelines(f"{file} {block}\n" for block in blocks)
            return Store.read_blocks(self, file, blocks)

    return Noting(store.path, store.meta)


def trained(images, order, batch, world, epoch=0):
    """Give what each of so many workers is given of an epoch, all of them reading at a time."""

    def worker(rank):
        deal = shuffle.deal(epoch, len(order), batch, rank, world)
        return np.concatenate([images[:0].read(order[:0]), *images.windows(order, deal)])

    with ThreadPoolExecutor(world) as pool:
        return list(pool.map(worker, range(world)))


def interleaved(shares, rows, batch):
    """Put together the workers' rows: of each global batch they take turns."""
    whole = np.empty((rows, *shares[0].shape[1:]), np.uint8)
    for rank, share in enumerate(shares):
        whole[shuffle.deal(0, rows, batch, rank, len(shares)).mine] = share
    return whole


@pytest.mark.usefixtures("ray_cluster")
def test_workers_read_each_block_of_an_epoch_once_together(faces, tmp_path):
    noted = tmp_path / "noted"
    store = noting(faces, noted)
    resident, dealer = faces.load("train"), Dealer.remote()
    arrays = stream(store, "train", functools.partial(read_together, dealer))
    for epoch, (world, batch) in enumerate([(1, 7), (2, 8), (3, 7), (5, 4)]):
        rng = np.random.default_rng(epoch)
        order = shuffle.epoch_order(rng.permutation(48)[:45], arrays.block, rng)
        shares = trained(arrays.images, order, batch, world, epoch)
        assert np.array_equal(interleaved(shares, 45, batch), resident.images[order])
        read = noted.read_text().splitlines()
        assert len(read) == len(set(read)) == len(set(arrays.block[order]))
        noted.unlink()
    damage(faces)
    with pytest.raises(InputError, match="damaged"):
        trained(arrays.images, order, 8, 2, 9)
