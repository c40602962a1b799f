"""How often the report's 95% intervals hold the truth, and how wide they are.

    python benchmarks/coverage.py [--tries 2000]

Faces are simulated: women and men (0.73 as many) whose accuracies are about .9 with a known gap, at
three sizes of a split. For a change of the fair metric two trainings are simulated on the same
faces, of which 6% are right in one of them alone. Beside ours stand the percentiles of a bootstrap,
which the report had before: where a gap is near 0, its resamples fold there.

The gap's interval, and the fair metric's, hold more than 95% where the true gap is about the size
of its error: a low gap could be either gender's, so they reach over both.
"""

import argparse
from itertools import product

import numpy as np
from numpy.typing import NDArray

from orchestrator.judging.fairness import fair_of
from orchestrator.judging.intervals import (
    Limits,
    combined,
    of_change,
    of_fair,
    of_fair_change,
    of_gap,
    wilson,
)

SIZES, GAPS, LAMBDAS = (1_000, 5_000, 20_000), (0.0, 0.005, 0.02, 0.05), (1.0, 2.0)
MEN, ACCURACY, BETTER, CHANGED = 0.73, 0.9, 0.005, 0.06
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
