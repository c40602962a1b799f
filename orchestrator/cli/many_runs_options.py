"""The options of the commands on several runs, on what is said of one, and to whom."""

from typing import Any


def add_runs(commands: Any) -> None:
    """Add `runs`."""
    parser = commands.add_parser("runs", help="list the runs in a folder, a line each")
    parser.add_argument(
        "target", nargs="?", default=".", metavar="DIR", help="where to look (here)"
    )
    parser.add_argument("--tag", metavar="WORD", help="those alone that have a tag")
    parser.set_defaults(command_name="runs")


def add_compare(commands: Any) -> None:
    """Add `compare`."""
    parser = commands.add_parser(
        "compare", help="several runs on one front: what each reached, its cost, what differs"
    )
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("--out", metavar="PAGE.html", help="write a page, too")
    parser.set_defaults(command_name="compare")


def add_tag(commands: Any) -> None:
    """Add `tag`."""
    parser = commands.add_parser("tag", help="give a run tags, which `runs` shows")
    parser.add_argument("target", metavar="RUN")
    parser.add_argument("words", nargs="*", metavar="WORD", help="none: show those that it has")
    parser.add_argument("--remove", action="store_true", help="take these away")
    parser.set_defaults(command_name="tag")


def add_note(commands: Any) -> None:
    """Add `note`."""
    parser = commands.add_parser("note", help="write a note on a run, which `runs` shows")
    parser.add_argument("target", metavar="RUN")
    parser.add_argument(
        "text", nargs="?", metavar="TEXT", help="in place of the one before; none: show that"
    )
    parser.set_defaults(command_name="note")


def add_track(commands: Any) -> None:
    """Add `track`."""
    parser = commands.add_parser(
        "track", help="tell MLflow or Weights & Biases of a run, its trials and its report"
    )
    parser.add_argument("target", metavar="RUN")
    parser.add_argument(
        "--to",
        required=True,
        action="append",
        metavar="mlflow:URI|FOLDER, wandb:PROJECT",
        help="a tracking server, a database or a folder of MLflow's; or, as files for `wandb sync`",
    )
    parser.set_defaults(command_name="track")
