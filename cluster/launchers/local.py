"""A Ray cluster of several nodes on this machine, to rehearse on what a real one would do.

Each node is a process of ``ray start`` with ports and a temporary folder of its own; all ask for a
token. They are ended by their process ids: ``ray stop`` would end every cluster of the machine.
"""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from orchestrator.base.errors import InputError
from orchestrator.base.files import make_folder, read_json, remove_tree, write_json, write_text

STATE, TOKEN = "cluster.json", "token"
PATIENCE = 600.0
"""Seconds that the nodes may take to be up: an idle machine takes ten, a busy one minutes."""
GRACE = 30.0
"""Seconds that a node may take to end by itself."""
LEAST_STORE, MOST_STORE = 100 * 2**20, 2 * 2**30
"""Bytes of a node's object store: Ray would give each node a third of the machine's memory."""
HOST = "127.0.0.1"
HEAD_PORTS = ("--port", "--dashboard-port", "--ray-client-server-port")
PORTS = (
    "--dashboard-agent-listen-port",
    "--dashboard-agent-grpc-port",
    "--runtime-env-agent-port",
    "--metrics-export-port",
)


class Node(NamedTuple):
    """A node's process: its id alone may have been given anew."""

    pid: int
    started: float
    """Seconds since 1970, as psutil tells them."""


class Cluster(NamedTuple):
    """A cluster that runs here, as its file says."""

    address: str
    """HOST:PORT, for RAY_ADDRESS."""
    dashboard: str
    """The URL for ``submit --address``."""
    token_path: str
    """For RAY_AUTH_TOKEN_PATH; nobody else can read that file."""
    nodes: list[Node]


def start(folder: Path, nodes: int, cpus: int, gpus: int = 0) -> Cluster:
    """Start a head and further nodes, and wait until all are there.

    Parameters
    ----------
    folder
        Where the cluster keeps its files; its path must be short enough for sockets below it.
    nodes
        How many, the head included, which works as the others do.
    cpus, gpus
        What each node says it has; no two nodes are given the same GPU of the machine.

    Raises
    ------
    InputError
        A cluster runs there already, or a node does not come up.
    """
    _refuse_foreign(folder)
    if _is_running(folder):
        raise InputError(f"{folder}: a cluster runs there; `fairfront cluster down` ends it")
    remove_tree(folder)  # what one that was killed has left
    make_folder(folder)
    folder.chmod(0o700)
    write_text(folder / TOKEN, secrets.token_hex(32))
    (folder / TOKEN).chmod(0o600)  # the folder is closed already
    head, *others = _ports(nodes)
    made = Cluster(
        address=f"{HOST}:{head[0]}",
        dashboard=f"http://{HOST}:{head[1]}",
        token_path=str(folder / TOKEN),
        nodes=[],
    )
    words = [f"--num-cpus={cpus}", f"--num-gpus={gpus}", _object_store(nodes)]
    first = ["--head", *_options(HEAD_PORTS, head)]
    try:
        for number, own in enumerate(others):
            role = [f"--address={made.address}"] if number else first
            visible = [number * gpus + gpu for gpu in range(gpus)]
            made.nodes.append(
                _start_node(folder, number, [*role, *_options(PORTS, own), *words], visible)
            )
            write_json(folder / STATE, made._asdict())
            if number == 0:
                _wait_for(made, folder)  # the others need it
        _wait_for(made, folder)
    except BaseException:
        _end(made.nodes)
        (folder / STATE).unlink(missing_ok=True)  # the nodes' logs stay
        raise
    return made


def stop(folder: Path) -> int:
    """End the cluster that was started in a folder, and no other; return how many nodes it had.

    Raises
    ------
    InputError
        None was started there.
    """
    _refuse_foreign(folder)
    if not (folder / STATE).exists():
        raise InputError(f"{folder}: no cluster runs there; `fairfront cluster local` starts one")
    nodes = read(folder).nodes
    _end(nodes)
    remove_tree(folder)
    return len(nodes)


def read(folder: Path) -> Cluster:
    """Return the cluster that was started in a folder; `InputError` for none."""
    state = read_json(folder / STATE)
    return Cluster(**{**state, "nodes": [Node(*node) for node in state["nodes"]]})


