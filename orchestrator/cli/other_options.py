"""The options of the commands around the main job, those that several share, and examples."""

import argparse
from collections.abc import Mapping
from typing import Any

from orchestrator.cli.argparsing import Parser

EXAMPLES = {
    "prepare": (
        "fairfront prepare celeba --out data --label 'Blond_Hair|Eyeglasses' --group Male",
        "fairfront prepare faces.csv --images photos --out data --image-size 80",
        "fairfront prepare synthetic:2000 --out data",
    ),
    "inspect": ("fairfront inspect data", "fairfront inspect data --suspects runs/1"),
    "train": (
        "fairfront train --data data --out runs/reference --recipe reference",
        "fairfront train --data data --out runs/dro --recipe group-dro --set train.lr=3e-4",
    ),
    "sweep": (
        "fairfront sweep --data data --out runs/1 --trials 40",
        "fairfront sweep --data data --out runs/2 --space methods --objective pareto --confirm 2",
        "fairfront sweep --out runs/1 --resume --trials 80",
    ),
    "search-spaces": ("fairfront search-spaces", "fairfront search-spaces show focal_gender"),
    "config": (
        "fairfront config recipes",
        "fairfront config show --recipe reference --set train.epochs=5",
        "fairfront config show runs/1",
    ),
    "report": ("fairfront report runs/1", "fairfront report runs/1 --json"),
    "runs": ("fairfront runs", "fairfront runs s3://bucket/runs --tag keep --json"),
    "compare": ("fairfront compare runs/1 runs/2", "fairfront compare runs/* --out compared.html"),
    "tag": ("fairfront tag runs/1 keep", "fairfront tag runs/1 keep --remove"),
    "note": ("fairfront note runs/1 'trained on the cleaned labels'", "fairfront note runs/1"),
    "track": (
        "fairfront track runs/1 --to mlflow:http://127.0.0.1:5000",
        "fairfront track runs/1 --to mlflow:tracked --to wandb:faces",
    ),
    "predict": (
        "fairfront predict --run runs/1 --images photos --out labels.csv --proba",
        "fairfront predict --run runs/1 --table new.csv --images photos --out labels.csv",
    ),
    "evaluate": (
        "fairfront evaluate --run runs/1 --data other_faces",
        "fairfront evaluate --run runs/1 --data new.csv --images photos --shift",
    ),
    "drift": (
        "fairfront drift --run runs/1 --images photos",
        "fairfront drift --run runs/1 --table new.csv --images photos --json",
    ),
    "explain": ("fairfront explain --run runs/1", "fairfront explain --run runs/1 --trial t007"),
    "export": (
        "fairfront export --run runs/1 --out shipped",
        "fairfront export --run runs/1 --out shipped --format onnx onnx-int8 pt2 safetensors",
    ),
    "push": (
        "fairfront push shipped --to hf://me/fair-blond",
        "fairfront push shipped --to hf://me/fair-blond --private --send",
    ),
    "serve": (
        "fairfront serve runs/1",
        "fairfront serve runs/1 --bare --threshold shared",
        "fairfront serve runs/1 --host 0.0.0.0 --token-file token",
    ),
    "watch": ("fairfront watch runs/1", "fairfront watch runs/1 --once"),
    "dashboard": ("fairfront dashboard runs/1",),
    "submit": (
        "fairfront submit --wait -- sweep --data /shared/data --out /shared/runs/1",
        "fairfront submit --address http://HOST:8265 -- report /shared/runs/1",
        "fairfront submit --env pip --env-var HF_TOKEN -- train --data s3://b/data --out /shared/r",
        "fairfront submit --again /shared/runs/1 -- --out /shared/runs/2 --trials 80",
    ),
    "jobs": ("fairfront jobs --address http://HOST:8265",),
    "logs": ("fairfront logs JOB --follow",),
    "stop": ("fairfront stop JOB",),
    "cluster": (
        "fairfront cluster render kuberay --config cluster.yaml --out launch",
        "fairfront cluster local --nodes 2 --cpus-per-node 1",
        "fairfront cluster down",
    ),
    "demo": ("fairfront demo", "fairfront demo --out try --faces 1000 --trials 4 --epochs 2"),
    "doctor": ("fairfront doctor",),
    "completion": (
        "fairfront completion bash > ~/.local/share/bash-completion/completions/fairfront",
        "fairfront completion zsh > ~/.zfunc/_fairfront",
        "fairfront completion fish > ~/.config/fish/completions/fairfront.fish",
    ),
}
"""Command lines to copy, by command."""
AT_WORK = ("prepare", "train", "sweep", "predict", "evaluate", "drift", "explain", "demo")
"""Commands that show what they are at, unless told not to."""
AS_JSON = (
    "inspect",
    "doctor",
    "report",
    "runs",
    "compare",
    "evaluate",
    "drift",
    "jobs",
    "search-spaces",
)
"""Commands whose answer programs read, too."""


