"""Machines as people have them: another user's folders, no home, a full disk; as root alone."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fakes import SWEEP, make_run
from preparing import synthetic
from waiting import HANGS

from orchestrator.cli import main
from orchestrator.report.report import write_report


def can_unshare() -> bool:
    if os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "setpriv", "mount"))):
        return False
    words = ["unshare", "-m", "mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", "/mnt"]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


pytestmark = pytest.mark.skipif(
    not can_unshare(), reason="needs root, unshare, setpriv and mount, to make such a machine"
)
FAIRFRONT = f"{sys.executable} -m orchestrator"
OTHER = (
    "setpriv --reuid=12345 --regid=12345 --clear-groups "
    "--inh-caps=-all,+dac_read_search --ambient-caps=-all,+dac_read_search"
)
"""Another user, who can read what root has, since the interpreter may lie there."""


def run(commands: str, where: Path, **environment: str | None) -> subprocess.CompletedProcess[str]:
    """Run a shell's commands among mounts of their own."""
    known = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    return subprocess.run(
        ["unshare", "-m", "sh", "-ec", commands],
        cwd=where,
        env={name: value for name, value in known.items() if value is not None},
        capture_output=True,
        text=True,
        check=False,
        timeout=HANGS,
    )


@pytest.fixture
def open_folder(tmp_path: Path) -> Path:
    """A folder for everybody, below those of pytest, which are the user's alone."""
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("home", ["/", None])
def test_another_users_ray_folder_and_no_home_of_ones_own(
    open_folder: Path, home: str | None
) -> None:
    """As on a shared server, and as with `docker run --user`."""
    done = run(
        "mkdir -m 755 ray; mount --bind ray /tmp/ray; "
        f"exec {OTHER} {FAIRFRONT} prepare synthetic:60 --image-size 16 --out data",
        open_folder,
        HOME=home,
        TMPDIR=None,
        RAY_TMPDIR=None,
        RAY_AUTH_TOKEN=None,
        RAY_AUTH_MODE=None,
    )
    assert done.returncode == 0, done.stderr
    assert "60 faces of 16x16" in done.stdout
    assert done.stderr == ""


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_full_disk_is_named_by_the_training_that_fills_it(
    tmp_path: Path, small_disk: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = synthetic(tmp_path / "data", faces=60)
    words = ["train", "--data", str(data), "--out", f"{small_disk}/run", "--recipe", "plain"]
    assert main([*words, "--epochs", "1", "--set", "train.max_failures=0"]) == 1
    said = capfd.readouterr().err
    assert said.startswith(f"fairfront: {small_disk}/run/trials/plain/")
    assert "No space left on device; mend that and go on with --resume" in said
    assert said.count("\n") == 1


def test_labels_are_refused_where_they_cannot_be_written(tmp_path: Path) -> None:
    write_report(make_run(tmp_path / "run", SWEEP[:1], rows=100))
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").touch()
    code = (
        "from orchestrator.cli import main\n"
        "words = ['predict', '--run', 'run', '--images', 'images', '--out']\n"
        "print([main([*words, f'{disk}/labels.csv']) for disk in ('fixed', 'full')])"
    )
    done = run(
        "mkdir fixed full; mount -t tmpfs -o ro tmpfs fixed; mount -t tmpfs -o size=4k tmpfs full; "
        f'head -c 4096 /dev/zero > full/zeros; exec {sys.executable} -c "{code}"',
        tmp_path,
    )
    assert done.stdout == "[2, 2]\n"
    mend = "choose another --out"
    assert done.stderr.splitlines() == [
        f"fairfront: {tmp_path}/{disk}: cannot be written to ({reason}); {mend}"
        for disk, reason in (
            ("fixed", "Read-only file system"),
            ("full", "No space left on device"),
        )
    ]
