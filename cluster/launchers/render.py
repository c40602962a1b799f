"""The files of each launcher."""

from collections.abc import Callable, Mapping
from typing import Any

import yaml

from cluster.launchers import image, kuberay, slurm, virtual_machines
from cluster.launchers.config import ClusterConfig, most_cost

Files = dict[str, str]
"""Texts by the names of their files."""


class _Quoted(str):
    """A text that is written in quotes."""

    __slots__ = ()


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """Writes YAML for readers of any version, for some of which ``no`` and ``1e3`` are no texts."""


_Dumper.add_representer(
    _Quoted, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')
)


def for_kuberay(config: ClusterConfig) -> Files:
    """Return a `RayJob`, a `RayCluster` to submit to, and their image."""
    return {
        "rayjob.yaml": to_yaml(
            kuberay.ray_job(config),
            "A cluster for one command, which goes when that has ended: kubectl apply -f FILE",
            most_cost(config),
        ),
        "raycluster.yaml": to_yaml(
            kuberay.ray_cluster(config),
            "A cluster that stays: kubectl apply -f FILE; kubectl port-forward "
            f"service/{config.name}-head-svc 8265",
        ),
        image.FILE: image.dockerfile(config, "kuberay"),
    }


def for_slurm(config: ClusterConfig) -> Files:
    """Return an sbatch script."""
    return {slurm.FILE: slurm.script(config)}


def for_aws(config: ClusterConfig) -> Files:
    """Return what ``ray up`` reads for AWS, and its image."""
    return _virtual_machines(config, "aws", virtual_machines.for_aws(config))


def for_gcp(config: ClusterConfig) -> Files:
    """Return what ``ray up`` reads for GCP, and its image."""
    return _virtual_machines(config, "gcp", virtual_machines.for_gcp(config))


def _virtual_machines(config: ClusterConfig, name: str, values: Mapping[str, Any]) -> Files:
    words = "ray get-auth-token --generate; ray up FILE; ray dashboard FILE; ray down FILE"
    return {
        f"{name}.yaml": to_yaml(values, words, most_cost(config)),
        image.FILE: image.dockerfile(config, name),
    }


LAUNCHERS: dict[str, Callable[[ClusterConfig], Files]] = {
    "kuberay": for_kuberay,
    "slurm": for_slurm,
    "aws": for_aws,
    "gcp": for_gcp,
}


def to_yaml(values: Mapping[str, Any], *comments: str) -> str:
    """Write YAML in the order of its keys, below comments."""
    lines = "".join(f"# {comment}\n" for comment in comments if comment)
    written: str = yaml.dump(
        _quoted(values), Dumper=_Dumper, sort_keys=False, width=float("inf"), allow_unicode=True
    )
    return lines + written


def _quoted(value: Any) -> Any:
    """Return a tree whose texts are written in quotes, but for its keys; nothing is an alias."""
    if isinstance(value, Mapping):
        return {key: _quoted(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_quoted(part) for part in value]
    return _Quoted(value) if isinstance(value, str) else value
