"""Ray nodes with an address of their own each: in network namespaces, joined by a veth pair."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from waiting import HANGS, wait_until

TOKEN = "fedcba9876543210" * 4
ADDRESSES = ("10.123.0.1", "10.123.0.2")
"""In namespaces of their own, where nobody else has them."""
LINK = "eth0"
ROOT = Path(__file__).parents[1]
"""The source tree, from which jobs are submitted."""


def why_impossible() -> str | None:
    """Say why there can be no network namespaces here; None: there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if missing := [tool for tool in ("ip", "unshare") if shutil.which(tool) is None]:
        return f"network namespaces need {' and '.join(missing)} (iproute2, util-linux)"
    probe = f"ff{os.getpid()}probe"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, check=False)
    if made.returncode != 0:
        return f"no network namespaces here: {made.stderr.decode().strip()}"
    link = ["ip", "-n", probe, "link", "add", "name", "a", "type", "veth", "peer", "name", "b"]
    linked = subprocess.run(link, capture_output=True, check=False)
    subprocess.run(["ip", "netns", "del", probe], check=False)
    return f"no veth here: {linked.stderr.decode().strip()}" if linked.returncode else None


class Network:
    """Two machines, as far as addresses go; the disk is shared."""

    def __init__(self, folder: Path) -> None:
        self.names = [f"ff{os.getpid()}{letter}" for letter in "ab"]
        self.folder = folder
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("RAY_")},
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": TOKEN,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",
            # A node is given up when its port refuses thrice; not by the clock, which may be slow.
            "RAY_health_check_period_ms": "1000",
            "RAY_health_check_failure_threshold": "3",
            "OMP_NUM_THREADS": "1",
            "GLOO_SOCKET_IFNAME": LINK,  # the machine's name stands for an address outside
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        self.leaders: list[subprocess.Popen[bytes]] = []

    def set_up(self) -> None:
        for name in self.names:
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        first, second = self.names
        peer = ["peer", "name", LINK, "netns", second]
        _ip("-n", first, "link", "add", "name", LINK, "type", "veth", *peer)
        for name, address in zip(self.names, ADDRESSES, strict=True):
            _ip("-n", name, "address", "add", f"{address}/24", "dev", LINK)
            _ip("-n", name, "link", "set", LINK, "up")

    def take_down(self) -> None:
        for leader in self.leaders:
            kill(leader)
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)

    def inside(self, machine: int, *words: str) -> list[str]:
        return ["ip", "netns", "exec", self.names[machine], *words]

    def start_node(self, machine: int, *words: str, **variables: str) -> subprocess.Popen[bytes]:
        """Start a Ray node of one CPU, whose processes are a world of their own."""
        if machine:
            self.wait_for_nodes()
        number = len(self.leaders)
        here = ADDRESSES[machine]
        role = f"--address={ADDRESSES[0]}:6379" if machine else "--head"
        ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", role]
        own = [f"--node-ip-address={here}", f"--temp-dir={self.folder / str(number)}"]
        with (self.folder / f"{number}.log").open("wb") as log:
            leader = subprocess.Popen(
                # What it starts dies with the first process of its namespace, at once.
                self.inside(machine, "unshare", "--pid", "--fork", "--kill-child", "--mount-proc",
                            *ray, *own, "--num-cpus=1", "--object-store-memory=100000000",
                            *words),
                env={**self.environment, **variables},
                stdout=log,
                stderr=subprocess.STDOUT,
            )  # fmt: skip
        self.leaders.append(leader)
        return leader

    def wait_for_nodes(self) -> None:
        for number, leader in enumerate(self.leaders):
            log = self.folder / f"{number}.log"
            wait_until(lambda log=log: "Ray runtime started" in log.read_text(), leader)

    def submit(self, *words: str) -> subprocess.Popen[str]:
        """Submit a command of fairfront on the head's machine, and wait for its end."""
        return self.run("submit", "--wait", "--", *words)

    def run(self, *words: str) -> subprocess.Popen[str]:
        """Run fairfront on the head's machine, as a user there would."""
        return subprocess.Popen(
            self.inside(0, sys.executable, "-m", "orchestrator", *words),
            cwd=ROOT,
            env={**self.environment, "RAY_ADDRESS": f"{ADDRESSES[0]}:6379",
                 "RAY_API_SERVER_ADDRESS": "http://127.0.0.1:8265"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )  # fmt: skip


@contextmanager
def network() -> Iterator[Network]:
    """Give two joined machines; a test that cannot have them is skipped."""
    if why := why_impossible():
        pytest.skip(why)
    folder = Path(tempfile.mkdtemp(prefix="ff", dir="/tmp"))  # for sockets, whose paths are short
    made = Network(folder)
    try:
        made.set_up()
        yield made
    finally:
        made.take_down()
        shutil.rmtree(folder, ignore_errors=True)


def kill(leader: subprocess.Popen[bytes]) -> None:
    """Kill all processes of a node at once, as when its machine loses power."""
    family = family_of(leader)
    leader.send_signal(signal.SIGKILL)  # unshare; its child is killed with it, and all of that
    leader.wait(HANGS)
    psutil.wait_procs(family, timeout=HANGS)


def family_of(leader: subprocess.Popen[bytes]) -> list[psutil.Process]:
    with suppress(psutil.Error):
        return psutil.Process(leader.pid).children(recursive=True)
    return []


def runs(leader: subprocess.Popen[bytes], kind: str) -> bool:
    """Tell whether a node runs a process of a kind."""
    for process in family_of(leader):
        with suppress(psutil.Error):
            if any(kind in word for word in process.cmdline()):
                return True
    return False


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
