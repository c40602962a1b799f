import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from orchestrator.base.errors import InputError
from orchestrator.data.sources.synthetic.population import (
    CLASS_1_KINDS,
    MAX_FLIP_SHARE,
    MIN_FACES,
    PUBLISHED,
    draw_range,
    plan_faces,
    summarise,
    write_tables,
)
from orchestrator.data.splits import apportion

SIZES = st.integers(MIN_FACES, 4000)
SEEDS = st.integers(0, 2**32)
SHARES = st.floats(0, MAX_FLIP_SHARE)


def counts(plan: pd.DataFrame, label: str) -> dict[tuple[int, int], int]:
    return plan.groupby(["gender", label]).size().to_dict()


def jpegs(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "images").iterdir()}


def test_the_published_table() -> None:
    women, men = (PUBLISHED[g, 0] + PUBLISHED[g, 1] for g in (-1, 1))
    assert (women, men) == (113_154, 79_422)
    assert (PUBLISHED[-1, 0] + PUBLISHED[1, 0]) == 155_435
    assert (PUBLISHED[-1, 1] + PUBLISHED[1, 1]) == 37_141
    assert round(100 * PUBLISHED[-1, 1] / women, 1) == 24.9
    assert round(100 * PUBLISHED[1, 1] / men, 1) == 11.3


@pytest.mark.parametrize("seed", [0, 7])
def test_full_size_has_exactly_the_published_counts(seed: int) -> None:
    plan = plan_faces(192_576, seed)
    assert counts(plan, "true_class") == PUBLISHED
    assert counts(plan, "class") == PUBLISHED
    assert 3.9 < len(plan) / plan["identity"].nunique() < 4.1
    assert summarise(plan, seed, 0.02)["flipped"] == {"women": 2264, "men": 1588}


def test_every_stratum_from_the_smallest_size_on() -> None:
    published = list(PUBLISHED.values())
    assert all(min(apportion(n, published)) > 0 for n in range(MIN_FACES, 300))


@given(n=SIZES, seed=SEEDS, share=SHARES)
@settings(max_examples=40, deadline=None)
def test_counts_of_any_plan(n: int, seed: int, share: float) -> None:
    plan = plan_faces(n, seed, share)
    quotas = apportion(n, list(PUBLISHED.values()))
    assert list(counts(plan, "true_class").values()) == quotas
    assert counts(plan, "class") == counts(plan, "true_class")  # flips preserve the counts
    assert (plan["true_class"].astype(bool) == plan["blond"] | plan["glasses"]).all()
    assert ((plan["class"] != plan["true_class"]) == plan["flipped"]).all()
    for gender, rows in plan.groupby("gender"):
        flipped = rows[rows["flipped"]]
        assert flipped["true_class"].sum() * 2 == len(flipped)
        ones = rows["true_class"].sum()
        assert len(flipped) // 2 == min(ones, round(share * len(rows) / 2))
        both = int((rows["blond"] & rows["glasses"]).sum())
        kinds = [int(rows["blond"].sum()) - both, int(rows["glasses"].sum()) - both, both]
        assert kinds == apportion(int(ones), CLASS_1_KINDS[gender])


@given(n=SIZES, seed=SEEDS)
@settings(max_examples=20, deadline=None)
def test_files_and_people_of_any_plan(n: int, seed: int) -> None:
    plan = plan_faces(n, seed)
    assert plan["filename"].is_unique
    assert plan["filename"].is_monotonic_increasing
    assert plan.groupby("identity")["gender"].nunique().max() == 1
    assert sorted(plan["identity"].unique()) == list(range(1, plan["identity"].nunique() + 1))


def test_most_people_keep_to_one_kind_of_hair() -> None:
    plan = plan_faces(20_000, 1)
    blond = plan[plan["blond"]]
    shared = plan.groupby("identity")["blond"].transform("mean")[blond.index]
    assert 0.6 < shared.mean() < 0.95  # by chance it would be about a third
    assert plan["identity"].duplicated(keep=False).mean() > 0.9


def test_a_plan_depends_on_seed_and_flips_leave_the_faces_alone() -> None:
    pd.testing.assert_frame_equal(plan_faces(500, 3), plan_faces(500, 3))
    assert not plan_faces(500, 3)["gender"].equals(plan_faces(500, 4)["gender"])
    drawn = ["filename", "gender", "identity", "true_class", "blond", "glasses"]
    pd.testing.assert_frame_equal(plan_faces(500, 3, 0.0)[drawn], plan_faces(500, 3, 0.2)[drawn])
    assert not plan_faces(500, 3, 0.0)["flipped"].any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((19,), "synthetic:19: too few faces .* at least 20"),
        ((0,), "synthetic:0: too few"),
        ((100, -1), "seed -1: must not be negative"),
        ((100, 0, -0.1), "flip share -0.1: must lie between 0 and 0.2"),
        ((100, 0, 0.5), "flip share 0.5"),
        ((100, 0, float("nan")), "flip share nan"),
    ],
)
def test_what_cannot_be_drawn(arguments: tuple[float, ...], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        plan_faces(*arguments)
    assert "\n" not in str(caught.value)


def test_a_data_set_on_disk(tmp_path: Path) -> None:
    faces, plan = tmp_path / "faces", plan_faces(40, seed=2, flip_share=0.15)
    draw_range(faces, plan, seed=2)
    write_tables(faces, plan, seed=2, flip_share=0.15)
    labels, truth = pd.read_csv(faces / "manifest.csv"), pd.read_csv(faces / "truth.csv")
    assert labels.columns.tolist() == ["filename", "class", "gender", "identity"]
    pd.testing.assert_frame_equal(truth[labels.columns], labels)
    assert (truth["class"] == truth["true_class"] ^ truth["flipped"]).all()
    assert (truth["true_class"] == truth["blond"] | truth["glasses"]).all()
    assert len(jpegs(faces)) == 40
    for name in labels["filename"]:
        with Image.open(faces / name) as picture:
            assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (178, 218))
    told = json.loads((faces / "truth.json").read_text())
    assert (told["n"], told["seed"], told["flip_share"]) == (40, 2, 0.15)
    right = (truth["class"] == truth["true_class"]).groupby(truth["gender"]).mean()
    assert told["best_accuracy"] == {"women": right[-1], "men": right[1]}
    assert right.max() < 1


def test_ranges_in_any_order_and_process_give_the_same_bytes(tmp_path: Path) -> None:
    whole, parts, other = (tmp_path / name for name in ("whole", "parts", "other"))
    plan = plan_faces(600, 5)[:24]
    assert draw_range(whole, plan, 5) == 24
    for start in (16, 0, 8):
        draw_range(parts, plan[start : start + 8], 5)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(draw_range, other, plan, 5).result()
    assert jpegs(parts) == jpegs(whole)
    assert jpegs(other) == jpegs(whole)
    draw_range(parts, plan, 6)
    assert not jpegs(parts).items() & jpegs(whole).items()


def test_the_summary_of_one_gender_has_no_accuracy_of_the_other(tmp_path: Path) -> None:
    plan = plan_faces(60, 0)
    write_tables(tmp_path, plan[plan["gender"] == 1], 0, 0.02)
    told = json.loads((tmp_path / "truth.json").read_text())
    assert told["best_accuracy"] == {"women": None, "men": 1.0}
