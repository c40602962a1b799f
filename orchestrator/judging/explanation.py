"""What an explanation of a network comes to, in sentences."""

from collections.abc import Mapping
from typing import Any

FIFTH = 2
"""Where in its shares of the image a fifth is."""


def sentences(about: Mapping[str, Any]) -> list[str]:
    """Say what the figures of `orchestrator.deploy.explain.figures` come to."""
    told = []
    for label, of in about["taken"].items():
        if of is None:
            continue
        whole, marked, random = of["maps"][0], of["maps"][FIFTH], of["random"][FIFTH]
        low, high = of["area_ci95"]
        word = (
            "so the maps mark what it goes by"
            if low > 0
            else "so the maps mean little here"
            if high < 0
            else "which may be chance"
        )
        told.append(
            f"Of {of['faces']:,} faces labelled {label}, taking away the fifth of the image that "
            f"speaks most for it moves the mean probability of that label from {whole:.2f} to "
            f"{marked:.2f}, a random fifth to {random:.2f}: {word}."
        )
    for who, of in about["looks_at"].items():
        if of is not None:
            parts = ", ".join(f"{share:.0%} {name}" for name, share in of.items())
            told.append(f"For {who} it looks at the thirds of the image so: {parts}.")
    return told
