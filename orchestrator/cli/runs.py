"""The commands that make a run, `train` and `sweep`: begun, gone on with, and ended."""

import argparse
import json
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.submission import keep_submission
from orchestrator.base.errors import InputError, StorageError
from orchestrator.base.files import remove_tree
from orchestrator.base.here import copy_out, folder_here
from orchestrator.base.interrupts import INTERRUPTED, sigterm_interrupts
from orchestrator.cli.argparsing import without_secrets
from orchestrator.cli.arguments import begin_sweep, begin_training, resume
from orchestrator.cli.track import Words, destinations_of
from orchestrator.cli.webhook import telling, webhook_of
from orchestrator.data.balance import describe_draw
from orchestrator.report.tables import print_summary
from orchestrator.run.claims import claimed
from orchestrator.run.cost import took
from orchestrator.run.directory import Run, about_data
from orchestrator.run.progress import read
from orchestrator.tracking.following import tracked

if TYPE_CHECKING:
    from orchestrator.cli.display import Terminal
    from orchestrator.data.store.store import Store
    from orchestrator.training.trial import Assignment

DONE, FAILED = 0, 1


def train(arguments: argparse.Namespace) -> int:
    """Train one network, or go on with a training that was interrupted or failed."""
    run, config, store = (
        resume(arguments, "train") if arguments.resume else begin_training(arguments)
    )

    # Here and below: what brings Ray comes after what may be refused.
    from orchestrator.cli.display import how_to_resume
    from orchestrator.distributed.devices import check_workers
    from orchestrator.distributed.faults import MachineError
    from orchestrator.training.loop import TrainingError
    from orchestrator.training.trial import Assignment

    with claimed(run.path) as still_ours:
        if run.complete():
            print(f"{run.path}: this training has finished")
            return finish(run)
        run.record(config, about_data(store), _told(arguments))
        keep_submission(run.path)
        try:
            refused = _unless_refused(run, new=not arguments.resume)
            mended = _with_a_mend(run, "train")
            with mended, refused, in_ray(run, config.workers, quiet=arguments.quiet) as screen:
                check_workers(config, store.meta.image_size, screen.say)
                _train(run, Assignment(run.trial(config.recipe), config, {}), store, screen)
        except KeyboardInterrupt:
            still_ours()
            print(f"fairfront: interrupted. {how_to_resume(run, 'train')}", file=sys.stderr)
            return INTERRUPTED
        except (TrainingError, MachineError) as error:
            print(f"fairfront: {error}", file=sys.stderr)
            return FAILED
        still_ours()
        return finish(run)


def sweep(arguments: argparse.Namespace) -> int:
    """Search for the front, or go on with a search."""
    webhook, trackers = webhook_of(arguments.webhook), destinations_of(arguments.track)
    run, config, store = resume(arguments, "sweep") if arguments.resume else begin_sweep(arguments)

    from orchestrator.cli.display import how_to_resume
    from orchestrator.distributed.devices import check_workers
    from orchestrator.search.sweep import Sweep

    url = arguments.study_storage or os.environ.get("FAIRFRONT_STUDY_STORAGE")
    claim, words = claimed(run.path, jointly=url is not None), Words()
    with claim as still_ours, telling(webhook, run), ExitStack() as told:
        run.record(config, about_data(store), _told(arguments))
        keep_submission(run.path)
        refused = _unless_refused(run, new=not arguments.resume)
        with _with_a_mend(run, "sweep"), refused, words.waiting():
            begun = Sweep.open(run, config, store, url, arguments.warm_start or [])
            with begun, in_ray(run, config.workers, quiet=arguments.quiet) as screen:
                check_workers(config, store.meta.image_size, screen.say)
                with nullcontext() if arguments.quiet else words.on(screen):
                    told.enter_context(tracked(run, trackers, words.say))
                    outcome = begun.go_on(screen)
        still_ours()
        code = finish(run) if outcome.done or run.complete() else FAILED
        code = FAILED if outcome.faulted else code
        _say_what_it_took(run)
    if outcome.why:
        print(f"fairfront: {outcome.why}", file=sys.stderr)
    if not outcome.done:
        print(f"fairfront: interrupted. {how_to_resume(run, 'sweep')}", file=sys.stderr)
    return code if outcome.done else INTERRUPTED


