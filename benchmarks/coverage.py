"""How often the report's 95% intervals hold the truth, and how wide they are.

    python benchmarks/coverage.py [--tries 2000]

Faces are simulated: women and men (0.73 as many) whose accuracies are about .9 with a known gap, at
three sizes of a split. For a change of the fair metric two trainings are simulated on the same
faces, of which 6% are right in one of them alone. Beside ours stand the percentiles of a bootstrap,
which the report had before: where a gap is near 0, its resamples fold there.

The confirmation's intervals are of networks that each have their own luck (.007 of each gender's
accuracy, and as much from one gender to the other), on four folds with one seed, on four with
three, and on three seeds that judge the same faces. Where there is a network a fold, its luck is
known by four figures alone, so that t over folds is wide, and the faces' own width is the least:
those hold 96 to 99%. So do those of three seeds, whose t has two degrees of freedom.

The gap's interval, and the fair metric's, hold more than 95% where the true gap is about the size
of its error: a low gap could be either gender's, so they reach over both.
"""

import argparse
from functools import partial
from itertools import product

import numpy as np
from numpy.typing import NDArray

from orchestrator.judging.fairness import fair_of
from orchestrator.judging.intervals import (
    Limits,
    combined,
    fair_change_from,
    fair_from,
    of_change,
    of_fair,
    of_fair_change,
    of_gap,
    wilson,
)
from orchestrator.judging.pooled import Judged, measure

