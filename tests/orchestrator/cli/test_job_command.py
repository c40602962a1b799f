"""What can run as a job of a cluster, and what would fail there."""

import shlex
from pathlib import Path

import pytest

from cluster.environments import without_secrets
from cluster.package import SourceTree
from orchestrator.base.errors import InputError
from orchestrator.cli.job_command import JobCommand, check_job, split_secrets

SPACE = "def suggest(trial):\n    return {{'loss.{}': trial.suggest_float('gamma', 0, 3)}}\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "spaces").mkdir()
    (tmp_path / "spaces" / "mine.py").write_text(SPACE.format("gamma"))
    (tmp_path / "spaces" / "wrong.py").write_text(SPACE.format("gama"))
    (tmp_path / "sweep.yaml").write_text("data: {folds: 5}\n")
    (tmp_path / "wrong.yaml").write_text("loss: {gama: 2}\n")
    return tmp_path


def check(command: str, root: Path, *, sent: bool = True) -> JobCommand:
    files = ["sweep.yaml", "wrong.yaml", "spaces/mine.py", "spaces/wrong.py"]
    return check_job(shlex.split(command), SourceTree(root, files), sent=sent)


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
        "evaluate --run /run --data s3://bucket/other --shift",
        "drift --run s3://bucket/run --images /new --json",
        "explain --run /run --faces 5",
    ],
)
def test_commands_that_mean_the_same_on_a_cluster(command: str, root: Path):
    check(command, root)


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
        ("evaluate --run run --data /d", "--run run: "),
        ("evaluate --run /run --data other", "--data other: "),
        ("drift --run /run --images new", "--images new: "),
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
def test_commands_that_would_fail_there(command: str, message: str, root: Path):
    with pytest.raises(InputError, match=message) as raised:
        check(command, root)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("sweep --set loss.gama=3", "--set: unknown key loss.gama; did you mean loss.gamma?"),
        ("sweep --epochs 0", "--set: train.epochs=0: input should be greater than or equal to 1"),
        ("train --recipe refrence", "--recipe refrence: no such recipe"),
        ("train --set data.fold=5 data.folds=5", "--set: data: there is no such fold"),
        ("train --config wrong.yaml", r"wrong.yaml: unknown key loss.gama"),
        ("sweep --space spaces/wrong.py", "unknown key loss.gama"),
        ("sweep --space nothing", "nothing: no such search space"),
        ("sweep --resume --trials 0", "--set: sweep.trials=0: input should be"),
        ("train --config /elsewhere/x.yaml --set loss.gama=3", "--set: unknown key loss.gama"),
        ("train --config /elsewhere/x.yaml --set train.lr=fast", "--set: train.lr='fast'"),
    ],
)
def test_wrong_settings_are_found_here(command: str, message: str, root: Path):
    with pytest.raises(InputError, match=message) as raised:
        check(f"{command} --data /d --out /r", root)
    assert "\n" not in str(raised.value)
    assert "{" not in str(raised.value)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("prepare synthetic:9 --out /d --split 1,1,1", "--split 1.0,1.0,1.0: give three shares"),
        ("prepare synthetic:9 --out /d --image-size 0", "--image-size 0: it must be from 1"),
    ],
)
def test_wrong_options_of_prepare_are_found_here(command: str, message: str, root: Path):
    with pytest.raises(InputError, match=message):
        check(command, root)


@pytest.mark.parametrize(
    "command",
    [
        "train --config /elsewhere/x.yaml --set data.fold=3",  # if the file has the folds
        "sweep --resume --set sweep.confirm_folds=5",
        "sweep --space /elsewhere/space.py",
    ],
)
def test_what_only_the_cluster_knows_is_not_judged(command: str, root: Path):
    checked = check(f"{command} --data /d --out /r", root)
    assert (checked.config is None) == ("space.py" not in command)


def test_a_commands_settings_and_places_are_told(root: Path):
    checked = check(
        "sweep --data /d --out /r --config sweep.yaml --set data.fold=3 --warm-start /w "
        "--space spaces/mine.py",
        root,
    )
    assert checked.config is not None
    assert (checked.config.data.folds, checked.config.data.fold) == (5, 3)
    assert checked.config.sweep.space == "spaces/mine.py"
    assert checked.places == [
        ("--data", "/d", False),
        ("--out", "/r", True),
        ("--warm-start", "/w", False),
    ]
    assert check("sweep --out /r --resume", root).places == [("--out", "/r", False)]
    assert check("prepare synthetic:9 --out /d", root) == ([("--out", "/d", True)], None)


def test_a_container_sees_no_folder_and_has_no_files_of_ours(root: Path):
    words = "train --data /in/the/image"
    with pytest.raises(InputError, match=r"^--out /r: would be lost with the container"):
        check(f"{words} --out /r", root, sent=False)
    with pytest.raises(InputError, match=r"^--config sweep.yaml: not among .*; give it an abs"):
        check(f"{words} --out s3://b/r --config sweep.yaml", root, sent=False)
    assert check(f"{words} --out s3://b/r", root, sent=False).places == []


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


def test_trackers_are_told_to_a_job_by_its_environment(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FAIRFRONT_STUDY_STORAGE", "FAIRFRONT_TRACK"):
        monkeypatch.delenv(name, raising=False)
    command = "sweep --data /d --track mlflow:http://me:secret@host --out /r --track=wandb:faces"
    words, secrets = split_secrets(command.split())
    assert words == ["sweep", "--data", "/d", "--out", "/r"]
    assert secrets == {"FAIRFRONT_TRACK": "mlflow:http://me:secret@host wandb:faces"}
    assert without_secrets(secrets) == {}
    assert without_secrets({"FAIRFRONT_TRACK": "mlflow:http://token@host"}) == {}
    check(command, root)
    with pytest.raises(InputError, match=r"^--track tracked: a job does not run in this folder"):
        check("sweep --data /d --out /r --track mlflow:tracked", root)
