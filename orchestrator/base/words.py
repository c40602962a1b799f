"""Words for people: times, and the first line of a long reason."""

import math
from collections.abc import Iterable
from difflib import get_close_matches


def duration(seconds: float) -> str:
    """Write a time as a person would: ``42 s``, ``4 min 10 s``, ``1 h 05 min``."""
    whole = max(0, math.ceil(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def first_line(reason: str | None, most: int = 160) -> str:
    """Shorten why a trial failed to one line; the whole lies in its ``result.json``."""
    lines = [text.strip() for text in (reason or "").splitlines() if text.strip()]
    if not lines:
        return "no reason given"
    return lines[0] if len(lines[0]) <= most else lines[0][: most - 3] + "..."


def closest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that a wrong one may have been meant to be."""
    return next(iter(get_close_matches(word, list(known), n=1, cutoff=0.7)), None)
