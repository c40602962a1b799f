"""`fairfront predict`: from what is to be labelled to a file of labels."""

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.base.errors import InputError
from orchestrator.base.files import (
    Anywhere,
    make_folder,
    parse_uri,
    read_json,
    refuse_existing,
    refuse_unreachable,
    refuse_unwritable,
    remove_tree,
)
from orchestrator.base.interrupts import INTERRUPTED, sigterm_interrupts
from orchestrator.cli.runs import DONE, FAILED, in_ray
from orchestrator.run.directory import Run
from orchestrator.run.trial import ENSEMBLE

if TYPE_CHECKING:
    from orchestrator.judging.thresholds import Thresholds

LISTED = 3
"""Images that could not be read, which the terminal shows; of more there is a file."""


def predict(arguments: argparse.Namespace) -> int:
    """Label images with a trained network."""
    from orchestrator.data.to_label import open_to_label
    from orchestrator.deploy.labels import Labels
    from orchestrator.deploy.predict import mark_for, task_of
    from orchestrator.deploy.predict import predict as predict_images
    from orchestrator.deploy.unfinished import folder_of, keeping

    run, out = Run.open(arguments.target), parse_uri(arguments.out)
    refuse_unreachable(out)
    if out.exists() and out.is_file():
        remove_tree(folder_of(out))  # a call was killed that had just finished it
    refuse_existing(out, "a file")
    if isinstance(out, Path):
        make_folder(out.parent)
        refuse_unwritable(out.parent)
    trial_id = trial_of(run, arguments)
    by_gender = arguments.threshold == "by-gender"
    thresholds, at = thresholds_of(run, trial_id, arguments.threshold)
    spec = arguments.table or arguments.images
    if spec is None:
        raise InputError("--images is missing; say what to label")
    images = arguments.images if arguments.table else None
    keep, split = arguments.keep_columns, arguments.split
    found = open_to_label(spec, images, arguments.column, split, keep=keep, gender=by_gender)
    for note in found.notes:
        print(note, flush=True)
    task = task_of(run.trial(trial_id).path / "model.safetensors", found.store)
    paths = found.images["path"].tolist()
    try:
        with keeping(out, mark_for(task, folder_of(out), paths)) as kept:
            with labelling(quiet=arguments.quiet) as (on_cluster, show):
                predicted = predict_images(
                    task, paths, kept=kept, on_cluster=on_cluster, on_progress=show
                )
            labels = Labels(found, predicted, trial_id, thresholds)
            labels.refuse_unread(spec)
            labels.write(out, arguments.labels, proba=arguments.proba)
    except KeyboardInterrupt:
        print("fairfront: interrupted; the same command goes on where it was", file=sys.stderr)
        return INTERRUPTED
    unread = labels.unread()
    done = len(paths) - len(unread)
    print(f"{done:,} image{'s' * (done != 1)} labelled by trial {trial_id}{at}: {out}")
    return say_unread(unread, "with no label", out.with_suffix(".unread.csv"))


@contextmanager
def labelling(*, quiet: bool) -> Iterator[tuple[bool, Callable[[int, int], None]]]:
    """Make ready what labels: a Ray cluster where one is asked for, or there are several GPUs.

    Yields
    ------
    tuple
        Whether it is Ray, and what is told how many images are done, and of how many.
    """
    import torch

    if os.environ.get("RAY_ADDRESS") or torch.cuda.device_count() > 1:
        with in_ray(quiet=quiet) as screen, screen.count_rows("labelling") as show:
            yield True, show
        return
    from orchestrator.cli.display import Terminal

    with sigterm_interrupts(), Path(os.devnull).open("w") as nothing:
        screen = Terminal(nothing if quiet else sys.stdout)
        with screen.count_rows("labelling") as show:
            yield False, show


def say_unread(unread: Sequence[tuple[str, str]], what: str, listed: Anywhere | None = None) -> int:
    """List the images that could not be read, each with the reason; return the exit code.

    Parameters
    ----------
    unread
        The images.
    what
        Became of them.
    listed
        A file for all, where they are more than a line has room for.
    """
    if not unread:
        return DONE
    some = ", ".join(f"{name} ({reason})" for name, reason in unread[:LISTED])
    if more := len(unread) > LISTED:
        some += ", …"
    if more and listed is not None:
        from orchestrator.deploy.labels import write_unread

        write_unread(unread, listed)
        some += f"; all are in {listed}"
    print(f"fairfront: {len(unread):,} could not be read, {what}: {some}", file=sys.stderr)
    return FAILED


def trial_of(run: Run, arguments: argparse.Namespace) -> str:
    """Return the id of the trial that is asked for."""
    asked: str = arguments.trial
    if asked == "best":
        return _recommended(read_json(run.path / "summary.json"), arguments.target)
    complete = [trial.id for trial in (*run.complete(), *run.ensembles())]
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
    if searched != use.removesuffix(ENSEMBLE):
        print(
            f"{searched}, the best of the search, was not the best where it was trained again; "
            f"{use} labels instead (--trial {searched} for the other)",
            flush=True,
        )
    return use


def thresholds_of(run: Run, trial_id: str, asked: str) -> tuple["Thresholds", str]:
    """Return the thresholds on the probability, and how to speak of them.

    Parameters
    ----------
    run, trial_id
        The run and its trial.
    asked
        fixed, shared, by-gender or a number, as `threshold_word` has checked.
    """
    from orchestrator.judging.judge import evaluate_trial
    from orchestrator.judging.thresholds import FIXED, Thresholds

    if asked == "fixed":
        return FIXED, ""
    if asked in ("shared", "by-gender"):
        evaluated = evaluate_trial(run.trial(trial_id), run.config.fair_lambda)
        found = evaluated.judged["shared" if asked == "shared" else "by_gender"].thresholds
    else:
        found = Thresholds(float(asked), float(asked))
    if found == FIXED:
        return found, ""
    if asked == "by-gender":
        return found, f" at threshold {found.women:.4g} for women and {found.men:.4g} for men"
    return found, f" at threshold {found.women:.4g}"
