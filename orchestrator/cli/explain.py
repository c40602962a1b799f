"""`fairfront explain`: what a trained network goes by in faces."""

import argparse
import os
import sys
from importlib.util import find_spec
from pathlib import Path

from orchestrator.base.errors import InputError
from orchestrator.base.interrupts import INTERRUPTED, sigterm_interrupts
from orchestrator.cli.predict import trial_of
from orchestrator.cli.runs import DONE
from orchestrator.run.directory import Run


def explain(arguments: argparse.Namespace) -> int:
    """Write what a trial goes by in test faces of its data set into the run."""
    run = Run.open(arguments.target)
    trial_id = trial_of(run, arguments)
    if arguments.faces < 1:
        raise InputError(f"--faces {arguments.faces}: give at least 1")
    if (store := run.open_data()) is None:
        raise InputError(
            f"{run.data['path']}: not here, or another data set now; explain asks of its test faces"
        )
    if find_spec("captum") is None:
        raise InputError("explain: needs a package; pip install 'fairfront[explain]'")
    from orchestrator.cli.display import Terminal
    from orchestrator.deploy.explain import explain as ask
    from orchestrator.deploy.explain import keep
    from orchestrator.judging.explanation import sentences
    from orchestrator.training.model_file import load_model

    trained = load_model(run.trial(trial_id).path / "model.safetensors")
    try:
        with sigterm_interrupts(), Path(os.devnull).open("w") as nothing:
            screen = Terminal(nothing if arguments.quiet else sys.stdout)
            with screen.count_rows("explaining") as show:
                found = ask(trained, store, arguments.faces, show)
    except KeyboardInterrupt:
        return INTERRUPTED
    about = keep(run, trial_id, found)
    for sentence in sentences(about):
        print(sentence)
    print(
        f"Maps of trial {trial_id}: {run.explanations_path / trial_id}.png; fairfront report "
        f"{arguments.target} shows them"
    )
    return DONE
