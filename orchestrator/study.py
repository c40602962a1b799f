"""The Optuna study of a sweep, and Ray Tune's view of it.

Ray's own `OptunaSearch` is not used: it cannot mark a trial as a baseline, tells trials that a
scheduler stopped as complete, and forgets which trials were running when its process was killed.
Here the study's journal is the one record of what was asked and told.
"""

import warnings
from typing import Any, Literal

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from ray.tune.search import Searcher

from orchestrator.config import Config, with_overrides, with_recipe
from orchestrator.errors import InputError
from orchestrator.progress import BASELINES
from orchestrator.runs import Run
from orchestrator.trial import Assignment
from search_spaces import Space

Direction = Literal["maximize", "minimize"]
OBJECTIVES: dict[str, dict[str, Direction]] = {
    "fair": {"fair": "maximize"},
    "pareto": {"mean_accuracy": "maximize", "gap": "minimize"},
}
"""What each objective tells the study of a trial's kept epoch, and which way is better."""


def open_study(run: Run, config: Config, space: Space) -> optuna.Study:
    """Open the run's study, or make it with the two baselines first in its queue."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    objectives = OBJECTIVES[config.sweep.objective]
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(run.path / "optuna.journal"))),
        study_name="sweep",  # a run may be moved, or renamed
        directions=list(objectives.values()),
        load_if_exists=True,
    )
    # A generator started anew would repeat the suggestions of the first session.
    study.sampler = _sampler(config, told=len(study.trials))
    if not study.trials:
        study.set_metric_names(list(objectives))
        for recipe in BASELINES:
            study.enqueue_trial(space.points.get(recipe, {}), user_attrs={"recipe": recipe})
    return study


def _sampler(config: Config, told: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.TPESampler(
        seed=config.seed + told,
        n_startup_trials=config.sweep.startup_trials,
        multivariate=True,
        group=True,  # alpha and tau exist only in some trials
        constant_liar=True,  # trials that run at the same time must not repeat each other
    )


def check_space(space: Space, config: Config) -> None:
    """Raise `InputError` now, not some trials later, for a space whose settings cannot be."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.RandomSampler(seed=config.seed)
    _suggest(space, config, optuna.create_study(sampler=sampler).ask())


def _suggest(space: Space, config: Config, trial: optuna.Trial) -> Config:
    overrides = space.suggest(trial)
    for key in overrides:
        if key.startswith("data."):
            raise InputError(
                f"--space {config.sweep.space}: it varies {key}, but all trials share one copy of "
                "the data; give such a setting with --set"
            )
    return with_overrides(config, overrides)


class StudySearch(Searcher):
    """Asks the study for trials until the run has as many as it was asked for.

    Trials that were running when an earlier session ended come first, with the parameters and the
    number that they had.
    """

    def __init__(self, study: optuna.Study, space: Space, config: Config, run: Run) -> None:
        super().__init__(metric="fair", mode="max")
        self._study, self._space, self._config, self._run = study, space, config, run
        self._unfinished = _running(study)
        self._asked: dict[str, optuna.Trial] = {}
        self.assignments: dict[str, Assignment] = {}
        """The trials handed out, by Tune's id."""

    @property
    def remaining(self) -> int:
        """How many trials are left to finish."""
        states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
        ended = self._study.get_trials(deepcopy=False, states=states)
        return max(0, self._config.sweep.trials - len(ended))

    def suggest(self, trial_id: str) -> dict[str, Any]:
        """Give Tune the next trial as a plain dict, which `Assignment.unpack` reads."""
        trial = self._unfinished.pop(0) if self._unfinished else self._study.ask()
        assignment = self._assign(trial)
        self._asked[trial_id] = trial
        self.assignments[trial_id] = assignment
        return assignment.pack()

    def _assign(self, trial: optuna.Trial) -> Assignment:
        recipe = trial.user_attrs.get("recipe")
        config = self._config
        if recipe is None or recipe in self._space.points:  # so that the study learns from it too
            config = _suggest(self._space, config, trial)
        if recipe is not None:
            config = with_recipe(config, recipe)
        return Assignment(self._run.trial(f"t{trial.number:03d}"), config, trial.params)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Tell the study nothing yet: only the epoch that is kept counts."""

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell the study the objective of the epoch that was kept, or that the trial failed."""
        trial = self._asked.pop(trial_id)
        if error or not result:
            self._study.tell(trial, state=TrialState.FAIL)
            return
        objectives = OBJECTIVES[self._config.sweep.objective]
        self._study.tell(trial, [result[f"kept/{name}"] for name in objectives])

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: the study's journal has it all."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing: the study's journal has it all."""


def _running(study: optuna.Study) -> list[optuna.Trial]:
    """Give the trials that an earlier session left running, so that they can still be told."""
    frozen = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return [optuna.Trial(study, trial._trial_id) for trial in frozen]
