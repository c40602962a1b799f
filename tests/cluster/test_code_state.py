import subprocess
from pathlib import Path

import pytest

from cluster.code_state import CodeState, code_state, restore
from cluster.package import SourceTree, pack, source_files
from orchestrator.base.errors import InputError


def git(folder: Path, *words: str) -> str:
    own = ("-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "core.autocrlf=false")
    command = ["git", "-C", str(folder), *own, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A source tree, below the top of its repository, with a commit."""
    root = tmp_path / "repository" / "tree"
    (root / "orchestrator").mkdir(parents=True)
    (root / "pyproject.toml").write_text("[project]\n")
    (root / "orchestrator" / "a.py").write_text("a = 1\n")
    (root / "orchestrator" / "b.py").write_text("b = 1\n")
    (root / ".env").write_text("TOKEN=old\n")
    (root / ".gitignore").write_text("*.ckpt\n")
    (root.parent / "outside").write_text("1\n")
    git(root.parent, "init", "--quiet")
    git(root.parent, "add", ".")
    git(root.parent, "commit", "--quiet", "-m", "first")
    return root


def tree_of(root: Path) -> SourceTree:
    return SourceTree(root, source_files(root))


def change(root: Path) -> None:
    (root / "orchestrator" / "a.py").write_bytes(b"a = '\xe9'\n")  # no UTF-8
    (root / "orchestrator" / "b.py").unlink()
    (root / "orchestrator" / "new one.py").write_text("c = 1\n")
    (root / "orchestrator" / "run.sh").write_text("#!/bin/sh\n")
    (root / "orchestrator" / "run.sh").chmod(0o755)
    (root / "orchestrator" / "staged.py").write_text("d = 1\n")
    git(root, "add", "orchestrator/staged.py")
    (root / "picture.bin").write_bytes(bytes(range(256)) * 9)
    (root / ".env").write_text("TOKEN=new\n")
    (root / ".secret").write_text("TOKEN=other\n")
    (root / "model.ckpt").write_text("ignored\n")
    (root.parent / "outside").write_text("2\n")


def test_a_state_is_a_commit_and_what_was_sent_beyond_it(root: Path):
    assert code_state(tree_of(root)) == CodeState(git(root, "rev-parse", "HEAD"), "")
    change(root)
    before = git(root, "status", "--porcelain")
    diff = code_state(tree_of(root)).diff
    assert diff is not None
    for name in ("a.py", "b.py", "new one.py", "staged.py", "picture.bin"):
        assert name in diff
    for never in ("TOKEN", "outside", "model.ckpt"):
        assert never not in diff
    assert git(root, "status", "--porcelain") == before  # the user's index is as it was


def test_a_restored_tree_makes_the_same_package(root: Path, tmp_path: Path):
    change(root)
    tree = tree_of(root)
    state = code_state(tree)
    sent = pack(tree.root, tree.files, tmp_path / "sent.zip").read_bytes()
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "-m", "second")
    (root / "orchestrator" / "a.py").write_text("a = 3\n")
    again = tmp_path / "again"
    again.mkdir()
    restore(state, root, again)
    assert source_files(again) == tree.files
    assert pack(again, source_files(again), tmp_path / "again.zip").read_bytes() == sent


def test_a_tree_without_a_repository_has_no_state(tmp_path: Path):
    (tmp_path / "a.py").touch()
    assert code_state(SourceTree(tmp_path, ["a.py"])) == CodeState(None, None)


def test_a_large_diff_is_not_kept(root: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("cluster.code_state.DIFF_LIMIT", 100)
    (root / "large.py").write_text("x = 1\n" * 100)
    assert code_state(tree_of(root)) == CodeState(git(root, "rev-parse", "HEAD"), None)


def test_a_commit_that_is_not_here_is_named(root: Path, tmp_path: Path):
    with pytest.raises(InputError, match=f"has no commit {'0' * 40}; git fetch it"):
        restore(CodeState("0" * 40, ""), root, tmp_path)
    with pytest.raises(InputError, match=r"changes on .* cannot be made again"):
        restore(CodeState(git(root, "rev-parse", "HEAD"), "no diff\n"), root, tmp_path)
