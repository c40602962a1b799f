import json
import platform
import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar

import pytest
import ray
from test_client import serving

from cluster import checks
from cluster.checks import Place, check_name, check_places, check_versions, file_system
from cluster.client import connect
from cluster.jobs import submit
from cluster.package import SourceTree
from orchestrator.base.errors import InputError

pytestmark = pytest.mark.usefixtures("no_ray_settings")
HERE = platform.python_version()


class Dashboard(BaseHTTPRequestHandler):
    """A cluster's, as far as it is asked before anything is sent to it."""

    pages: ClassVar[dict[str, Any]] = {}
    uploads: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        page = self.pages.get(self.path)
        self.send_response(200 if page is not None else 404)
        self.end_headers()
        self.wfile.write(json.dumps(page).encode())

    def do_PUT(self) -> None:
        self.uploads.append(self.path)
        self.do_GET()

    def do_POST(self) -> None:
        self.do_PUT()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    pages = {
        "/api/version": {"version": "4", "ray_version": ray.__version__},
        "/api/v0/cluster_metadata": {"data": {"pythonVersion": HERE}},
        "/nodes?view=summary": {"data": {"summary": [{"hostname": socket.gethostname()}]}},
    }
    monkeypatch.setattr(Dashboard, "pages", pages)
    monkeypatch.setattr(Dashboard, "uploads", [])
    return pages


@pytest.fixture
def dashboard(pages: dict[str, Any]) -> Iterator[str]:  # noqa: ARG001
    with serving(Dashboard) as url:
        yield url


def submitted(dashboard: str, tmp_path: Path) -> None:
    (tmp_path / "a.py").touch()
    tree = SourceTree(tmp_path, ["a.py"])
    with (tmp_path / "out").open("w") as out:
        submit(["report", "/r"], tree, address=dashboard, wait=False, out=out)


def test_another_ray_is_refused_before_anything_is_sent(
    dashboard: str, pages: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pages["/api/version"]["ray_version"] = "2.61.0"
    with pytest.raises(InputError) as raised:
        submitted(dashboard, tmp_path)
    assert str(raised.value).startswith(
        f"{dashboard}: the cluster has Ray 2.61.0 and this machine {ray.__version__}, and Ray "
        f"refuses to mix them; start the cluster with {ray.__version__}, install 2.61.0 here"
    )
    assert Dashboard.uploads == []
    monkeypatch.setenv("FAIRFRONT_PYTHON", "/there/python")  # which has the cluster's
    with pytest.raises(InputError, match="the cluster refused"):  # this one is none
        submitted(dashboard, tmp_path)
    assert Dashboard.uploads != []


@pytest.mark.parametrize("there", ["3.99.1", "3.9.1", "4.0.0"])
def test_another_python_is_refused(dashboard: str, pages: dict[str, Any], there: str):
    pages["/api/v0/cluster_metadata"]["data"]["pythonVersion"] = there
    minor = there.rpartition(".")[0]
    with pytest.raises(InputError, match=f"has Python {there} and .* of Python {minor}, or name"):
        check_versions(connect(dashboard))


@pytest.mark.parametrize("patch", ["99", None])
def test_another_patch_of_python_is_not_nor_one_that_is_not_told(
    dashboard: str, pages: dict[str, Any], patch: str | None
):
    if patch:
        minor = HERE.rpartition(".")[0]
        pages["/api/v0/cluster_metadata"]["data"]["pythonVersion"] = f"{minor}.{patch}"
    else:
        del pages["/api/v0/cluster_metadata"]
    check_versions(connect(dashboard))


def test_a_name_is_a_name_and_free(dashboard: str, pages: dict[str, Any]):
    client = connect(dashboard)
    pages["/api/jobs/taken"] = {"status": "RUNNING"}
    check_name(client, "gamma-2.5_b")
    with pytest.raises(InputError, match=r"^--name taken: a job of this cluster has it \(RUNNING"):
        check_name(client, "taken")
    for name in ("", "a b", "../x", "-x", "a/b", "é"):
        with pytest.raises(InputError, match=r"^--name .*: give letters, digits"):
            check_name(client, name)


def test_a_place_on_a_disk_of_this_machine_is_refused_where_other_nodes_are(
    dashboard: str, pages: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    data = Place("--data", str(tmp_path), is_made=False)
    made = Place("--out", str(tmp_path / "runs" / "1"), is_made=True)
    monkeypatch.setattr(checks, "file_system", lambda _: "ext4")
    client = connect(dashboard)
    check_places(client, [data, made])  # the cluster is this machine
    pages["/nodes?view=summary"]["data"]["summary"].append({"hostname": "gpu-1"})
    for place in (data, made):
        with pytest.raises(InputError) as raised:
            check_places(client, [place])
        assert str(raised.value) == (
            f"{place.option} {place.where}: lies on a disk of this machine (ext4), which the "
            "cluster's node gpu-1 does not see; give a mounted path, a URI, or "
            f"file://{place.where} if every node has the same there"
        )
    check_places(
        client,
        [
            Place("--data", "/not/on/this/machine", is_made=False),
            Place("--out", "/not/on/this/machine", is_made=True),
            Place("--data", f"file://{tmp_path}", is_made=False),
            Place("--data", "s3://bucket/data", is_made=False),
        ],
    )
    for shared in ("nfs4", "fuse.sshfs", None):
        monkeypatch.setattr(checks, "file_system", lambda _, kind=shared: kind)
        check_places(client, [data, made])
    del pages["/nodes?view=summary"]
    monkeypatch.setattr(checks, "file_system", lambda _: "ext4")
    check_places(client, [data, made])  # an older head, which does not tell


def test_the_file_system_is_that_of_the_innermost_mount(tmp_path: Path):
    inner, hidden = tmp_path / "in ner", tmp_path / "in"
    inner.mkdir()
    hidden.mkdir()
    mounts = tmp_path / "mounts"
    escaped = str(inner).replace(" ", "\\040")
    mounts.write_text(
        f"/dev/a / ext4 rw 0 0\nhost:/x {escaped} nfs4 rw 0 0\n"
        f"/dev/b {hidden} ext4 rw 0 0\nhost:/y {hidden} lustre rw 0 0\n"
    )
    assert file_system(tmp_path, mounts) == "ext4"
    assert file_system(inner / "not" / "there", mounts) == "nfs4"
    assert file_system(hidden, mounts) == "lustre"
    assert file_system(tmp_path, tmp_path / "no mounts") is None
