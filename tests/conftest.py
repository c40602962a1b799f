"""Fixtures that the whole suite shares."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from s3_server import S3Server

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the tests' processes share the cores
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ["KERAS_BACKEND"] = "torch"  # read when Keras is first imported
if not Path("/dev/nvidia0").exists():
    os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is first imported
os.environ.pop("RAY_ADDRESS", None)  # the tests bring their own cluster
# And their own S3 server, whose address and keys lie in files, so that Ray's processes have them
# whenever they were started; nobody's own keys are used.
AWS = Path(tempfile.gettempdir()) / f"fairfront-tests-{os.getpid()}"
for _name in [name for name in os.environ if name.startswith("AWS_")]:
    del os.environ[_name]
os.environ |= {
    "AWS_CONFIG_FILE": str(AWS / "config"),
    "AWS_SHARED_CREDENTIALS_FILE": str(AWS / "credentials"),
    "AWS_EC2_METADATA_DISABLED": "true",
}
# A shell has its background jobs ignore Ctrl-C, and so would the commands that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# An example that takes long says that the machine is busy, and nothing of the program.
settings.register_profile(
    "busy",
    settings.get_profile(settings.get_current_profile_name()),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("busy")

CELEBA10K = Path(__file__).parents[2] / "shared" / "data" / "celeba10k"


@pytest.hookimpl(optionalhook=True)  # pytest-xdist's
def pytest_xdist_auto_num_workers() -> int:
    """One process more than there are cores: each waits half of its time for others to start."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of Ray, and begin with the files that take longest, as they are declared.

    `--dist loadfile` gives a file to a process, and the long ones must not come last.
    """
    longest: dict[Path, float] = {}
    for item in items:
        if "ray_cluster" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.ray)
        weight = 10 * any(item.iter_markers("slow")) + any(item.iter_markers("ray"))
        longest[item.path] = longest.get(item.path, 0) + weight
    items.sort(key=lambda item: -longest[item.path])


@pytest.hookimpl(optionalhook=True)  # pytest-xdist's
def pytest_testnodedown(node: Any, error: object | None) -> None:
    """Say what is known of a process of tests that died; Ray ends its driver without a word."""
    if error is None:
        return
    process = node.gateway._io.popen
    try:
        ended = f"ended with {process.wait(timeout=60)}"
    except subprocess.TimeoutExpired:
        ended = "goes on, with its pipe closed"
    print(f"\n{node.gateway.id}, process {process.pid}, {ended}")
    driver = f"ray/*/logs/python-core-driver-*_{process.pid}.log"
    for log in Path(tempfile.gettempdir()).glob(driver):
        lines = log.read_text(errors="replace").splitlines()[-30:]
        print(log, *lines, sep="\n    ", flush=True)
    (node.config.cache.mkdir("processes") / "died").touch()  # .ci/run asks


@pytest.hookimpl(optionalhook=True)
def pytest_handlecrashitem(crashitem: str) -> None:
    """Name at once the test that the process died of, lest the summary is never reached."""
    print(f"\ndied of {crashitem}", flush=True)


@pytest.fixture(scope="session")
def celeba10k() -> Path:
    """10,000 real faces in CelebA's own layout; non-commercial research data, never committed."""
    if not CELEBA10K.is_dir():
        pytest.skip("needs ../shared/data/celeba10k, which is not here")
    return CELEBA10K


@pytest.fixture(scope="session")
def s3() -> Iterator["S3Server"]:
    """An S3 server with a bucket, ``faces``, and the keys to it where AWS's clients look."""
    pytest.importorskip("s3fs")
    from s3_server import KEY, SECRET, S3Server
    from upath import UPath

    server = S3Server.begin()
    AWS.mkdir(exist_ok=True)
    (AWS / "config").write_text(f"[default]\nregion = eu-west-1\nendpoint_url = {server.url}\n")
    keys = f"[default]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n"
    (AWS / "credentials").write_text(keys)
    try:
        UPath("s3://faces").fs.call_s3(
            "create_bucket",
            Bucket="faces",
            CreateBucketConfiguration={"LocationConstraint": "eu-west-1"},
        )
        yield server
    finally:
        server.end()
        shutil.rmtree(AWS)


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One local Ray cluster for the session."""
    import ray

    from orchestrator.distributed.ray_session import session

    with session(num_cpus=2):
        yield
    assert not ray.is_initialized()
