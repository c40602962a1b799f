"""The state of a run while it goes on, kept in ``RUN/progress.json``.

Sessions of a joint sweep keep theirs in ``RUN/sessions/<id>.json`` each, and are read as one.
"""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pandas as pd
from pydantic import ValidationError

from orchestrator.base.errors import InputError
from orchestrator.base.files import Anywhere, children, read_text
from orchestrator.base.strict import Strict
from orchestrator.run.cost import Cost
from orchestrator.run.directory import Run
from orchestrator.run.trial import State, Trial, in_order_of_ending

BASELINES = ("plain", "reference")
RESUMED_AS = {"confirm": "sweep"}
"""By what a run does: the command that goes on with it, where that has another name."""


class Score(Strict):
    """The fair metric on validation, never without what it is made of."""

    fair: float
    acc_women: float
    acc_men: float
    gap: float

    @classmethod
    def of(cls, metrics: "Mapping[str, Any] | pd.Series[Any]") -> "Score":
        """Take the score from an epoch's metrics."""
        return cls(**{name: float(metrics[name]) for name in cls.model_fields})

    @property
    def mean_accuracy(self) -> float:
        """The mean of women's accuracy and men's."""
        return (self.acc_women + self.acc_men) / 2


STALE = 60.0
"""Seconds without a sign of life after which a session counts as dead."""
FINISHING = 0.2
"""The last evaluation of a trial and its files, in epochs."""
KNOWN_ENOUGH = 4
"""Searched trials that have ended before an estimate counts on what halving stops."""


class RunningTrial(Strict):
    """A trial in training."""

    trial_id: str
    epoch: int = 0
    """Epochs finished."""
    epochs: int
    score: Score | None = None
    """Of the epoch kept so far; null before the first ends."""
    images_per_second: float = 0.0


class EndedTrial(Strict):
    """A trial that ended, however it did."""

    trial_id: str
    state: State
    recipe: str
    epochs: int
    seconds: float
    score: Score | None = None
    """Of the kept epoch; null when none finished."""
    reason: str | None = None

    @classmethod
    def of(cls, trial: Trial) -> "EndedTrial":
        """Read it from the trial's files."""
        result, score = trial.result, None
        if result.kept_epoch:
            kept = trial.metrics["epoch"] == result.kept_epoch
            score = Score.of(trial.metrics[kept].iloc[0])
        return cls(
            score=score,
            **result.model_dump(include=set(cls.model_fields) - {"score"}),
        )


class Progress(Strict):
    """How far a run is. Times are seconds since 1970."""

    command: str
    """``train``, ``sweep``, or ``confirm``, the end of a sweep."""
    state: Literal["running", "finished", "interrupted", "failed"] = "running"
    trials_total: int
    epochs: int
    """The most epochs a trial may take."""
    started: float
    updated: float
    """When the run last showed that it lives."""
    seconds_before: float = 0.0
    """What earlier sessions of a resumed run took, a search before its confirmation among them."""
    confirmed_before: float = 0.0
    """What confirmations took of that, which is no part of a search's time."""
    share_before: float = 0.0
    """`share_done` as this session began."""
    seconds_limit: float | None = None
    """What all sessions of a search may take together; None: as long as its trials do."""
    epochs_limit: int | None = None
    """Epochs after which a search begins no more trials; None: it has its number of trials."""
    halved_epochs: float | None = None
    """What a trial of a search takes on average where halving stops as many as it may; None: it
    stops none."""
    cost: Cost | None = None
    """Of a sweep."""
    ended: tuple[EndedTrial, ...] = ()
    """In the order of ending."""
    running: tuple[RunningTrial, ...] = ()
    """By id."""

    @property
    def failed(self) -> int:
        """How many trials failed."""
        return sum(trial.state == "failed" for trial in self.ended)

    @property
    def best(self) -> EndedTrial | None:
        """The complete trial with the highest fair metric; of equals the smaller gap, then id."""
        ranked = [
            (-trial.score.fair, trial.score.gap, trial.trial_id, trial)
            for trial in self.ended
            if trial.state == "complete" and trial.score
        ]
        return min(ranked, key=lambda entry: entry[:3])[3] if ranked else None

    def baseline(self, recipe: str) -> EndedTrial | None:
        """Give the first complete trial of a recipe, if there is one yet."""
        found = (t for t in self.ended if t.recipe == recipe and t.state == "complete" and t.score)
        return min(found, key=lambda trial: trial.trial_id, default=None)

    @property
    def images_per_second(self) -> float:
        """Training images per second, over all running trials."""
        return sum(trial.images_per_second for trial in self.running)

    def seconds(self, now: float | None = None) -> float:
        """How long the run took until `now`, or until it was last updated."""
        return self.seconds_before + (self.updated if now is None else now) - self.started

    def search_seconds(self, now: float) -> float:
        """How long a search took until `now`, its earlier sessions among it."""
        return self.seconds(now) - self.confirmed_before

    def searched_seconds(self) -> float:
        """How long the search took, whatever came after it."""
        if self.command == "confirm":
            return self.seconds_before - self.confirmed_before
        return self.search_seconds(self.updated)

    def share_done(self) -> float:
        """How much of the run's training is done, in [0, 1], counted in epochs."""
        if len(self.ended) >= self.trials_total:
            return 1.0
        counts = [trial.epochs for trial in self.ended]
        done = sum(counts) + sum(trial.epoch for trial in self.running)
        expected = self._expected_epochs()
        waiting = max(0, self.trials_total - len(self.ended) - len(self.running))
        to_come = waiting * expected
        left = sum(
            min(max(expected, trial.epoch + 1), trial.epochs) - trial.epoch + FINISHING
            for trial in self.running
        )
        if self.epochs_limit is not None:
            to_come = min(to_come, max(0.0, self.epochs_limit - done - left))
        return done / (done + left + to_come) if done else 0.0

    @property
    def _searched(self) -> list[int]:
        """The epochs of the trials that are no baselines, which halving never stops."""
        return [trial.epochs for trial in self.ended if trial.recipe not in BASELINES]

    def _expected_epochs(self) -> float:
        """Guess what a trial to come takes: the mean of those that ended, which stop early, too.

        One imagined trial steadies the mean while few have ended.
        """
        if self.halved_epochs is None:
            counts = [trial.epochs for trial in self.ended]
            return (self.epochs + sum(counts)) / (1 + len(counts))
        return (self.halved_epochs + sum(self._searched)) / (1 + len(self._searched))

    @property
    def epochs_to_come(self) -> float:
        """How many epochs a search that begins will take, as far as can be guessed."""
        epochs = max(0, self.trials_total - len(self.ended)) * self._expected_epochs()
        if self.epochs_limit is None:
            return epochs
        return min(epochs, max(0, self.epochs_limit - sum(trial.epochs for trial in self.ended)))

    def seconds_left(self, now: float) -> float | None:
        """Estimate the time left from this session's epochs, or from the limit, which is known.

        None before the first epoch of a run without a limit, and while it is not known yet how many
        trials halving stops: then hours are announced of which minutes come true.
        """
        share = self.share_done()
        done = share - self.share_before
        left = []
        guessed = self.halved_epochs is not None and len(self._searched) < KNOWN_ENOUGH
        if done > 0 and not guessed:
            left.append((now - self.started) * (1 - share) / done)
        if self.seconds_limit is not None:
            left.append(max(0.0, self.seconds_limit - self.search_seconds(now)))
        return min(left, default=None)

    def with_running(self, trial: RunningTrial) -> "Progress":
        """Return this progress with a running trial added, or replaced by its newer state."""
        others = [other for other in self.running if other.trial_id != trial.trial_id]
        running = sorted([*others, trial], key=lambda other: other.trial_id)
        return self.model_copy(update={"running": tuple(running)})

    def with_ended(self, trial: EndedTrial) -> "Progress":
        """Return this progress with a trial ended."""
        left = self.without(trial.trial_id)
        return left.model_copy(update={"ended": (*self.ended, trial)})

    def without(self, trial_id: str) -> "Progress":
        """Return this progress without a running trial."""
        running = tuple(other for other in self.running if other.trial_id != trial_id)
        return self.model_copy(update={"running": running})


