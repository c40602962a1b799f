"""Labels of images: as the trial labelled them, in their order, whole or not at all."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import simplejpeg
from layouts import write_zip
from PIL import Image
from scipy.special import expit
from waiting import HANGS, wait_until

from orchestrator.base.errors import InputError
from orchestrator.base.files import children
from orchestrator.cli import main
from orchestrator.data.prepare.work_folder import KeptError
from orchestrator.data.store.store import Store
from orchestrator.deploy import predict as module
from orchestrator.deploy import processes
from orchestrator.deploy.predict import mark_for, predict, task_of
from orchestrator.deploy.unfinished import Kept, folder_of, keeping
from orchestrator.judging.judge import evaluate_trial
from orchestrator.run.directory import Run
from orchestrator.run.trial import Trial
from orchestrator.training.labeller import Decoder, Task

MODEL = "trials/t000/model.safetensors"


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of 16 images, two of which are kept together."""
    monkeypatch.setattr(module, "piece_rows", lambda _size: 16)
    monkeypatch.setattr(module, "SECTION", 2)


def faces_of(run: Run) -> Path:
    """The images that the run's data set was made of."""
    return Path(run.data["path"]) / "faces" / "images"


def label(run: Run, images: Path, out: Path, *words: str) -> int:
    options = ["--run", str(run.path), "--images", str(images), "--out", str(out), "--quiet"]
    return main(["predict", *options, *words])


def test_pixels_are_those_of_training_to_the_byte(trained: Run) -> None:
    store = Store.open(trained.data["path"])
    task = Task(trained.path / MODEL, store.meta.image_size, None, measured=False)
    for split in ("train", "val", "test"):
        arrays = store.load(split)
        paths = [str(faces_of(trained).parent / name) for name in arrays.filename.to_pylist()]
        images = np.zeros_like(arrays.images)
        assert Decoder(task).decode(paths, images)[0] == [""] * len(paths)
        assert np.array_equal(images, arrays.images)


def test_jpegs_decode_as_simplejpeg_has_them(tmp_path: Path) -> None:
    """Of the size that the network sees nothing is resized, and the two must agree."""
    pixels = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((24, 24)).save(tmp_path / "a.jpg", quality=90)
    images = np.zeros((1, 24, 24, 3), np.uint8)
    Decoder(Task(tmp_path, 24, None, measured=False)).decode([str(tmp_path / "a.jpg")], images)
    assert np.array_equal(images[0], simplejpeg.decode_jpeg((tmp_path / "a.jpg").read_bytes()))


def test_labels_are_the_trials_in_parquet_with_what_made_them(trained: Run, tmp_path: Path) -> None:
    out = tmp_path / "labels.parquet"
    assert label(trained, faces_of(trained), out, "--labels", "0/1") == 0
    table = pq.read_table(out)
    assert table.column_names == [
        *("filename", "label", "probability", "logit", "trial", "threshold")
    ]
    labels = table.to_pandas().set_index("filename")
    expected = trained.trial("t000").predictions.set_index("filename")
    expected.index = [name.removeprefix("images/") for name in expected.index]
    ours = labels.loc[expected.index]
    np.testing.assert_allclose(ours["logit"], expected["logit"], atol=1e-5)
    np.testing.assert_allclose(ours["probability"], expit(ours["logit"]), atol=1e-6)
    assert np.array_equal(ours["label"], (expected["logit"] > 0).astype(int))
    assert set(labels["trial"]) == {"t000"}
    assert set(labels["threshold"]) == {0.5}
    assert children(tmp_path) == [out]  # what was kept meanwhile has gone


