"""The one configuration of all launchers: what a cluster is made of, and what runs on it."""

import math
from typing import Annotated

from pydantic import Field, model_validator

from orchestrator.base.strict import Strict

Word = Annotated[str, Field(min_length=1, pattern=r"^[^\s'\"\\$`]+$")]
"""A name in the words of a launcher, with nothing that a shell would take for its own."""
Folder = Annotated[str, Field(pattern=r"^(/[A-Za-z0-9._-]+)+$")]


class Machine(Strict):
    """What a node has."""

    kind: Word | None = None
    """AWS's instance type or GCP's machine type; of workers the kind of GPU for Slurm, as gres has
    it. null: AWS and GCP have a small head; Slurm takes any GPU."""
    cpus: int = Field(default=4, ge=1)
    memory_gib: int = Field(default=16, ge=2)


class Workers(Machine):
    """The nodes that train, which come and go."""

    min: int = Field(default=0, ge=0)
    max: int = Field(default=4, ge=1)
    gpus: int = Field(default=1, ge=0)
    """Of a node."""
    cpus: int = Field(default=8, ge=1)
    memory_gib: int = Field(default=32, ge=2)
    spot: bool = True
    """Cheaper ones, that are taken away at times: a trial goes on from its checkpoint."""
    price_per_hour: float | None = Field(default=None, gt=0)
    """Of a node. The files say what the most of it comes to, and AWS's bid is no more."""

    @model_validator(mode="after")
    def _range(self) -> "Workers":
        if self.min > self.max:
            raise ValueError(f"min is {self.min}, more than max={self.max}")
        return self


class Shared(Strict):
    """The volume that all nodes see."""

    path: Folder = "/shared"
    claim: Word = "fairfront"
    """Kubernetes: the PersistentVolumeClaim, ReadWriteMany."""
    nfs: Word | None = None
    """AWS, GCP: HOST:/EXPORT, as of EFS or Filestore."""


class Kubernetes(Strict):
    """What KubeRay's files need beyond that."""

    namespace: Word | None = None
    worker_labels: dict[str, str] = Field(default={})
    """Of the Kubernetes nodes to train on, for example cloud.google.com/gke-accelerator:
    nvidia-l4."""
    spot_label: dict[str, str] = Field(
        default={"cloud.google.com/gke-spot": "true"}, min_length=1, max_length=1
    )
    """Of spot nodes, which may have a taint of the same key and value."""


class Slurm(Strict):
    """What sbatch needs beyond that."""

    account: Word | None = None
    environment: Folder | None = None
    """fairfront's virtual environment, which all nodes see; null: that which sbatch is run in."""


class Cloud(Strict):
    """What Ray's launcher needs for AWS and GCP beyond that."""

    region: Word = "us-west-2"
    zone: Word = "us-west1-a"
    """GCP's; its region is told from it."""
    project: Word | None = None
    """GCP's project id."""
    image: Word | None = None
    """The nodes' disk image: an AMI, or GCP's projects/…/images/…; it needs Docker and NVIDIA's
    driver. null: the provider's base image for deep learning."""
    disk_gib: int = Field(default=200, ge=50)


class ClusterConfig(Strict):
    """A cluster and its command."""

    name: str = Field(default="fairfront", pattern=r"^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$")
    command: str = (
        "sweep --data /shared/data --out /shared/runs/1 --trials 100 "
        "--gpus-per-trial 1 --concurrent 4"
    )
    """Of fairfront; a train or sweep goes on where its RUN is there already."""
    image: Word = "fairfront:latest"
    """Of containers, as the Dockerfile makes it."""
    head: Machine = Machine()
    """It does not train, but on Slurm, where it is the first worker."""
    workers: Workers = Workers()
    shared: Shared | None = Shared()
    """null: all places are URIs."""
    identity: Word | None = None
    """Who the nodes are to an object store: Kubernetes' service account, AWS's instance profile
    (its ARN), GCP's service account (its e-mail address)."""
    hours: float = Field(default=24.0, gt=0, le=24 * 365)
    """What runs longer is ended; it can be gone on with."""
    start_minutes: int = Field(default=30, ge=1)
    """How long to wait for nodes before giving up."""
    idle_minutes: int = Field(default=5, ge=1)
    """A worker that has nothing to do for so long goes."""
    keep_minutes: int = Field(default=10, ge=0)
    """How long a cluster stays to be looked at, when its command has ended."""
    retries: int = Field(default=3, ge=0)
    """How often a command goes on, on a new cluster, after a failure."""
    queue: Word | None = None
    """Kueue's LocalQueue, or Slurm's partition."""
    kubernetes: Kubernetes = Kubernetes()
    slurm: Slurm = Slurm()
    cloud: Cloud = Cloud()

    @property
    def seconds(self) -> int:
        """What `hours` come to."""
        return math.ceil(self.hours * 3600)


def most_cost(config: ClusterConfig) -> str:
    """Say in a line what the workers can come to at most; empty where no price is known."""
    workers = config.workers
    if workers.price_per_hour is None:
        return ""
    most = workers.max * workers.price_per_hour * config.hours
    return (
        f"At most {workers.max} workers for {config.hours:g} hours at {workers.price_per_hour:g} "
        f"an hour: {most:.2f}, and the head."
    )
