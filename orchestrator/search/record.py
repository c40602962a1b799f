"""What a trial's files say of how it ended, in the words of an Optuna study.

The files are the record. A study that lacks trials which have files, since its journal was not
copied with the run or its database is new, is told of them again.
"""

import re
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from orchestrator.config.settings import Config
from orchestrator.judging.fairness import fair_of
from orchestrator.run.directory import Run
from orchestrator.run.progress import BASELINES, EndedTrial
from orchestrator.run.trial import Trial
from orchestrator.search.halving import Direction
from orchestrator.search.space_settings import replayed
from search_spaces import Space

OBJECTIVES: dict[str, dict[str, Direction]] = {
    "fair": {"fair": "maximize"},
    "pareto": {"mean_accuracy": "maximize", "gap": "minimize"},
}
"""What each objective tells the study of a trial's kept epoch, and which way is better."""
LEARN_FROM_COMPLETE = ("gp", "cmaes")
"""Samplers that see nothing of a pruned trial; on a toy problem gp was then worse than random."""
SESSION, WARM, RECIPE, REPEAT = "session", "warm_start", "recipe", "repeat"
"""Attributes of the study's trials: who runs it, whose it was, which baseline it is, and which
trial had its settings already, so that it is none."""
ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


def own(trial: FrozenTrial) -> bool:
    """Tell whether a trial of the study is one of this sweep's, which has begun."""
    return is_numbered(trial) and trial.state != TrialState.WAITING


def is_numbered(trial: FrozenTrial) -> bool:
    """Tell whether a trial of the study has, or will have, a number among the sweep's own."""
    return not {WARM, REPEAT} & trial.user_attrs.keys()


def tell(study: optuna.Study, number: int, trial: Trial, config: Config) -> None:
    """Tell the study how a trial ended, which its files say."""
    state, reached = _ending(trial, config)
    study.tell(number, reached, state=None if reached else state)


def values(trial: Trial, config: Config) -> list[float]:
    """Read what a complete trial reached in each objective: on validation, the epoch it kept.

    The fair metric is that of the sweep, whose weight of the gap may not be that of the run which
    the trial is from.
    """
    score = EndedTrial.of(trial).score
    assert score is not None  # a complete trial has kept an epoch
    known = {
        "fair": fair_of(score.acc_women, score.acc_men, config.fair_lambda),
        "mean_accuracy": score.mean_accuracy,
        "gap": score.gap,
    }
    return [float(known[name]) for name in OBJECTIVES[config.sweep.objective]]


def contradiction(study: optuna.Study, run: Run) -> str | None:
    """Name a trial of which the study tells another thing than its files do; None: there is none.

    Such a study is of another run, or went on without trials, or has lost some in its midst.
    """
    files = _files(run)
    for number, told in enumerate(_numbered(study)):
        asked = told.params if told.state != TrialState.WAITING else {}
        params = _params(files[number]) if number in files else None
        if told.user_attrs.get(RECIPE) != _recipe(number) or (
            asked and params not in (None, asked)
        ):
            return f"t{number:03d}"
    return None


def tell_lost(study: optuna.Study, run: Run, space: Space, config: Config) -> int:
    """Tell the study, in order, of the trials that only their files know of; return how many.

    Those that have not ended wait in its queue, to be gone on with.
    """
    files, first = _files(run), len(_numbered(study))
    lost = range(first, max(files, default=-1) + 1)
    for number in lost:
        trial = files.get(number, run.trial(f"t{number:03d}"))
        recipe = _recipe(number)
        attributes = {} if recipe is None else {RECIPE: recipe}
        if trial.has_ended:
            study.add_trial(_as_told(trial, number, space, config, attributes))
        else:
            asked = _params(trial) or space.points.get(recipe or "", {})
            study.enqueue_trial(asked, user_attrs=attributes)
    return len(lost)


def _ending(trial: Trial, config: Config) -> tuple[TrialState, list[float] | None]:
    """Return the state that the study is told, and the values of a complete trial.

    A baseline outside the space is told as failed: it has no parameters to learn from, and the
    parameters common to all trials, which are what GP, NSGA-II and CMA-ES model, would be none. To
    those that learn from complete trials alone, one that was stopped is told as complete with what
    it had reached.
    """
    state = trial.result.state
    known = state == "complete"
    if config.sweep.sampler in LEARN_FROM_COMPLETE:  # a low value teaches them where not to look
        known = known or (state == "pruned" and trial.result.kept_epoch > 0)
    if known and trial.params:
        return TrialState.COMPLETE, values(trial, config)
    return (TrialState.PRUNED if state == "pruned" else TrialState.FAIL), None


def _as_told(
    trial: Trial, number: int, space: Space, config: Config, attributes: Mapping[str, Any]
) -> FrozenTrial:
    """Make the study's trial of one that ended."""
    ranges = replayed(space, config, trial.params, number) if trial.params else {}
    state, reached = _ending(trial, config)
    if ranges is None:  # the space is another one now, in which the trial teaches nothing
        state, reached, ranges = TrialState.FAIL, None, {}
    return create_trial(
        state=state,
        values=reached,
        params={name: trial.params[name] for name in ranges},
        distributions=ranges,
        user_attrs=dict(attributes),
    )


def _numbered(study: optuna.Study) -> list[FrozenTrial]:
    return [trial for trial in study.get_trials(deepcopy=False) if is_numbered(trial)]


def _recipe(number: int) -> str | None:
    """Return which baseline a trial is."""
    return BASELINES[number] if number < len(BASELINES) else None


def _files(run: Run) -> dict[int, Trial]:
    """Give the trials that have a folder, by their number."""
    found = ((trial, re.fullmatch(r"t(\d{3,})", trial.id)) for trial in run.begun())
    return {int(match[1]): trial for trial, match in found if match}


def _params(trial: Trial) -> dict[str, Any] | None:
    """Return what a trial was asked to try; None where it has not begun."""
    return trial.params if (trial.path / "params.json").exists() else None
