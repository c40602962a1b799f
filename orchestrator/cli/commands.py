"""What each command does, from its parsed arguments to its exit code."""

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from orchestrator.base.files import (
    parse_uri,
    refuse_existing,
    refuse_unreachable,
)
from orchestrator.base.interrupts import INTERRUPTED
from orchestrator.cli.arguments import open_data, prepare_options
from orchestrator.cli.evaluate import drift, evaluate
from orchestrator.cli.explain import explain
from orchestrator.cli.export import export
from orchestrator.cli.many_runs import compare, note, runs, tag
from orchestrator.cli.parser import build, parse
from orchestrator.cli.predict import predict
from orchestrator.cli.push import push
from orchestrator.cli.runs import DONE, finish, in_ray, sweep, train
from orchestrator.cli.serve import serve
from orchestrator.cli.track import track
from orchestrator.data.splits import describe_counts
from orchestrator.data.store.store import DROPPED
from orchestrator.run.directory import Run

if TYPE_CHECKING:
    from orchestrator.data.prepare.rows import Options
    from orchestrator.data.sources.source import Source
    from orchestrator.data.store.store import Store


def prepare(arguments: argparse.Namespace) -> int:
    """Decode, split and store the faces of a source."""
    source, options = _source(arguments)
    if arguments.dry_run:
        return _rehearse(arguments, source, options)
    try:
        store = _prepare(arguments, source, options)
    except KeyboardInterrupt:
        print("fairfront: interrupted; the same command goes on where it was", file=sys.stderr)
        return INTERRUPTED
    print(_describe(store))
    return DONE


def report(arguments: argparse.Namespace) -> int:
    """Write a run's tables, plot and report anew."""
    return finish(
        Run.open(arguments.target),
        as_json=arguments.json,
        faces=not arguments.no_faces,
        all_test=arguments.all_test,
    )


def inspect(arguments: argparse.Namespace) -> int:
    """Show what is in a data set."""
    from orchestrator.data.inspect.inspection import figures
    from orchestrator.data.inspect.inspection import inspect as inspect_store

    store = open_data(arguments.target)
    if arguments.suspects:
        from orchestrator.cli.suspects import list_suspects

        return list_suspects(store, arguments, sys.stdout)
    if arguments.json:
        print(json.dumps(figures(store), indent=2))
        return DONE
    inspect_store(store, sys.stdout, parse_uri(arguments.sheet) if arguments.sheet else None)
    return DONE


def search_spaces(arguments: argparse.Namespace) -> int:
    """List the search spaces, or show one."""
    from orchestrator.cli.search_spaces import list_spaces, show_space

    if arguments.shown is None:
        list_spaces(sys.stdout, as_json=arguments.json)
    else:
        show_space(arguments.shown, sys.stdout, as_json=arguments.json)
    return DONE


def config(arguments: argparse.Namespace) -> int:
    """Show a configuration, or list the recipes."""
    from orchestrator.cli.configuration import list_recipes, show

    if arguments.action == "recipes":
        list_recipes(sys.stdout)
    else:
        show(arguments, sys.stdout)
    return DONE


def completion(arguments: argparse.Namespace) -> int:
    """Print what a shell completes words with."""
    import shtab

    print(shtab.complete(build()[0], shell=arguments.shell))
    return DONE


def show_help(_arguments: argparse.Namespace) -> int:
    """Say which commands there are."""
    build()[0].print_help()
    return DONE


def watch(arguments: argparse.Namespace) -> int:
    """Show the progress of a run, perhaps another process's."""
    from orchestrator.cli.display import watch as watch_run
    from orchestrator.cli.glance import glance

    show = glance if arguments.once else watch_run
    return show(Run.open(arguments.target), sys.stdout)


def dashboard(arguments: argparse.Namespace) -> int:
    """Open Optuna Dashboard and TensorBoard on a run."""
    from orchestrator.cli.dashboard import dashboard as open_dashboard

    return open_dashboard(
        Run.open(arguments.target),
        host=arguments.host,
        port=arguments.port,
        storage=arguments.study_storage,
        out=sys.stdout,
    )


def submit(arguments: argparse.Namespace) -> int:
    """Run a command on a Ray cluster."""
    from orchestrator.cli.submit import submit as submit_command

    return submit_command(arguments, sys.stdout)


def list_jobs(arguments: argparse.Namespace) -> int:
    """List the jobs of a Ray cluster."""
    from cluster import jobs

    return jobs.jobs(arguments.address, sys.stdout, as_json=arguments.json)


