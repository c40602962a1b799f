"""What one may say of a run: are its settings fairer, how sure is that, and which trial to use."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from orchestrator.judging.judge import PassedOver
from orchestrator.judging.paired_change import Change
from orchestrator.judging.thresholds import FIXED
from orchestrator.run.trial import ENSEMBLE

Word = Literal["supported", "undecided", "refuted"]
NOTHING_TO_COMPARE = "It is compared with nothing: that takes a trial of a search and a plain one."
PLACES = {"val": "faces that it was not trained on", "test": "test faces"}


def word_of(changes: Mapping[str, Change]) -> Word:
    """Say whether a gain in the fair metric is shown, by split; both splits have to agree.

    Supported: the intervals of both lie above 0. Refuted: that of one lies below. A claim about
    ``test`` alone is never supported, since the trial was chosen among many.
    """
    intervals = [change.fair_ci95 for change in changes.values()]
    if any(high < 0 for _, high in intervals):
        return "refuted"
    if "val" in changes and all(low > 0 for low, _ in intervals):
        return "supported"
    return "undecided"


def faces_needed(changes: Mapping[str, Change], faces: Mapping[str, int]) -> dict[str, int | None]:
    """Say how many faces would decide what is undecided, by split.

    An interval shrinks with the root of the faces. The change is taken to be what is best known of
    it, that on validation faces; null where that is 0, which no number of faces decides.
    """
    known = next(iter(changes.values())).fair
    found: dict[str, int | None] = {}
    for split, change in changes.items():
        low, high = change.fair_ci95
        if low > 0 or high < 0:
            continue
        half = change.fair - low if known > 0 else high - change.fair
        needed = faces[split] * (half / known) ** 2 if known else math.inf
        found[split] = _rounded(needed) if needed < 1e9 else None
    return found


def _rounded(number: float) -> int:
    """Round up to two digits that count."""
    unit = 10 ** max(0, math.floor(math.log10(max(number, 1))) - 1)
    return int(math.ceil(number / unit) * unit)


@dataclass(frozen=True)
class Claim:
    """That a trial is fairer than a baseline."""

    trial_id: str
    against: str
    """The baseline's role."""
    changes: Mapping[str, Change]
    """Of the trial against it, by split; ``val``, which comes first, only where both were
    retrained, and then all are of the retrained networks."""
    faces: Mapping[str, int]
    """How many the changes are of, by split."""


def verdict(
    use: str | None,
    claim: Claim | None,
    retrained: str | None = None,
    members: int = 1,
    passed: PassedOver | None = None,
) -> dict[str, Any]:
    """Put the verdict together, as ``summary.json`` holds it.

    Parameters
    ----------
    use
        The trial, or the ensemble, that is recommended; None: no trial is complete.
    claim
        Of the best of the search's own trials; None: there is none, or no baseline.
    retrained
        On what, in words; None: nothing was, or not all of it has ended.
    members
        How many networks `use` has.
    passed
        What has a higher fair metric and is not recommended, if any.
    """
    word = word_of(claim.changes) if claim else "undecided"
    needed = faces_needed(claim.changes, claim.faces) if claim and word == "undecided" else {}
    filed = _as_filed(passed) if passed else None
    told = [_paragraph(use, claim, word, needed, retrained, members)]
    told += [passed_words(filed)] if filed else []
    return {
        "word": word,
        "trial_id": use,
        "threshold": FIXED.women,
        "claim": claim.trial_id if claim else None,
        "against": claim.against if claim else None,
        "level": 0.95,
        "change": {s: asdict(of) for s, of in claim.changes.items()} if claim else {},
        "faces_needed": needed,
        "passed_over": filed,
        "paragraph": " ".join(told),
    }