def _told(arguments: argparse.Namespace) -> str:
    """Return the command line, without secrets, as a run keeps it."""
    return shlex.join(["fairfront", *without_secrets(arguments.words)])


def _say_what_it_took(run: Run) -> None:
    now = read(run)
    if now and (taken := took(now.cost, now.seconds(), [one.result for one in run.ended()])):
        print(f"It took {taken}.")


def finish(run: Run, *, as_json: bool = False, faces: bool = True, all_test: bool = False) -> int:
    """Write the report, print its short table, or its summary as JSON, and say where it lies."""
    from orchestrator.report.report import write_report

    summary = write_report(run, faces=faces, all_test=all_test)
    if as_json:
        print(json.dumps({"path": str(run.path / "summary.json"), **summary}, indent=2))
    else:
        print_summary(summary, sys.stdout)
        print(f"Report: {run.path / 'report.html'}")
    if summary["best"] is None:
        print(f"fairfront: no trial finished; {run.path / 'trials.csv'} says why", file=sys.stderr)
        return FAILED
    return DONE


@contextmanager
def in_ray(
    run: Run | None = None, workers: int = 1, *, quiet: bool = False
) -> Iterator["Terminal"]:
    """Start Ray, or join the cluster, with its output in log files.

    Gives the terminal; with `quiet` one that shows nothing.
    """
    from orchestrator.cli.display import Terminal
    from orchestrator.distributed import ray_session

    with sigterm_interrupts(), ExitStack() as stack:
        if run:
            logs = stack.enter_context(folder_here(run.logs_path))
            if logs != run.logs_path:  # an object store gets them as the command ends
                stack.callback(_keep_logs, logs, run)
        else:
            logs = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fairfront-")))
        # Ray Train asks the dashboard's process what became of its workers.
        started = ray_session.session(log_dir=logs, dashboard=workers > 1)
        with ray_session.quiet(logs / "ray.log") as terminal, started:
            shown = stack.enter_context(Path(os.devnull).open("w")) if quiet else terminal
            screen = Terminal(shown)
            if os.environ.get("RAY_ADDRESS"):
                ray_session.wait_for_cpu(screen.say)
            yield screen


def _train(run: Run, assignment: "Assignment", store: "Store", screen: "Terminal") -> None:
    """Train the run's one trial; `TrainingError` where that fails, once it is written down.

    What the machine fails of, `MachineError`, is not: the trial has not ended.
    """
    from orchestrator.cli.follow_trial import following
    from orchestrator.distributed.many_workers import train_on_workers
    from orchestrator.distributed.one_worker import train_alone
    from orchestrator.distributed.sharing import share_data
    from orchestrator.run import progress
    from orchestrator.training.loop import TrainingError
    from orchestrator.training.trial import write_failure

    config = assignment.config
    shared = share_data(store, config, screen)
    screen.say(describe_draw(config.balance, shared.counts))
    for word in store.meta.empty_strata():
        screen.say(word)
    run.begin_anew(assignment.trial)
    begun = progress.begin(run, "train", 1, config.train.epochs, time.time())
    with screen.show(run, begun) as display:
        failure = None
        with following(assignment, display):
            try:
                train = train_on_workers if config.workers > 1 else train_alone
                train(assignment, shared.splits, say=display.say)
            except TrainingError as error:
                write_failure(assignment, str(error))
                failure = error
        if failure:
            raise failure


def _keep_logs(logs: Path, run: Run) -> None:
    """Put the logs of a session into a run that is an object store's."""
    with suppress(OSError):  # that it is out of reach is said elsewhere
        copy_out((path for path in logs.iterdir() if path.is_file()), run.logs_path)


@contextmanager
def _with_a_mend(run: Run, command: str) -> Iterator[None]:
    """Say how to go on after a server that holds the run was away for too long."""
    from orchestrator.cli.display import how_to_resume

    how = how_to_resume(run, command)  # which reads a file: later it could not
    try:
        yield
    except StorageError as error:
        raise StorageError(error.place, f"{error.reason}. {how}") from error


@contextmanager
def _unless_refused(run: Run, *, new: bool) -> Iterator[None]:
    """Leave no new run behind that was refused before it had a trial."""
    try:
        yield
    except InputError:
        if new and not run.begun():
            remove_tree(run.path)
        raise