SIZES, GAPS, LAMBDAS = (1_000, 5_000, 20_000), (0.0, 0.005, 0.02, 0.05), (1.0, 2.0)
MEN, ACCURACY, BETTER, CHANGED = 0.73, 0.9, 0.005, 0.06
LUCK = 0.007
DRAWS = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tries", type=int, default=2000)
    tries, rng = parser.parse_args().tries, np.random.default_rng(0)
    print("| women | gap | accuracy | signed gap | gap | fair, λ 1 | λ 2 | bootstrap: gap | λ 2 |")
    print("|---|---|---|---|---|---|---|---|---|")
    for rows, gap in product(SIZES, GAPS):
        print(one_training(rows, gap, tries, rng), flush=True)
    print("\n| women | gap, before | women's change | fair's | width | bootstrap: fair's | width |")
    print("|---|---|---|---|---|---|---|")
    for rows, gap, before in product(SIZES, GAPS, (0.0, 0.02, 0.05)):
        print(a_change(rows, gap, before, tries, rng), flush=True)
    print("\n| faces | luck | networks | women | fair, λ 2 | width | fair's change | width |")
    print("|---|---|---|---|---|---|---|---|")
    for rows, luck, of in product((2_000, 8_000), (0.0, LUCK), ((4, 1), (4, 3), (1, 3))):
        print(a_confirmation(rows, luck, of, max(tries // 4, 1), rng), flush=True)


def one_training(rows: int, gap: float, tries: int, rng: np.random.Generator) -> str:
    truth, n = (ACCURACY + gap / 2, ACCURACY - gap / 2), (rows, int(MEN * rows))
    correct = [rng.binomial(size, share, tries) for size, share in zip(n, truth, strict=True)]
    women, men = (wilson(right, size) for right, size in zip(correct, n, strict=True))
    shares = [
        covers(women, truth[0]),
        covers(combined(women, men, 1.0, -1.0), gap),
        covers(of_gap(women, men), gap),
        *(covers(of_fair(women, men, by), fair_of(*truth, by)) for by in LAMBDAS),
    ]
    again = [
        rng.binomial(size, right[:, None] / size, (tries, DRAWS)) / size
        for right, size in zip(correct, n, strict=True)
    ]
    shares += [
        covers(percentiles(np.abs(again[0] - again[1])), gap),
        covers(percentiles(fair_of(again[0], again[1], 2.0)), fair_of(*truth, 2.0)),
    ]
    return f"| {rows:,} | {gap} | {' | '.join(f'{100 * share:.1f}' for share in shares)} |"


def a_change(rows: int, gap: float, before: float, tries: int, rng: np.random.Generator) -> str:
    then = ACCURACY + before / 2, ACCURACY - before / 2
    now = ACCURACY + BETTER + gap / 2, ACCURACY + BETTER - gap / 2
    counts = []
    for size, new, old in zip((rows, int(MEN * rows)), now, then, strict=True):
        alone, other = (CHANGED + new - old) / 2, (CHANGED - new + old) / 2
        shares = new - alone, alone, other, 1 - new - other
        counts.append(rng.multinomial(size, shares, size=tries))
    truth = fair_of(*now, 2.0) - fair_of(*then, 2.0)
    ours, (by_women, _) = of_fair_change(*counts, 2.0), of_change(*counts)
    theirs = bootstrapped(counts, tries // 5, rng)
    return (
        f"| {rows:,} | {gap}, {before} | {100 * covers(by_women, now[0] - then[0]):.1f} | "
        f"{100 * covers(ours, truth):.1f} | {np.median(ours.high - ours.low):.4f} | "
        f"{100 * covers(theirs, truth):.1f} | {np.median(theirs.high - theirs.low):.4f} |"
    )


def a_confirmation(
    rows: int, luck: float, of: tuple[int, int], tries: int, rng: np.random.Generator
) -> str:
    """Try networks by fold and seed against plain's, which have a gap where these have none."""
    folds, seeds = of
    truth, before = (ACCURACY, ACCURACY), (ACCURACY - 0.01, ACCURACY + 0.01)
    held: list[list[float]] = []
    for _ in range(tries):
        groups = [simulated(rows // folds, seeds, luck, (truth, before), rng) for _ in range(folds)]
        found = {
            "women": (measure(groups, (1.0, 0.0), (0.0, 0.0)), truth[0]),
            "fair": (fair_from(partial(measure, groups), 2.0), fair_of(*truth, 2.0)),
            "change": (
                fair_change_from(partial(measure, groups), 2.0),
                fair_of(*truth, 2.0) - fair_of(*before, 2.0),
            ),
        }
        widths = [float(found[name][0].high - found[name][0].low) for name in ("fair", "change")]
        held.append([*(covers(limits, true) for limits, true in found.values()), *widths])
    women, fair, change, *widths = np.mean(held, axis=0)
    networks = f"{folds} fold{'s' * (folds > 1)}, {seeds} seed{'s' * (seeds > 1)}"
    return (
        f"| {rows:,} | {luck} | {networks} | {100 * women:.1f} | {100 * fair:.1f} | "
        f"{widths[0]:.4f} | {100 * change:.1f} | {widths[1]:.4f} |"
    )


def simulated(
    rows: int,
    seeds: int,
    luck: float,
    kinds: tuple[tuple[float, float], ...],
    rng: np.random.Generator,
) -> Judged:
    """Draw faces, and what networks of two kinds get right of them: hard faces are so for all."""
    women = np.arange(rows) < rows / (1 + MEN)
    hard = rng.random(rows)
    of = []
    for shares in kinds:
        own = rng.normal(0, luck, (seeds, 2)) + rng.normal(0, luck, (seeds, 1)) * [1, -1]
        share = np.where(women, *(np.array(shares)[:, None, None] + own.T[:, :, None]))
        # A face's own hardness decides but for a part that each network sees otherwise.
        seen = np.where(rng.random((seeds, rows)) < 2 * CHANGED, rng.random((seeds, rows)), hard)
        of.append(seen < share)
    return Judged(women, *of)


def bootstrapped(counts: list[NDArray[np.int64]], tries: int, rng: np.random.Generator) -> Limits:
    """Resample the faces of the first tries, as the report did."""
    found = []
    for of_both in zip(*(of_gender[:tries] for of_gender in counts), strict=True):
        drawn = [rng.multinomial(c.sum(), c / c.sum(), size=DRAWS) / c.sum() for c in of_both]
        now, then = ([of[:, 0] + of[:, alone] for of in drawn] for alone in (1, 2))
        found.append(fair_of(*now, 2.0) - fair_of(*then, 2.0))
    return percentiles(np.array(found))


def percentiles(values: NDArray[np.float64]) -> Limits:
    low, high = np.percentile(values, (2.5, 97.5), axis=1)
    return Limits(values[:, 0], low, high)


def covers(limits: Limits, truth: float) -> float:
    return float(np.mean((limits.low <= truth) & (truth <= limits.high)))


if __name__ == "__main__":
    main()
