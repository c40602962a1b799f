"""A sweep's study and searcher, without training: the tests finish its trials themselves."""

import numpy as np
from fakes import FakeTrial, _faces, _write_trial, make_run

from orchestrator.config.layers import resolve
from orchestrator.search.searcher import StudyTrials
from orchestrator.search.study import open_study
from search_spaces import get

SPACE = get("focal_gender")


def config(*settings):
    return resolve(settings=["sweep.trials=6", *settings])


def begin(folder, *settings, trials=()):
    return make_run(folder, list(trials), rows=40, config=config(*settings))


def session(run, url=None, say=lambda _: None):
    study = open_study(run, run.config, SPACE, url, say)
    return StudyTrials(study, SPACE, run.config, run, "here")


def finish(run, searching, tune_id, state="complete", **more):
    """Leave the files of a trial that ended, and say that it did."""
    trial = searching.assignments[tune_id]
    about = {"state": state, "reason": "why", "recipe": trial.config.recipe, **more}
    fake = FakeTrial(trial.trial.id, params=dict(trial.params), **about)
    write(run, fake, trial.config)
    searching.on_trial_complete(tune_id, error=state == "failed")


def write(run, fake, config=None):
    rng = np.random.default_rng(0)
    faces = _faces(40, rng)
    difficulty, noise = rng.standard_normal(len(faces)), np.random.default_rng(1)
    _write_trial(run.trial(fake.id), fake, faces, difficulty, noise, config or run.config)


def states(searching):
    return [trial.state.name for trial in searching._study.get_trials(deepcopy=False)]
