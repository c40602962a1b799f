"""Runs in MLflow: one for the run as a whole, and one nested in it for each trial.

What a run is called there never decides anything: they are found by their tags, so that telling a
run again, from wherever it is by then, makes nothing twice.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.base.files import Anywhere, parse_uri
from orchestrator.base.here import copied_here
from orchestrator.tracking.entries import Entry, State

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric
    from mlflow.entities import Run as Known

RUN, TRIAL, TOLD, EPOCHS = "fairfront.run", "fairfront.trial", "fairfront.told", "fairfront.epochs"
"""Tags: whose it is, of which trial, and what of it is there already."""
STATUS: Mapping[State, str] = {
    "running": "RUNNING",
    "finished": "FINISHED",
    "pruned": "KILLED",
    "interrupted": "KILLED",
    "failed": "FAILED",
}
ENVIRONMENT = {
    # MLflow's own would wait 120 s, eight times.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # with its password
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
}
"""Of this process, where nobody has set it."""
EXPERIMENT = "fairfront"
AT_A_TIME, METRICS_AT_A_TIME, PARAMS_AT_A_TIME = 1000, 800, 100
"""What a request may hold is 1000 in all, of which 100 parameters and 100 tags."""


def send(_folder: Anywhere, name: str, place: str, entries: Sequence[Entry]) -> str:
    """Tell MLflow; see `orchestrator.tracking.destination.Send`.

    Parameters
    ----------
    place
        A tracking server's or database's URI, or a folder, which gets a database and the files.
    """
    for variable, value in ENVIRONMENT.items():
        os.environ.setdefault(variable, value)
    from mlflow import MlflowClient

    uri, files = _as_uri(place)
    client = MlflowClient(uri)
    experiment = _experiment(client, files)
    known = {one.data.tags.get(TRIAL, ""): one for one in _known(client, experiment, name)}
    parent = None
    for entry in entries:
        run = known.get(entry.trial_id)
        if run is None:
            tags = {RUN: name, TRIAL: entry.trial_id, "mlflow.source.name": "fairfront"}
            tags |= {"mlflow.parentRunId": parent} if parent else {}
            run = client.create_run(experiment, entry.started or None, tags, entry.name)
        parent = parent or run.info.run_id
        if run.data.tags.get(TOLD) != entry.digest:
            _tell(client, run, entry)
    if files is not None:
        return f"mlflow ui --backend-store-uri {uri} shows it"
    return f"see {uri}/#/experiments/{experiment}" if uri.startswith("http") else f"see {uri}"


def _as_uri(place: str) -> tuple[str, Path | None]:
    """Return where MLflow keeps runs, and the folder of their files, where that is ours to say."""
    if "://" in place or place == "databricks":
        return place.rstrip("/"), None
    folder = parse_uri(place)
    assert isinstance(folder, Path)
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    # MLflow's own folders of plain files are in maintenance, and refused.
    return f"sqlite:///{folder / 'mlflow.db'}", folder / "artifacts"


def _experiment(client: "MlflowClient", files: Path | None) -> str:
    """Return the experiment's id; it is made where it is missing."""
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, files.as_uri() if files else None))
        except Exception:  # another run's session made it meanwhile
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    return str(found.experiment_id)


def _known(client: "MlflowClient", experiment: str, name: str) -> "Iterator[Known]":
    token = None
    while True:
        page = client.search_runs(
            [experiment], f"tags.`{RUN}` = '{name}'", max_results=1000, page_token=token
        )
        yield from page
        token = page.token
        if not token:
            return


def _tell(client: "MlflowClient", run: "Known", entry: Entry) -> None:
    """Tell what an entry has beyond what is there; last, that all of it is."""
    from mlflow.entities import Param, RunTag

    run_id, told = run.info.run_id, int(run.data.tags.get(EPOCHS, 0))
    metrics = list(_metrics(entry, after=told))
    # One that was told cannot be told otherwise.
    params = [Param(_key(n), v) for n, v in entry.params.items() if _key(n) not in run.data.params]
    # A trial that goes on from a checkpoint repeats epochs, which are the same.
    epochs = max([told, *(epoch.number for epoch in entry.epochs)])
    about = [RunTag(_key(name), value) for name, value in _tags(entry).items()]
    for part in range(0, len(params), PARAMS_AT_A_TIME):
        client.log_batch(run_id, params=params[part : part + PARAMS_AT_A_TIME])
    for part in range(0, len(metrics), METRICS_AT_A_TIME):
        client.log_batch(run_id, metrics=metrics[part : part + METRICS_AT_A_TIME])
    client.log_batch(run_id, tags=[*about, RunTag(EPOCHS, str(epochs))])
    for name, path in entry.files.items():
        with copied_here(path) as file:
            client.log_artifact(run_id, str(file), name.rpartition("/")[0] or None)
    status = STATUS[entry.state]
    if status != "RUNNING":
        client.set_terminated(run_id, status, entry.ended)
    elif run.info.status != status:
        client.update_run(run_id, status)
    client.set_tag(run_id, TOLD, entry.digest)


def _metrics(entry: Entry, after: int) -> "Iterator[Metric]":
    """Give what an entry came to, and its epochs after one that is there."""
    from mlflow.entities import Metric

    at = entry.ended if entry.ended is not None else entry.started
    for name, value in entry.figures.items():
        yield Metric(_key(name), value, at, 0)
    for epoch in entry.epochs:
        if epoch.number > after:
            for name, value in epoch.figures.items():
                yield Metric(_key(name), value, epoch.at, epoch.number)


def _tags(entry: Entry) -> dict[str, str]:
    """Return the tags of an entry, some by the names under which MLflow's pages show them."""
    tags = dict(entry.tags)
    if commit := tags.get("git_commit"):
        tags["mlflow.source.git.commit"] = commit
    told = [tags.pop("conclusion", None), tags.pop("note", None)]
    if text := "\n\n".join(part for part in told if part):
        tags["mlflow.note.content"] = text
    return tags


def _key(name: str) -> str:
    """Return a name as MLflow takes it."""
    return re.sub(r"[^/\w.\- ]", "_", name)
