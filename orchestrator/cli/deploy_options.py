"""The options of the commands that use a trained network."""

import argparse
from typing import Any

from orchestrator.cli.argparsing import column_word, positive, threshold_word


def add_predict(commands: Any) -> None:
    """Add `predict`."""
    parser = commands.add_parser("predict", help="label images with a trained network")
    _add_trial(parser)
    parser.add_argument(
        "--images",
        metavar="WHAT",
        help="a folder or .zip of images, an image, a table, Parquet with images or a DATA",
    )
    parser.add_argument(
        "--table", metavar="TABLE", help="a table of images that lie in --images DIR|ZIP"
    )
    add_column(
        parser,
        "which column of a table is filename, or image where the images are in it, or gender",
    )
    parser.add_argument("--split", choices=("train", "val", "test"), help="of a DATA, only these")
    parser.add_argument(
        "--out",
        required=True,
        metavar="FILE",
        help="filename,label as CSV; by .parquet also probability, logit, trial, threshold",
    )
    parser.add_argument(
        "--labels", choices=("-1/1", "0/1"), default="-1/1", help="how labels are written (-1/1)"
    )
    parser.add_argument("--keep-columns", action="store_true", help="add the table's other columns")
    parser.add_argument("--proba", action="store_true", help="add the probability of class 1")
    _add_threshold(
        parser,
        "; by-gender, the pair that is best there, which holds women and men to bars of their own "
        "(not lawful everywhere), and needs a column gender",
    )
    parser.set_defaults(command_name="predict")


def add_export(commands: Any) -> None:
    """Add `export`."""
    parser = commands.add_parser("export", help="write a network that works without fairfront")
    _add_trial(parser)
    parser.add_argument("--out", required=True, metavar="DIR", help="the folder to make")
    parser.add_argument(
        "--format",
        nargs="+",
        choices=("onnx", "onnx-int8", "pt2", "safetensors"),
        help="with the resizing in it (onnx, pt2), in 8 bits, or weights alone (onnx)",
    )
    _add_threshold(parser)
    parser.set_defaults(command_name="export")


def add_push(commands: Any) -> None:
    """Add `push`."""
    parser = commands.add_parser(
        "push", help="send what export wrote to a model hub; without --send say what would be sent"
    )
    parser.add_argument("folder", metavar="DIR", help="what export wrote")
    parser.add_argument("--to", required=True, metavar="hf://USER/NAME", help="where to")
    parser.add_argument("--send", action="store_true", help="send it")
    parser.add_argument(
        "--private", action="store_true", help="to a repository that others cannot see"
    )
    parser.set_defaults(command_name="push")


def add_serve(commands: Any) -> None:
    """Add `serve`."""
    parser = commands.add_parser("serve", help="answer HTTP requests with a trained network")
    parser.add_argument("target", metavar="RUN")
    parser.add_argument("--trial", default="best", metavar="ID", help="a trial of RUN (best)")
    parser.add_argument(
        "--bare", action="store_true", help="with onnxruntime on this machine, without Ray"
    )
    parser.add_argument(
        "--replicas", type=int, metavar="N", help="Ray's, on a GPU each or a CPU (1)"
    )
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="0 for a free one (8000)")
    parser.add_argument(
        "--token-file",
        metavar="FILE",
        help="holds the word that requests have to bring, as Authorization: Bearer WORD "
        "(FAIRFRONT_SERVE_TOKEN)",
    )
    parser.add_argument(
        "--max-mb", type=positive, default=10.0, metavar="MB", help="of a request (10)"
    )
    parser.add_argument(
        "--max-megapixels", type=positive, default=25.0, metavar="MP", help="of a picture (25)"
    )
    parser.add_argument(
        "--timeout",
        type=positive,
        default=30.0,
        metavar="S",
        help="seconds for a request to arrive, and again to be answered (30)",
    )
    _add_threshold(
        parser,
        "; by-gender, the pair that is best there, for pictures that come with a gender (not "
        "lawful everywhere), and shared for others",
    )
    parser.set_defaults(command_name="serve")


def _add_threshold(parser: argparse.ArgumentParser, more: str = "") -> None:
    kinds = ("fixed", "shared", *["by-gender"] * bool(more))
    parser.add_argument(
        "--threshold",
        type=threshold_word(kinds),
        default="fixed",
        metavar="|".join((*kinds, "NUMBER")),
        help="on the probability: fixed, 0.5 (the default); shared, the best one for all on the "
        f"trial's validation faces{more}; or any from 0 to 1",
    )


def add_evaluate(commands: Any) -> None:
    """Add `evaluate`."""
    parser = commands.add_parser("evaluate", help="judge a trained network on other labelled faces")
    _add_trial(parser)
    parser.add_argument(
        "--data",
        required=True,
        metavar="DATA2",
        help="a data set of prepare, or what prepare takes, with class and gender",
    )
    parser.add_argument(
        "--split",
        choices=("train", "val", "test", "all"),
        help="which of its faces (all; of the data that RUN was trained on, test)",
    )
    _add_threshold(parser, "; by-gender, the pair that is best there")
    parser.add_argument(
        "--shift",
        action="store_true",
        help="say which shares of class, gender and attributes differ from those trained on",
    )
    parser.add_argument(
        "--name", metavar="NAME", help="of the file RUN/evaluations/NAME.json (by what it is of)"
    )
    parser.add_argument("--images", metavar="DIR|ZIP", help="as for prepare")
    add_column(parser, "as for prepare")
    parser.add_argument("--label", metavar="RULE", help="as for prepare")
    parser.add_argument("--group", metavar="RULE", help="as for prepare")
    parser.set_defaults(command_name="evaluate")


def add_drift(commands: Any) -> None:
    """Add `drift`."""
    parser = commands.add_parser(
        "drift",
        help="tell whether images without labels are as those that a network was judged on",
        description="Compare logits and images with those of RUN's validation faces. The exit code "
        "is 0 where nothing drifted, and 3 where something did.",
    )
    _add_trial(parser)
    parser.add_argument(
        "--images", required=True, metavar="WHAT", help="what predict takes: a folder, a table, …"
    )
    parser.add_argument(
        "--table", metavar="TABLE", help="a table of images that lie in --images DIR|ZIP"
    )
    add_column(parser, "which column of a table is filename, or image where the images are in it")
    _add_threshold(parser)
    parser.set_defaults(command_name="drift")


def add_explain(commands: Any) -> None:
    """Add `explain`."""
    parser = commands.add_parser(
        "explain", help="show what a trained network goes by in faces, by gender and class"
    )
    _add_trial(parser)
    parser.add_argument(
        "--faces",
        type=int,
        default=25,
        metavar="N",
        help="test faces of each gender and class (25)",
    )
    parser.set_defaults(command_name="explain")


def _add_trial(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", dest="target", required=True, metavar="RUN")
    parser.add_argument("--trial", default="best", metavar="ID", help="a trial of RUN (best)")


def add_column(parser: argparse.ArgumentParser, what: str) -> None:
    """Add the option that says which column of a table is what."""
    parser.add_argument(
        "--column",
        type=column_word,
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=COLUMN",
        help=what,
    )
