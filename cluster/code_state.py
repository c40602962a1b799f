"""The code that a job ran: a commit and what was not committed, told and made again.

Both speak of what is sent: what git ignores, and hidden files, are no part of it.
"""

import io
import os
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import NamedTuple

from cluster.package import SourceTree
from orchestrator.base.errors import InputError

DIFF_LIMIT = 2**20
"""Bytes; a larger diff is not kept."""
SENT = (".", ":(exclude,glob)**/.*", ":(exclude,glob)**/.*/**")
_ADD = ("add", "--force", "--intent-to-add", "--pathspec-from-file=-", "--pathspec-file-nul")
_DIFF = (
    *("diff", "--binary", "--relative", "--no-color", "--no-ext-diff", "--no-textconv"),
    *("--src-prefix=a/", "--dst-prefix=b/", "HEAD", "--", *SENT),
)


class CodeState(NamedTuple):
    """Which code it is."""

    commit: str | None
    """None: no repository, or none with a commit."""
    diff: str | None
    """As ``git diff --binary``, new files included; empty: all is committed; None: not known."""


def code_state(tree: SourceTree) -> CodeState:
    """Tell which code a source tree is."""
    commit = _git(tree.root, "rev-parse", "--verify", "HEAD")
    if commit is None:
        return CodeState(None, None)
    with tempfile.TemporaryDirectory(prefix="fairfront-") as folder:
        # An index of our own, so that the user's stays as it is.
        index = str(Path(folder) / "index")
        _git(tree.root, "read-tree", "HEAD", index=index)
        names = "\0".join(tree.files)
        if tree.files:
            _git(tree.root, "--literal-pathspecs", *_ADD, index=index, given=names.encode())
        diff = _git(tree.root, *_DIFF, index=index)
    if diff is None or len(diff) > DIFF_LIMIT:
        return CodeState(commit.decode().strip(), None)
    return CodeState(commit.decode().strip(), diff.decode(errors="surrogateescape"))


def restore(state: CodeState, repository: Path, target: Path) -> None:
    """Write the code of a state into the empty folder `target`.

    Parameters
    ----------
    repository
        A source tree in a clone that has the commit.

    Raises
    ------
    InputError
        The clone lacks the commit.
    """
    assert state.commit is not None
    archive = _git(repository, "archive", "--format=tar", state.commit)
    if archive is None:
        raise InputError(
            f"{repository}: its repository has no commit {state.commit}; git fetch it, or run "
            "submit from a clone that has it"
        )
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(target, filter="data")
    if state.diff:
        change = state.diff.encode(errors="surrogateescape")
        # In a repository of its own, or one above would be asked what may be changed.
        _git(target, "init", "--quiet")
        if _git(target, "apply", "--whitespace=nowarn", "-", given=change) is None:
            raise InputError(f"the uncommitted changes on {state.commit} cannot be made again")


def _git(folder: Path, *words: str, index: str | None = None, given: bytes = b"") -> bytes | None:
    """Run git in a folder; None: it failed, or there is none."""
    own = {"GIT_INDEX_FILE": index} if index else {}
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")} | own
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), "-c", "core.quotePath=false", *words],
            input=given, capture_output=True, check=False, env=environment, timeout=60,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