def _refuse_foreign(folder: Path) -> None:
    """Raise `InputError` where somebody else could say what our cluster is."""
    if os.path.lexists(folder) and folder.lstat().st_uid != os.geteuid():
        raise InputError(f"{folder}: belongs to another user; set TMPDIR to a folder of your own")


def _is_running(folder: Path) -> bool:
    return (folder / STATE).exists() and any(map(_process_of, read(folder).nodes))


def _ports(nodes: int) -> list[list[int]]:
    """Return free ports: those of a head alone, and then those of each node."""
    counts = [len(HEAD_PORTS), *[len(PORTS)] * nodes]
    with ExitStack() as held:  # all at once, or one could be given twice
        sockets = [held.enter_context(socket.socket()) for _ in range(sum(counts))]
        for each in sockets:
            each.bind((HOST, 0))
        free = iter([each.getsockname()[1] for each in sockets])
    return [[next(free) for _ in range(count)] for count in counts]


def _options(names: Sequence[str], values: Iterable[int]) -> list[str]:
    return [f"{name}={value}" for name, value in zip(names, values, strict=True)]


def _object_store(nodes: int) -> str:
    shared = Path("/dev/shm")
    free = shutil.disk_usage(shared).free if shared.is_dir() else MOST_STORE
    return f"--object-store-memory={min(MOST_STORE, max(LEAST_STORE, free // (2 * nodes)))}"


def _start_node(folder: Path, number: int, words: list[str], gpus: list[int]) -> Node:
    """Start a node that outlives this command; its log lies in the folder."""
    environment = {
        "RAY_worker_niceness": "0",  # as `session` has it
        **{k: v for k, v in os.environ.items() if k not in ("RAY_ADDRESS", "RAY_AUTH_TOKEN")},
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder / TOKEN),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    if gpus:
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, gpus))
    with _log(folder, number).open("wb") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *words),
                *(f"--node-ip-address={HOST}", "--min-worker-port=0", "--max-worker-port=0"),
                f"--temp-dir={folder / str(number)}",
            ],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is not for them
        )
    return Node(process.pid, psutil.Process(process.pid).create_time())


def _log(folder: Path, number: int) -> Path:
    return folder / f"{number}.log"


def _wait_for(cluster: Cluster, folder: Path) -> None:
    """Wait until all nodes that were started have joined."""
    deadline = time.monotonic() + PATIENCE
    while _joined(cluster) < len(cluster.nodes):
        for number, node in enumerate(cluster.nodes):
            if _process_of(node) is None:
                raise InputError(f"{_log(folder, number)}: the node did not start; that says why")
        if time.monotonic() > deadline:
            raise InputError(
                f"{folder}: the nodes did not join within {PATIENCE:.0f} s; the logs there say why"
            )
        time.sleep(0.2)


def _joined(cluster: Cluster) -> int:
    """Count the nodes that the cluster's dashboard knows to be alive."""
    from ray.util.state.api import StateApiClient
    from ray.util.state.common import ListApiOptions, StateResource
    from ray.util.state.exception import RayStateApiException

    token = Path(cluster.token_path).read_text(encoding="utf-8")
    try:
        client = StateApiClient(cluster.dashboard, headers={"Authorization": f"Bearer {token}"})
        found = client.list(
            StateResource.NODES,
            ListApiOptions(filters=[("state", "=", "ALIVE")]),
            raise_on_missing_output=False,
        )
    except (RayStateApiException, OSError, RuntimeError):  # it does not answer yet
        return 0
    return len(found)


def _process_of(node: Node) -> psutil.Process | None:
    """Return a node's process, unless that has ended."""
    with suppress(psutil.Error):
        process = psutil.Process(node.pid)
        if process.create_time() == node.started and process.status() != psutil.STATUS_ZOMBIE:
            return process
    return None


def _end(nodes: Sequence[Node]) -> None:
    """End nodes with all that they started; the head last, or the others would look for it."""
    for node in reversed(nodes):
        leader = _process_of(node)
        if leader is None:
            continue
        family = [leader]
        with suppress(psutil.Error):
            family += leader.children(recursive=True)
            leader.terminate()  # it ends those that it started
        _, left = psutil.wait_procs(family, timeout=GRACE)
        for process in left:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(left, timeout=GRACE)
