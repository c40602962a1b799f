"""Figures with as many digits as their error allows."""

import math
from collections.abc import Sequence

FEWEST, MOST = 2, 4
"""Decimals: fewer would make different trials look equal, more are nobody's."""
MINUS = "\N{MINUS SIGN}"


def decimals(half: float) -> int:
    """Return how many decimals count, of a figure that is sure to plus or minus `half`.

    The error has one digit that counts, or two where the first is a 1, 2 or 3 (as the Particle Data
    Group rounds, Review of Particle Physics, section 5.3).
    """
    if not 0 < half < math.inf:
        return MOST
    exponent = math.floor(math.log10(half))
    places = -exponent + int(half * 10.0**-exponent < 3.55)
    return min(max(places, FEWEST), MOST)


def figure(value: float | None, interval: Sequence[float] | None) -> str:
    """Write a share, or another figure of about 1, as its 95% interval allows; nothing for None."""
    if value is None:
        return ""
    return f"{value:.{_places(interval)}f}".replace("-", MINUS)


def change(value: float, interval: Sequence[float]) -> str:
    """Write a difference, with its sign."""
    text = f"{value:+.{_places(interval)}f}"
    return (text.replace("-", "+") if not float(text) else text).replace("-", MINUS)


def limits(interval: Sequence[float] | None, sign: str = "") -> str:
    """Write an interval; `sign` is + for that of a difference."""
    if interval is None:
        return ""
    low, high = (f"{end:{sign}.{_places(interval)}f}" for end in interval)
    return f"{low} to {high}".replace("-", MINUS)


def _places(interval: Sequence[float] | None) -> int:
    return decimals((interval[1] - interval[0]) / 2) if interval else MOST
