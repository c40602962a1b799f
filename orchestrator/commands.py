"""What each command does, from its parsed arguments to its exit code."""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from orchestrator.arguments import (
    about,
    begin,
    check_model,
    configure,
    fractions,
    open_data,
    resume,
)
from orchestrator.config import Config
from orchestrator.errors import InputError
from orchestrator.files import place, read_json, refuse_existing, remove_tree
from orchestrator.interrupts import sigterm_interrupts
from orchestrator.runs import Run
from orchestrator.tables import describe_draw, describe_store, print_summary

if TYPE_CHECKING:
    from orchestrator.store import Store
    from orchestrator.trainer import SharedData

DONE, FAILED = 0, 1


def prepare(arguments: argparse.Namespace) -> int:
    """Decode, split and store the faces of a source."""
    try:
        store = _prepare(arguments)
    except KeyboardInterrupt:
        print("fairfront: interrupted; the same command goes on where it was", file=sys.stderr)
        return FAILED
    print(describe_store(store))
    return DONE


def train(arguments: argparse.Namespace) -> int:
    """Train one network."""
    from orchestrator import progress
    from orchestrator.display import Display
    from orchestrator.trainer import check_workers, following, train_on_workers
    from orchestrator.trial import Assignment

    config = configure(arguments, arguments.recipe)
    store = open_data(arguments.data)
    check_model(config, store)
    run = Run.create(arguments.out, config, about(store))
    assignment = Assignment(run.trial(config.recipe), config, {})
    with _unless_refused(run), _ray(run, workers=2) as terminal:
        check_workers(config)
        shared = _share(store, config, terminal)
        print(describe_draw(config.balance, shared.counts), file=terminal)
        begun = progress.begin(run, "train", 1, config.train.epochs, time.time())
        with Display(run, terminal, begun) as display, following(assignment, display):
            train_on_workers(assignment, shared.splits)
    return _finish(run)


def sweep(arguments: argparse.Namespace) -> int:
    """Search for the front, or go on with a search."""
    from orchestrator.display import how_to_resume
    from orchestrator.trainer import check_workers

    run, config, store = resume(arguments) if arguments.resume else begin(arguments)
    with _unless_refused(run), _ray(run, config.workers) as terminal:
        check_workers(config)
        done = _sweep(run, config, store, terminal)
    if done:
        return _finish(run)
    if run.complete():
        _finish(run)
    print(f"fairfront: interrupted. {how_to_resume(run, 'sweep')}", file=sys.stderr)
    return FAILED


def report(arguments: argparse.Namespace) -> int:
    """Write a run's tables, plot and report anew."""
    return _finish(Run.open(arguments.target))


def predict(arguments: argparse.Namespace) -> int:
    """Label images with a trained network."""
    from orchestrator.evaluation import THRESHOLD
    from orchestrator.predict import find_images, write_predictions
    from orchestrator.predict import predict as predict_images

    run, out = Run.open(arguments.target), place(arguments.out)
    refuse_existing(out, "a file")
    trial_id, threshold = arguments.trial, THRESHOLD
    if trial_id == "best":
        best = read_json(run.path / "summary.json")["best"]
        if best is None:
            raise InputError(f"{arguments.target}: no trial of this run is complete")
        trial_id, threshold = best["trial_id"], best["threshold"]
    elif trial_id not in [trial.id for trial in run.complete()]:
        known = ", ".join(trial.id for trial in run.complete()) or "none"
        raise InputError(f"--trial {trial_id}: not a complete trial of this run; there is {known}")
    images = find_images(arguments.images)
    with _ray():
        predicted = predict_images(
            run.trial(trial_id).path / "model.safetensors", images, threshold
        )
    dropped = write_predictions(predicted, out, proba=arguments.proba)
    print(f"{len(images) - dropped:,} images labelled by trial {trial_id}: {out}")
    if dropped:
        print(f"{dropped:,} could not be read: {out.with_suffix('.dropped.csv')}", file=sys.stderr)
    return DONE


def inspect(arguments: argparse.Namespace) -> int:
    """Show what is in a data set."""
    from orchestrator.inspection import inspect as inspect_store

    sheet = place(arguments.sheet) if arguments.sheet else None
    inspect_store(open_data(arguments.target), sys.stdout, sheet)
    return DONE


def watch(arguments: argparse.Namespace) -> int:
    """Show the progress of a run, perhaps another process's."""
    from orchestrator.display import watch as watch_run

    return watch_run(Run.open(arguments.target), sys.stdout)


def dashboard(arguments: argparse.Namespace) -> int:
    """Open Optuna Dashboard and TensorBoard on a run."""
    from orchestrator.dashboard import dashboard as open_dashboard

    return open_dashboard(Run.open(arguments.target), port=arguments.port, out=sys.stdout)


def submit(arguments: argparse.Namespace) -> int:
    """Run a command on a Ray cluster."""
    from cluster import jobs

    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    return jobs.submit(command, address=arguments.address, wait=arguments.wait, out=sys.stdout)


def list_jobs(arguments: argparse.Namespace) -> int:
    """List the jobs of a Ray cluster."""
    from cluster import jobs

    return jobs.jobs(arguments.address, sys.stdout)


