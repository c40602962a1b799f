"""What a launcher reads, held against its own schema or reader."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from cluster.launchers.begin import words_to_run
from cluster.launchers.config import ClusterConfig
from orchestrator.cli import main

GIVEN = {
    "cloud": {"project": "faces-1"},
    "shared": {"nfs": "10.0.0.2:/faces"},
    "workers": {"kind": "g2-standard-8"},
}
SCHEMA = Path(__file__).parent / "data" / "kuberay_rayjob.yaml"


def render(launcher: str, folder: Path, **more: Any) -> Path:
    """Render with a configuration of `GIVEN` and more; return where the files lie."""
    config = folder / "cluster.yaml"
    config.write_text(json.dumps({**GIVEN, **more}))
    words = ["cluster", "render", launcher, "--config", str(config), "--out", str(folder / "out")]
    assert main(words) == 0
    return folder / "out"


def closed(schema: Any) -> Any:
    """Return a schema that refuses unknown keys, which Kubernetes would drop without a word."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: closed(part) for key, part in schema.items()}
    if isinstance(schema.get("properties"), dict) and "additionalProperties" not in schema:
        made["additionalProperties"] = False
    return made


def load(file: Path) -> Any:
    return yaml.safe_load(file.read_text())


KUBERAY: dict[str, dict[str, Any]] = {
    "usual": {},
    "queued": {"queue": "faces", "kubernetes": {"namespace": "research"}},
    "plain": {
        "shared": None,
        "identity": "faces",
        "command": "sweep --data s3://b/data --out s3://b/run",
        "workers": {"spot": False, "gpus": 0, "min": 2, "max": 2},
    },
}


@pytest.mark.parametrize("given", KUBERAY.values(), ids=KUBERAY)
def test_what_kuberay_reads_is_of_its_schema(tmp_path: Path, given: dict[str, Any]) -> None:
    folder = render("kuberay", tmp_path, **given)
    schema = closed(load(SCHEMA))
    schema["properties"]["metadata"] = {"type": "object"}
    validate = jsonschema.Draft202012Validator(schema).validate
    job, cluster = load(folder / "rayjob.yaml"), load(folder / "raycluster.yaml")
    validate(job)
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert (cluster["apiVersion"], cluster["kind"]) == ("ray.io/v1", "RayCluster")
    validate({**job, "spec": {**job["spec"], "rayClusterSpec": cluster["spec"]}})
    with pytest.raises(jsonschema.ValidationError, match="backofLimit"):
        validate({**job, "spec": {**job["spec"], "backofLimit": 1}})


