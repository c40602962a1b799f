"""The packages of this machine, by their exact versions, for the nodes to install."""

import json
import tomllib
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from orchestrator.base.errors import InputError

OPTIONAL = ("s3", "gcs", "postgres")
"""The extras that a job may need; what of them is installed here is locked, too."""
TORCHS_OWN = ("nvidia-", "cuda-", "triton")
"""What a build of torch for CUDA brings: on a node, that of its own build."""


class Lock(NamedTuple):
    """What the nodes install."""

    lines: list[str]
    """As a requirements file has them, sorted by name; Ray among them."""
    notes: list[str]
    """What is not quite as here."""


def lock(root: Path) -> Lock:
    """Lock what the source tree under `root` needs, as it is installed here.

    A version with a local part (``2.14.1+cpu``) is another build of the public one, and in no
    package index: the public one is locked, which a node's own build of it satisfies, too.

    Parameters
    ----------
    root
        A folder with a ``pyproject.toml``.

    Raises
    ------
    InputError
        A package is missing here, or is installed from a folder or file of this machine.
    """
    lines, notes = {}, []
    for name, distribution in _closure(root):
        version = Version(distribution.version)
        pinned, source = f"{name}=={version.public}", _source(name, distribution)
        if source:
            pinned = f"{name} @ {source}"
        elif version.local:
            notes.append(
                f"{name} {version} is locked as {version.public}: the nodes' own build of it, or "
                "their package index's"
            )
        lines[name] = pinned
    return Lock([lines[name] for name in sorted(lines)], notes)


def _closure(root: Path) -> Iterator[tuple[str, metadata.Distribution]]:
    """Give what is needed, and what that needs, each once."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    project = project.get("project", {})
    optional = project.get("optional-dependencies", {})
    lines = [(line, True) for line in project.get("dependencies", ())]
    lines += [(line, False) for extra in OPTIONAL for line in optional.get(extra, ())]
    open_ = [(Requirement(line), needed) for line, needed in lines]
    open_ = [(each, needed) for each, needed in open_ if _applies(each, {""})]
    given: set[str] = set()
    seen: set[tuple[str, str]] = set()
    while open_:
        requirement, needed = open_.pop()
        name = canonicalize_name(requirement.name)
        extras = {"", *requirement.extras} - {extra for one, extra in seen if one == name}
        if name.startswith(TORCHS_OWN) or not extras:
            continue
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            if not needed:
                continue
            raise InputError(
                f"--env pip or uv: {name} is not installed here, and cannot be locked; "
                f"pip install '{requirement}'"
            ) from None
        if name not in given:
            given.add(name)
            yield name, found
        seen |= {(name, extra) for extra in extras}
        # What a package asks for is there, unless it is for another use of it than ours.
        open_ += [(each, False) for each in _requirements(found) if _applies(each, extras)]


def _requirements(distribution: metadata.Distribution) -> Iterator[Requirement]:
    return map(Requirement, distribution.requires or ())


def _applies(requirement: Requirement, extras: Iterable[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in extras)


def _source(name: str, distribution: metadata.Distribution) -> str | None:
    """Return the URL that a package was installed from; None: from an index."""
    text = distribution.read_text("direct_url.json")
    if text is None:
        return None
    found: dict[str, Any] = json.loads(text)
    url = str(found["url"])
    if url.startswith("file:"):
        raise InputError(
            f"--env pip or uv: {name} is installed from {url.removeprefix('file://')}, which the "
            "nodes do not have; install it from a package index or a repository, or give "
            "--env none or image:NAME"
        )
    if repository := found.get("vcs_info"):
        return f"{repository['vcs']}+{url}@{repository['commit_id']}"
    return url
