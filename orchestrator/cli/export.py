"""`fairfront export`: a trained network that is of use without fairfront."""

import argparse
from pathlib import Path

from orchestrator.base.errors import InputError
from orchestrator.base.files import parse_uri
from orchestrator.cli.predict import thresholds_of, trial_of
from orchestrator.cli.runs import DONE
from orchestrator.run.directory import Run


def export(arguments: argparse.Namespace) -> int:
    """Write a trial's network in formats that other programs read."""
    run, out = Run.open(arguments.target), parse_uri(arguments.out)
    if not isinstance(out, Path):
        raise InputError(f"--out {out}: export writes to a folder of this machine")
    trial_id = trial_of(run, arguments)
    threshold = thresholds_of(run, trial_id, arguments.threshold)[0].women
    from orchestrator.deploy.export import export as write

    about = write(run, trial_id, arguments.format or ["onnx"], out, threshold)
    if about.get("checks") == {}:
        print(f"onnx: not checked, since {run.data['path']} is not here, or is another now")
    for name, found in about.get("checks", {}).items():
        print(
            f"{name}: of {found['faces']:,} test faces the probabilities differ from torch's by at "
            f"most {found['largest_difference']:.1g}, and {found['labels_changed']:,} labels from "
            f"the run's; accuracy of women {found['file']['acc_women']:.4f} (the run's "
            f"{found['run']['acc_women']:.4f}), of men {found['file']['acc_men']:.4f} "
            f"({found['run']['acc_men']:.4f})"
        )
    print(f"trial {trial_id} as {', '.join(about['formats'])}: {out}; README.md says how to use it")
    return DONE
