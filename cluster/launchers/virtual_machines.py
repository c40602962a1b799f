"""A cluster of virtual machines on AWS or GCP, for Ray's own launcher: ``ray up``."""

import shlex
from typing import Any

from cluster.launchers.config import ClusterConfig
from orchestrator.base.errors import InputError

Launcher = dict[str, Any]

HEAD, WORKER = "head", "worker"
PORT = 6379
SMALL_HEADS = {"aws": "m7i.xlarge", "gcp": "e2-standard-4"}
AWS_IMAGE = (
    "resolve:ssm:/aws/service/deeplearning/ami/x86_64/"
    "base-oss-nvidia-driver-gpu-ubuntu-22.04/latest/ami-id"
)
"""The newest one, which EC2 looks up; what Ray takes by itself is of Ubuntu 18.04."""
GCP_IMAGE = (
    "projects/deeplearning-platform-release/global/images/family/"
    "common-cu129-ubuntu-2204-nvidia-580"
)
"""Both have Docker, and NVIDIA's driver, which a head without a GPU leaves alone."""
HOME = "/home/ray"
"""Of Ray's own images, in which all commands run."""


def for_aws(config: ClusterConfig) -> Launcher:
    """Return what ``ray up`` reads for AWS."""
    head: Launcher = {
        **_aws_disk(config),
        "InstanceType": config.head.kind or SMALL_HEADS["aws"],
    }
    worker: Launcher = {**_aws_disk(config), "InstanceType": _worker_kind(config, "g6.2xlarge")}
    if config.workers.spot:
        market: Launcher = {"MarketType": "spot"}
        if price := config.workers.price_per_hour:
            market["SpotOptions"] = {"MaxPrice": str(price)}
        worker["InstanceMarketOptions"] = market
    if config.identity:
        head["IamInstanceProfile"] = worker["IamInstanceProfile"] = {"Arn": config.identity}
    provider = {"type": "aws", "region": config.cloud.region, "cache_stopped_nodes": False}
    return _launcher(config, provider, head, worker)


def for_gcp(config: ClusterConfig) -> Launcher:
    """Return what ``ray up`` reads for GCP."""
    cloud, workers = config.cloud, config.workers
    if cloud.project is None:
        raise InputError("cloud.project: give GCP's project id")
    head: Launcher = {
        **_gcp_disk(config),
        "machineType": config.head.kind or SMALL_HEADS["gcp"],
    }
    worker: Launcher = {
        **_gcp_disk(config),
        "machineType": _worker_kind(config, "g2-standard-8"),
    }
    scheduling: list[Launcher] = [{"preemptible": True}] * workers.spot
    if workers.gpus:
        scheduling.append({"onHostMaintenance": "TERMINATE"})  # a GPU does not move
    if scheduling:
        worker["scheduling"] = scheduling
    if config.identity:
        scopes = ["https://www.googleapis.com/auth/cloud-platform"]
        account = [{"email": config.identity, "scopes": scopes}]
        head["serviceAccounts"] = worker["serviceAccounts"] = account
    provider = {
        "type": "gcp",
        "region": cloud.zone.rpartition("-")[0],
        "availability_zone": cloud.zone,
        "project_id": cloud.project,
    }
    return _launcher(config, provider, head, worker)


def _worker_kind(config: ClusterConfig, example: str) -> str:
    if config.workers.kind is None:
        raise InputError(f"workers.kind: give the kind of machine to train on, as {example}")
    return config.workers.kind


def _aws_disk(config: ClusterConfig) -> Launcher:
    disk = {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": config.cloud.disk_gib}}
    return {"ImageId": config.cloud.image or AWS_IMAGE, "BlockDeviceMappings": [disk]}


def _gcp_disk(config: ClusterConfig) -> Launcher:
    image = config.cloud.image or GCP_IMAGE
    made = {"diskSizeGb": config.cloud.disk_gib, "sourceImage": image}
    disk = {"boot": True, "autoDelete": True, "type": "PERSISTENT", "initializeParams": made}
    return {"disks": [disk]}


def _launcher(
    config: ClusterConfig, provider: Launcher, head: Launcher, worker: Launcher
) -> Launcher:
    workers = config.workers
    resources = {"CPU": workers.cpus} | ({"GPU": workers.gpus} if workers.gpus else {})
    start = "ulimit -n 65536; ray start --object-manager-port=8076"
    return {
        "cluster_name": config.name,
        "max_workers": workers.max,
        "upscaling_speed": 1.0,
        "idle_timeout_minutes": config.idle_minutes,
        "provider": provider,
        "auth": {"ssh_user": "ubuntu"},
        "docker": _docker(config),
        "head_node_type": HEAD,
        "available_node_types": {
            # Trainings belong on the workers.
            HEAD: {"resources": {"CPU": 0}, "max_workers": 0, "node_config": head},
            WORKER: {
                "resources": resources,
                "min_workers": workers.min,
                "max_workers": workers.max,
                "node_config": worker,
            },
        },
        "file_mounts": {f"{HOME}/.ray/auth_token": "~/.ray/auth_token"},
        "initialization_commands": _mount(config),
        "setup_commands": [],
        "head_setup_commands": [],
        "worker_setup_commands": [],
        "head_start_ray_commands": [
            "ray stop",
            f"{start} --head --port={PORT} --num-cpus=0 "
            "--autoscaling-config=~/ray_bootstrap_config.yaml",
        ],
        "worker_start_ray_commands": ["ray stop", f"{start} --address=$RAY_HEAD_IP:{PORT}"],
    }


def _docker(config: ClusterConfig) -> Launcher:
    options = ["--ulimit nofile=65536:65536", "--env RAY_AUTH_MODE=token"]
    if config.shared:
        options.append(f"--volume {config.shared.path}:{config.shared.path}")
    return {
        "image": config.image,
        "container_name": "fairfront",
        "pull_before_run": True,
        "run_options": options,
    }


def _mount(config: ClusterConfig) -> list[str]:
    """Mount the shared volume on the machine, before its container starts."""
    if config.shared is None:
        return []
    if config.shared.nfs is None:
        raise InputError(
            "shared.nfs: give HOST:/EXPORT of a file system that all nodes can mount, or shared: "
            "null where all places are URIs"
        )
    path, nfs = shlex.quote(config.shared.path), shlex.quote(config.shared.nfs)
    return [
        "command -v mount.nfs4 || (sudo apt-get update && sudo apt-get install -y nfs-common)",
        f"sudo mkdir -p {path}",
        f"mountpoint -q {path} || sudo mount -t nfs4 -o hard,timeo=600,retrans=2 {nfs} {path}",
    ]
