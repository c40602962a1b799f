"""From the options of `submit` to what is submitted; no cluster is asked."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from cluster import jobs
from cluster.code_state import code_state
from cluster.environments import Environment
from cluster.package import SourceTree, source_tree
from cluster.submission import Resources, Submission, keep_submission, last_submission
from orchestrator.base.files import write_json
from orchestrator.cli import main


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source tree without a repository, which is also the current folder."""
    root = tmp_path / "tree"
    (root / "orchestrator").mkdir(parents=True)
    (root / "pyproject.toml").touch()
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def contents() -> dict[str, str]:
    """The files that are sent."""
    return {}


@pytest.fixture
def sent(
    tree: Path,  # noqa: ARG001
    contents: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> list[Any]:
    """What is submitted: the command, the tree and the options of each job."""
    found: list[Any] = []

    def submit(command: list[str], tree: SourceTree, *, options: jobs.Options, **_: Any) -> int:
        found.append((command, tree, options))
        contents.update({name: (tree.root / name).read_text() for name in tree.files})
        return 0

    monkeypatch.setattr(jobs, "submit", submit)
    monkeypatch.delenv("FAIRFRONT_STUDY_STORAGE", raising=False)
    return found


def test_options_are_those_of_the_job(sent: list[Any], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("REGION", "eu")
    words = "submit --env pip --env-var A=b=c --env-var REGION --name it --metadata who=me"
    words += " --num-cpus 0.5 --num-gpus 1 --memory 1.5GiB -- sweep --data /d --out /r"
    words += " --study-storage sqlite:////shared/study.db"
    assert main(words.split()) == 0
    ((command, tree, options),) = sent
    assert command == ["sweep", "--data", "/d", "--out", "/r"]
    assert tree.files == ["pyproject.toml"]
    study = {"FAIRFRONT_STUDY_STORAGE": "sqlite:////shared/study.db"}
    assert options.environment == Environment("pip")
    assert options.variables == {"A": "b=c", "REGION": "eu", **study}
    assert options.resources == Resources(num_cpus=0.5, num_gpus=1, memory=1536 * 2**20)
    assert (options.name, options.metadata) == ("it", {"who": "me"})
    assert [place.option for place in options.places] == ["--data", "--out"]
    assert options.config["sweep"]["trials"] == 20


def test_without_options_a_job_takes_what_the_nodes_have(sent: list[Any]):
    assert main(["submit", "--", "report", "/r"]) == 0
    ((_, _, options),) = sent
    assert options._replace(places=()) == jobs.Options()


def test_with_an_image_nothing_is_sent(
    sent: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)  # no source tree
    assert (
        main(["submit", "--env", "image:x:1", "--", "prepare", "/faces", "--out", "s3://b/d"]) == 0
    )
    assert sent[0][1].files == []


def test_a_command_needs_no_dashes_before_it(sent: list[Any]):
    assert main(["submit", "--name", "it", "train", "--data", "/d", "--out", "/r"]) == 0
    assert sent[0][0] == ["train", "--data", "/d", "--out", "/r"]


@pytest.mark.usefixtures("sent")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--memory much", "--memory much: give bytes, or a number with a unit, as 8GiB"),
        ("--memory 8XB", "--memory 8XB: give bytes"),
        ("--num-cpus -1", "--num-cpus -1: give a number from 0"),
        ("--num-gpus nan", "--num-gpus nan: give a number from 0"),
        ("--num-gpus one", "argument --num-gpus: invalid float value: 'one'"),
        ("--metadata who", "--metadata who: give KEY=VALUE"),
        ("--nmae it", "unrecognized arguments: --nmae; did you mean --name? (see fairfront submit"),
        ("--env conda", "--env conda: give pip, uv, none or image:NAME"),
        ("--again /no/run", "--again /no/run: no submitted.json there"),
    ],
)
def test_a_wrong_option_is_one_line(
    words: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["submit", *words.split(), "--", "report", "/r"]) == 2
    assert capsys.readouterr().err.startswith(f"fairfront: {message}")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that was submitted from a tree without a repository."""
    before = Submission(
        at="2026-01-02T03:04:05+00:00",
        command=["sweep", "--data", "/d", "--out", "/r", "--trials", "9"],
        environment="uv",
        variables={"A": "1", "B": "2"},
        resources=Resources(num_gpus=1),
        metadata={"who": "me"},
        fairfront="0.1.0",
    )
    folder = tmp_path / "run"
    folder.mkdir()
    monkeypatch.setenv("FAIRFRONT_SUBMITTED", before.told())
    keep_submission(folder)
    return folder


def test_a_run_is_submitted_again_with_what_is_given_now(
    sent: list[Any], run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = f"submit --again {run} --env-var B=3 --num-cpus 2 -- --out /r2 --trials 12"
    assert main(words.split()) == 0
    ((command, _, options),) = sent
    assert command == [
        *["sweep", "--data", "/d", "--out", "/r", "--trials", "9", "--out", "/r2", "--trials", "12"]
    ]
    assert options.environment == Environment("uv")
    assert options.variables == {"A": "1", "B": "3"}
    assert options.resources == Resources(num_cpus=2, num_gpus=1)
    assert options.metadata == {"who": "me"}
    assert options.config["sweep"]["trials"] == 12
    said = "The code of that submission was not kept (no git repository); this tree is sent.\n"
    assert capsys.readouterr().out == said


def test_a_run_is_submitted_again_with_the_code_of_then(
    sent: list[Any],
    contents: dict[str, str],
    tree: Path,
    run: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    git = ["git", "-C", str(tree), "-c", "user.name=T", "-c", "user.email=t@example.org"]
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "first"]):
        subprocess.run([*git, *words], check=True)
    (tree / "orchestrator" / "new.py").write_text("then = 1\n")
    code = code_state(source_tree(tree))
    kept = last_submission(str(run)).model_copy(update=code._asdict())
    write_json(run / "submitted.json", kept.model_dump())
    (tree / "orchestrator" / "new.py").write_text("now = 1\n")
    monkeypatch.chdir(tree / "orchestrator")
    assert main(["submit", "--again", str(run), "--", "--resume"]) == 0
    ((_, sent_tree, options),) = sent
    assert options.code == code
    assert sent_tree.root != tree
    assert contents == {"orchestrator/new.py": "then = 1\n", "pyproject.toml": ""}


def test_a_run_is_not_made_twice_but_gone_on_with(
    sent: list[Any], run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["submit", "--again", str(run)]) == 2
    assert sent == []
    said = capsys.readouterr().err
    assert f"submit --again {run} -- --out OTHER" in said
    assert said.count("\n") == 1
    assert main(["submit", "--again", str(run), "--", "--resume"]) == 0
    assert sent[0][0][-1] == "--resume"