def test_a_ray_job_is_as_kuberays_operator_asks_beyond_its_schema(tmp_path: Path) -> None:
    """Rules of KubeRay 1.7's ``ValidateRayJobSpec``, and of Kueue, which suspends jobs."""
    job = load(render("kuberay", tmp_path) / "rayjob.yaml")["spec"]
    rules = job["deletionStrategy"]["deletionRules"]
    assert "shutdownAfterJobFinishes" not in job
    assert "ttlSecondsAfterFinished" not in job
    for rule in rules:
        assert len({"jobStatus", "jobDeploymentStatus"} & set(rule["condition"])) == 1
        assert rule["policy"] != "DeleteWorkers"  # not with autoscaling
    assert (job["submissionMode"], job["backoffLimit"]) == ("SidecarMode", 3)
    cluster = job["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    (group,) = cluster["workerGroupSpecs"]
    assert (group["minReplicas"], group["maxReplicas"]) == (0, 4)
    pod = group["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert {mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]} == {
        "/dev/shm",
        "/shared",
    }
    for one in (pod, cluster["headGroupSpec"]["template"]["spec"]):
        assert one["restartPolicy"] == "Never"  # the sidecar's rule, and the autoscaler's

    queued = load(render("kuberay", tmp_path, queue="faces") / "rayjob.yaml")
    assert queued["metadata"]["labels"] == {"kueue.x-k8s.io/queue-name": "faces"}
    assert queued["spec"]["shutdownAfterJobFinishes"] is True
    assert "deletionStrategy" not in queued["spec"]
    assert queued["spec"]["rayClusterSpec"]["enableInTreeAutoscaling"] is False
    assert queued["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["minReplicas"] == 4


def test_a_text_that_yaml_may_read_as_something_else_stays_a_text(tmp_path: Path) -> None:
    labels = {"pool": "no", "commit": "1e3", "day": "2026-11-27"}
    folder = render("kuberay", tmp_path, kubernetes={"worker_labels": labels})
    (group,) = load(folder / "raycluster.yaml")["spec"]["workerGroupSpecs"]
    assert group["template"]["spec"]["nodeSelector"].items() >= labels.items()
    assert '"1e3"' in (folder / "raycluster.yaml").read_text()


@pytest.mark.parametrize("launcher", ["aws", "gcp"])
@pytest.mark.parametrize("spot", [True, False])
def test_what_ray_up_reads_passes_its_own_check(tmp_path: Path, launcher: str, spot: bool) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    workers = {"kind": "big", "spot": spot, "price_per_hour": 1.5, "min": 1}
    folder = render(launcher, tmp_path, workers=workers, identity="who", name="faces")
    config = load(folder / f"{launcher}.yaml")
    validate_config(prepare_config(config))
    assert config["cluster_name"] == "faces"
    worker = config["available_node_types"]["worker"]
    assert (worker["min_workers"], worker["max_workers"]) == (1, 4)
    assert worker["resources"] == {"CPU": 8, "GPU": 1}
    said = str(worker["node_config"])
    assert (("'MaxPrice': '1.5'" if launcher == "aws" else "'preemptible': True") in said) == spot
    assert "RAY_AUTH_MODE=token" in str(config["docker"]["run_options"])
    assert "/shared:/shared" in str(config["docker"]["run_options"])
    with pytest.raises(jsonschema.ValidationError):
        validate_config(prepare_config({**config, "idle_timeout_minute": 1}))


def test_the_dockerfile_copies_what_an_installation_needs(tmp_path: Path) -> None:
    text = (render("kuberay", tmp_path) / "Dockerfile").read_text()
    root = Path(__file__).parents[2]
    copied = re.findall(r"^COPY --chown=\S+ (.+) \S+$", text, re.MULTILINE)
    names = {name for line in copied for name in line.split()}
    assert all((root / name).exists() for name in names)
    packages = {folder.parent.name for folder in root.glob("*/__init__.py")} - {"tests"}
    assert packages <= names
    assert text.splitlines()[2].startswith("FROM rayproject/ray:2.")


def test_the_sbatch_script_has_no_fault_that_shellcheck_knows(tmp_path: Path) -> None:
    slurm = {"account": "lab", "environment": "/shared/venv"}
    command = "sweep --data '/data/my faces' --out '/shared/runs/a|b'"
    more = {"queue": "gpu", "slurm": slurm, "command": command}
    script = render("slurm", tmp_path, **more, workers={"kind": "a100", "min": 2}) / "slurm.sh"
    found = subprocess.run(
        [Path(sys.executable).with_name("shellcheck"), script],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout
    text = script.read_text()
    options = re.findall(r"^#SBATCH --(\S+)$", text, re.MULTILINE)
    assert {"nodes=2-4", "gpus-per-node=a100:1", "time=1-00:00", "partition=gpu"} <= set(options)
    words = shlex.split(text.rpartition("cluster.launchers.begin ")[2])
    assert words == shlex.split(command)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "unknown key": ({"worker": {}}, "unknown key worker; did you mean workers?"),
    "unknown key below": ({"workers": {"gpu": 1}}, "unknown key workers.gpu; did you mean gpus?"),
    "range": ({"workers": {"min": 5}}, "workers: min is 5, more than max=4"),
    "type": ({"workers": {"gpus": "1"}}, "workers.gpus='1': input should be a valid integer"),
    "spot": ({"workers": {"spot": "yes"}}, "workers.spot='yes': write true"),
    "name": ({"name": "My Faces"}, "name='My Faces': string should match pattern"),
    "shell": ({"image": "a; rm"}, "image='a; rm': string should match pattern"),
    "command": ({"command": "plot x"}, "command: plot is not one of prepare, train, sweep"),
    "quotes": ({"command": "sweep 'x"}, "command: no closing quotation"),
    "option": ({"command": "sweep --trails 3"}, "command: unrecognized arguments: --trails"),
    "relative": ({"command": "sweep --data data --out /shared/r"}, "--data data: a job does not"),
    "elsewhere": (
        {"command": "sweep --data /data --out /shared/r"},
        "/data: the nodes would not see it; give a place below shared.path (/shared)",
    ),
    "not shared": ({"shared": None}, "/shared/data: the nodes would not see it; give a URI"),
}


@pytest.mark.parametrize(("given", "said"), WRONG.values(), ids=WRONG)
def test_a_wrong_value_is_one_line_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], given: dict[str, Any], said: str
) -> None:
    config = tmp_path / "cluster.yaml"
    config.write_text(json.dumps(given))
    out = tmp_path / "out"
    words = ["cluster", "render", "kuberay", "--config", str(config), "--out", str(out)]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"fairfront: {config}: ")
    assert said in error
    assert error.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize(
    ("launcher", "missing"),
    [("aws", "workers.kind"), ("aws", "shared.nfs"), ("gcp", "cloud.project")],
)
def test_what_a_cloud_needs_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], launcher: str, missing: str
) -> None:
    part, key = missing.split(".")
    given = {**GIVEN, part: {k: v for k, v in GIVEN[part].items() if k != key}}
    config = tmp_path / "cluster.yaml"
    config.write_text(json.dumps(given))
    words = ["cluster", "render", launcher, "--config", str(config), "--out", str(tmp_path / "o")]
    assert main(words) == 2
    assert f"{config}: {missing}: give " in capsys.readouterr().err


def test_a_run_that_is_there_is_gone_on_with(tmp_path: Path) -> None:
    words = ["sweep", "--data", "d", f"--out={tmp_path}"]
    assert words_to_run(words) == words
    (tmp_path / "config.yaml").touch()
    assert words_to_run(words) == [*words, "--resume"]
    assert words_to_run([*words, "--resume"]) == [*words, "--resume"]
    assert words_to_run(["train", "--out", "x", "--out", str(tmp_path)])[-1] == "--resume"
    for other in (["prepare", "s", "--out", str(tmp_path)], ["train", "--data", "d"]):
        assert words_to_run(other) == other


def test_begin_takes_its_words_from_the_environment_as_well(tmp_path: Path) -> None:
    command = ["config", "show", "--set", "train.epochs=7"]
    begin = [sys.executable, "-m", "cluster.launchers.begin"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    said = [
        subprocess.run(
            [*begin, *words], cwd=tmp_path, env=environment | more, capture_output=True, check=True
        ).stdout.decode()
        for words, more in ((command, {}), ([], {"FAIRFRONT_COMMAND": shlex.join(command)}))
    ]
    assert said[0] == said[1]
    assert "epochs: 7\n" in said[0]


def test_the_configuration_of_the_docs_is_the_default_one() -> None:
    docs = (Path(__file__).parents[2] / "docs" / "cluster.md").read_text()
    shown = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", docs, re.DOTALL)[0])
    default = ClusterConfig()
    assert ClusterConfig.model_validate({**shown, "image": default.image}) == default
    assert set(shown) == set(ClusterConfig.model_fields) - {"cloud"}
