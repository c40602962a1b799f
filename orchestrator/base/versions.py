"""The versions that a result depends on."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

RECORDED_PACKAGES = ("fairfront", "ray", "torch", "torchvision", "optuna", "numpy", "pyarrow")


def versions() -> dict[str, str | None]:
    """The versions that a result depends on, and this checkout's git commit."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in RECORDED_PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    found["git_commit"] = git_commit()
    return found


def git_commit(folder: Path = Path(__file__).parent) -> str | None:
    """The commit of a checkout, this one's, as git describes it; None where that is not known."""
    if commit := os.environ.get("FAIRFRONT_GIT_COMMIT"):  # a submitted job has no .git
        return commit
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
