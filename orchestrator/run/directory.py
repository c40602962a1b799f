"""The run directory: what a run leaves behind, written whole or not at all.

::

    RUN/config.yaml              the resolved configuration, versions, commit, data fingerprint
    RUN/sessions.jsonl           of each: when, which version and commit, and its command line
    RUN/progress.json            what the progress display shows, for `watch`
    RUN/sessions/                of a joint sweep: who is alive, and the progress of each
    RUN/optuna.journal           the study (sweeps), or study.json, which says where it is
    RUN/submitted.json           what a job was submitted as, see `cluster.submission`
    RUN/space.py warm_start.json what a sweep varies, if not a space of ours; what it began with
    RUN/notes.json               what people say of it: tags and a note
    RUN/tracking.json            by which name trackers know it; RUN/wandb/, what is theirs
    RUN/logs/                    Ray's own output
    RUN/.<what>.lock             what one process, or those of a joint sweep, may do at a time
    RUN/.lease/                  instead of locks and a journal, where RUN is an object store's
    RUN/trials/<id>/params.json  metrics.csv (a row an epoch)  model.safetensors
                    predictions.parquet (filename, split, gender, label 0/1, logit; val and test)
                    starts.txt (when it was begun, and begun again)
                    checkpoint.pt (while it runs: what it can go on from)
                    result.json (how the trial ended; written last)
    RUN/confirm/<id>/            retrainings on new seeds, each with a trial's files
    RUN/ensembles/<id>-ensemble/ those of the best trial as one network, with a trial's files
    RUN/evaluations/<name>.json  what a trial came to on other faces; made by `evaluate`
    RUN/explanations/<id>.json .png what a trial goes by in faces; made by `explain`
    RUN/suspects.csv .png        faces whose labels it doubts; made by `inspect --suspects`
    RUN/trials.csv pareto.csv summary.json pareto.png report.html    made by `orchestrator.report`
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from orchestrator.base.errors import InputError
from orchestrator.base.files import (
    Anywhere,
    append_line,
    children,
    is_local,
    make_folder,
    parse_json,
    parse_uri,
    read_text,
    refuse_existing,
    refuse_unreachable,
    remove_tree,
    write_text,
)
from orchestrator.base.versions import versions
from orchestrator.config.layers import (
    configuration_in,
    read_yaml,
    to_yaml,
    validated,
)
from orchestrator.config.settings import Config, DataConfig
from orchestrator.data.store.store import Store
from orchestrator.run.claims import claimed, part_held
from orchestrator.run.trial import ENSEMBLE, FORMAT, Trial


@dataclass(frozen=True)
class Run:
    """A run directory."""

    path: Anywhere

    @classmethod
    def create(cls, where: str, config: Config, data: Mapping[str, Any]) -> "Run":
        """Make a run directory and write its ``config.yaml``.

        Parameters
        ----------
        where
            A folder that does not exist, or is empty.
        data
            What identifies the data set: its place, fingerprint and image size.

        Raises
        ------
        InputError
            `where` is taken, has neither locks nor a lease, or cannot be reached.
        """
        run = cls(parse_uri(where))
        refuse_unreachable(run.path)
        refuse_existing(run.path, "a run")
        make_folder(run.trials_path)
        try:
            if is_local(run.path):
                run.logs_path.mkdir()
            with claimed(run.path):  # where nothing keeps others off, there must be no run
                if run.exists:  # as on a store, where two may have seen nothing there
                    refuse_existing(run.path, "a run")
                run.record(config, data)
        except InputError:
            if is_local(run.path):  # on a store, another may have made one meanwhile
                remove_tree(run.path)
            raise
        return run

    def record(self, config: Config, data: Mapping[str, Any], command: str | None = None) -> None:
        """Write ``config.yaml``: the configuration, what identifies the data, and the versions.

        A `command` line, which holds no secret, is added to the run's sessions.

        How the data are read and what they are have one key, ``data``. A run that goes on keeps the
        versions that it began with; others that it goes on with are added to ``history``.
        """
        values, file = config.model_dump(), self.path / "config.yaml"
        values |= {"data": {**values["data"], **data}, "format": FORMAT}
        with part_held(self.path, "config", wait=True):  # of a joint sweep one at a time
            now, before = versions(), read_yaml(file) if file.exists() else {}
            history = before.get("history", [])
            began = before.get("versions") or now
            if (history[-1]["versions"] if history else began) != now:
                at = datetime.now(UTC).isoformat(timespec="seconds")
                history = [*history, {"resumed": at, "versions": now}]
            values |= {"versions": began} | ({"history": history} if history else {})
            write_text(file, to_yaml(values))
            if command is not None:
                at = datetime.now(UTC).isoformat(timespec="seconds")
                about = {"fairfront": now["fairfront"], "commit": now["git_commit"]}
                append_line(self.sessions_file, json.dumps({"at": at, **about, "command": command}))

    @classmethod
    def open(cls, where: str) -> "Run":
        """Open a run directory; `InputError` when there is none at `where`."""
        run = cls(parse_uri(where))
        refuse_unreachable(run.path)
        if not run.exists:
            raise InputError(
                f"{where}: no run here (no config.yaml); give a folder that train or sweep made"
            )
        return run

    @property
    def exists(self) -> bool:
        """Whether a run has been made here."""
        return (self.path / "config.yaml").exists()

    @cached_property
    def recorded(self) -> dict[str, Any]:
        """``config.yaml`` as it is: the configuration, ``data``, ``versions``, perhaps ``history``.

        Raises
        ------
        InputError
            It was edited, and is no such file any more.
        """
        recorded = read_yaml(self.path / "config.yaml")
        if not isinstance(recorded.get("data"), dict):
            raise InputError(f"{self.path}/config.yaml: lacks data; it is not as a run writes it")
        return recorded

    @property
    def config(self) -> Config:
        """The configuration of the run; a trial's own is in its result.

        Raises
        ------
        InputError
            It was edited, or is of another version of fairfront.
        """
        return validated(configuration_in(self.recorded), source=f"{self.path}/config.yaml")

    @property
    def data(self) -> dict[str, Any]:
        """The place, fingerprint, image size and counts of the run's data."""
        recorded = self.recorded["data"]
        return {k: v for k, v in recorded.items() if k not in DataConfig.model_fields}

    def open_data(self) -> Store | None:
        """Open the data set that it was trained on; None where it is not, or is another now."""
        try:
            store = Store.open(self.data["path"])
        except InputError:
            return None
        return store if store.meta.fingerprint == self.data["fingerprint"] else None

    @property
    def sessions_file(self) -> Anywhere:
        """Where each session is told: a line of JSON."""
        return self.path / "sessions.jsonl"

    @cached_property
    def sessions(self) -> list[dict[str, Any]]:
        """When each session began (``at``), ``fairfront``, ``commit`` and ``command``.

        Of a run that told none there is one, of the versions that it began with.

        Raises
        ------
        InputError
            The file was edited, and is no such file any more.
        """
        try:
            lines = read_text(self.sessions_file).splitlines()
        except FileNotFoundError:
            began = self.recorded.get("versions") or {}
            told = {"fairfront": began.get("fairfront"), "commit": began.get("git_commit")}
            return [{"at": None, **told, "command": None}]
        return [parse_json(line.encode(), self.sessions_file) for line in lines]

    @property
    def trials_path(self) -> Anywhere:
        """The folder of the trials."""
        return self.path / "trials"

    @property
    def confirm_path(self) -> Anywhere:
        """The folder of the retrainings, which only a run that confirms has."""
        return self.path / "confirm"

    @property
    def ensembles_path(self) -> Anywhere:
        """The folder of retrained networks that are used as one."""
        return self.path / "ensembles"

    @property
    def evaluations_path(self) -> Anywhere:
        """The folder of what its trials came to on other faces."""
        return self.path / "evaluations"

    @property
    def explanations_path(self) -> Anywhere:
        """The folder of what its trials go by in faces."""
        return self.path / "explanations"

    @property
    def logs_path(self) -> Anywhere:
        """The folder of the log files."""
        return self.path / "logs"

    @property
    def is_joint(self) -> bool:
        """Whether its study is in a database, which several processes may work on."""
        return is_local(self.path) and (self.path / "study.json").exists()

    def trial(self, trial_id: str) -> Trial:
        """A trial, or an ensemble, by its id, whether or not it exists yet."""
        folder = self.ensembles_path if trial_id.endswith(ENSEMBLE) else self.trials_path
        return Trial(folder / trial_id)

    def begin_anew(self, trial: Trial) -> None:
        """Have a trial that failed not have ended, as far as its files say."""
        (trial.path / "result.json").unlink(missing_ok=True)
        self._ended.pop(trial.id, None)

    @cached_property
    def _ended(self) -> dict[str, Trial]:
        """Trials that are known to have ended; to ask one is a request where a run is on S3."""
        return {}

    def begun(self) -> list[Trial]:
        """The trials that have a folder, by id."""
        folders = children(self.trials_path)
        folders = [path for path in folders if not is_local(path) or path.is_dir()]
        return [self._ended.get(path.name) or Trial(path) for path in folders]

    def ended(self) -> list[Trial]:
        """The trials that ended, however they did, by id; the files of each are read once."""
        ended = [trial for trial in self.begun() if trial.has_ended]
        self._ended.update({trial.id: trial for trial in ended})
        return ended

    def complete(self) -> list[Trial]:
        """The trials that ran to their end: the only ones that reach the front."""
        return [trial for trial in self.ended() if trial.result.state == "complete"]

    def ensembles(self) -> list[Trial]:
        """The ensembles that can be used, by id."""
        return [trial for trial in map(Trial, children(self.ensembles_path)) if trial.has_ended]


def about_data(store: Store) -> dict[str, Any]:
    """Return what a run records of its data."""
    meta = store.meta
    return {
        "path": str(store.path),
        "fingerprint": meta.fingerprint,
        "image_size": meta.image_size,
        "counts": meta.counts,
    }
