"""How the progress of a run reads: on a terminal, and line by line."""

from collections.abc import Iterator, Mapping

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.base.console import new_table
from orchestrator.base.words import duration, first_line
from orchestrator.run.progress import BASELINES, EndedTrial, Progress, Score


def line(progress: Progress, index: int) -> str:
    """Say in one line how trial `index`, counted in the order of ending, ended."""
    trial = progress.ended[index]
    width = len(str(progress.trials_total))
    head = f"[{index + 1:{width}}/{progress.trials_total}] {trial.trial_id} {trial.state}"
    if trial.recipe in BASELINES:
        head += f" ({trial.recipe})"
    if trial.state == "failed":
        return f"{head}: {first_line(trial.reason)}"
    so_far = progress.model_copy(update={"ended": progress.ended[: index + 1]})
    best = f"  best {so_far.best.trial_id}" if so_far.best else ""
    return f"{head}  {_score_text(trial.score)}  {trial.epochs} epochs {trial.seconds:.0f} s{best}"


def status_line(progress: Progress, now: float) -> str:
    """Say in one line what runs, how fast and how long it will take."""
    width = len(str(progress.trials_total))
    what: str = progress.state
    if progress.running:
        trials = (f"{t.trial_id} epoch {t.epoch}/{t.epochs}" for t in progress.running)
        what += " " + ", ".join(trials)
    head = f"[{len(progress.ended):{width}}/{progress.trials_total}] "
    return head + "  ".join([what, *_facts(progress, now)])


EPOCH_HEADER = "  epoch      loss  val loss   women     men    fair        lr  images/s"


def epoch_row(metrics: Mapping[str, float], epochs: int) -> str:
    """Write a row of ``metrics.csv`` under `EPOCH_HEADER`."""
    return (
        f"{metrics['epoch']:4.0f}/{epochs:<4}"
        f" {metrics['train_loss']:8.4f}  {metrics['val_loss']:8.4f}"
        f"  {metrics['acc_women']:6.4f}  {metrics['acc_men']:6.4f}  {metrics['fair']:6.4f}"
        f"  {metrics['lr']:8.2e}  {metrics['images_per_second']:8,.0f}"
    )


def _score_text(score: Score | None) -> str:
    if score is None:
        return "no epoch finished"
    return (
        f"fair {score.fair:.4f} (women {score.acc_women:.3f} "
        f"men {score.acc_men:.3f} gap {score.gap:.3f})"
    )


def _facts(progress: Progress, now: float) -> list[str]:
    facts = []
    if progress.images_per_second:
        facts.append(f"{progress.images_per_second:,.0f} images/s")
    if progress.state != "running":
        return [*facts, f"{duration(progress.seconds())}"]
    facts.append(f"{duration(progress.seconds(now))} elapsed")
    left = progress.seconds_left(now)
    if left is not None:
        facts.append(f"about {duration(left)} left")
    return facts


def render(progress: Progress, now: float) -> RenderableType:
    """Draw the state of a run for a terminal of 80 columns or more."""
    parts = [_headline(progress, now)]
    if progress.best or progress.running:
        parts.append(_table(progress))
    return Group(*parts)


def _headline(progress: Progress, now: float) -> RenderableType:
    total, done = progress.trials_total, len(progress.ended)
    counts = f"{done}/{total} trial{'s' * (total != 1)}"
    if progress.failed:
        counts += f", {progress.failed} failed"
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column()
    grid.add_row(
        Text(f"fairfront {progress.command}", style="bold"),
        ProgressBar(total=1.0, completed=progress.share_done(), width=28),
        Text(counts),
    )
    facts = _facts(progress, now)
    if progress.state != "running":
        facts.insert(0, progress.state)
    return Group(grid, Text("  ".join(facts), style="dim"))


def _table(progress: Progress) -> RenderableType:
    plain = progress.baseline("plain")
    table = new_table("", "trial", "fair", "women", "men", "gap", "epoch", left=2)
    for role, trial in _ended_rows(progress):
        against = plain.score if plain and plain is not trial else None
        style = "bold" if role == "best" else ""
        cells = _score_cells(trial.score, against)
        table.add_row(role, trial.trial_id, *cells, str(trial.epochs), style=style)
    for running in progress.running:
        cells = _score_cells(running.score, plain.score if plain else None)
        table.add_row("running", running.trial_id, *cells, f"{running.epoch}/{running.epochs}")
    return table


def _ended_rows(progress: Progress) -> Iterator[tuple[str, EndedTrial]]:
    if progress.best:
        yield "best", progress.best
    for recipe in BASELINES:
        trial = progress.baseline(recipe)
        if trial:
            yield recipe, trial


def _score_cells(score: Score | None, plain: Score | None) -> list[Text]:
    """Fair, women, men, gap; each gender with its change against plain, so a loss shows."""
    if score is None:
        return [Text("-", style="dim")] * 4
    return [
        Text(f"{score.fair:.4f}"),
        _accuracy(score.acc_women, plain.acc_women if plain else None),
        _accuracy(score.acc_men, plain.acc_men if plain else None),
        Text(f"{score.gap:.3f}"),
    ]


def _accuracy(accuracy: float, plain: float | None) -> Text:
    text = Text(f"{accuracy:.3f}")
    if plain is not None:
        change = accuracy - plain
        text.append(f" {change:+.3f}", style="red" if change <= -0.0005 else "dim")
    return text