def test_labels_are_by_the_retrained_networks_as_one_where_they_are_kept(
    together: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "labels.parquet"
    data = Path(together.data["path"])
    assert label(together, data, out, "--split", "test") == 0
    said = capsys.readouterr().out
    assert f"labelled by trial t000-ensemble: {out}" in said
    assert "instead" not in said  # t000 was the search's best, too
    labels = pq.read_table(out).to_pandas().set_index("filename")["logit"]
    members = [Trial(path) for path in (together.confirm_path / "t000").iterdir()]
    assert len(members) == 2
    each = pd.concat([member.predictions.query("split == 'test'") for member in members])
    expected = each.groupby("filename")["logit"].mean()
    np.testing.assert_allclose(labels[expected.index], expected, atol=1e-5)
    assert label(together, data, tmp_path / "one.csv", "--split", "test", "--trial", "t000") == 0
    assert label(together, data, tmp_path / "no.csv", "--trial", "t9-ensemble") == 2
    assert "there is t000, t000-ensemble" in capsys.readouterr().err


def test_the_published_form_in_the_tables_order(
    trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two files of one base name stay apart; one that cannot be read has no label."""
    some = sorted(faces_of(trained).iterdir())[:3]
    for place, file in zip(("b", "a", "a"), some, strict=True):
        name = "000001.jpg" if file == some[2] else "000000.jpg"
        (tmp_path / place).mkdir(exist_ok=True)
        shutil.copy(file, tmp_path / place / name)
    (tmp_path / "broken.jpg").write_bytes(some[0].read_bytes()[:200])
    names = ["b/000000.jpg", "broken.jpg", "a/000001.jpg", "a/000000.jpg", "b/000000.jpg"]
    (tmp_path / "faces.csv").write_text("\n".join(["filename", *names]))
    assert label(trained, tmp_path / "faces.csv", tmp_path / "labels.csv") == 1
    rows = [line.split(",") for line in (tmp_path / "labels.csv").read_text().splitlines()]
    logit = trained.trial("t000").predictions.set_index("filename")["logit"]
    assert [name for name, _ in rows] == ["filename", *names]
    assert rows[2][1] == ""
    told = dict(rows[1:])
    assert set(told.values()) <= {"-1", "1", ""}
    assert rows[1] == rows[5]
    for name, file in (("b/000000.jpg", some[0]), ("a/000000.jpg", some[1])):
        if (known := f"images/{file.name}") in logit:
            assert told[name] == ("1" if logit[known] > 0 else "-1")
    said = capsys.readouterr()
    assert "4 images labelled by trial t000" in said.out
    assert said.err.startswith("fairfront: 1 could not be read, with no label: broken.jpg (")
    assert said.err.count("\n") == 1


def test_many_that_cannot_be_read_are_listed_in_a_file(
    trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    shutil.copy(next(faces_of(trained).iterdir()), images / "a.jpg")
    for number in range(5):
        (images / f"{number}.jpg").write_bytes(b"no image")
    (images / "Jos\udce9.png").write_bytes(b"")  # a name in Latin-1
    assert label(trained, images, tmp_path / "labels.csv", "--proba") == 1
    assert "6 could not be read, with no label: 0.jpg (not an image" in capsys.readouterr().err
    assert b"\nJos\xe9.png,,\n" in (tmp_path / "labels.csv").read_bytes()
    listed = (tmp_path / "labels.unread.csv").read_bytes().splitlines()
    assert len(listed) == 7
    assert listed[6] == b"Jos\xe9.png,an empty file"


def test_thresholds(trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a data set and of a table, whose column of genders is told by an option."""
    pair = evaluate_trial(trained.trial("t000"), 2.0).judged["by_gender"].thresholds
    data = Path(trained.data["path"])
    out = tmp_path / "pair.parquet"
    assert label(trained, data, out, "--threshold", "by-gender", "--keep-columns") == 0
    labels = pq.read_table(out).to_pandas()
    women = labels["gender"] == -1
    assert set(labels["threshold"][women]) == {pair.women}
    assert set(labels["threshold"][~women]) == {pair.men}
    expected = np.where(labels["probability"] > labels["threshold"], 1, -1)
    assert np.array_equal(labels["label"], expected)
    assert f"{pair.women:.4g} for women and {pair.men:.4g} for men" in capsys.readouterr().out

    two = labels.iloc[[women.argmax(), (~women).argmax()]]
    woman, man = two["filename"]
    (tmp_path / "two.csv").write_text(f"filename,sex\n{woman},f\n{man},m\n")
    out, table = tmp_path / "two.parquet", ["--table", str(tmp_path / "two.csv")]
    words = [*table, "--threshold", "by-gender", "--column", "gender=sex"]
    assert label(trained, data / "faces", out, *words) == 0
    assert pq.read_table(out)["threshold"].to_pylist() == [*pair]
    out = tmp_path / "number.parquet"
    assert label(trained, data / "faces", out, *table, "--threshold", "0") == 0
    assert pq.read_table(out)["label"].to_pylist() == [1, 1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--threshold", "1.5"], "1.5: give fixed, shared, by-gender or a number from 0 to 1"),
        (["--threshold", "by-gender"], "which does not tell anybody's gender; give a table"),
        (["--threshold", "by-gender", "--table"], "no column gender; say which it is, as --column"),
        (["--labels", "yes"], "--labels"),
    ],
)
def test_what_cannot_be_is_one_line(
    words: list[str],
    said: str,
    trained: Run,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if words[-1] == "--table":
        (tmp_path / "t.csv").write_text("filename\na.jpg\n")
        words = [*words, str(tmp_path / "t.csv")]
    assert label(trained, faces_of(trained), tmp_path / "out.csv", *words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not list(tmp_path.glob("out*"))


@pytest.mark.usefixtures("small_pieces")
def test_what_is_done_is_kept(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "labels.csv"
    paths = [str(path) for path in sorted(faces_of(trained).iterdir())]
    task = task_of(trained.path / MODEL)
    mark = mark_for(task, folder_of(out), paths)
    whole = predict(task, paths)

    def stop(done: int, _total: int) -> None:
        if done >= 100:
            raise KeyboardInterrupt

    def go_on(mark: Any, stopped: bool = False) -> tuple[Any, list[int]]:
        looked: list[int] = []

        def label_here(*given: Any) -> Any:
            for seen in processes.label_here(*given):
                looked.extend(seen.row.tolist())
                yield seen

        monkeypatch.setattr(module, "label_here", label_here)
        with keeping(out, mark) as kept:
            more = {"on_progress": stop} if stopped else {}
            return predict(task, paths, kept=kept, **more), looked

    with pytest.raises(KeyboardInterrupt):
        go_on(mark, stopped=True)
    parts = sorted(folder_of(out).glob("*.parquet"))
    assert parts
    parts[0].write_bytes(parts[0].read_bytes()[:100])  # as a power cut leaves it
    predicted, looked = go_on(mark)
    assert np.array_equal(predicted.logit, whole.logit)
    lost = int(parts[0].stem)
    kept = {int(part.stem) for part in parts[1:]}
    assert sorted(looked) == [row for row in range(200) if row // 32 not in kept]
    assert lost not in kept
    assert not folder_of(out).exists()
    with pytest.raises(KeyboardInterrupt):
        go_on(mark, stopped=True)
    assert len(go_on({**mark, "paths": "others"})[1]) == 200  # of other images nothing is taken


@pytest.mark.usefixtures("small_pieces")
def test_the_way_of_a_gpu_says_the_same(trained: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rehearsed on a CPU: processes decode into shared memory, of which each part is used again."""
    paths = [str(path) for path in sorted(faces_of(trained).iterdir())]
    paths[7] = "/nowhere.jpg"
    task = task_of(trained.path / MODEL)
    here = predict(task, paths)
    monkeypatch.setattr(processes, "_has_gpu", lambda: True)
    there = predict(task, paths)
    np.testing.assert_allclose(here.logit, there.logit, atol=1e-5)
    assert there.reason.tolist() == here.reason.tolist()
    assert there.missing == [7]


def test_what_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "labels.csv"
    with keeping(out, {}) as kept:
        assert isinstance(kept, Kept)
        with pytest.raises(InputError, match="another predict is at work here"), keeping(out, {}):
            pass
    folder_of(out).mkdir()
    (folder_of(out) / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="holds what no predict left"), keeping(out, {}):
        pass
    assert (folder_of(out) / "mine.txt").read_text() == "mine"


def test_a_process_that_dies_is_one_line(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that the system kills for its memory."""
    shutil.copy(next(faces_of(trained).iterdir()), tmp_path / "a.jpg")
    monkeypatch.setattr(processes, "_begin", die)
    with pytest.raises(KeptError, match="a process died at work on the images, perhaps because"):
        predict(task_of(trained.path / MODEL), [str(tmp_path / "a.jpg")])


def test_images_of_which_none_can_be_read_leave_no_labels(
    trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = tmp_path / "faces.csv"
    names.write_text("filename\na.jpg\nb.jpg\n")
    (tmp_path / "a.jpg").touch()
    assert label(trained, names, tmp_path / "out.csv") == 2
    said = capsys.readouterr().err
    assert f"{names}: none of the 2 images can be read: a.jpg (an empty file), …; mend" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out.csv").exists()


def test_labels_that_cannot_be_written_are_refused_before_the_work(
    trained: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert label(trained, faces_of(trained), Path("/proc/labels.csv")) == 2
    assert "/proc: cannot be written to (" in capsys.readouterr().err


def test_images_out_of_reach_are_one_line(trained: Run, tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "faces.zip", {"a.jpg": b"no image"})
    path = f"zip://a.jpg::{archive}"
    task = task_of(trained.path / MODEL)
    predicted = predict(task, [path])
    assert predicted.reason.tolist() == ["not an image, or of a format that is not read"]
    archive.unlink()
    with pytest.raises(KeptError) as caught:
        predict(task, [path])
    assert str(caught.value) == (
        f"{path}: no such file; mend that and run the same command again: it goes on from here"
    )


@pytest.mark.usefixtures("ray_cluster")
def test_a_cluster_says_the_same(trained: Run) -> None:
    store = Store.open(trained.data["path"])
    paths = [str(path) for path in sorted(faces_of(trained).iterdir())[:40]]
    task = task_of(trained.path / MODEL, measured=True)
    here, there = predict(task, paths), predict(task, paths, on_cluster=True)
    np.testing.assert_allclose(here.logit, there.logit, atol=1e-5)
    assert here.appearance is not None
    assert there.appearance is not None
    np.testing.assert_allclose(here.appearance, there.appearance, atol=1e-6)
    with pytest.raises(KeptError, match=r"zip: no such file; mend that"):
        predict(task, ["zip://a.jpg::/nowhere.zip"], on_cluster=True)
    assert store.meta.image_size == task.image_size


def die(_task: Task) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
def test_killed_it_leaves_no_process_and_no_half_output(trained: Run, tmp_path: Path) -> None:
    names = [path.name for path in sorted(faces_of(trained).iterdir())] * 60
    (tmp_path / "many.csv").write_text("\n".join(["filename", *names]))
    out = tmp_path / "labels.csv"
    command = [
        *(sys.executable, "-m", "orchestrator", "predict", "--run", str(trained.path)),
        *("--table", str(tmp_path / "many.csv"), "--images", str(faces_of(trained))),
        *("--out", str(out), "--quiet"),
    ]
    with subprocess.Popen(command, start_new_session=True) as process:
        wait_until(lambda: list(folder_of(out).glob("*.parquet")), process)
        process.kill()
    assert not out.exists()
    wait_until(lambda: not lives(process.pid))
    subprocess.run(command, check=True, timeout=HANGS)
    assert len(out.read_text().splitlines()) == 1 + len(names)
    assert not folder_of(out).exists()
