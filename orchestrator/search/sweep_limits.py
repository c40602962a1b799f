"""When a sweep has had enough, before it has all its trials."""

from collections.abc import Sequence

from orchestrator.config.settings import SweepConfig
from orchestrator.judging.frontier import hypervolume
from orchestrator.run.progress import EndedTrial

MOST_REPEATS = 20
"""So many suggestions in a row that were trained already: there is nothing new to suggest."""
EXHAUSTED = f"{MOST_REPEATS} suggestions in a row were settings that other trials have had"


def why_enough(config: SweepConfig, ended: Sequence[EndedTrial]) -> str | None:
    """Say why no more trials should begin; None while they should.

    Parameters
    ----------
    config
        The limits.
    ended
        The trials so far, in the order of ending.
    """
    failed = sum(trial.state == "failed" for trial in ended)
    if config.max_failed is not None and failed >= config.max_failed:
        return f"{failed} trials failed, as many as sweep.max_failed allows"
    epochs = sum(trial.epochs for trial in ended)
    if config.epoch_budget is not None and epochs >= config.epoch_budget:
        return f"epochs trained: {epochs}, and sweep.epoch_budget is {config.epoch_budget}"
    if config.patience is not None and (still := stood_still(ended)) >= config.patience:
        return f"the hypervolume has stood still for {still} trials (sweep.patience)"
    return None


def stood_still(ended: Sequence[EndedTrial]) -> int:
    """Count the trials since the hypervolume of the complete ones last grew."""
    means: list[float] = []
    gaps: list[float] = []
    best, still = 0.0, 0
    for trial in ended:
        still += 1
        if trial.state == "complete" and trial.score:
            means.append(trial.score.mean_accuracy)
            gaps.append(trial.score.gap)
            now = hypervolume(means, gaps)
            if now > best:
                best, still = now, 0
    return still
