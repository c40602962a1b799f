"""Taking another sweep's trials into a study, so that its sampler begins with what they say."""

from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FixedTrial, create_trial

from orchestrator.base.errors import InputError
from orchestrator.base.files import read_json
from orchestrator.config.layers import with_recipe
from orchestrator.config.settings import Config
from orchestrator.run.directory import Run
from orchestrator.run.progress import BASELINES
from orchestrator.run.trial import Trial
from orchestrator.search.record import WARM, values
from orchestrator.search.space_settings import replayed, suggested
from search_spaces import Space

WARM_RUNS = "warm_start.json"
"""In a run: which others' trials its study began with."""
MAY_DIFFER: Any = {
    **dict.fromkeys(("recipe", "seed", "fair_lambda"), True),
    **dict.fromkeys(("workers", "min_workers", "resources", "sweep"), True),
    "data": {"residence"},
    "train": {"checkpoint_seconds", "max_failures", "compile", "precision"},
}
"""Settings in which a trial may differ from what this sweep would make of its parameters: they
decide where and how fast it is trained, or nothing but luck."""


def warm_started(run: Run) -> list[str]:
    """Return the runs whose trials a sweep's study began with."""
    file = run.path / WARM_RUNS
    return list(read_json(file)) if file.exists() else []


def warm_start(study: optuna.Study, space: Space, config: Config, run: Run, other: Run) -> str:
    """Tell a new study what the complete trials of another sweep reached.

    They are not trials of this sweep: they are not counted, and never reach its front.

    Parameters
    ----------
    study, space, config, run
        The new sweep's.
    other
        The run whose trials are taken in.

    Returns
    -------
    str
        How many were, for the user.

    Raises
    ------
    InputError
        The other run was made with other data, none of its trials lies in the space, or all that
        do were trained with other settings than this sweep's.
    """
    if other.data["fingerprint"] != run.data["fingerprint"]:
        raise InputError(
            f"--warm-start {other.path}: made with other data ({other.data['path']}), so its "
            "figures say nothing here"
        )
    complete = other.complete()
    ranges = {trial.id: replayed(space, config, trial.params) for trial in complete}
    inside = [trial for trial in complete if ranges[trial.id] is not None]
    if not inside:
        raise InputError(
            f"--warm-start {other.path}: none of its {len(complete)} complete trials lies in the "
            f"space {config.sweep.space}; give its --space, or leave it out"
        )
    differences = {trial.id: _difference(space, config, trial) for trial in inside}
    taken = [trial for trial in inside if differences[trial.id] is None]
    why = next(filter(None, differences.values()), "")
    if not taken:
        raise InputError(
            f"--warm-start {other.path}: its trials were trained otherwise ({why}), so their "
            "figures say nothing here; give the same settings, or leave it out"
        )
    for trial in taken:
        _tell(study, config, trial, ranges[trial.id] or {})
    others = f"; {len(inside) - len(taken)} were trained otherwise ({why})" if why else ""
    return f"warm start: {len(taken)} of {len(complete)} trials of {other.path} taken in{others}"


def _difference(space: Space, config: Config, trial: Trial) -> str | None:
    """Name a setting in which a trial differs from what this sweep makes of its parameters."""
    ours = suggested(space, config, FixedTrial(dict(trial.params)))
    if trial.result.recipe in BASELINES:
        ours = with_recipe(ours, trial.result.recipe)
    here, there = (
        one.model_dump(mode="json", exclude=MAY_DIFFER) for one in (ours, trial.result.config)
    )
    for section, values_here in here.items():
        for name, value in values_here.items():
            if there[section][name] != value:
                return f"{section}.{name} {there[section][name]} instead of {value}"
    return None


def _tell(
    study: optuna.Study, config: Config, trial: Trial, ranges: dict[str, BaseDistribution]
) -> None:
    """Tell the study of one trial."""
    study.add_trial(
        create_trial(
            params={name: trial.params[name] for name in ranges},
            distributions=ranges,
            values=values(trial, config),
            user_attrs={WARM: str(trial.path)},
        )
    )
