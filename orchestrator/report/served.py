"""Two answers of the first screen: whom the recommended trial serves worse, and where it fails."""

from collections.abc import Mapping
from typing import Any

from orchestrator.report import digits
from orchestrator.report.words import recommended

Summary = Mapping[str, Any]
WHO = ("women", "men")


def served(summary: Summary) -> str | None:
    """Say how well the recommended trial serves women and men, and whom worse; None of no trial."""
    if summary["best"] is None:
        return None
    test = recommended(summary)["test"]
    women, men = (digits.figure(test[f"acc_{who}"], test[f"acc_{who}_ci95"]) for who in WHO)
    told = f"It labels {women} of the women and {men} of the men among the test faces right"
    if test["gap"] == 0:
        return f"{told}, and serves neither worse."
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
    found = summary["failures"]
    if not found or not found["found"]:
        return _fails_most_by_class(recommended(summary)["test"]["rates"])
    worst = found["found"][0]
    who, ends = worst["gender"], worst["accuracy_ci95"]
    return (
        f"It fails most for {who} with {worst['attribute']}: of {worst['faces']:,} test faces "
        f"{digits.figure(worst['accuracy'], ends)} are right, of other {who} "
        f"{digits.figure(worst['others'], ends)}."
    )


def _fails_most_by_class(rates: Mapping[str, Any]) -> str | None:
    """Say which gender of which class is labelled wrong most often."""
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
        f"It fails most for {who} of class {kind}: {round(share * n):,} of {n:,} test faces are "
        "labelled wrong."
    )
