"""What retraining on new seeds says of the front, of the baselines, and of the winner.

A pure function of ``RUN/confirm/<trial>/<name>/``, each with a trial's files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.base.errors import InputError
from orchestrator.base.files import children
from orchestrator.judging.fairness import WOMAN, fair_of
from orchestrator.judging.judge import Evaluated, evaluate_trial
from orchestrator.run.directory import Run
from orchestrator.run.trial import EVALUATED, Trial

METRICS = (
    "accuracy", "mean_accuracy", "acc_women", "acc_men", "gap", "fair", "fair_lambda1",
    "worst_gender",
    "worst_group",
)  # fmt: skip
SPREADS = 20
"""Draws of the seeds' share of the error for each draw of faces; they are cheap."""


@dataclass(frozen=True)
class Confirmed:
    """A trial's complete retrainings, by seed and fold."""

    trial: Evaluated
    retrainings: Mapping[tuple[int, int | None], Evaluated]

    def values(self, split: str, metric: str) -> NDArray[np.float64]:
        """Give a metric of each retraining, at threshold 0.5; shape (retrainings,)."""
        found = [one.judged["fixed"].metrics[split] for one in self.retrainings.values()]
        return np.array([getattr(metrics, metric) for metrics in found])

    def mean(self, split: str, metric: str) -> float:
        """Average a metric over the retrainings."""
        return float(self.values(split, metric).mean())


def read_confirmed(run: Run, evaluated: Sequence[Evaluated]) -> list[Confirmed]:
    """Read the complete retrainings of complete trials, by the trials' ids.

    Raises
    ------
    InputError
        A retraining's files are damaged, or its test faces are others than the run's.
    """
    fair_lambda, confirmed = run.config.fair_lambda, []
    for one in evaluated:
        retrainings = {}
        for trial in _complete(run, one.id):
            again = evaluate_trial(trial, fair_lambda)
            # Folds differ in their validation faces; test is the same for all.
            if again.faces["test"] != one.faces["test"]:
                raise InputError(
                    f"{trial.path}/predictions.parquet: not the test faces of trial {one.id}, so "
                    "it confirms nothing; remove that folder"
                )
            config = trial.result.config
            fold = config.data.fold if config.data.folds else None
            retrainings[config.seed, fold] = again
        if retrainings:
            ordered = sorted(retrainings.items(), key=lambda item: (item[0][0], item[0][1] or 0))
            confirmed.append(Confirmed(one, dict(ordered)))
    return confirmed


def _complete(run: Run, trial_id: str) -> list[Trial]:
    folder = run.confirm_path / trial_id
    trials = list(map(Trial, children(folder)))
    return [trial for trial in trials if trial.has_ended and trial.result.state == "complete"]


def confirm(
    run: Run,
    evaluated: Sequence[Evaluated],
    best: Evaluated | None,
    baselines: Mapping[str, Evaluated | None],
) -> dict[str, Any] | None:
    """Say what ``summary.json`` holds under ``confirmed``; null when nothing was retrained.

    Parameters
    ----------
    run, evaluated
        The run and its complete trials.
    best
        The winner of the search, whose verdict is given.
    baselines
        By recipe.

    Returns
    -------
    ``trials`` holds an entry for each retrained trial (see `_entry`). ``best`` is the id of the one
    with the highest mean fair metric on validation, of equals with the smaller mean gap: baselines
    count as well, so that a search that found nothing says so. ``holds`` is whether the winner's
    mean fair metric is above that of every other baseline, on test and on validation, whose faces
    are new ones with folds; null when that is not known. ``sentence`` says it in words.
    """
    confirmed = {one.trial.id: one for one in read_confirmed(run, evaluated)}
    if not confirmed or best is None:
        return None
    plain = baselines.get("plain")
    against = confirmed.get(plain.id) if plain else None
    fair_lambda = run.config.fair_lambda
    entries = {name: _entry(one, against, fair_lambda) for name, one in confirmed.items()}

    def rank(name: str) -> tuple[float, float, str]:
        return -confirmed[name].mean("val", "fair"), confirmed[name].mean("val", "gap"), name

    rivals = {
        recipe: entries[one.id]
        for recipe, one in baselines.items()
        if one and one.id in entries and one.id != best.id
    }
    holds, sentence = _verdict(best.id, entries, rivals)
    return {
        "trials": entries,
        "best": min(confirmed, key=rank),
        "holds": holds,
        "sentence": sentence,
    }


