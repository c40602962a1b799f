"""A command as a `RayJob` of KubeRay (1.7 or newer), and a `RayCluster` to submit to."""

from importlib.metadata import version
from typing import Any

from cluster.launchers.begin import VARIABLE
from cluster.launchers.config import ClusterConfig, Machine

Manifest = dict[str, Any]

GPU = "nvidia.com/gpu"
QUEUE = "kueue.x-k8s.io/queue-name"
GRACE_SECONDS = 60
"""For a pod that is taken away to write what it has."""


def ray_job(config: ClusterConfig) -> Manifest:
    """Return a `RayJob`: it makes a cluster, runs the command there, and removes it again."""
    spec: Manifest = {
        # The words are in a variable: as an entry point they would pass through two shells.
        "entrypoint": "python -m cluster.launchers.begin",
        "submissionMode": "SidecarMode",
        "backoffLimit": config.retries,
        "activeDeadlineSeconds": config.seconds,
        "preRunningDeadlineSeconds": config.start_minutes * 60,
        **_removal(config),
        "rayClusterSpec": _cluster(config, {VARIABLE: config.command}),
    }
    return _object("RayJob", config, spec)


def ray_cluster(config: ClusterConfig) -> Manifest:
    """Return a `RayCluster`, which stays, for ``fairfront submit``."""
    return _object("RayCluster", config, _cluster(config, {}))


def _object(kind: str, config: ClusterConfig, spec: Manifest) -> Manifest:
    metadata: Manifest = {"name": config.name}
    if config.kubernetes.namespace:
        metadata["namespace"] = config.kubernetes.namespace
    if config.queue:
        metadata["labels"] = {QUEUE: config.queue}
    return {"apiVersion": "ray.io/v1", "kind": kind, "metadata": metadata, "spec": spec}


def _removal(config: ClusterConfig) -> Manifest:
    """Remove the cluster some time after the end; Kueue, which suspends jobs, takes no rules."""
    seconds = config.keep_minutes * 60
    if config.queue:
        return {"shutdownAfterJobFinishes": True, "ttlSecondsAfterFinished": seconds}
    ends = [{"jobStatus": "SUCCEEDED"}, {"jobStatus": "FAILED"}, {"jobDeploymentStatus": "Failed"}]
    return {
        "deletionStrategy": {
            "deletionRules": [
                {"policy": "DeleteCluster", "condition": {**end, "ttlSeconds": seconds}}
                for end in ends
            ]
        }
    }


def _cluster(config: ClusterConfig, variables: dict[str, str]) -> Manifest:
    workers = config.workers
    # Kueue admits a job with all that it will have.
    first = workers.max if config.queue else workers.min
    return {
        "rayVersion": version("ray"),
        "authOptions": {"mode": "token"},
        **_scaling(config),
        "headGroupSpec": {
            "rayStartParams": {"num-cpus": "0"},  # trainings belong on the workers
            "template": _pod(config, "ray-head", config.head, variables=variables),
        },
        "workerGroupSpecs": [
            {
                "groupName": "gpu" if workers.gpus else "cpu",
                "replicas": first,
                "minReplicas": first,
                "maxReplicas": workers.max,
                "rayStartParams": {},
                "template": _pod(config, "ray-worker", workers, gpus=workers.gpus),
            }
        ],
    }


def _scaling(config: ClusterConfig) -> Manifest:
    if config.queue:
        return {"enableInTreeAutoscaling": False}
    return {
        "enableInTreeAutoscaling": True,
        "autoscalerOptions": {
            "upscalingMode": "Default",
            "idleTimeoutSeconds": config.idle_minutes * 60,
        },
    }


def _pod(
    config: ClusterConfig,
    name: str,
    machine: Machine,
    *,
    gpus: int = 0,
    variables: dict[str, str] | None = None,
) -> Manifest:
    amounts: Manifest = {"cpu": str(machine.cpus), "memory": f"{machine.memory_gib}Gi"}
    if gpus:
        amounts[GPU] = str(gpus)
    # Ray's object store; it counts as the pod's memory, of which Ray takes less than a third.
    volumes: list[Manifest] = [
        {
            "name": "shm",
            "emptyDir": {"medium": "Memory", "sizeLimit": f"{machine.memory_gib * 1024 // 3}Mi"},
        }
    ]
    mounts = [{"name": "shm", "mountPath": "/dev/shm"}]
    if config.shared:
        claim = {"claimName": config.shared.claim}
        volumes.append({"name": "shared", "persistentVolumeClaim": claim})
        mounts.append({"name": "shared", "mountPath": config.shared.path})
    container: Manifest = {
        "name": name,
        "image": config.image,
        "resources": {"requests": amounts, "limits": dict(amounts)},
        "volumeMounts": mounts,
    }
    if variables:
        container["env"] = [{"name": key, "value": value} for key, value in variables.items()]
    pod: Manifest = {
        "restartPolicy": "Never",  # KubeRay makes a new one
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "containers": [container],
        "volumes": volumes,
    }
    if config.identity:
        pod["serviceAccountName"] = config.identity
    if machine is config.workers:
        pod |= _placement(config, gpus)
    return {"spec": pod}


def _placement(config: ClusterConfig, gpus: int) -> Manifest:
    """Choose the Kubernetes nodes of the workers, and tolerate the taints that those have."""
    labels = dict(config.kubernetes.worker_labels)
    tolerations: list[Manifest] = []
    if gpus:
        tolerations.append({"key": GPU, "operator": "Exists", "effect": "NoSchedule"})
    if config.workers.spot:
        labels |= config.kubernetes.spot_label
        tolerations += [
            {"key": key, "operator": "Equal", "value": value, "effect": "NoSchedule"}
            for key, value in config.kubernetes.spot_label.items()
        ]
    placed = {"nodeSelector": labels, "tolerations": tolerations}
    return {key: value for key, value in placed.items() if value}
