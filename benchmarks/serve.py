"""Requests a second of `fairfront serve`, against a bare loop of onnxruntime.

    pip install 'fairfront[bench]'
    python benchmarks/serve.py RUN FOLDER [--bare] [--users 8 16 32 64] [--seconds 10] [--rounds 3]

RUN has the CNN, FOLDER images. Locust asks with more and more users at a time, each of which sends
an image after the other; what counts is the most requests a second at which 99 of 100 are answered
within 100 ms. The bare loop has a process a core, each with one thread of onnxruntime that sees one
image after another, decoded before or, as the server has to, from its bytes.

Server, load and loop share this machine's cores. Locust itself takes nearly as much of them as what
it asks, so that its requests a second are the least that the server answers; "CPU" is the ratio to
trust: the seconds of a core that the loop takes for an image, over those that the server does.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil
import torch

from orchestrator.base.machine import cores
from orchestrator.data.reading.decode import decode
from orchestrator.deploy.serve.onnx_engine import _session, _to_onnx
from orchestrator.deploy.shipped import INPUT
from orchestrator.run.directory import Run
from orchestrator.training.model_file import load_model

SECONDS = 5.0
"""A measurement of the loop."""
P99 = 100.0
"""Milliseconds."""
ASKING = """
import os, random
from pathlib import Path
from locust import FastHttpUser, task

FORMS = [
    b'--b\\r\\nContent-Disposition: form-data; name="image"; filename="a.jpg"\\r\\n\\r\\n'
    + path.read_bytes() + b'\\r\\n--b--\\r\\n'
    for path in sorted(Path(os.environ["FOLDER"]).iterdir())[:500]
]
HEAD = {"Content-Type": "multipart/form-data; boundary=b"}

class Someone(FastHttpUser):
    @task
    def ask(self):
        self.client.post("/predict", data=random.choice(FORMS), headers=HEAD)
"""
"""What locust reads, in a process of its own: its gevent changes sockets and threads."""


@dataclass(frozen=True)
class Load:
    """What some users at a time got."""

    rate: float
    """Requests a second."""
    p99: float
    """Milliseconds."""
    failed: int
    cpu: float
    """Seconds of a core that the server took for a request."""


@dataclass(frozen=True)
class Loop:
    """What the processes of the bare loop do."""

    graph: bytes
    """The network, in ONNX."""
    size: int
    """Pixels a side."""
    data: list[bytes]
    """Files of images."""
    decoded: bool
    """Before, or each as it is seen."""


def see_all(given: Loop, together: Any, told: Any) -> None:
    """See images for `SECONDS`, all processes at the same time; tell how many, and the CPU time."""
    torch.set_num_threads(1)
    session, data = _session(given.graph), given.data
    images = [decode(one, given.size)[None] for one in data]
    together.wait()
    done, started, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() < started + SECONDS:
        at = done % len(data)
        image = images[at] if given.decoded else decode(data[at], given.size)[None]
        session.run(None, {INPUT: image})
        done += 1
    seconds = time.perf_counter() - started
    told.put((done / seconds, (time.process_time() - cpu) / done))


def measure(given: Loop) -> tuple[float, float]:
    """Return images a second of a process a core, and the seconds of a core for one."""
    context = get_context("spawn")
    together, told = context.Barrier(cores()), context.Queue()
    processes = [
        context.Process(target=see_all, args=(given, together, told)) for _ in range(cores())
    ]
    for process in processes:
        process.start()
    found = [told.get() for _ in processes]
    for process in processes:
        process.join()
    return sum(rate for rate, _ in found), median(cpu for _, cpu in found)


def cpu_of(process: psutil.Process) -> float:
    """Return the CPU time of a server and all that it started, Ray's own processes too."""
    family = [process, *process.children(recursive=True)]
    return sum(sum(one.cpu_times()[:2]) for one in family)


def ask(given: argparse.Namespace, url: str, users: int, server: psutil.Process) -> Load:
    """Have some users ask for a while."""
    with tempfile.TemporaryDirectory() as work:
        (Path(work) / "asking.py").write_text(ASKING)
        command = [given.locust, "-m", "locust", "-f", "asking.py", "--headless", "--json"]
        command += ["-u", str(users), "-r", str(users), "-t", f"{given.seconds}s", "--host", url]
        before = cpu_of(server)
        done = subprocess.run(
            [*command, "--loglevel", "ERROR", "--exit-code-on-error", "0"],
            cwd=work,
            env={**os.environ, "FOLDER": str(Path(given.folder).absolute())},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            check=True,
        )
        cpu = cpu_of(server) - before
    of = next(iter(json.loads(done.stdout)), None)
    if of is None:
        raise SystemExit(f"nothing was asked within {given.seconds} s; give more --seconds")
    times = [float(ms) for ms, count in of["response_times"].items() for _ in range(count)]
    return Load(
        rate=of["num_requests"] / (of["last_request_timestamp"] - of["start_time"]),
        p99=float(np.quantile(times, 0.99, method="higher")),
        failed=of["num_failures"],
        cpu=cpu / of["num_requests"],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("folder")
    parser.add_argument("--bare", action="store_true")
    parser.add_argument("--users", type=int, nargs="+", default=[8, 16, 32, 64])
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--locust", default=sys.executable, help="a Python that has it")
    given = parser.parse_args()
    trial = Run.open(given.run).complete()[0]
    trained = load_model(trial.path / "model.safetensors")
    graph, size = _to_onnx(trained.network, trained.image_size), trained.image_size
    data = [path.read_bytes() for path in sorted(Path(given.folder).iterdir())[:500]]
    words = ["serve", given.run, "--trial", trial.id, "--port", "0", *["--bare"] * given.bare]
    heads = "round | loop, decoded | loop, from bytes | users | served | p99, ms | of the loop"
    print(f"| {heads} | from bytes | CPU | from bytes |\n" + "|---" * 10 + "|")
    with subprocess.Popen(
        [sys.executable, "-m", "orchestrator", *words], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            url = process.stdout.readline().split(": ")[1].split("/ ")[0]
            server = psutil.Process(process.pid)
            ask(given, url, 8, server)  # what is new to it is not counted
            for number in range(1, given.rounds + 1):
                seen, seen_cpu = measure(Loop(graph, size, data, decoded=True))
                both, both_cpu = measure(Loop(graph, size, data, decoded=False))
                for users in given.users:
                    got = ask(given, url, users, server)
                    failed = f" ({got.failed} failed)" if got.failed else ""
                    late = " (late)" if got.p99 > P99 else ""
                    print(
                        f"| {number} | {seen:,.0f} | {both:,.0f} | {users} | "
                        f"{got.rate:,.0f}{failed} | {got.p99:.0f}{late} | {got.rate / seen:.2f} | "
                        f"{got.rate / both:.2f} | {seen_cpu / got.cpu:.2f} | "
                        f"{both_cpu / got.cpu:.2f} |",
                        flush=True,
                    )
            family = [server, *server.children(recursive=True)]
            memory = sum(one.memory_full_info().pss for one in family)
            print(f"\nMemory of the server, and of all that it started: {memory / 2**30:.2f} GiB")
        finally:
            process.terminate()


if __name__ == "__main__":
    main()
