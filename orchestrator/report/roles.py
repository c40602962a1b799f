"""Which entry of a summary stands for what: the recommended one and the baselines."""

from collections.abc import Mapping
from typing import Any

ORDER = ("plain", "plain_tuned", "reference", "recommended")

Entry = Mapping[str, Any]


def by_role(summary: Mapping[str, Any], *, together: bool = True) -> dict[str, Entry]:
    """Return the entries to compare, by role, in `ORDER`; those that there are.

    Parameters
    ----------
    summary
        What ``summary.json`` holds.
    together
        Ensembles, where they are kept, instead of the trials that they are of.
    """
    entries = {**summary["baselines"], "recommended": summary["best"]}
    if together and (ensembles := summary["ensembles"]):
        entries |= {role: entry for role, entry in ensembles.items() if entry}
    return {role: entries[role] for role in ORDER if entries.get(role)}


def recommended(summary: Mapping[str, Any]) -> Entry:
    """Return the entry of what the verdict says to use, of a run with a complete trial."""
    return by_role(summary)["recommended"]


def shown_entries(summary: Mapping[str, Any], *, together: bool = True) -> dict[str, Entry]:
    """Return the same by roles as they are read; what has two roles is there once, under both."""
    names: dict[str, list[str]] = {}
    entries: dict[str, Entry] = {}
    for role, entry in by_role(summary, together=together).items():
        name = entry["trial_id"]
        names[name] = [*names.pop(name, []), role.replace("_", " ")]
        entries[name] = entry
    return {" = ".join(roles): entries[name] for name, roles in names.items()}