def logs(arguments: argparse.Namespace) -> int:
    """Print a job's log."""
    from cluster import jobs

    return jobs.logs(arguments.job, arguments.address, follow=arguments.follow, out=sys.stdout)


def stop(arguments: argparse.Namespace) -> int:
    """Stop a job."""
    from cluster import jobs

    return jobs.stop(arguments.job, arguments.address, sys.stdout)


def demo(arguments: argparse.Namespace) -> int:
    """Do the main job on synthetic faces."""
    from orchestrator.cli import parse

    out = place(arguments.out)
    refuse_existing(out, "a folder")
    data, run_path = (str(Path(arguments.out) / name) for name in ("data", "run"))
    source = f"synthetic:{arguments.faces}"
    begun = time.monotonic()
    for words in (
        ["prepare", source, "--out", data, "--split-by", "identity"],
        [
            *("sweep", "--data", data, "--out", run_path),
            *("--trials", str(arguments.trials), "--epochs", str(arguments.epochs)),
        ],
    ):
        print("$ fairfront " + " ".join(words), flush=True)
        step = parse(words)
        code = COMMANDS[step.command_name](step)
        if code != DONE:
            return code
    print(f"The demo took {time.monotonic() - begun:.0f} s.")
    return DONE


def doctor(_arguments: argparse.Namespace) -> int:
    """Check this machine."""
    from orchestrator.doctor import doctor as examine

    return examine(sys.stdout)


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "prepare": prepare,
    "train": train,
    "sweep": sweep,
    "report": report,
    "predict": predict,
    "inspect": inspect,
    "watch": watch,
    "dashboard": dashboard,
    "submit": submit,
    "jobs": list_jobs,
    "logs": logs,
    "stop": stop,
    "demo": demo,
    "doctor": doctor,
}


def _prepare(arguments: argparse.Namespace) -> "Store":
    from orchestrator.display import rows_progress
    from orchestrator.prepare import Options, refuse_taken
    from orchestrator.prepare import prepare as prepare_store
    from orchestrator.sources import open_source

    options = Options(
        image_size=arguments.image_size,
        fractions=fractions(arguments.split),
        split_by=arguments.split_by,
        seed=arguments.seed,
        limit=arguments.limit,
        max_bad=arguments.max_bad,
    )
    options.check()
    refuse_taken(place(arguments.out))
    source = open_source(
        arguments.source,
        images=arguments.images,
        label=arguments.label,
        group=arguments.group,
        seed=arguments.seed,
    )
    with _ray() as terminal, rows_progress(terminal, "preparing") as show:
        return prepare_store(source, arguments.out, options, show)


def _sweep(run: Run, config: Config, store: "Store", terminal: TextIO) -> bool:
    """Run the trials that are left; return False when Ctrl-C ended it before all were done."""
    from orchestrator import progress
    from orchestrator.display import Display
    from orchestrator.sweep import sweep as run_trials
    from search_spaces import get

    try:
        shared = _share(store, config, terminal)
        begun = progress.begin(run, "sweep", config.sweep.trials, config.train.epochs, time.time())
        with Display(run, terminal, begun) as display:
            return run_trials(run, config, get(config.sweep.space), shared.splits, display)
    except KeyboardInterrupt:  # before or after the trials; the sweep itself ends on it in peace
        return False


def _finish(run: Run) -> int:
    """Write the report, print its short table, and say where it lies."""
    from orchestrator.report import write_report

    summary = write_report(run)
    print_summary(summary, sys.stdout)
    print(f"Report: {run.path / 'report.html'}")
    if summary["best"] is None:
        print(f"fairfront: no trial finished; {run.path / 'trials.csv'} says why", file=sys.stderr)
        return FAILED
    return DONE


@contextmanager
def _unless_refused(run: Run) -> Iterator[None]:
    """Leave no run behind that was refused before it had a trial."""
    try:
        yield
    except InputError:
        if not any(run.trials_path.iterdir()):
            remove_tree(run.path)
        raise


@contextmanager
def _ray(run: Run | None = None, workers: int = 1) -> Iterator[TextIO]:
    """Start Ray, or join the cluster, with its output in log files; gives the terminal."""
    from orchestrator.raysession import quiet, session

    if os.environ.get("RAY_ADDRESS", "").startswith("http"):
        raise InputError(
            "RAY_ADDRESS is a dashboard's: use it as `fairfront submit --address URL -- COMMAND`, "
            "or unset it to run on this machine"
        )
    with sigterm_interrupts(), tempfile.TemporaryDirectory(prefix="fairfront-") as folder:
        logs = run.logs_path if run else Path(folder)
        # Ray Train asks the dashboard's process what became of its workers.
        with quiet(logs / "ray.log") as terminal, session(log_dir=logs, dashboard=workers > 1):
            yield terminal


def _share(store: "Store", config: Config, terminal: TextIO) -> "SharedData":
    """Make the data ready for the trials, and say where its pixels are kept."""
    from orchestrator.trainer import share

    shared = share(store, config.data)
    print(shared.placement, file=terminal)
    return shared
