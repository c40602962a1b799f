"""What can run as a job of a cluster, and what would fail there."""

import shlex
from pathlib import Path

import pytest

from cluster.package import SourceTree
from orchestrator.base.errors import InputError
from orchestrator.cli.job_command import check_job, split_secrets


def check(command: str, root: Path) -> None:
    check_job(shlex.split(command), SourceTree(root, ["sweep.yaml", "spaces/mine.py"]))


@pytest.mark.parametrize(
    "command",
    [
        "prepare synthetic:100 --out s3://bucket/data",
        "prepare /faces/manifest.csv --images s3://bucket/faces --out /data",
        "train --data /data --out /run --config sweep.yaml --set loss.gamma=2 model.weights=null",
        "sweep --data /data --out=/run --space spaces/mine.py --config /elsewhere/sweep.yaml",
        "sweep --data /data --out /run --space focal_gender --resume",
        "sweep --data /data --out /run --warm-start /other --set model.weights=IMAGENET1K_V2",
        "train --data /data --out /run --set model.weights=random",
        "report /run",
        "predict --run /run --images /faces --out /predictions.csv",
    ],
)
def test_commands_that_mean_the_same_on_a_cluster(command: str, tmp_path: Path):
    check(command, tmp_path)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("", "submit: nothing is not one of prepare, train, sweep, report, predict"),
        ("watch /run", "submit: watch is not one of"),
        ("sweep --out /run --trails 3", "unrecognized arguments: --trails; did you mean --trials?"),
        ("prepare faces.csv --out /data", r"SOURCE faces.csv: .*absolute path or URI .*faces.csv$"),
        ("prepare synthetic:9 --out data", "--out data: "),
        ("prepare /faces.csv --images faces --out /data", "--images faces: "),
        ("train --data=data --out /run", "--data data: "),
        ("sweep --data /data --out ~/run", "--out ~/run: "),
        ("report run", "RUN run: "),
        ("sweep --data /d --out /r --warm-start /a --warm-start b", "--warm-start b: "),
        ("predict --run run --images /f --out /p.csv", "--run run: "),
        ("predict --run /r --table t.csv --images /f --out /p.csv", "--table t.csv: "),
        (
            "train --data /d --out /r --config other.yaml",
            "--config other.yaml: not among the files",
        ),
        ("sweep --data /d --out /r --space no.py", "--space no.py: not among the files"),
        (
            "train --data /d --out /r --set model.name=cnn model.weights=w.pth",
            "--set model.weights w.pth: not among the files",
        ),
    ],
)
def test_commands_that_would_fail_there(command: str, message: str, tmp_path: Path):
    with pytest.raises(InputError, match=message) as raised:
        check(command, tmp_path)
    assert "\n" not in str(raised.value)


URL = "postgresql+psycopg://me:secret@db/studies"


@pytest.mark.parametrize(
    "option", ["", f"--study-storage {URL}", f"--study-storage={URL}"], ids=["none", "two", "one"]
)
@pytest.mark.parametrize("variable", [None, URL])
def test_a_database_is_told_to_a_job_by_its_environment(
    option: str, variable: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FAIRFRONT_STUDY_STORAGE", raising=False)
    if variable:
        monkeypatch.setenv("FAIRFRONT_STUDY_STORAGE", variable)
    command = f"sweep --data /d {option} --out /r"
    words, secrets = split_secrets(command.split())
    assert words == ["sweep", "--data", "/d", "--out", "/r"]
    assert secrets == ({"FAIRFRONT_STUDY_STORAGE": URL} if option or variable else {})
    assert split_secrets(["report", "/r"]) == (["report", "/r"], {})
