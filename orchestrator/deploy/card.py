"""The model card of an exported network: what it decides, how well for whom, and what for."""

from collections.abc import Mapping
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined

from orchestrator.deploy.shipped import FORMATS
from orchestrator.judging.intended_use import INTENDED_USE, LIMITS
from orchestrator.judging.intervals import Limits, of_fair, of_gap, wilson

CARD = "README.md"
"""The name that hubs know a card by."""


def model_card(about: Mapping[str, Any]) -> str:
    """Return the card, as Markdown with the header that model hubs read.

    Parameters
    ----------
    about
        What ``model.json`` holds; see `orchestrator.deploy.export`.
    """
    template = resources.files("orchestrator.deploy") / "model_card.md.j2"
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, autoescape=False)
    made = environment.from_string(template.read_text(encoding="utf-8"))
    return made.render(
        about,
        rows=_figures(about["metrics_at_0.5"]["test"], about["fair_lambda"]),
        checks=about.get("checks", {}),
        formats=FORMATS,
        intended_use=INTENDED_USE,
        limits=LIMITS,
    )


def _figures(test: Mapping[str, Any], fair_lambda: float) -> list[tuple[str, str]]:
    """Return the figures of the test split at threshold 0.5, each with its 95% interval."""
    women, men = (
        wilson(round(test[f"acc_{who}"] * test[f"n_{who}"]), test[f"n_{who}"])
        for who in ("women", "men")
    )
    return [
        (f"accuracy of {test['n_women']:,} women", _shown(women)),
        (f"accuracy of {test['n_men']:,} men", _shown(men)),
        ("gap", _shown(of_gap(women, men))),
        (f"fair: mean accuracy - {fair_lambda:g} × gap", _shown(of_fair(women, men, fair_lambda))),
        ("accuracy of the worst gender × class", f"{test['worst_group']:.4f}"),
    ]


def _shown(limits: Limits) -> str:
    return f"{float(limits.value):.4f} ({float(limits.low):.4f} to {float(limits.high):.4f})"
