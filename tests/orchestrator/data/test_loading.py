"""Where pixels are kept, and folds."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import SIDE, toy_arrays

from orchestrator.base.errors import InputError
from orchestrator.config.layers import resolve
from orchestrator.config.settings import DataConfig
from orchestrator.data.folds import cross_validate
from orchestrator.data.loading import place_pixels
from orchestrator.data.splits import assign_folds, count_strata
from orchestrator.data.store.meta import Meta
from orchestrator.data.store.store import Store

PIXELS = 1000 * 80 * 80 * 3


def a_store():
    return Store(path=Path("data"), meta=Meta.model_construct(rows=1000, image_size=80))


@pytest.mark.parametrize(
    ("wanted", "memory", "residence"),
    [
        ("auto", 2 * PIXELS, "resident"),
        ("auto", PIXELS, "stream"),  # some room must be left
        ("resident", 2 * PIXELS, "resident"),
        ("stream", 2 * PIXELS, "stream"),
        ("stream", 1, "stream"),
    ],
)
def test_pixels_are_kept_where_they_fit(wanted, memory, residence):
    placement = place_pixels(DataConfig(residence=wanted), a_store(), memory)
    assert placement.residence == residence
    said = {"resident": "resident, 0.019 GB", "stream": "streamed from disk, 0.019 GB"}[residence]
    assert str(placement).startswith(f"data: {said}")


def test_what_must_be_resident_and_is_too_large():
    with pytest.raises(
        InputError, match=r"data\.residence=resident: 0\.019 GB do not fit 0\.01 GB"
    ):
        place_pixels(DataConfig(residence="resident"), a_store(), 0.01e9)


@pytest.mark.parametrize("settings", [["data.fold=1"], ["data.folds=3", "data.fold=3"]])
def test_a_fold_that_is_not_there(settings):
    with pytest.raises(InputError, match="no such fold"):
        resolve(settings=settings)


@given(
    folds=st.integers(2, 7),
    counts=st.tuples(*[st.integers(0, 50)] * 4),
    seed=st.integers(0, 99),
)
def test_folds_divide_every_stratum_exactly(folds, counts, seed):
    rng = np.random.default_rng(seed)
    order = rng.permutation(sum(counts))
    gender = np.repeat(np.array([-1, -1, 1, 1], np.int8), counts)[order]
    label = np.repeat(np.array([0, 1, 0, 1], np.int8), counts)[order]
    fold = assign_folds(folds, gender, label, rng.random(len(order)))
    sizes = np.bincount(fold, minlength=folds)
    assert np.ptp(sizes) <= 1
    for stratum in range(4):
        inside = (gender > 0) * 2 + label == stratum
        assert np.ptp(np.bincount(fold[inside], minlength=folds)) <= 1


def people(rows, seed):
    """Arrays in which a person has three faces."""
    arrays = toy_arrays(rows, seed)
    return replace(arrays, identity=(1000 * seed + np.arange(rows) // 3).astype(np.int32))


@pytest.mark.parametrize("by_people", [False, True])
def test_cross_validation_uses_every_row_once_to_validate(by_people):
    train, val = people(90, 1), people(30, 2)
    validated = []
    for fold in range(4):
        ours, theirs = cross_validate(train, val, 4, fold, people=by_people)
        assert names(ours) | names(theirs) == names(train) | names(val)
        assert not names(ours) & names(theirs)
        if by_people:
            assert not set(ours.identity) & set(theirs.identity)
        assert len(theirs) == pytest.approx(30, abs=3)
        validated += theirs.filename.to_pylist()
        for part in (ours, theirs):
            check(part, {**pixels_of(train), **pixels_of(val)})
    assert len(validated) == len(set(validated)) == 120


def names(arrays):
    return set(arrays.filename.to_pylist())


def pixels_of(arrays):
    return dict(zip(arrays.filename.to_pylist(), arrays.images, strict=True))


def check(part, pixels):
    """Rows stay whole, and the ranks of a stratum are 0, 1, 2, … again."""
    columns = [getattr(part, field.name) for field in fields(part) if field.name != "features"]
    assert all(len(column) == len(part) for column in columns)
    for name, image in zip(part.filename.to_pylist(), part.images, strict=True):
        assert np.array_equal(image, pixels[name])
    assert part.images.shape[1:] == (SIDE, SIDE, 3)
    for (gender, label), count in count_strata(part.gender, part.label).items():
        inside = (part.gender == gender) & (part.label == label)
        assert sorted(part.rank[inside]) == list(range(count))
    assert np.all(np.diff(part.block) >= 0)


def test_a_fold_without_a_gender():
    train, val = people(20, 1), people(10, 2)
    with pytest.raises(
        InputError, match=r"data\.folds=30: there are no (wo)?men in fold 0, .*fewer"
    ):
        cross_validate(train, val, 30, 0, people=False)
