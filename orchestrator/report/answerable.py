"""What whoever answers for a network needs to know: where it comes from, and how it was judged."""

from collections.abc import Mapping
from typing import Any

from orchestrator.judging.intended_use import INTENDED_USE, LIMITS
from orchestrator.run.directory import Run

Summary = Mapping[str, Any]


def answerable(run: Run, summary: Summary) -> dict[str, Any]:
    """Gather what the page says to whoever answers for what is recommended.

    Returns
    -------
    ``sessions`` as `Run.sessions`; ``looks``, sentences on how often the test faces were looked at;
    ``intended_use`` and ``limits``, as a model card has them.
    """
    return {
        "sessions": run.sessions,
        "looks": _looks(summary),
        "intended_use": INTENDED_USE,
        "limits": LIMITS,
    }


def _looks(summary: Summary) -> list[str]:
    """Say how often test was looked at, as far as the run's files tell."""
    entries = [summary["best"], *summary["baselines"].values()]
    entries += [*summary["pareto"], *summary["pareto_shared"], *summary["pareto_by_gender"]]
    ids = {entry["trial_id"] for entry in entries if entry} | {summary["verdict"]["claim"]}
    searched = len(ids - {None})
    confirmed = summary["confirmed"]["trials"].values() if summary["confirmed"] else ()
    again = sum(len(entry["retrainings"]) for entry in confirmed)
    ensembles = len({e["trial_id"] for e in (summary["ensembles"] or {}).values() if e})
    parts = [f"{searched} trial{'s' * (searched != 1)} of the search"]
    parts += [f"{again} retraining{'s' * (again != 1)}"] if again else []
    parts += [f"{ensembles} ensemble{'s' * (ensembles != 1)}"] if ensembles else []
    own = [
        one["name"]
        for one in summary["evaluations"]
        if one["own_data"] and one.get("split") in ("test", "all")
    ]
    evaluated = (
        f"fairfront evaluate judged by them {len(own)} time{'s' * (len(own) != 1)} more "
        f"({', '.join(own)})."
        if own
        else "fairfront evaluate was not asked for them."
    )
    return [
        f"The test faces chose nothing. This page has figures on them of {', '.join(parts)}; "
        f"{evaluated}",
        "Each time that somebody changes a setting for what they say, they tell a little less of "
        "other faces. What is tried after this page was read is best judged by new ones.",
    ]
