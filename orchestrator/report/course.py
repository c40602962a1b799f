"""How a search went: what it had reached after so many trials, what it stopped, what mattered."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from orchestrator.base.files import read_text
from orchestrator.judging.frontier import hypervolume
from orchestrator.judging.judge import Evaluated
from orchestrator.run.trial import Trial

ENOUGH = 12
"""Complete trials from which the importance of a parameter can be guessed."""


def course(
    ended: Sequence[Trial], evaluated: Sequence[Evaluated], reference: tuple[float, float]
) -> dict[str, list[Any]]:
    """Say what had been reached as each trial ended, on validation at threshold 0.5.

    Parameters
    ----------
    ended
        All that ended, however they did.
    evaluated
        The complete ones.
    reference
        That of the hypervolume.

    Returns
    -------
    ``trial_ids`` in the order of ending; and of each, ``hours`` of training so far, all trials
    added up; ``fair``, the best so far, null before there is one; and ``hypervolume``.
    """
    judged = {one.id: one.judged["fixed"].val for one in evaluated}
    found: dict[str, list[Any]] = {"trial_ids": [], "hours": [], "fair": [], "hypervolume": []}
    accuracies: list[float] = []
    gaps: list[float] = []
    hours, best, area = 0.0, None, 0.0
    for trial in sorted(ended, key=_when):
        hours += trial.result.seconds / 3600
        if (val := judged.get(trial.id)) is not None:
            accuracies.append(val.mean_accuracy)
            gaps.append(val.gap)
            best = val.fair if best is None else max(best, val.fair)
            area = hypervolume(accuracies, gaps, reference)
        for name, value in zip(found, (trial.id, hours, best, area), strict=True):
            found[name].append(value)
    return found


def _when(trial: Trial) -> tuple[float, str]:
    """Return when a trial ended: its files' own times would not outlast a copy."""
    try:
        last = read_text(trial.path / "starts.txt").split()[-1]
        return datetime.fromisoformat(last).timestamp() + trial.result.seconds, trial.id
    except (FileNotFoundError, IndexError, ValueError):
        return 0.0, trial.id


def stopped_at(ended: Sequence[Trial]) -> dict[int, int]:
    """Count the trials that were stopped, by the epochs that they had trained."""
    counts = Counter(trial.result.epochs for trial in ended if trial.result.state == "pruned")
    return dict(sorted(counts.items()))


def importances(evaluated: Sequence[Evaluated]) -> dict[str, float] | None:
    """Say how much of what sets good trials apart lies with each parameter; None of too few.

    The shares add up to 1, and are of the fair metric on validation: Optuna's PED-ANOVA (Watanabe
    et al., PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in Arbitrary Subspaces,
    IJCAI 2023), over the values that were tried.
    """
    searched = [one for one in evaluated if one.params]
    common = set.intersection(*(set(one.params) for one in searched)) if searched else set()
    varied = sorted(name for name in common if len({str(one.params[name]) for one in searched}) > 1)
    if len(searched) < ENOUGH or not varied:
        return None
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    ranges = {name: _range([one.params[name] for one in searched]) for name in varied}
    study = optuna.create_study(direction="maximize")
    study.add_trials(
        [
            optuna.create_trial(
                value=one.judged["fixed"].val.fair,
                params={name: one.params[name] for name in varied},
                distributions=ranges,
            )
            for one in searched
        ]
    )
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    found: Mapping[str, float] = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: float(share) for name, share in found.items()}


def axes(evaluated: Sequence[Evaluated], importances: Mapping[str, float]) -> list[dict[str, Any]]:
    """Say along what the parameters that varied are drawn, the most important first.

    Returns
    -------
    Of each its ``name``; ``values``, where they are no numbers to be ordered by, else null; and
    whether it is drawn on a logarithmic scale, ``log``.
    """
    tried: dict[str, list[Any]] = {}
    for one in evaluated:
        for name, value in one.params.items():
            tried.setdefault(name, []).append(value)
    varied = [name for name, values in tried.items() if len({*map(str, values)}) > 1]
    order = sorted(varied, key=lambda name: (-importances.get(name, 0.0), name))
    return [
        {"name": name, "values": _choices(tried[name]), "log": _is_wide(tried[name])}
        for name in order
    ]


def _choices(values: Sequence[Any]) -> list[Any] | None:
    """Return the values in order, where some are no numbers."""
    if any(isinstance(value, (bool, str)) or value is None for value in values):
        return sorted(set(values), key=str)
    return None


def _is_wide(values: Sequence[Any]) -> bool:
    """Tell whether values are numbers of several orders of magnitude."""
    if _choices(values) is not None or min(values) <= 0:
        return False
    return bool(np.log10(max(values) / min(values)) > 1.5)


def _range(values: Sequence[Any]) -> Any:
    """Return the range that values of a parameter fill; on a logarithmic scale if they are wide."""
    from optuna import distributions

    if (choices := _choices(values)) is not None:
        return distributions.CategoricalDistribution(choices)
    low, high, log = min(values), max(values), _is_wide(values)
    if all(isinstance(value, int) for value in values):
        return distributions.IntDistribution(low, high, log=log)
    return distributions.FloatDistribution(float(low), float(high), log=log)
