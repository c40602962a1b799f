import io
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from waiting import HANGS

from cluster.jobs import _taken, jobs, logs, stop, submit
from cluster.package import source_tree
from orchestrator.base.errors import InputError
from orchestrator.cli.doctor import check_ray

# Raised inside Ray's client.
pytestmark = [
    pytest.mark.filterwarnings("ignore:ssl=None is deprecated:DeprecationWarning"),
]

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.usefixtures("tree")
def test_an_unreachable_cluster_is_an_input_error():
    with pytest.raises(InputError, match="no Ray cluster answers"):
        submit(
            ["report", "/run"],
            source_tree(Path.cwd()),
            address="http://127.0.0.1:1",
            wait=True,
            out=io.StringIO(),
        )


class Busy:
    """A client of a head whose part for jobs comes late."""

    def __init__(self, *refusals: str) -> None:
        self.refusals, self.asked = list(refusals), 0

    def submit_job(self, **job: str) -> str:
        self.asked += 1
        if self.refusals:
            raise RuntimeError(self.refusals.pop(0))
        return job["submission_id"]


def test_a_head_that_has_just_started_is_asked_again(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    later = "Request failed with status code 500: No available agent to submit job, please try"
    busy = Busy(later, later)
    assert _taken(busy, submission_id="it") == "it"
    assert busy.asked == 3
    with pytest.raises(RuntimeError, match="code 400"):
        _taken(Busy("Request failed with status code 400"), submission_id="it")
    monkeypatch.setattr("cluster.jobs.AGENT_SECONDS", 0.0)
    with pytest.raises(RuntimeError, match="No available agent"):
        _taken(Busy(later), submission_id="it")


def submitted(head: str, *arguments: str) -> tuple[int, str]:
    out = io.StringIO()
    code = submit(arguments, source_tree(Path.cwd()), address=head, wait=True, out=out)
    return code, out.getvalue()


@pytest.mark.ray
def test_a_jobs_log_and_exit_code_come_back(head: str, tree: Path):
    (tree / "data").mkdir()
    (tree / "data" / "meta.json").touch()
    (tree / "data" / "train").mkdir()
    code, log = submitted(head, "report", "/a $HOME")
    assert code == 3
    assert "arguments ['report', '/a $HOME']" in log
    assert "folder ['orchestrator', 'pyproject.toml', 'sweep.yaml']" in log  # no data
    assert f"python {sys.executable}" in log
    assert "nodes 1 cpus 1.0" in log  # it joined the cluster that it runs on
    assert re.search(r"job raysubmit_\w+ FAILED with exit code 3$", log.strip())


@pytest.mark.ray
def test_the_real_program_runs_as_a_job(head: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(REPOSITORY)
    code, log = submitted(head, "report", "/no/such/run")
    assert code == 2, log
    assert "fairfront: /no/such/run: no run here" in log


@pytest.mark.ray
@pytest.mark.usefixtures("tree")
def test_a_job_is_listed_followed_and_stopped(head: str):
    out = io.StringIO()
    assert (
        submit(["report", "/sleep"], source_tree(Path.cwd()), address=head, wait=False, out=out)
        == 0
    )
    found = re.search(r"fairfront stop (raysubmit_\w+) --address", out.getvalue())
    assert found
    job = found[1]

    followed = io.StringIO()
    codes: list[int] = []
    follower = threading.Thread(
        target=lambda: codes.append(logs(job, head, follow=True, out=followed))
    )
    follower.start()
    while "sleeping" not in followed.getvalue():
        assert follower.is_alive(), followed.getvalue()
        follower.join(0.1)

    listed, log, stopped = io.StringIO(), io.StringIO(), io.StringIO()
    assert jobs(head, listed) == 0
    assert re.search(rf"{job}  RUNNING +\d{{4}}-.* report /sleep\n", listed.getvalue())
    assert logs(job, head, follow=False, out=log) == 0
    assert "arguments ['report', '/sleep']" in log.getvalue()
    assert stop(job, head, stopped) == 0
    assert stopped.getvalue() == f"job {job}: stopping\n"
    follower.join()
    assert codes == [1]
    assert "kept what was finished" in followed.getvalue()
    assert f"job {job} STOPPED" in followed.getvalue()
    assert stop(job, head, stopped) == 0
    assert "had ended before (STOPPED)" in stopped.getvalue()


@pytest.mark.ray
@pytest.mark.usefixtures("tree")
def test_ctrl_c_leaves_the_job_running(head: str):
    code = "import pathlib, sys; from cluster import jobs, package; "
    code += "tree = package.source_tree(pathlib.Path.cwd()); "
    code += f"words = {{'address': {head!r}, 'wait': True, 'out': sys.stdout}}; "
    code += "sys.exit(jobs.submit(['report', '/sleep'], tree, **words))"
    waiting = subprocess.Popen(
        [sys.executable, "-P", "-c", code],  # the tree holds another orchestrator
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert waiting.stdout
    lines = iter(waiting.stdout.readline, "")
    assert any(line == "sleeping\n" for line in lines)
    waiting.send_signal(signal.SIGINT)
    rest, complaints = waiting.communicate(timeout=HANGS)
    assert waiting.returncode == 130
    assert "Traceback" not in complaints
    found = re.search(r"the job goes on. Log: fairfront logs (\w+) --follow --address", rest)
    assert found, rest
    stopped = io.StringIO()
    stop(found[1], head, stopped)
    assert "stopping" in stopped.getvalue()


@pytest.mark.ray
def test_an_unknown_job_is_named(head: str):
    for call in (
        lambda: logs("raysubmit_none", head, follow=False, out=io.StringIO()),
        lambda: logs("raysubmit_none", head, follow=True, out=io.StringIO()),
        lambda: stop("raysubmit_none", head, io.StringIO()),
    ):
        with pytest.raises(InputError, match=r"^raysubmit_none: no such job at http://"):
            call()


@pytest.mark.ray
def test_a_wrong_or_missing_token_is_one_line(head: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "wrong" * 8)
    with pytest.raises(InputError, match="refuses the token of RAY_AUTH_TOKEN; set"):
        jobs(head, io.StringIO())
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    with pytest.raises(InputError, match="asks for a token and there is none here; set"):
        jobs(head, io.StringIO())


@pytest.mark.ray
def test_doctor_says_that_only_submit_reaches_a_cluster_over_http(
    head: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("RAY_ADDRESS", head)
    (*_, last) = check_ray()
    assert last.state == "warn"
    assert "only submit can use it; RAY_API_SERVER_ADDRESS" in last.text
