import os
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import HANGS, wait_until

from orchestrator.distributed.ray_session import quiet


def run(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=HANGS,
        env={**os.environ, **environment},
    )


QUIET = """
import os, subprocess, sys
from pathlib import Path
from orchestrator.distributed.ray_session import quiet

print("before")
print("before", file=sys.stderr)
try:
    with quiet(Path(sys.argv[1])) as terminal:
        print("from Python")
        print("an error from Python", file=sys.stderr)
        os.write(1, b"from C\\n")
        subprocess.run(["sh", "-c", "echo from a child; echo child >&2"], check=True)
        terminal.write("ours: é\\n")
        if len(sys.argv) > 2:
            raise KeyboardInterrupt
except KeyboardInterrupt:
    print("interrupted")
print("after")
print("after", file=sys.stderr)
"""


@pytest.mark.parametrize("interrupt", [[], ["interrupt"]])
def test_all_that_is_said_goes_to_the_file(tmp_path: Path, interrupt: list[str]) -> None:
    log = tmp_path / "logs" / "ray.log"
    done = run(QUIET, str(log), *interrupt)
    assert done.stdout.split() == [
        "before",
        "ours:",
        "é",
        *["interrupted" for _ in interrupt],
        "after",
    ]
    assert done.stderr == "before\nafter\n"
    assert sorted(log.read_text().splitlines()) == [
        "an error from Python",
        "child",
        "from C",
        "from Python",
        "from a child",
    ]


def test_a_second_time_appends(tmp_path: Path) -> None:
    for word in ("one", "two"):
        with quiet(tmp_path / "log"):
            os.write(2, word.encode())
    assert (tmp_path / "log").read_text() == "onetwo"


def test_a_log_that_cannot_be_opened_leaves_the_terminal_as_it_is(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def use() -> None:
        with quiet(tmp_path):
            raise AssertionError("a folder is no log file")

    with pytest.raises(IsADirectoryError):
        use()
    os.write(1, b"here\n")
    assert capfd.readouterr().out == "here\n"


def test_a_terminal_stays_one(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    saved = os.dup(1)
    try:
        os.dup2(theirs, 1)
        with quiet(tmp_path / "log") as terminal:
            assert terminal.isatty()
            assert not os.isatty(1)
            terminal.write("line\n")  # buffered by line: no flush is needed
            assert os.read(ours, 100) == b"line\r\n"
    finally:
        os.dup2(saved, 1)
        for descriptor in (saved, ours, theirs):
            os.close(descriptor)


SESSION = """
import os, signal, sys
from pathlib import Path
from orchestrator.distributed.ray_session import quiet, session
import ray

folder = Path(sys.argv[1])
signal.signal(signal.SIGTERM, handler := lambda *_: None)
with quiet(folder / "ray.log") as terminal, session(num_cpus=1, log_dir=folder / "workers"):
    assert signal.getsignal(signal.SIGTERM) is handler

    @ray.remote
    def work():
        print("a worker speaks")
        return os.nice(0), {k: v for k, v in os.environ.items() if k.startswith("MALLOC_")}

    nice, allocator = ray.get(work.remote())
    assert nice == os.nice(0)
    with session():  # inside one, another changes nothing
        cpus = ray.cluster_resources()["CPU"]
    assert ray.is_initialized()
    rows = ray.data.range(10).map_batches(lambda batch: batch).take_all()
    print("the driver speaks")
    terminal.write(f"{cpus} {len(rows)} {sorted(allocator)}\\n")
assert not ray.is_initialized()
"""


@pytest.mark.ray
def test_a_session_of_its_own_is_silent_and_ends(tmp_path: Path) -> None:
    done = run(SESSION, str(tmp_path), RAY_ADDRESS="")
    assert done.returncode == 0, done.stderr
    names = ["MALLOC_ARENA_MAX", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_"]
    names += ["MALLOC_TRIM_THRESHOLD_"]
    assert done.stdout == f"1.0 10 {names}\n"
    assert done.stderr == ""
    assert "the driver speaks" in (tmp_path / "ray.log").read_text()
    assert "a worker speaks" not in (tmp_path / "ray.log").read_text()
    workers = "".join(path.read_text() for path in (tmp_path / "workers").glob("worker-*.out"))
    assert "a worker speaks" in workers


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_a_running_cluster_is_joined_and_left_running() -> None:
    import ray

    address = ray.get_runtime_context().gcs_address
    done = run(
        "from orchestrator.distributed.ray_session import session\n"
        "import ray\n"
        "with session(num_cpus=1):\n"
        "    print(ray.cluster_resources()['CPU'], ray.get(ray.put(3)))\n"
        "print(ray.is_initialized())\n",
        RAY_ADDRESS=address,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "2.0 3\nFalse\n"
    assert ray.get(ray.remote(lambda: 4).remote()) == 4


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_a_cluster_without_a_free_cpu_is_waited_for_in_words() -> None:
    import ray

    from orchestrator.distributed.ray_session import wait_for_cpu

    @ray.remote(num_cpus=2)
    class Busy:
        def here(self) -> None: ...

    said: list[str] = []
    wait_for_cpu(said.append)
    assert said == []
    busy = Busy.remote()
    ray.get(busy.here.remote())
    wait_until(lambda: ray.available_resources().get("CPU", 0) < 1)  # it is told now and then

    def say(text: str) -> None:
        said.append(text)
        ray.kill(busy)

    wait_for_cpu(say, patience=0.2)
    assert said == [
        "waiting for a free CPU (all 2 CPUs of the cluster are taken); Ctrl-C ends the waiting"
    ]