def _entry(one: Confirmed, plain: Confirmed | None, fair_lambda: float) -> dict[str, Any]:
    """Say all about one trial's retrainings: mean and standard deviation of every metric.

    ``sd`` is that of one retraining, null when there is only one; ``fair_ci95`` is that of the mean
    fair metric on test. ``change_vs_plain`` compares the retrainings of the same seeds and folds.
    """
    correct, women = _correct(one, list(one.retrainings)), _women(one)
    accuracies = resample(correct, women)
    return {
        "trial_id": one.trial.id,
        "recipe": one.trial.result.recipe,
        "params": dict(one.trial.params),
        "retrainings": [{"seed": seed, "fold": fold} for seed, fold in one.retrainings],
        **{
            split: {name: _mean_and_sd(one.values(split, name)) for name in METRICS}
            for split in EVALUATED
        },
        "fair_ci95": interval(fair_of(accuracies[0], accuracies[1], fair_lambda)),
        "change_vs_plain": _change(one, plain, fair_lambda) if plain else None,
    }


def _mean_and_sd(values: NDArray[np.float64]) -> dict[str, float | None]:
    sd = float(values.std(ddof=1)) if values.size > 1 else None
    return {"mean": float(values.mean()), "sd": sd}


def _correct(one: Confirmed, which: Sequence[tuple[int, int | None]]) -> NDArray[np.bool_]:
    return np.array(
        [
            again.judged["fixed"].predicted["test"] == again.rows["test"].label
            for again in (one.retrainings[key] for key in which)
        ]
    )


def _women(one: Confirmed) -> NDArray[np.bool_]:
    women: NDArray[np.bool_] = one.trial.rows["test"].gender == WOMAN
    return women


def _change(one: Confirmed, plain: Confirmed, fair_lambda: float) -> dict[str, Any] | None:
    """Compare on the same faces; the mean of the differences of like with like."""
    shared = [key for key in one.retrainings if key in plain.retrainings]
    if not shared:
        return None
    both = np.concatenate([_correct(one, shared), _correct(plain, shared)])
    accuracies = resample(both, _women(one))
    now, then = (accuracies[..., part] for part in (slice(len(shared)), slice(len(shared), None)))
    by_women, by_men = now - then
    fair = fair_of(now[0], now[1], fair_lambda) - fair_of(then[0], then[1], fair_lambda)
    women_then, men_then = then[:, 0].mean(axis=1)
    of_better = by_women if women_then > men_then else by_men
    return {
        "acc_women": float(by_women[0].mean()),
        "acc_women_ci95": interval(by_women),
        "acc_men": float(by_men[0].mean()),
        "acc_men_ci95": interval(by_men),
        "fair": float(fair[0].mean()),
        "fair_ci95": interval(fair),
        "levelled_down": bool(fair[0].mean() > 0 and of_better[0].mean() < 0),
    }


def resample(
    correct: NDArray[np.bool_], women: NDArray[np.bool_], draws: int = 2000, seed: int = 0
) -> NDArray[np.float64]:
    """Resample faces within each gender, the same faces for all trainings.

    Parameters
    ----------
    correct
        Shape (trainings, n): which faces each got right.
    women
        Shape (n,).

    Returns
    -------
    Accuracies of women and of men, shape (2, 1 + draws, trainings): as they are, then resampled.
    """
    rng = np.random.default_rng(seed)
    accuracies = []
    for rows in (women, ~women):
        # Faces that the same trainings got right are alike: draw how many there are of each kind.
        packed = np.packbits(correct[:, rows], axis=0)
        kinds, counts = np.unique(packed, axis=1, return_counts=True)
        right = np.unpackbits(kinds, axis=0, count=len(correct)).astype(np.float64)
        n = counts.sum()
        drawn = np.vstack([counts, rng.multinomial(n, counts / n, size=draws)])
        accuracies.append(drawn @ right.T / n)
    return np.array(accuracies)


