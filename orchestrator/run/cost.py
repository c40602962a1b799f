"""What a sweep is expected to take, and what it took: hours, GPU-hours, money."""

from collections.abc import Sequence
from typing import Any, Protocol

from orchestrator.base.strict import Strict
from orchestrator.base.words import duration


class Amount(Strict):
    """So much of a sweep."""

    trials: int
    epochs: float
    """Of all trials together."""
    hours: float
    """By the clock."""
    gpu_hours: float
    """Of GPUs that trials held; 0 on CPUs."""
    price: float | None = None
    """In the currency of the price an hour; null: none was given."""

    def __str__(self) -> str:
        """Say it in a few words."""
        parts = [duration(self.hours * 3600)]
        if self.gpu_hours:
            parts.append(f"{self.gpu_hours:.3g} GPU-hours")
        if self.price is not None:
            parts.append(f"a price of {self.price:,.2f}")
        return ", ".join(parts)


class Cost(Strict):
    """What a sweep costs."""

    gpus: float = 0.0
    """That a trial holds, all its workers together."""
    price_per_hour: float | None = None
    """Of all machines together."""
    images_an_epoch: int = 0
    images_per_second: float | None = None
    """Of a trial, measured before; null: not known."""
    expected: Amount | None = None
    """Of the trials that were left as the session began; null: not known."""
    finalists: Amount | None = None
    """Of the retrainings that follow, at most; null: there are none, or it is not known."""

    def amount(self, trials: int, epochs: float, seconds: float, trial_seconds: float) -> Amount:
        """Return what trials cost that took so long, by the clock and added up."""
        hours, price = seconds / 3600, self.price_per_hour
        return Amount(
            trials=trials,
            epochs=epochs,
            hours=hours,
            gpu_hours=trial_seconds / 3600 * self.gpus,
            price=None if price is None else hours * price,
        )

    def expect(
        self, trials: int, epochs: float, at_a_time: int, most_seconds: float | None
    ) -> "Cost":
        """Return this with what trials to come are expected to cost.

        Parameters
        ----------
        trials
            How many are left.
        epochs
            That they will take together.
        at_a_time
            How many train at a time, where so many are left.
        most_seconds
            After which the sweep ends, whatever is left; None: it does not.
        """
        if not self.images_per_second or not trials:
            return self
        in_all = self._training(epochs)
        seconds = in_all / min(at_a_time, trials)
        if most_seconds is not None and seconds > most_seconds:
            share = most_seconds / seconds
            epochs, seconds, in_all = epochs * share, most_seconds, in_all * share
        expected = self.amount(trials, epochs, seconds, in_all)
        return self.model_copy(update={"expected": expected})

    def expect_finalists(self, retrainings: int, epochs: int, at_a_time: int) -> "Cost":
        """Return this with what so many retrainings of so many epochs each cost at most."""
        if not self.images_per_second or not retrainings:
            return self
        in_all = self._training(retrainings * epochs)
        seconds = in_all / min(at_a_time, retrainings)
        most = self.amount(retrainings, retrainings * epochs, seconds, in_all)
        return self.model_copy(update={"finalists": most})

    def _training(self, epochs: float) -> float:
        """Return the seconds that epochs take, one after the other."""
        assert self.images_per_second
        return epochs * self.images_an_epoch / self.images_per_second

    def __str__(self) -> str:
        """Say what is expected, and of what that was made."""
        after = ""
        if self.finalists:
            after = f"{self.finalists.trials} retrainings of the finalists, {self.finalists}"
        if self.expected is None:
            first = f"{self.images_an_epoch:,} images an epoch; the first trial will say how fast"
            return f"at most {after}" if after else first
        return (
            f"{self.expected.trials} trials, about {self.expected.epochs:.0f} epochs of "
            f"{self.images_an_epoch:,} images at {self.images_per_second:,.0f} images/s a trial: "
            f"about {self.expected}{after and f'; then at most {after}'}"
        )


class _Spent(Protocol):
    @property
    def epochs(self) -> int: ...
    @property
    def seconds(self) -> float: ...


def took(cost: Cost | None, seconds: float, ended: Sequence[_Spent]) -> Amount | None:
    """Return what a run took, by the clock, of which these trials ended; None: it is no sweep."""
    if cost is None:
        return None
    epochs = sum(trial.epochs for trial in ended)
    return cost.amount(len(ended), epochs, seconds, sum(trial.seconds for trial in ended))


def in_summary(cost: Cost | None, seconds: float, ended: Sequence[_Spent]) -> dict[str, Any] | None:
    """Return what ``summary.json`` says of it.

    ``expected``, which may be null; ``took``; and ``images``, how many its epochs trained on.
    """
    taken = took(cost, seconds, ended)
    if cost is None or taken is None:
        return None
    expected = cost.expected.model_dump() if cost.expected else None
    images = round(taken.epochs * cost.images_an_epoch)
    return {"expected": expected, "took": taken.model_dump(), "images": images}
