"""Taking another sweep's trials into a study, so that its sampler begins with what they say."""

import optuna
from optuna.trial import create_trial

from orchestrator.base.errors import InputError
from orchestrator.base.files import read_json
from orchestrator.config.settings import Config
from orchestrator.run.directory import Run, Trial
from orchestrator.search.record import WARM, values
from orchestrator.search.space_settings import replayed
from search_spaces import Space

WARM_RUNS = "warm_start.json"
"""In a run: which others' trials its study began with."""


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
        The other run was made with other data, or none of its trials lies in the space.
    """
    if other.data["fingerprint"] != run.data["fingerprint"]:
        raise InputError(
            f"--warm-start {other.path}: made with other data ({other.data['path']}), so its "
            "figures say nothing here"
        )
    complete = other.complete()
    taken = [trial for trial in complete if _tell(study, space, config, trial)]
    if not taken:
        raise InputError(
            f"--warm-start {other.path}: none of its {len(complete)} complete trials lies in the "
            f"space {config.sweep.space}; give its --space, or leave it out"
        )
    return f"warm start: {len(taken)} of {len(complete)} trials of {other.path} taken in"


def _tell(study: optuna.Study, space: Space, config: Config, trial: Trial) -> bool:
    """Tell the study of one trial, if it lies in the space."""
    ranges = replayed(space, config, trial.params)
    if ranges is None:
        return False
    study.add_trial(
        create_trial(
            params={name: trial.params[name] for name in ranges},
            distributions=ranges,
            values=values(trial, config),
            user_attrs={WARM: str(trial.path)},
        )
    )
    return True