def add_shared(commands: Mapping[str, Parser]) -> None:
    """Give the commands, by name, the options that several have, and an example each."""
    for name, parser in commands.items():
        lines = "\n".join(f"  {line}" for line in EXAMPLES[name])
        parser.epilog = f"example{'s' * (len(EXAMPLES[name]) > 1)}:\n{lines}"
        if name in AT_WORK:
            parser.add_argument(
                "-q", "--quiet", action="store_true", help="show the result alone, no progress"
            )
        if name in AS_JSON:
            add_json(parser, default=False)


def add_json(parser: argparse.ArgumentParser, default: Any = argparse.SUPPRESS) -> None:
    """Add ``--json``; what lies below a command that has it leaves the command's own alone."""
    parser.add_argument(
        "--json", action="store_true", default=default, help="print JSON, for programs"
    )


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add what a configuration is made of."""
    parser.add_argument("--config", metavar="FILE.yaml", help="a configuration file")
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="settings over the recipe and the file, for example loss.gamma=2",
    )


def add_config(commands: Any) -> None:
    """Add `config`."""
    parser = commands.add_parser("config", help="show a configuration, or list the recipes")
    parser.set_defaults(command_name="config")
    actions = parser.add_subparsers(metavar="ACTION", parser_class=Parser, required=True)
    actions.add_parser("recipes", help="the recipes, and what each sets").set_defaults(
        action="recipes"
    )
    show = actions.add_parser("show", help="every setting, as a recipe, a file and --set make it")
    show.add_argument("target", nargs="?", metavar="RUN", help="a run, instead of what follows")
    show.add_argument("--recipe", help="a preset, such as plain, reference or group-dro (default)")
    add_settings(show)
    show.set_defaults(action="show")


def add_submit(commands: Any) -> None:
    """Add `submit`."""
    parser = commands.add_parser("submit", help="run a command on a Ray cluster")
    parser.add_argument("--wait", action="store_true", help="follow the log to the job's end")
    _add_address(parser)
    parser.add_argument(
        "--env",
        metavar="none|pip|uv|image:NAME",
        help="packages: what the nodes have (none, the default); what this machine has, installed "
        "there by exact version with pip, or with uv, where the nodes have that; or a container",
    )
    parser.add_argument(
        "--env-var",
        action="append",
        default=[],
        metavar="NAME[=VALUE]",
        help="a variable of the job's environment; NAME alone has its value from here",
    )
    parser.add_argument("--name", metavar="JOB", help="what the job is called, if that is free")
    parser.add_argument(
        "--metadata", action="append", default=[], metavar="KEY=VALUE", help="kept with the job"
    )
    for option, what in (("--num-cpus", "CPUs"), ("--num-gpus", "GPUs")):
        parser.add_argument(
            option, type=float, metavar="N", help=f"{what} for the command itself (0)"
        )
    parser.add_argument("--memory", metavar="SIZE", help="the same of memory, as 8GiB (0)")
    parser.add_argument(
        "--again",
        metavar="RUN",
        help="submit again what made RUN, with its code; words after -- are added to the command",
    )
    parser.add_argument(
        "command", nargs=argparse.REMAINDER, metavar="-- COMMAND …", help="for example -- sweep …"
    )
    parser.set_defaults(command_name="submit")


def _add_address(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--address", metavar="URL", help="the cluster's dashboard (http://127.0.0.1:8265)"
    )


def add_job_commands(commands: Any) -> None:
    """Add `jobs`, `logs` and `stop`."""
    for name, explained in (
        ("jobs", "list the cluster's jobs"),
        ("logs", "print a job's log"),
        ("stop", "stop a job"),
    ):
        parser = commands.add_parser(name, help=explained)
        if name != "jobs":
            parser.add_argument("job", metavar="JOB")
        if name == "logs":
            parser.add_argument("--follow", action="store_true", help="until the job ends")
        _add_address(parser)
        parser.set_defaults(command_name=name)


def add_dashboard(commands: Any) -> None:
    """Add `dashboard`."""
    parser = commands.add_parser("dashboard", help="open Optuna Dashboard and TensorBoard on RUN")
    parser.add_argument("target", metavar="RUN")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, help="of Optuna Dashboard; TensorBoard takes the next")
    parser.add_argument(
        "--study-storage", metavar="URL", help="the study's database (FAIRFRONT_STUDY_STORAGE)"
    )
    parser.set_defaults(command_name="dashboard")


def add_demo(commands: Any) -> None:
    """Add `demo`."""
    parser = commands.add_parser("demo", help="the main job on synthetic faces, in minutes")
    parser.add_argument("--out", default="demo", metavar="DIR", help="a folder to make (demo)")
    parser.add_argument("--faces", type=int, default=4000)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=6)
    parser.set_defaults(command_name="demo")


def add_doctor(commands: Any) -> None:
    """Add `doctor`."""
    parser = commands.add_parser("doctor", help="check this machine")
    parser.set_defaults(command_name="doctor")


def add_completion(commands: Any) -> None:
    """Add `completion`."""
    parser = commands.add_parser("completion", help="print what a shell completes words with")
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))
    parser.set_defaults(command_name="completion")