def logs(arguments: argparse.Namespace) -> int:
    """Print a job's log."""
    from cluster import jobs

    return jobs.logs(arguments.job, arguments.address, follow=arguments.follow, out=sys.stdout)


def stop(arguments: argparse.Namespace) -> int:
    """Stop a job."""
    from cluster import jobs

    return jobs.stop(arguments.job, arguments.address, sys.stdout)


def cluster(arguments: argparse.Namespace) -> int:
    """Write a launcher's files, or start or end a cluster on this machine."""
    from orchestrator.cli.cluster_command import ACTIONS

    ACTIONS[arguments.action](arguments, sys.stdout)
    return DONE


def demo(arguments: argparse.Namespace) -> int:
    """Do the main job on synthetic faces."""
    out = parse_uri(arguments.out)
    refuse_existing(out, "a folder")
    data, run_path = (f"{arguments.out.rstrip('/')}/{name}" for name in ("data", "run"))
    source = f"synthetic:{arguments.faces}"
    begun = time.monotonic()
    for words in (
        ["prepare", source, "--out", data, "--split-by", "identity"],
        [
            *("sweep", "--data", data, "--out", run_path),
            *("--trials", str(arguments.trials), "--epochs", str(arguments.epochs)),
            *("--finalists", "2", "--set", "sweep.confirm_folds=2"),
        ],
    ):
        print("$ fairfront " + " ".join(words), flush=True)
        step = parse([*words, *["--quiet"] * arguments.quiet])
        code = COMMANDS[step.command_name](step)
        if code != DONE:
            return code
    print(f"The demo took {time.monotonic() - begun:.0f} s.")
    return DONE


def doctor(arguments: argparse.Namespace) -> int:
    """Check this machine."""
    from orchestrator.cli.doctor import doctor as examine

    return examine(sys.stdout, as_json=arguments.json)


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "prepare": prepare,
    "train": train,
    "sweep": sweep,
    "search_spaces": search_spaces,
    "config": config,
    "report": report,
    "runs": runs,
    "compare": compare,
    "tag": tag,
    "note": note,
    "track": track,
    "predict": predict,
    "evaluate": evaluate,
    "drift": drift,
    "explain": explain,
    "export": export,
    "push": push,
    "serve": serve,
    "inspect": inspect,
    "watch": watch,
    "dashboard": dashboard,
    "submit": submit,
    "jobs": list_jobs,
    "logs": logs,
    "stop": stop,
    "cluster": cluster,
    "demo": demo,
    "doctor": doctor,
    "completion": completion,
    "help": show_help,
}


def _source(arguments: argparse.Namespace) -> "tuple[Source, Options]":
    """Open the faces that `prepare` is to decode, and say what was understood."""
    from orchestrator.data.prepare.prepare import refuse_taken
    from orchestrator.data.sources.registry import open_source
    from orchestrator.data.sources.source import refuse_absent

    options = prepare_options(arguments)
    options.check()
    refuse_unreachable(parse_uri(arguments.out))
    refuse_taken(parse_uri(arguments.out))
    source = open_source(
        arguments.source,
        images=arguments.images,
        label=arguments.label,
        group=arguments.group,
        columns=arguments.column,
        layout=arguments.layout,
        seed=arguments.seed,
        missing=arguments.missing,
    )
    refuse_absent(source, arguments.source)
    for line in source.notes:
        print(line, flush=True)
    return source, options


def _prepare(arguments: argparse.Namespace, source: "Source", options: "Options") -> "Store":
    from orchestrator.data.prepare.prepare import prepare as prepare_store

    with in_ray(quiet=arguments.quiet) as screen, screen.count_rows("preparing") as show:
        return prepare_store(source, arguments.out, options, show)


def _rehearse(arguments: argparse.Namespace, source: "Source", options: "Options") -> int:
    from orchestrator.data.prepare.dry_run import rehearse

    print("\n".join(rehearse(source, arguments.out, options)))
    return DONE


def _describe(store: "Store") -> str:
    """Say what `prepare` made."""
    meta = store.meta
    lines = [f"{store.path}: {meta.rows:,} faces of {meta.image_size}x{meta.image_size}"]
    lines += [f"  {split:5} {describe_counts(meta.strata(split))}" for split in meta.counts]
    if meta.dropped:
        lines.append(f"  {meta.dropped:,} dropped, listed in {store.path / DROPPED}")
    lines += meta.empty_strata()
    return "\n".join(lines)