def interval(values: NDArray[np.float64], seed: int = 1) -> list[float]:
    """Give the 95% interval of the mean over trainings, for other faces and other seeds.

    Parameters
    ----------
    values
        Shape (1 + draws, trainings): as they are, then on resampled faces.

    Notes
    -----
    The faces' part is the bootstrap's, the seeds' part is Student's t: the mean of k seeds is off
    by t(k - 1) * sd / sqrt(k). Resampling the seeds as well would be too sure where they are few:
    of 3 there are only 10 different resamples, and their spread is sqrt(2 / 3) of the true one.
    With one training only the faces are accounted for.
    """
    means, k = values[1:].mean(axis=1), values.shape[1]
    if k > 1:
        rng = np.random.default_rng(seed)
        spread = rng.standard_t(k - 1, size=(SPREADS, means.size))
        means = means + spread * values[0].std(ddof=1) / np.sqrt(k)
    low, high = np.percentile(means, (2.5, 97.5))
    return [float(low), float(high)]


def _verdict(
    winner: str, entries: Mapping[str, Mapping[str, Any]], rivals: Mapping[str, Mapping[str, Any]]
) -> tuple[bool | None, str]:
    if winner not in entries:
        return None, f"{winner} was not retrained, so it is not known whether it holds."
    entry = entries[winner]
    if not rivals:
        return None, f"No baseline to compare {winner} with was retrained."
    not_below = {
        split: [
            recipe
            for recipe, rival in rivals.items()
            if rival[split]["fair"]["mean"] >= entry[split]["fair"]["mean"]
        ]
        for split in EVALUATED
    }
    holds = not any(not_below.values())
    others = " and ".join(f"{recipe}'s {spread(rival)}" for recipe, rival in rivals.items())
    told = (
        f"{winner} {'holds' if holds else 'does not hold'}: over {count(entry)} its fair metric on "
        f"test is {spread(entry)}, {others}."
    )
    told += _chance(entry["change_vs_plain"] if "plain" in rivals else None)
    if ahead := [f"{recipe}'s {spread(rivals[recipe], 'val')}" for recipe in not_below["val"]]:
        told += f" But on validation it is {spread(entry, 'val')}, {' and '.join(ahead)}."
    return holds, told


def _chance(change: Mapping[str, Any] | None) -> str:
    if change is None:
        return ""
    low, high = change["fair_ci95"]
    chance = "; chance cannot be excluded" if low <= 0 <= high else ""
    return (
        f" Its difference to plain, {change['fair']:+.3f}, has a 95% interval of {low:+.3f} to "
        f"{high:+.3f} over faces and seeds{chance}."
    )


def spread(entry: Mapping[str, Any], split: str = "test", metric: str = "fair") -> str:
    """Write a mean and its standard deviation over retrainings."""
    mean, sd = entry[split][metric]["mean"], entry[split][metric]["sd"]
    return f"{mean:.3f}" if sd is None else f"{mean:.3f} ± {sd:.3f}"


def count(entry: Mapping[str, Any]) -> str:
    """Say how many seeds there are, and folds."""
    seeds, folds = ({one[key] for one in entry["retrainings"]} for key in ("seed", "fold"))
    text = f"{len(seeds)} new seed{'s' if len(seeds) > 1 else ''}"
    if folds == {None}:
        return text
    return f"{text} and {len(folds)} fold{'s' if len(folds) > 1 else ''}"