def begin(
    run: Run,
    command: str,
    trials_total: int,
    epochs: int,
    now: float,
    *,
    trials: Sequence[Trial] | None = None,
    seconds_limit: float | None = None,
    epochs_limit: int | None = None,
    halved_epochs: float | None = None,
) -> Progress:
    """Start the progress of a run from what its directory holds: nothing, unless it is resumed.

    The trials are the run's own, or those given, of which some may have ended.
    """
    before = read(run)
    confirmed = before.confirmed_before if before else 0.0
    if before and before.command == "confirm":
        confirmed += before.updated - before.started
    ended = run.ended() if trials is None else [trial for trial in trials if trial.has_ended]
    begun = Progress(
        command=command,
        trials_total=trials_total,
        epochs=epochs,
        started=now,
        updated=now,
        seconds_before=before.seconds() if before else 0.0,
        confirmed_before=confirmed,
        ended=tuple(EndedTrial.of(trial) for trial in in_order_of_ending(ended)),
        seconds_limit=seconds_limit,
        epochs_limit=epochs_limit,
        halved_epochs=halved_epochs,
    )
    return begun.model_copy(update={"share_before": begun.share_done()})


def own_file(run: Run) -> Anywhere:
    """Return where a session that begins keeps its progress; each of a joint sweep has its own."""
    if run.is_joint:
        return run.path / "sessions" / f"{uuid.uuid4().hex[:8]}.json"
    return run.path / "progress.json"


def read(run: Run) -> Progress | None:
    """Read how far a run is, in all its sessions; None when it has not begun yet."""
    sessions = children(run.path / "sessions") if run.is_joint else []
    files = [run.path / "progress.json", *(path for path in sessions if path.suffix == ".json")]
    found = [progress for file in files if (progress := _read(file))]
    return merged(found) if found else None


def merged(sessions: Sequence[Progress]) -> Progress:
    """Take what several sessions know of a run together: it runs as long as one of them does."""
    newest = max(each.updated for each in sessions)
    alive = {
        id(each): each.state == "running" and newest - each.updated < STALE for each in sessions
    }
    shown = max(sessions, key=lambda each: (alive[id(each)], each.updated))
    ended: dict[str, EndedTrial] = {}
    running: dict[str, RunningTrial] = {}
    for each in sorted(sessions, key=lambda each: len(each.ended), reverse=True):
        if each.command != shown.command:  # a confirmation has trials of its own
            continue
        ended |= {trial.trial_id: trial for trial in each.ended if trial.trial_id not in ended}
        if alive[id(each)]:
            running |= {trial.trial_id: trial for trial in each.running}
    left = sorted(running.keys() - ended.keys()) if alive[id(shown)] else ()
    together = {"ended": tuple(ended.values()), "running": tuple(running[name] for name in left)}
    return shown if len(sessions) == 1 else shown.model_copy(update=together)


def _read(path: Anywhere) -> Progress | None:
    try:
        text = read_text(path)
    except FileNotFoundError:
        return None
    try:
        return Progress.model_validate_json(text)
    except ValidationError:
        raise InputError(
            f"{path}: not a progress of this version of fairfront; remove it"
        ) from None
