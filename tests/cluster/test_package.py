import zipfile
from pathlib import Path

import pytest

from cluster import package
from cluster.package import pack, project_root, source_files
from orchestrator.base.errors import InputError


def write(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    write(
        root,
        "pyproject.toml",
        "orchestrator/cli/main.py",
        "orchestrator/report/templates/a.html.j2",
    )
    return root


def test_the_root_is_found_from_a_folder_inside(tree: Path):
    assert project_root(tree / "orchestrator" / "templates") == tree


def test_a_folder_outside_a_tree_is_refused(tmp_path: Path):
    write(tmp_path, "other/pyproject.toml")
    with pytest.raises(InputError, match="run submit from a checkout"):
        project_root(tmp_path / "other")


def test_this_repository_sends_its_packages_and_little_else():
    root = project_root(Path(__file__))
    files = source_files(root)
    assert {"pyproject.toml", "cluster/jobs.py", "orchestrator/cli/main.py", "models/cnn.py"} <= {
        *files
    }
    assert not [name for name in files if "__pycache__" in name or name.startswith(".")]


@pytest.mark.parametrize(
    "name",
    [
        ".git/config",
        ".venv/bin/python",
        ".mypy_cache/x.json",
        "models/__pycache__/cnn.pyc",
        "fairfront.egg-info/PKG-INFO",
        "faces.partial/train/part-00000.parquet",
    ],
)
def test_what_no_job_needs_stays_here(tree: Path, name: str):
    write(tree, name)
    assert name not in source_files(tree)


def test_data_runs_and_environments_stay_here_whatever_their_names(tree: Path):
    write(tree, "faces/meta.json", "faces/train/part-00000.parquet")
    write(tree, "sub/mine/config.yaml", "sub/mine/trials/plain/model.safetensors")
    write(tree, "python311/pyvenv.cfg", "python311/lib/site.py")
    write(tree, "configs/config.yaml")  # a configuration without trials is source
    assert source_files(tree) == [
        "configs/config.yaml",
        "orchestrator/cli/main.py",
        "orchestrator/report/templates/a.html.j2",
        "pyproject.toml",
    ]


def test_gitignore_files_are_heeded_at_every_level(tree: Path):
    (tree / ".gitignore").write_text("/data/\n*.ckpt\n!keep.ckpt\n")
    write(tree, "data/x", "a.ckpt", "models/keep.ckpt", "models/data/y", "docs/big", "docs/small")
    (tree / "docs" / ".gitignore").write_text("big\n")
    sent = source_files(tree)
    assert {"models/keep.ckpt", "models/data/y", "docs/small"} <= {*sent}
    assert not {"data/x", "a.ckpt", "docs/big"} & {*sent}


def test_rayignore_files_are_heeded_like_rays_own_packages_do(tree: Path):
    (tree / ".gitignore").write_text("*.ckpt\n")
    (tree / ".rayignore").write_text("/notes/\n!a.ckpt\n")
    write(tree, "notes/x", "a.ckpt", "docs/notes/y", "docs/z")
    (tree / "docs" / ".rayignore").write_text("z\n")
    assert [name for name in source_files(tree) if name[0] in "and"] == ["docs/notes/y"]


def test_links_to_folders_are_not_followed(tree: Path, tmp_path: Path):
    write(tmp_path, "elsewhere/x")
    (tree / "data").symlink_to(tmp_path / "elsewhere")
    (tree / "gone").symlink_to(tmp_path / "nowhere")
    assert not [name for name in source_files(tree) if name.startswith(("data", "gone"))]


def test_a_tree_over_the_limit_names_the_largest(tree: Path):
    for name, size in (("faces/1.jpg", 60), ("faces/2.jpg", 50), ("weights.pth", 20)):
        (tree / name).parent.mkdir(exist_ok=True)
        with (tree / name).open("wb") as file:
            file.truncate(size * 2**20)  # sparse: no disk is used
    with pytest.raises(InputError, match=r"is 130 MiB .* largest: faces/ \(110 MiB\), weights.pth"):
        source_files(tree)


def test_the_limit_is_the_one_of_rays_http_server():
    from ray._private.ray_constants import DASHBOARD_CLIENT_MAX_SIZE

    assert package.SIZE_LIMIT <= DASHBOARD_CLIENT_MAX_SIZE


def test_a_package_has_the_contents_and_depends_on_nothing_else(tree: Path, tmp_path: Path):
    files = source_files(tree)
    first = pack(tree, files, tmp_path / "1.zip").read_bytes()
    for name in files:
        (tree / name).touch()
        (tree / name).chmod(0o600)  # another umask
    assert pack(tree, files, tmp_path / "2.zip").read_bytes() == first
    with zipfile.ZipFile(tmp_path / "1.zip") as written:
        assert written.namelist() == files
        assert written.read("orchestrator/cli/main.py") == b"orchestrator/cli/main.py"
    more = pack(tree, files, tmp_path / "3.zip", {"beside": b"it"})
    with zipfile.ZipFile(more) as written:
        assert written.namelist() == [*files, "beside"]
        assert written.read("beside") == b"it"
