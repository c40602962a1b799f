"""Two answers of the first screen: whom the recommended trial serves worse, and where it fails."""

from collections.abc import Mapping
from typing import Any

from orchestrator.judging.rates import WHO
from orchestrator.report import digits
from orchestrator.report.roles import recommended

Summary = Mapping[str, Any]


def served(summary: Summary) -> str | None:
    """Say how well the recommended trial serves women and men, and whom worse; None of no trial."""
    if summary["best"] is None:
        return None
    use = recommended(summary)
    test = use["test"]
    women, men = (digits.figure(test[f"acc_{who}"], test[f"acc_{who}_ci95"]) for who in WHO)
    told = f"{use['trial_id']} labels {women} of the women and {men} of the men right, on test"
    if test["gap"] == 0:
        return f"{told}: it serves neither worse."
    worse = "women" if test["acc_women"] < test["acc_men"] else "men"
    ends = test["gap_ci95"]
    chance = ", which may be chance" if ends[0] == 0 else ""
    return (
        f"{told}: it serves {worse} worse, by {digits.figure(test['gap'], ends)} "
        f"({digits.limits(ends)}){chance}."
    )


def fails_most(summary: Summary) -> str | None:
    """Say for whom the recommended trial is wrong most often; None of no trial.

    That is a gender with an attribute, where attributes are known and one stands out, else one of a
    class.
    """
    if summary["best"] is None:
        return None
    found, use = summary["failures"], recommended(summary)
    if not found or not found["found"]:
        return _fails_most_by_class(use)
    worst = found["found"][0]
    who, ends = worst["gender"], worst["accuracy_ci95"]
    return (
        f"{use['trial_id']} fails most for {who} with {worst['attribute']}: of "
        f"{worst['faces']:,} test faces {digits.figure(worst['accuracy'], ends)} are right, of "
        f"other {who} {digits.figure(worst['others'], ends)}."
    )


def _fails_most_by_class(entry: Mapping[str, Any]) -> str | None:
    """Say which gender of which class is labelled wrong most often."""
    rates = entry["test"]["rates"]
    cells = [
        (1 - rates[who]["tpr"] if kind else rates[who]["fpr"], who, kind)
        for who in WHO
        for kind in (0, 1)
        if rates[who][f"class_{kind}"]["n"]
    ]
    if not cells or not max(cells)[0]:
        return None
    share, who, kind = max(cells)
    n = rates[who][f"class_{kind}"]["n"]
    return (
        f"{entry['trial_id']} fails most for {who} of class {kind}: {round(share * n):,} of "
        f"{n:,} test faces are labelled wrong."
    )