def _paragraph(  # noqa: PLR0917  # all that a verdict is of
    use: str | None,
    claim: Claim | None,
    word: Word,
    needed: Mapping[str, int | None],
    retrained: str | None,
    members: int,
) -> str:
    if use is None:
        return "Undecided: no trial is complete, so there is nothing to choose from."
    if claim is None:
        return f"Use {use} at threshold {FIXED.women}. {NOTHING_TO_COMPARE}"
    name, role = claim.trial_id, claim.against
    by = (f"{_fair(change)} on {PLACES[split]}" for split, change in claim.changes.items())
    told = [said_of(word, name, role), f"Its fair metric changes by {' and by '.join(by)}."]
    if retrained:
        told.append(f"All were trained anew on {retrained}.")
    else:
        told.append(
            "No finalists were retrained to their end, and the best of many trials is partly the "
            "luckiest: --resume --finalists 8 does it."
        )
    if needed:
        told.append(_needed(needed, claim.faces))
    split = next(iter(claim.changes))
    against = f"against {role}{', on test' * (split == 'test')}"
    what = against if use == name else f"with {name}, {against}"
    if members > 1:
        of = use.removesuffix(ENSEMBLE)
        what = f"One network of {name} against one of {role}"
        told.append(f"{what}: {moved(claim.changes[split])}.")
        told.append(f"Use {use} at threshold {FIXED.women}: {as_one(of, members)}.")
    else:
        told.append(f"Use {use} at threshold {FIXED.women}: {what}, {moved(claim.changes[split])}.")
    return " ".join(told)


def _as_filed(passed: PassedOver) -> dict[str, Any]:
    served = passed.served
    return {
        "trial_id": passed.trial_id,
        "fair": passed.fair,
        "plain": passed.plain,
        "worst_gender": served.now[1],
        "worst_gender_plain": served.then[1],
        "served_worst": served.now[0],
        "served_worst_plain": served.then[0],
        "change": float(served.change.value),
        "change_ci95": [float(served.change.low), float(served.change.high)],
    }


def passed_words(found: Mapping[str, Any]) -> str:
    """Say why what has the highest fair metric is not recommended; of ``verdict: passed_over``."""
    who, then = found["served_worst"], found["served_worst_plain"]
    points, (low, high) = 100 * found["change"], (100 * end for end in found["change_ci95"])
    ours, theirs = (f"{100 * found[key]:.1f}%" for key in ("worst_gender", "worst_gender_plain"))
    return (
        f"{found['trial_id']} has a higher fair metric, {found['fair']:.3f}, but is not "
        f"recommended: of those whom it serves worst, {who}, {ours} are right, of those whom "
        f"{found['plain']} serves worst, {then}, {theirs} ({points:+.1f} points, {low:+.1f} to "
        f"{high:+.1f})."
    )


def said_of(word: Word, name: str, role: str) -> str:
    """Say what is known of the best that was searched for."""
    best = f"{name}, the best that was searched for,"
    return {
        "supported": f"Supported: {best} is fairer than {role}.",
        "refuted": f"Refuted: {best} is no fairer than {role}.",
        "undecided": f"Undecided: it is not known whether {best} is fairer than {role}.",
    }[word]


def as_one(trial_id: str, members: int) -> str:
    """Say what an ensemble is."""
    return f"{trial_id}'s {members} retrained networks as one, their logits averaged"


def _fair(change: Change) -> str:
    low, high = change.fair_ci95
    return f"{change.fair:+.3f} (95% interval {low:+.3f} to {high:+.3f})"


def _needed(needed: Mapping[str, int | None], faces: Mapping[str, int]) -> str:
    names = {"val": "faces to train and judge by", "test": "test faces"}
    if None in needed.values():
        return "The change is so small that no number of faces would decide it."
    told = " and ".join(f"{n:,} {names[s]} (there are {faces[s]:,})" for s, n in needed.items())
    return f"If the change is what it seems, about {told} would decide it."


def moved(change: Change) -> str:
    """Say what each gender gains or loses, and whether that may be chance."""
    return " and ".join(
        _moved(who, getattr(change, f"acc_{who}"), getattr(change, f"acc_{who}_ci95"))
        for who in ("women", "men")
    )


def _moved(who: str, by: float, interval: list[float]) -> str:
    if by == 0:
        return f"{who} stay as accurate"
    points, (low, high) = 100 * by, (100 * end for end in interval)
    shown = f"{abs(points):.1f}" if abs(points) >= 0.05 else "under 0.05"
    chance = ", which may be chance" if low <= 0 <= high else ""
    verb = "gain" if by > 0 else "lose"
    return f"{who} {verb} {shown} points of accuracy ({low:+.1f} to {high:+.1f}{chance})"
