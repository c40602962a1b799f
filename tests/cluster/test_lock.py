"""Locks of packages that are nowhere but in a folder of the test's."""

import json
from pathlib import Path
from typing import Any

import pytest

from cluster.lock import lock
from orchestrator.base.errors import InputError


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where packages are installed."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return folder


def install(site: Path, name: str, version: str, *requires: str, url: Any = None) -> None:
    info = site / f"{name}-{version}.dist-info"
    info.mkdir()
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {each}" for each in requires]
    (info / "METADATA").write_text("\n".join(lines) + "\n")
    if url:
        (info / "direct_url.json").write_text(json.dumps(url))


def project(tmp_path: Path, *dependencies: str, **optional: list[str]) -> Path:
    tables = "".join(f"{name} = {json.dumps(lines)}\n" for name, lines in optional.items())
    (tmp_path / "pyproject.toml").write_text(
        f"[project]\ndependencies = {json.dumps(dependencies)}\n"
        f"[project.optional-dependencies]\n{tables}"
    )
    return tmp_path


def test_a_lock_has_all_that_is_needed_here_and_nothing_else(tmp_path: Path, site: Path):
    install(site, "xx_top", "1.0", "xx-mid[more]>=1", "xx-never; python_version < '3'")
    install(site, "xx_mid", "2.0", "xx-leaf", "xx-extra; extra == 'more'", "xx-no; extra == 'no'")
    install(site, "xx_leaf", "3.0.post1", "xx-top")  # a circle
    install(site, "xx_extra", "4.0")
    install(site, "xx_no", "5.0")
    install(site, "xx_s3", "6.0")
    install(site, "xx_unneeded", "7.0")
    root = project(tmp_path, "xx-top>=0.5", s3=["xx-s3"], gcs=["xx-not-here"], dev=["xx-unneeded"])
    assert lock(root) == (
        ["xx-extra==4.0", "xx-leaf==3.0.post1", "xx-mid==2.0", "xx-s3==6.0", "xx-top==1.0"],
        [],
    )


def test_a_build_of_torch_is_locked_by_its_public_version_and_told(tmp_path: Path, site: Path):
    # What CUDA's build brings is a node's own business: the node may have another build.
    install(site, "xx_torch", "2.14.1+cpu", "nvidia-xx==1", "triton", "cuda-xx")
    install(site, "nvidia_xx", "1")
    lines, (note,) = lock(project(tmp_path, "xx-torch"))
    assert lines == ["xx-torch==2.14.1"]
    assert note.startswith("xx-torch 2.14.1+cpu is locked as 2.14.1: the nodes' own build of it")


def test_a_package_of_a_repository_is_locked_by_its_commit(tmp_path: Path, site: Path):
    url = {"url": "https://x.example/y", "vcs_info": {"vcs": "git", "commit_id": "abc"}}
    install(site, "xx_ours", "1.0", url=url)
    install(site, "xx_wheel", "1.0", url={"url": "https://x.example/w.whl", "archive_info": {}})
    assert lock(project(tmp_path, "xx-ours", "xx-wheel")).lines == [
        "xx-ours @ git+https://x.example/y@abc",
        "xx-wheel @ https://x.example/w.whl",
    ]


def test_what_the_nodes_cannot_have_is_refused(tmp_path: Path, site: Path):
    install(site, "xx_mine", "1.0", url={"url": "file:///home/me/mine", "dir_info": {}})
    with pytest.raises(InputError, match=r"xx-mine is installed from /home/me/mine, which the"):
        lock(project(tmp_path, "xx-mine"))
    with pytest.raises(InputError, match=r"xx-gone is not installed here.*pip install 'xx-gone>1'"):
        lock(project(tmp_path, "xx-gone>1"))


def test_this_projects_own_lock_has_what_its_extras_bring():
    lines = lock(Path(__file__).parents[2]).lines
    names = {line.partition("==")[0] for line in lines}
    assert {"ray", "torch", "pandas", "aiohttp"} <= names  # the last by ray[default] alone
    assert not {name for name in names if name.startswith(("nvidia-", "triton", "pytest"))}
