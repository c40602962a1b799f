"""Machines as people have them: another user's folders, no home, a full disk; as root alone."""

import os
import shutil
import subprocess
import sys
from contextlib import suppress
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


SESSION = """
import pathlib, ray
from orchestrator.distributed.ray_session import quiet, session
with quiet(pathlib.Path('ray.log')) as terminal, session(1):
    print(ray.get(ray.remote(lambda: 60).remote()), 'faces of 16x16', file=terminal)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("home", "words"),
    [
        (None, f"{FAIRFRONT} prepare synthetic:60 --image-size 16 --out data"),
        ("/", f'{sys.executable} -c "{SESSION}"'),  # Ray, which is all that minds
    ],
)
def test_another_users_ray_folder_and_no_home_of_ones_own(
    open_folder: Path, home: str | None, words: str
) -> None:
    """As on a shared server, and as with `docker run --user`."""
    done = run(
        f"mkdir -m 755 ray; mount --bind ray /tmp/ray; exec {OTHER} {words}",
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


def test_labels_are_refused_where_they_cannot_be_written(
    tmp_path: Path, small_disk: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_report(make_run(tmp_path / "run", SWEEP[:1], rows=100))
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").touch()
    words = ["predict", "--run", tmp_path / "run", "--images", tmp_path / "images"]
    words += ["--out", small_disk / "labels.csv"]
    with suppress(OSError):
        (small_disk / "zeros").write_bytes(bytes(2**20))
    for options, reason in (
        ("rw", "No space left on device"),
        ("ro", "Read-only file system"),
    ):
        subprocess.run(["mount", "-o", f"remount,{options}", small_disk], check=True)
        assert main([str(word) for word in words]) == 2
        assert capfd.readouterr().err == (
            f"fairfront: {small_disk}: cannot be written to ({reason}); choose another --out\n"
        )
