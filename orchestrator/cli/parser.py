"""The commands of the main job and their options; a wrong word raises `InputError`."""

import argparse
import itertools
import sys
from collections.abc import Sequence
from typing import Any

from orchestrator import __version__
from orchestrator.cli.argparsing import Parser, Workers
from orchestrator.cli.cluster_options import add_cluster
from orchestrator.cli.deploy_options import (
    add_column,
    add_drift,
    add_evaluate,
    add_explain,
    add_export,
    add_predict,
    add_push,
    add_serve,
)
from orchestrator.cli.many_runs_options import (
    add_compare,
    add_note,
    add_runs,
    add_tag,
    add_track,
)
from orchestrator.cli.other_options import (
    add_completion,
    add_config,
    add_dashboard,
    add_demo,
    add_doctor,
    add_job_commands,
    add_json,
    add_settings,
    add_shared,
    add_submit,
)

SPELLINGS = {"search_spaces": "search-spaces"}
"""Commands that were spelled otherwise."""


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse a command line; wrong words raise `InputError`."""
    words = list(sys.argv[1:] if argv is None else argv)
    words[:1] = [SPELLINGS.get(word, word) for word in words[:1]]
    parser, commands = build()
    if words and words[0] in commands:
        own = words[1:]
        if words[0] == "submit":  # which takes another command after its own options
            own = list(itertools.takewhile(lambda word: word not in commands, own))
        commands[words[0]].check_options(own)
    return parser.parse_args(words, argparse.Namespace(words=words))


def build() -> tuple[Parser, dict[str, Parser]]:
    """Make the parser, and those of the commands by name."""
    parser = Parser(
        prog="fairfront",
        description="Find the fairness-accuracy front of face-attribute classifiers.",
        epilog="`fairfront COMMAND --help` explains a command, with examples.",
    )
    parser.add_argument("--version", action="version", version=f"fairfront {__version__}")
    parser.set_defaults(command_name="help")
    commands = parser.add_subparsers(metavar="COMMAND", parser_class=Parser)
    for add in (
        _add_prepare,
        _add_inspect,
        _add_train,
        _add_sweep,
        _add_search_spaces,
        add_config,
        _add_report,
        add_runs,
        add_compare,
        add_tag,
        add_note,
        add_track,
        add_predict,
        add_evaluate,
        add_drift,
        add_explain,
        add_export,
        add_push,
        add_serve,
        _add_watch,
        add_dashboard,
        add_submit,
        add_job_commands,
        add_cluster,
        add_demo,
        add_doctor,
        add_completion,
    ):
        add(commands)
    named: dict[str, Parser] = dict(commands.choices)
    add_shared(named)
    return parser, named


def _add_prepare(commands: Any) -> None:
    parser = commands.add_parser("prepare", help="decode, split and store the faces of a source")
    parser.add_argument(
        "source",
        help="a table (.csv, .tsv, .jsonl, .parquet, .arrow); a folder of CelebA, LFW, UTKFace or "
        "Hugging Face; Parquet with the images in it (a file or a folder); or synthetic[:N]",
    )
    parser.add_argument("--out", required=True, metavar="DATA", help="the data set to make")
    parser.add_argument("--image-size", type=int, default=80, help="pixels a side (80)")
    parser.add_argument("--split", default="0.6,0.2,0.2", help="train,val,test (0.6,0.2,0.2)")
    parser.add_argument(
        "--split-by",
        choices=("row", "identity", "official"),
        default="row",
        help="row: by gender and class; identity: no person in two splits; "
        "official: the source's own (CelebA's partition, a manifest's column split)",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, metavar="N", help="only N faces of the source")
    parser.add_argument(
        "--max-bad", type=float, default=0.01, help="the share of unreadable images allowed (0.01)"
    )
    parser.add_argument(
        "--images", metavar="DIR|ZIP", help="the folder or .zip that a manifest's file names are in"
    )
    add_column(
        parser,
        "which column is filename, class, gender, identity, split or image; class and gender "
        "may be rules, for example class='age>=40|Eyeglasses' gender='sex==1'",
    )
    parser.add_argument(
        "--layout",
        metavar="class/gender",
        help="what the folders of a folder or .zip of images say, each a column; * for nothing",
    )
    parser.add_argument(
        "--label",
        metavar="RULE",
        help="the rule over attributes for class 1 (a column class, or Blond_Hair|Eyeglasses)",
    )
    parser.add_argument(
        "--group", metavar="RULE", help="the rule for men (a column gender, or Male)"
    )
    parser.add_argument(
        "--missing",
        choices=("refuse", "drop"),
        default="refuse",
        help="drop: leave out the faces whose images are not there (refuse, above --max-bad)",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="say what would be made, from the table and 200 images, and write nothing",
    )
    parser.set_defaults(command_name="prepare")


def _add_inspect(commands: Any) -> None:
    parser = commands.add_parser(
        "inspect", help="show DATA: counts, drops, draws, the rule behind the class, a sheet"
    )
    parser.add_argument("target", metavar="DATA")
    parser.add_argument(
        "--sheet",
        metavar="FILE.png",
        help="where to draw faces of each gender and class (DATA/contact_sheet.png)",
    )
    parser.add_argument(
        "--suspects",
        metavar="RUN",
        help="list the faces whose labels what RUN recommends doubts, in RUN/suspects.csv, and "
        "draw them (RUN/suspects.png)",
    )
    parser.set_defaults(command_name="inspect")


def _add_configuration(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", metavar="DATA", help="a data set made by prepare")
    parser.add_argument("--out", required=True, metavar="RUN", help="the run directory to make")
    add_settings(parser)
    parser.add_argument(
        "--workers",
        action=Workers,
        metavar="N|MIN-MAX",
        help="training processes a trial (1); with a range, as many of them as there are devices",
    )
    parser.add_argument("--epochs", type=int, help="the same as --set train.epochs=E")
    parser.add_argument(
        "--gpus-per-trial",
        type=float,
        metavar="G",
        help="what a trial, or each of its workers, reserves: 1, a part of a GPU, or 0 for CPUs",
    )
    parser.add_argument(
        "--cpus-per-trial", type=int, metavar="C", help="and how many CPUs (its part of a node's)"
    )
    parser.add_argument(
        "--accelerator-type", metavar="NAME", help="on which nodes, by Ray's name, as A100 (any)"
    )


def _add_train(commands: Any) -> None:
    parser = commands.add_parser("train", help="train one network")
    _add_configuration(parser)
    parser.add_argument(
        "--recipe", help="a preset, such as plain, reference or group-dro (default)"
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with RUN, interrupted or failed; --workers may change",
    )
    parser.set_defaults(command_name="train")


def _add_sweep(commands: Any) -> None:
    parser = commands.add_parser("sweep", help="search for the front")
    _add_configuration(parser)
    parser.add_argument("--space", help="a search space by name, or a Python file (focal_gender)")
    parser.add_argument("--trials", type=int, help="trials in all, the two baselines included (20)")
    parser.add_argument("--objective", choices=("fair", "pareto"), help="what is searched for")
    parser.add_argument(
        "--sampler",
        choices=("tpe", "gp", "cmaes", "nsga2", "random"),
        help="who suggests settings (tpe)",
    )
    parser.add_argument("--hours", type=float, metavar="H", help="end after so long, in all")
    parser.add_argument(
        "--price-per-hour",
        type=float,
        metavar="P",
        help="what the machines cost together, to be told what the sweep will cost, and did",
    )
    parser.add_argument("--concurrent", type=int, help="trials at a time (by the devices)")
    parser.add_argument(
        "--finalists",
        type=int,
        metavar="K",
        help="in the end retrain the best K and the baselines on folds, and choose by that (8)",
    )
    parser.add_argument(
        "--confirm", type=int, metavar="S", help="each on S new seeds, on every fold (1)"
    )
    parser.add_argument(
        "--warm-start",
        action="append",
        metavar="RUN",
        help="let the search begin with what the trials of another sweep reached",
    )
    parser.add_argument(
        "--study-storage",
        metavar="URL",
        help="keep the study in a database; with --resume, from several machines at a time "
        "(FAIRFRONT_STUDY_STORAGE)",
    )
    parser.add_argument(
        "--webhook",
        metavar="URL",
        help="tell an https URL, by a POST of JSON, when the sweep has ended (FAIRFRONT_WEBHOOK)",
    )
    parser.add_argument(
        "--track",
        action="append",
        metavar="TRACKER",
        help="tell mlflow:URI|FOLDER or wandb:PROJECT of it as it goes on (FAIRFRONT_TRACK)",
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with RUN; a larger --trials extends it"
    )
    parser.set_defaults(command_name="sweep")


def _add_search_spaces(commands: Any) -> None:
    parser = commands.add_parser("search-spaces", help="list what a sweep can vary, or show it")
    parser.set_defaults(command_name="search_spaces", shown=None)
    actions = parser.add_subparsers(metavar="ACTION", parser_class=Parser)
    add_json(actions.add_parser("list", help="the search spaces by name (the same as no ACTION)"))
    show = actions.add_parser("show", help="the ranges of one")
    add_json(show)
    show.add_argument("shown", metavar="NAME|FILE.py", help="a search space by name, or your own")


def _add_report(commands: Any) -> None:
    parser = commands.add_parser("report", help="write the tables, the plot and report.html of RUN")
    parser.add_argument("target", metavar="RUN")
    parser.add_argument(
        "--all-test",
        action="store_true",
        help="fill the tables' test figures of trials that were not chosen, too: to look at, since "
        "the best of many flatters itself",
    )
    parser.add_argument(
        "--no-faces", action="store_true", help="show no face of the data set, nor its file's name"
    )
    parser.set_defaults(command_name="report")


def _add_watch(commands: Any) -> None:
    parser = commands.add_parser("watch", help="show the progress of a run")
    parser.add_argument("target", metavar="RUN")
    parser.add_argument("--once", action="store_true", help="show how it stands now, and end")
    parser.set_defaults(command_name="watch")
