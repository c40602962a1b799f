"""How good is the network that a search picks, and how much its own figure flatters it.

    python benchmarks/picks.py [--repeats 200]

The settings are those of the sweep recorded in `curves.csv`: what each makes of women and men at
its end is taken for its truth, drawn together by what is noise in it. In each repeat every trial is
trained with its own luck (.007 of each gender's accuracy, and as much from one gender to the other,
as measured over seeds; as much again among the last epochs, of which the best on validation is
kept), and judged on the same validation faces, 1,157 women and 844 men, some of them hard for all
networks alike. Then each rule picks a trial:

- the highest fair metric on validation, as searches do;
- of the first eight so, the highest fair metric from the pooled counts of four folds of the 8,003
  faces of train and validation, each fold's network with its own luck: a sweep's finalists;
- of those eight by the mean of both;
- the four networks of the folds in its place, as one whose accuracy is the mean of theirs (one that
  averages their logits has more);
- of the eight at random; and the best network that there is, to compare with.

"True" is the fair metric of the accuracies that what is picked has on all faces there could be, "of
its settings" the mean of that over the networks that they train. Optimism is what the rule says of
its pick, less the truth.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri

from orchestrator.judging.fairness import fair_of

WOMEN, MEN, FOLDS, FINALISTS, EPOCHS = 1157, 844, 4, 8, 5
LUCK = 0.007
SHARED, OF_TRAINING = 0.6, 0.75
"""Of what makes a face hard: that of all networks, and of the rest that of a training's epochs."""
LAMBDA = 2.0

Floats = NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=200)
    repeats, rng = parser.parse_args().repeats, np.random.default_rng(0)
    truth = settings()
    of_settings = np.mean([fair(trained(truth, rng)[0]) for _ in range(100)], axis=0)
    found: dict[str, list[tuple[float, float, float]]] = {}
    for _ in range(repeats):
        true, said = trained(truth, rng)
        first = np.argsort(-fair(said))[:FINALISTS]
        folds = [trained(truth[first], rng) for _ in range(FOLDS)]
        of_folds, pooled = (np.mean(each, axis=0) for each in zip(*folds, strict=True))
        both = (said[first] + pooled) / 2
        by_folds, by_both, any_one, best = (
            *(int(fair(each).argmax()) for each in (pooled, both)),
            rng.integers(FINALISTS),
            int(fair(true).argmax()),
        )
        for rule, pick, network, of_pick in (
            ("highest on validation", first[0], true[first[0]], said[first[0]]),
            ("by pooled folds", first[by_folds], true[first[by_folds]], pooled[by_folds]),
            ("by the mean of both", first[by_both], true[first[by_both]], both[by_both]),
            ("by pooled folds, their networks", first[by_folds], of_folds[by_folds],
             pooled[by_folds]),
            ("a finalist at random", first[any_one], true[first[any_one]], said[first[any_one]]),
            ("the best there is", best, true[best], true[best]),
        ):  # fmt: skip
            figures = fair(network), of_settings[pick], fair(of_pick)
            found.setdefault(rule, []).append(figures)
    print("| rule | true fair | quartiles | of its settings | says | optimism |")
    print("|---|---|---|---|---|---|")
    for rule, each in found.items():
        network, settled, told = np.array(each).T
        low, high = np.percentile(network, (25, 75))
        print(
            f"| {rule} | {network.mean():.4f} | {low:.4f} to {high:.4f} | {settled.mean():.4f} | "
            f"{told.mean():.4f} | {np.mean(told - network):+.4f} |"
        )


def fair(accuracies: Floats) -> Floats:
    """Return the fair metric of the accuracies of women and men, shape (..., 2)."""
    return np.asarray(fair_of(accuracies[..., 0], accuracies[..., 1], LAMBDA))


def settings() -> Floats:
    """Return what the recorded settings make of women and of men, shape (n, 2)."""
    table = pd.read_csv(Path(__file__).parent / "curves.csv")
    last = table.sort_values("epoch").groupby("trial").last()
    measures = last[["mean_accuracy", "gap"]].to_numpy()
    variance = 0.9 * 0.1 * np.array([(1 / WOMEN + 1 / MEN) / 4, 1 / WOMEN + 1 / MEN])
    noise = variance + LUCK**2 * np.array([1, 4])  # of the gap, twice from one to the other
    kept = np.sqrt(np.maximum(0, 1 - noise / measures.var(axis=0)))
    mean, gap = (measures.mean(axis=0) + kept * (measures - measures.mean(axis=0))).T
    return np.stack([mean - gap / 2, mean + gap / 2], axis=1)


def trained(truth: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Train each once; return, of the epoch that each keeps, the accuracies on all faces and here.

    Both have shape (n, 2); "here" are the same validation faces for all.
    """
    luck = LUCK * rng.standard_normal((2, len(truth), 1))
    level, across = luck + LUCK * rng.standard_normal((2, len(truth), EPOCHS))
    true = np.stack([truth[:, [0]] + level + across, truth[:, [1]] + level - across], axis=-1)
    true = np.clip(true, 0.5, 0.999)
    seen = [judged(true[..., side], rows, rng) for side, rows in enumerate((WOMEN, MEN))]
    here = np.stack(seen, axis=-1)
    kept = np.arange(len(truth)), fair(here).argmax(axis=1)
    return true[kept], here[kept]


def judged(accuracy: Floats, rows: int, rng: np.random.Generator) -> Floats:
    """Return the shares of the same faces that networks of such accuracies have right.

    Parameters
    ----------
    accuracy
        Shape (trainings, epochs).
    rows
        Faces.
    """
    face = rng.standard_normal(rows)
    training = rng.standard_normal((len(accuracy), 1, rows))
    epoch = rng.standard_normal((*accuracy.shape, rows))
    own = np.sqrt(OF_TRAINING) * training + np.sqrt(1 - OF_TRAINING) * epoch
    hard = np.sqrt(SHARED) * face + np.sqrt(1 - SHARED) * own
    return np.mean(hard < ndtri(accuracy)[..., None], axis=-1)


if __name__ == "__main__":
    main()
