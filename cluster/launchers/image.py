"""The Dockerfile of the image that the nodes run."""

import sys
from importlib.metadata import version

from cluster.launchers.config import ClusterConfig
from cluster.launchers.templates import render

FILE = "Dockerfile"
LIBRARIES = {"aws": "boto3", "gcp": "google-api-python-client"}
"""What Ray's autoscaler asks its cloud with."""


def dockerfile(config: ClusterConfig, launcher: str) -> str:
    """Return a Dockerfile on Ray's own image, of this Ray and this Python."""
    python = f"py{sys.version_info.major}{sys.version_info.minor}"
    kind = "gpu" if config.workers.gpus else "cpu"
    return render(
        "Dockerfile.j2",
        image=config.image,
        file=FILE,
        base=f"rayproject/ray:{version('ray')}-{python}-{kind}",
        library=LIBRARIES.get(launcher, ""),
    )
