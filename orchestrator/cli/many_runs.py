"""`fairfront runs`, `compare`, `tag` and `note`: runs side by side, and what is said of them."""

import argparse
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, TextIO

from orchestrator.base.console import new_table, open_console
from orchestrator.base.errors import InputError
from orchestrator.base.files import (
    is_local,
    parse_uri,
    refuse_existing,
    refuse_unreachable,
    write_text,
)
from orchestrator.base.words import duration
from orchestrator.cli.runs import DONE
from orchestrator.run.directory import Run
from orchestrator.run.notes import read_notes, write_notes

if TYPE_CHECKING:
    from orchestrator.report.comparison import Comparison

LONGEST_VALUE = 40
"""Characters of a setting that the terminal shows."""


def runs(arguments: argparse.Namespace) -> int:
    """List the runs of a folder, a line each."""
    from orchestrator.report.outline import Outline, find_runs, outline

    folder = parse_uri(arguments.target)
    refuse_unreachable(folder)
    if is_local(folder) and not folder.is_dir():
        raise InputError(f"{arguments.target}: no such folder")
    found: list[Outline] = []
    for run in find_runs(folder):
        try:
            found.append(outline(run))
        except InputError as error:  # one that was edited hides no other
            print(f"fairfront: {error}", file=sys.stderr)
    if arguments.tag:
        found = [one for one in found if arguments.tag in one.tags]
    if arguments.json:
        print(json.dumps([asdict(one) for one in found], indent=2))
        return DONE
    if not found:
        print(
            f"{arguments.target}: no runs here" + f" with tag {arguments.tag}" * bool(arguments.tag)
        )
        return DONE
    table = new_table("run", "state", "use", "verdict", "tags", "trials", "fair", "time", left=5)
    for one in found:
        state = one.state if one.state in ("new", "finished") else f"{one.state} {one.done:.0%}"
        table.add_row(
            one.path.removeprefix(f"{folder}/"),
            state,
            one.best or "",
            one.verdict or "",
            " ".join(one.tags),
            "" if one.trials is None else str(one.trials),
            "" if one.fair is None else f"{one.fair:.4f}",
            "" if one.hours is None else duration(3600 * one.hours),
        )
    console = open_console(sys.stdout)
    console.print(table)
    for one in found:
        if one.note:
            console.print(f"{one.path.removeprefix(f'{folder}/')}: {one.note}")
    return DONE


def compare(arguments: argparse.Namespace) -> int:
    """Put runs side by side on the terminal, and perhaps on a page."""
    from orchestrator.report.compare_page import compare_page
    from orchestrator.report.comparison import compare as put_together

    out = parse_uri(arguments.out) if arguments.out else None
    if out is not None:
        refuse_unreachable(out)
        refuse_existing(out, "a file")
    comparison = put_together([Run.open(where) for where in arguments.runs])
    if out is not None:
        write_text(out, compare_page(comparison))
    if arguments.json:
        print(json.dumps(_as_json(comparison), indent=2))
        return DONE
    _print(comparison, sys.stdout)
    if out is not None:
        print(f"Page: {out}")
    return DONE


def _as_json(comparison: "Comparison") -> dict[str, object]:
    return {
        "runs": [
            {
                "path": str(one.run.path),
                "name": one.name,
                "use": one.summary["verdict"]["trial_id"],
                "verdict": one.summary["verdict"]["word"],
                "chosen": one.chosen,
                "hypervolume": one.summary["hypervolume"],
                "on_joint_front": names,
                "complete_trials": len(one.trial_ids),
                "epochs": one.epochs,
                "hours": one.hours,
            }
            for one, names in zip(comparison.runs, comparison.on_joint_front, strict=True)
        ],
        "hypervolume": comparison.hypervolume,
        "settings": dict(comparison.settings),
        "cautions": list(comparison.cautions),
    }


def _print(comparison: "Comparison", stream: TextIO) -> None:
    console = open_console(stream)
    table = new_table("", *(one.name for one in comparison.runs), left=1)
    for name, cells in _figures(comparison).items():
        table.add_row(name, *cells)
    console.print(table)
    console.print(f"All fronts together: hypervolume {comparison.hypervolume:.5f}")
    for caution in comparison.cautions:
        console.print(caution, soft_wrap=not stream.isatty())
    if not comparison.settings:
        console.print("Their settings are the same.")
        return
    console.print()
    differs = new_table("setting", *(one.name for one in comparison.runs))
    for key, values in comparison.settings.items():
        differs.add_row(key, *map(_short, values))
    console.print(differs)


def _figures(comparison: "Comparison") -> dict[str, list[str]]:
    """Return what is told of each run, by its name."""
    runs, on = comparison.runs, [one.chosen for one in comparison.runs]
    judged = {"fair": "fair", "women": "acc_women", "men": "acc_men", "gap": "gap"}
    return {
        "use": [one.summary["verdict"]["trial_id"] or "" for one in runs],
        "verdict": [one.summary["verdict"]["word"] for one in runs],
        **{name: [f"{of[key]:.4f}" if of else "" for of in on] for name, key in judged.items()},
        "hypervolume": [f"{one.summary['hypervolume']:.5f}" for one in runs],
        "complete trials": [str(len(one.trial_ids)) for one in runs],
        "on the joint front": [str(len(names)) for names in comparison.on_joint_front],
        "epochs": ["" if one.epochs is None else f"{one.epochs:,.0f}" for one in runs],
        "time": ["" if one.hours is None else duration(3600 * one.hours) for one in runs],
    }


def _short(value: object) -> str:
    text = "null" if value is None else str(value)
    return text if len(text) <= LONGEST_VALUE else f"…{text[1 - LONGEST_VALUE :]}"


def tag(arguments: argparse.Namespace) -> int:
    """Give a run tags, or take some away, and say which it has."""
    run = Run.open(arguments.target)
    notes = read_notes(run)
    for word in arguments.words:
        if not word or not word.isprintable() or any(char.isspace() for char in word):
            raise InputError(
                f"tag {word!r}: give a word without spaces; fairfront note has the rest"
            )
    if arguments.remove:
        for word in arguments.words:
            if word not in notes.tags:
                raise InputError(f"tag {word}: not a tag of {arguments.target}")
        tags = [word for word in notes.tags if word not in arguments.words]
    else:
        tags = list(dict.fromkeys([*notes.tags, *arguments.words]))
    if tags != notes.tags:
        write_notes(run, notes.model_copy(update={"tags": tags}))
    print(f"{arguments.target}: {' '.join(tags) or 'no tags'}")
    return DONE


def note(arguments: argparse.Namespace) -> int:
    """Write a note on a run, or show the one that it has."""
    run = Run.open(arguments.target)
    notes = read_notes(run)
    if arguments.text is not None:
        text = " ".join(arguments.text.split())
        notes = notes.model_copy(update={"text": text})
        write_notes(run, notes)
    print(f"{arguments.target}: {notes.text or 'no note'}")
    return DONE
