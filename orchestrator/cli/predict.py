"""`fairfront predict`: from what is to be labelled to a file of labels."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.base.errors import InputError
from orchestrator.base.files import (
    make_folder,
    parse_uri,
    read_json,
    refuse_existing,
    refuse_unreachable,
    refuse_unwritable,
)
from orchestrator.cli.runs import DONE, in_ray
from orchestrator.run.directory import Run


def predict(arguments: argparse.Namespace) -> int:
    """Label images with a trained network."""
    run, out = Run.open(arguments.target), parse_uri(arguments.out)
    refuse_unreachable(out)
    refuse_existing(out, "a file")
    if isinstance(out, Path):
        make_folder(out.parent)
        refuse_unwritable(out.parent)
    # Which bring Ray and torch.
    from orchestrator.data.to_label import open_to_label
    from orchestrator.distributed.predict import predict as predict_images
    from orchestrator.distributed.predict import refuse_unread, write_predictions

    trial_id = trial_of(run, arguments)
    threshold, at = threshold_of(run, trial_id, arguments.threshold)
    spec = arguments.table or arguments.images
    if spec is None:
        raise InputError("--images is missing; say what to label")
    images = arguments.images if arguments.table else None
    keep, split = arguments.keep_columns, arguments.split
    found = open_to_label(spec, images, arguments.column, split, keep=keep)
    for note in found.notes:
        print(note, flush=True)
    model = run.trial(trial_id).path / "model.safetensors"
    with in_ray(quiet=arguments.quiet):
        predicted = predict_images(model, found.images, threshold, found.store)
    refuse_unread(predicted, spec)
    dropped = write_predictions(predicted, out, proba=arguments.proba, kept=found.kept)
    done = len(predicted) - dropped
    print(f"{done:,} image{'s' * (done != 1)} labelled by trial {trial_id}{at}: {out}")
    if dropped:
        print(f"{dropped:,} could not be read: {out.with_suffix('.dropped.csv')}", file=sys.stderr)
    return DONE


def trial_of(run: Run, arguments: argparse.Namespace) -> str:
    """Return the id of the trial that is asked for."""
    asked: str = arguments.trial
    if asked == "best":
        return _recommended(read_json(run.path / "summary.json"), arguments.target)
    complete = [trial.id for trial in run.complete()]
    if asked not in complete:
        known = ", ".join(complete) or "none"
        raise InputError(f"--trial {asked}: not a complete trial of this run; there is {known}")
    return asked


def _recommended(summary: Mapping[str, Any], target: str) -> str:
    """Return the trial that the verdict says to use; say which where the search had another."""
    if summary["best"] is None:
        raise InputError(f"{target}: no trial of this run is complete")
    # A summary of before there were verdicts has none, nor a search's best beside the best.
    use = str(summary.get("verdict", {}).get("trial_id") or summary["best"]["trial_id"])
    searched = str(summary.get("searched_best") or use)
    if searched != use:
        print(
            f"{searched}, the best of the search, was not the best where it was trained again; "
            f"{use} labels instead (--trial {searched} for the other)",
            flush=True,
        )
    return use


def threshold_of(run: Run, trial_id: str, kind: str) -> tuple[float, str]:
    """Return the threshold on the probability, and how to speak of it."""
    from orchestrator.judging.judge import evaluate_trial
    from orchestrator.judging.thresholds import FIXED

    if kind == "fixed":
        return FIXED.women, ""
    evaluated = evaluate_trial(run.trial(trial_id), run.config.fair_lambda)
    threshold = evaluated.judged["shared"].thresholds.women
    return threshold, f" at threshold {threshold:.4g}" if threshold != FIXED.women else ""
