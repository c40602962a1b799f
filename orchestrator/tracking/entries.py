"""What a run has to tell a tracker: a table of entries, a pure function of the run's files.

The first entry is the run as a whole, and each other one a trial. Test figures are those that the
report shows: of what was chosen, and of the baselines.
"""

import hashlib
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from orchestrator.base.errors import InputError
from orchestrator.base.files import Anywhere, children, read_json, read_text, version_of
from orchestrator.config.layers import flatten
from orchestrator.config.settings import Config
from orchestrator.report.roles import by_role
from orchestrator.run.directory import Run
from orchestrator.run.notes import read_notes
from orchestrator.run.progress import STALE, read
from orchestrator.run.trial import ENSEMBLE, EVALUATED, Trial

State = Literal["running", "finished", "pruned", "interrupted", "failed"]

LONGEST_PARAMETER, LONGEST_TAG = 500, 5000
"""Characters that are told of one; older servers of MLflow's take no more."""
KEPT = (
    *("accuracy", "acc_women", "acc_men", "gap", "fair", "fair_lambda1"),
    *("worst_gender", "worst_group", "val_loss"),
)
"""What is told of a trial's kept epoch."""
SETTLED = ("sweep.space", "sweep.objective", "sweep.sampler", "sweep.halving")
"""Settings of a sweep, none of the others', that a run keeps for good."""
CHANGING = (
    *("sweep.", "resources.", "workers", "min_workers"),
    *("train.checkpoint_seconds", "train.max_failures"),
)
"""How settings begin that may be others when a run goes on; parameters are told once."""
FILES = ("report.html", "summary.json", "config.yaml")
"""Told of a run that is over. No table of all trials: that has everybody's test figures."""
MODEL, BACKBONES = "model.safetensors", "backbones"
"""Of a trial; and of a run whose trials are heads, what they stand on."""


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to, on validation."""

    number: int
    """From 1."""
    at: int
    """When it ended, in milliseconds since 1970, as far as the files tell."""
    figures: Mapping[str, float]


@dataclass(frozen=True)
class Entry:
    """A run as a whole, or one of its trials."""

    name: str
    trial_id: str
    """Empty of the run as a whole."""
    state: State
    started: int
    """In milliseconds since 1970, as `ended`."""
    ended: int | None
    """None while it runs."""
    params: Mapping[str, str]
    tags: Mapping[str, str]
    figures: Mapping[str, float]
    """What it came to, once."""
    epochs: Sequence[Epoch] = ()
    files: Mapping[str, Anywhere] = field(default_factory=dict)
    """By where they are to lie."""

    @property
    def digest(self) -> str:
        """Return a text that is another when there is anything else to tell."""
        files = {name: version_of(path) for name, path in self.files.items()}
        told = json.dumps({**vars(self), "files": files}, sort_keys=True, default=vars)
        return hashlib.sha256(told.encode()).hexdigest()[:16]


def entries(run: Run, *, at_work: bool | None = None) -> list[Entry]:
    """Read what there is to tell of a run, whether it still runs or has ended.

    Parameters
    ----------
    run
        The run; trials of it that are known to have ended are not read again.
    at_work
        Whether a session is at work on it. None: as its files say, of which those of a killed
        process go on for a minute to say that it lives.

    Raises
    ------
    InputError
        A file was edited, or is of another version of fairfront.
    """
    summary = _summary(run)
    if at_work is None or (run.is_joint and not at_work):  # others may be
        progress = read(run)
        alive = progress is not None and time.time() - progress.updated <= STALE
        at_work = progress is not None and progress.state == "running" and alive
    judged = _judged(summary)
    trials = [_trial(trial, judged.get(trial.id), at_work=at_work) for trial in _all(run)]
    return [_whole(run, summary, trials, at_work=at_work), *trials]


def _all(run: Run) -> list[Trial]:
    ended = {trial.id: trial for trial in run.ended()}
    return [ended.get(trial.id, trial) for trial in run.begun()]


def _summary(run: Run) -> Mapping[str, Any] | None:
    try:
        summary = read_json(run.path / "summary.json")
    except InputError:
        if not (run.path / "summary.json").exists():
            return None
        raise
    if not isinstance(summary, dict) or not isinstance(summary.get("verdict"), dict):
        raise InputError(
            f"{run.path}/summary.json: not as fairfront writes it; fairfront report {run.path} does"
        )
    return summary


def _judged(summary: Mapping[str, Any] | None) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """Give the trials whose test figures are shown: their roles, and what they came to."""
    if summary is None:
        return {}
    found: dict[str, tuple[str, Mapping[str, Any]]] = {}
    for role, one in by_role(summary, together=False).items():
        before = found.get(one["trial_id"])
        found[one["trial_id"]] = (f"{before[0]} {role}" if before else role, one)
    return found


def _whole(
    run: Run, summary: Mapping[str, Any] | None, trials: Sequence[Entry], *, at_work: bool
) -> Entry:
    recorded, notes, progress = run.recorded, read_notes(run), read(run)
    state: State = "running"
    if not at_work:
        known = progress.state if progress else "interrupted"
        state = "interrupted" if known == "running" else known
    began = [one.started for one in trials if one.started]
    begun = min(began) if began else round(1000 * progress.started) if progress else 0
    tags = {
        "state": state,
        "git_commit": recorded.get("versions", {}).get("git_commit"),
        "fairfront": recorded.get("versions", {}).get("fairfront"),
        "data": run.data.get("path"),
        "data_fingerprint": run.data.get("fingerprint"),
        "words": " ".join(notes.tags) or None,
        "note": notes.text or None,
    }
    figures: dict[str, float] = {}
    files = {} if at_work else {name: run.path / name for name in FILES}
    if summary is not None and not at_work:
        verdict, use = summary["verdict"], by_role(summary).get("recommended")
        tags |= {
            "verdict": verdict["word"],
            "recommended": verdict["trial_id"],
            "conclusion": verdict["paragraph"],
        }
        figures = {
            **_numbers(summary, ("hypervolume", "wall_seconds", "images_per_second")),
            **{f"trials_{name}": float(n) for name, n in summary["trials"].items()},
            **(_by_split(use) if use else {}),
        }
        files |= _network(run, verdict["trial_id"])
    return Entry(
        name=run.path.name,
        trial_id="",
        state=state,
        started=begun,
        ended=None if at_work or progress is None else round(1000 * progress.updated),
        params=dict(_settings(run.config)),
        tags=_texts(tags),
        figures=figures,
        files={name: path for name, path in files.items() if path.exists()},
    )


def _network(run: Run, trial_id: str | None) -> dict[str, Anywhere]:
    """Give the files of a network, which find each other where they are told to lie."""
    if trial_id is None:
        return {}
    files = {f"model/{MODEL}": run.trial(trial_id).path / MODEL}
    if not trial_id.endswith(ENSEMBLE):  # which has all of its members' in one file
        shared = children(run.path / BACKBONES)
        files |= {f"{BACKBONES}/{path.name}": path for path in shared}
    return files


def _settings(config: Config) -> Iterator[tuple[str, str]]:
    for key, value in flatten(config.model_dump()).items():
        if key in SETTLED or not key.startswith(CHANGING):
            yield key, _text(value)[:LONGEST_PARAMETER]


def _trial(trial: Trial, judged: tuple[str, Mapping[str, Any]] | None, *, at_work: bool) -> Entry:
    result = trial.result if trial.has_ended else None
    state: State = "running" if at_work else "interrupted"
    if result:
        state = "finished" if result.state == "complete" else result.state
    first, last = _starts(trial)
    rows = _rows(trial)
    figures: dict[str, float] = {}
    tags: dict[str, Any] = {"state": state, "role": judged[0] if judged else None}
    if result:
        kept = next((row for row in rows if row["epoch"] == result.kept_epoch), {})
        ends = {"epochs", "kept_epoch", "seconds", "images_per_second", "restarts"}
        figures = {
            **{f"kept_{name}": value for name, value in _numbers(kept, KEPT).items()},
            **{name: float(value) for name, value in result.model_dump(include=ends).items()},
            **(_by_split(judged[1]) if judged else {}),
        }
        tags |= {"recipe": result.recipe, "device": result.device, "reason": result.reason}
    known = (trial.path / "params.json").exists()  # it comes a moment after the folder
    return Entry(
        name=trial.id,
        trial_id=trial.id,
        state=state,
        started=first,
        ended=last + round(1000 * result.seconds) if result else None,
        params={n: _text(v)[:LONGEST_PARAMETER] for n, v in trial.params.items()} if known else {},
        tags=_texts(tags),
        figures=figures,
        epochs=list(_epochs(rows, first)),
    )


def _starts(trial: Trial) -> tuple[int, int]:
    """Return when a trial was begun, and begun the last time."""
    try:
        lines = read_text(trial.path / "starts.txt").split()
        first, last = (datetime.fromisoformat(lines[at]).timestamp() for at in (0, -1))
    except (FileNotFoundError, IndexError, ValueError):
        return 0, 0
    return round(1000 * first), round(1000 * last)


def _rows(trial: Trial) -> list[dict[str, Any]]:
    try:
        table = trial.metrics
    except FileNotFoundError:
        return []
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _epochs(rows: Sequence[Mapping[str, Any]], began: int) -> Iterator[Epoch]:
    """Give the epochs; one ends as many seconds after the last as it took."""
    at = float(began)
    for row in rows:
        at += 1000 * float(row.get("seconds", 0.0))
        names = tuple(name for name in row if name != "epoch")
        yield Epoch(int(row["epoch"]), round(at), _numbers(row, names))


def _by_split(judged: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures of an entry of ``summary.json``, with the ends of their intervals."""
    found: dict[str, float] = {}
    for split in EVALUATED:
        for name, value in judged[split].items():
            if name.endswith("_ci95"):
                ends = zip(("low", "high"), value, strict=True)
                found |= {f"{split}_{name}_{end}": float(number) for end, number in ends}
            elif isinstance(value, int | float):
                found[f"{split}_{name}"] = float(value)
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _numbers(values: Mapping[str, Any], names: Sequence[str]) -> dict[str, float]:
    """Return those that are numbers; no tracker draws what is not finite."""
    known = {name: values.get(name) for name in names}
    return {
        name: float(value)
        for name, value in known.items()
        if isinstance(value, int | float) and math.isfinite(value)
    }


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {n: _text(value)[:LONGEST_TAG] for n, value in values.items() if value is not None}


def _text(value: Any) -> str:
    """Return a value as the configuration has it."""
    return value if isinstance(value, str) else json.dumps(value, default=str)
