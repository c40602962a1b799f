"""The options of `cluster`."""

from typing import Any

from orchestrator.cli.argparsing import Parser

LAUNCHERS = ("kuberay", "slurm", "aws", "gcp")


def add_cluster(commands: Any) -> None:
    """Add `cluster`."""
    parser = commands.add_parser(
        "cluster", help="write what a launcher reads, or rehearse on a cluster of this machine"
    )
    parser.set_defaults(command_name="cluster")
    actions = parser.add_subparsers(metavar="ACTION", parser_class=Parser, required=True)
    _add_render(actions)
    local = actions.add_parser("local", help="start a cluster of several nodes on this machine")
    local.add_argument("--nodes", type=int, default=2, metavar="N", help="the head included (2)")
    local.add_argument(
        "--cpus-per-node", type=int, metavar="C", help="(this machine's, divided among them)"
    )
    local.add_argument("--gpus-per-node", type=int, default=0, metavar="G", help="(0)")
    local.set_defaults(action="local")
    down = actions.add_parser("down", help="end the cluster that `cluster local` started")
    down.set_defaults(action="down")


def _add_render(actions: Any) -> None:
    render = actions.add_parser(
        "render", help="write the files that KubeRay, Slurm or Ray's launcher for a cloud reads"
    )
    render.add_argument("launcher", choices=LAUNCHERS)
    render.add_argument(
        "--config", metavar="FILE.yaml", help="what the cluster is made of (the defaults)"
    )
    render.add_argument(
        "--out", default=".", metavar="DIR", help="where to write them, over older ones (.)"
    )
    render.set_defaults(action="render")
