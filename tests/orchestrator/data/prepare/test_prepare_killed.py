"""`prepare`, killed with SIGKILL and once more as it goes on, ends in the bytes of a whole one."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from PIL import Image
from waiting import wait_until

from orchestrator.data.prepare.prepare import Options, prepare
from orchestrator.data.sources.registry import open_source

FACES, CHUNKS = 640, 10


def make_faces(folder: Path) -> Path:
    """Large photographs, so that a chunk of 64 takes half a second; one file under many names."""
    coarse = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    folder.mkdir()
    Image.fromarray(coarse).resize((720, 720)).convert("CMYK").save(folder / "one.jpg")
    names = [f"{row:04}.jpg" for row in range(FACES)]
    for name in names:
        (folder / name).hardlink_to(folder / "one.jpg")
    rows = np.arange(FACES)
    table = {"filename": names, "class": rows // 2 % 2, "gender": np.where(rows % 2, 1, -1)}
    pd.DataFrame(table).to_csv(folder / "manifest.csv", index=False)
    return folder / "manifest.csv"


def start(manifest: Path, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "orchestrator", "prepare", str(manifest), "--out", str(out)]
    return subprocess.Popen([*command, "--seed", "3"], stdout=subprocess.DEVNULL)


def finished(out: Path) -> int:
    return len(list((out.with_name(out.name + ".partial") / "state").glob("*.json")))


def content(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(p.relative_to(folder)): sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_killed_early_and_late(tmp_path: Path) -> None:
    manifest = make_faces(tmp_path / "faces")
    whole, out = tmp_path / "whole", tmp_path / "data"
    prepare(open_source(str(manifest)), whole, Options(seed=3))
    for chunks in (1, CHUNKS - 3):  # the last ones may end together
        process = start(manifest, out)
        wait_until(lambda done=chunks: finished(out) >= done, process)
        left = psutil.Process(process.pid).children(recursive=True)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "it had ended before it could be killed"
        assert finished(out) >= chunks
        assert not out.exists()  # nothing that could pass for whole
    for orphan in left:  # they follow their driver, but here what goes on does so at once
        with suppress(psutil.NoSuchProcess):
            orphan.kill()
    psutil.wait_procs(left)
    prepare(open_source(str(manifest)), out, Options(seed=3))
    assert content(out) == content(whole)
    assert not out.with_name("data.partial").exists()
