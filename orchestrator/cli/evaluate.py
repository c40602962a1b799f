"""`fairfront evaluate` and `fairfront drift`: a trained network on faces that are not the run's."""

import argparse
import json
import sys
from collections.abc import Mapping
from typing import Any, TextIO

from orchestrator.base.console import new_table, open_console
from orchestrator.cli.predict import labelling, say_unread, thresholds_of, trial_of
from orchestrator.run.directory import Run

DRIFT = 3
"""The exit code where images drifted."""
RATES = {
    "selection_rate": "labelled 1",
    "base_rate": "of class 1",
    "tpr": "true positive rate",
    "fpr": "false positive rate",
    "auc": "area under ROC",
    "ece": "calibration error",
}
SHOWN = 12
"""Shares that differ, which the terminal shows."""


def evaluate(arguments: argparse.Namespace) -> int:
    """Judge a trained network on another labelled set."""
    from orchestrator.deploy.evaluate import Asked, cautions, default_split, file_of, keep
    from orchestrator.deploy.evaluate import evaluate as judge
    from orchestrator.deploy.labelled_faces import open_labelled
    from orchestrator.deploy.predict import predict, task_of

    run = Run.open(arguments.target)
    trial_id = trial_of(run, arguments)
    thresholds, at = thresholds_of(run, trial_id, arguments.threshold)
    faces = open_labelled(
        arguments.data,
        images=arguments.images,
        label=arguments.label,
        group=arguments.group,
        columns=arguments.column,
    )
    split = arguments.split or default_split(run, faces)
    asked = Asked(run, trial_id, thresholds, arguments.threshold, faces.of_split(split), split)
    file = file_of(asked, arguments.name)
    said = cautions(asked)
    if not arguments.json:
        for note in (*faces.notes, *said):
            print(note, flush=True)
    task = task_of(run.trial(trial_id).path / "model.safetensors", faces.store)
    with labelling(quiet=arguments.quiet or arguments.json) as (on_cluster, show):
        predicted = predict(task, asked.faces.path, on_cluster=on_cluster, on_progress=show)
    found = judge(asked, predicted, said, shift=arguments.shift)
    keep(file, found)
    if arguments.json:
        print(json.dumps(found, indent=2))
    else:
        which = "faces" if split == "all" else f"{split} faces"
        print_evaluation(found, f"Trial {trial_id}{at} on {found['faces']:,} {which}", sys.stdout)
        print(f"Kept: {file}")
    missing = [(asked.faces.filename[row], predicted.reason[row]) for row in predicted.missing]
    return say_unread(missing, "left out")


def print_evaluation(found: Mapping[str, Any], title: str, stream: TextIO) -> None:
    """Print an evaluation's figures by gender, the gaps between them and what shifted.

    Parameters
    ----------
    found
        What its file holds.
    title
        Above the table.
    stream
        A terminal, or any other text stream.
    """
    console, of = open_console(stream), found["rates"]
    table = new_table("", "women", "men", "difference", title=title, left=1)
    table.add_row("faces", f"{found['n_women']:,}", f"{found['n_men']:,}", "")
    table.add_row(
        "accuracy",
        _cell(found, "acc_women"),
        _cell(found, "acc_men"),
        f"{found['acc_women'] - found['acc_men']:+.4f}",
    )
    for rate, called in RATES.items():
        women, men = of["women"][rate], of["men"][rate]
        apart = "" if women is None or men is None else f"{women - men:+.4f}"
        table.add_row(called, _cell(of["women"], rate), _cell(of["men"], rate), apart)
    console.print(table)
    for name, called in (
        ("accuracy", "accuracy of all"),
        ("gap", "gap"),
        ("fair", f"fair: mean accuracy - {found['fair_lambda']:g} × gap"),
    ):
        console.print(f"{called}: {_cell(found, name)}", soft_wrap=True)
    console.print(f"accuracy of the worst gender × class: {found['worst_group']:.4f}")
    if found["shift"] is not None:
        _print_shift(found["shift"], console)


def _print_shift(shift: list[dict[str, Any]], console: Any) -> None:
    differing = [one for one in shift if one["differs"]]
    console.print(
        f"\nOf {len(shift)} shares {len(differing) or 'none'} differ from those of the faces it "
        "was trained on, beyond what chance explains"
        + (" (of such, 1 in 20 is expected to be chance):" if differing else "."),
        soft_wrap=True,
    )
    table = new_table("", "trained on", "here", "difference", left=1)
    for one in differing[:SHOWN]:
        low, high = one["difference_ci95"]
        apart = f"{one['here'] - one['there']:+.3f} ({low:+.3f} to {high:+.3f})"
        table.add_row(one["name"], f"{one['there']:.3f}", f"{one['here']:.3f}", apart)
    if differing:
        console.print(table)
    if len(differing) > SHOWN:
        console.print(f"and {len(differing) - SHOWN} others, which the file has")


def _cell(of: Mapping[str, Any], name: str) -> str:
    if of[name] is None:
        return "none"
    low, high = of[f"{name}_ci95"]
    return f"{of[name]:.4f} ({low:.3f} to {high:.3f})"


def drift(arguments: argparse.Namespace) -> int:
    """Say whether images without labels are still of the kind that a network was judged on."""
    from orchestrator.data.to_label import open_to_label
    from orchestrator.deploy.drift import drift as compare
    from orchestrator.deploy.predict import predict, task_of

    run = Run.open(arguments.target)
    trial_id = trial_of(run, arguments)
    thresholds, _ = thresholds_of(run, trial_id, arguments.threshold)
    spec = arguments.table or arguments.images
    found = open_to_label(spec, arguments.images if arguments.table else None, arguments.column)
    own = run.open_data()
    if not arguments.json:
        for note in found.notes:
            print(note, flush=True)
        if own is None:
            print(
                f"{run.data['path']} is not here, or is another now: logits alone are compared",
                flush=True,
            )
    model = run.trial(trial_id).path / "model.safetensors"
    task = task_of(model, found.store, measured=own is not None)
    with labelling(quiet=arguments.quiet or arguments.json) as (on_cluster, show):
        predicted = predict(
            task, found.images["path"].tolist(), on_cluster=on_cluster, on_progress=show
        )
    compared = compare(run, trial_id, predicted, thresholds, own)
    if arguments.json:
        about = {"run": str(run.path), "trial_id": trial_id, "unread": len(predicted.missing)}
        print(json.dumps({**about, **compared.as_json()}, indent=2))
    else:
        print(compared.sentence())
    names = found.images["filename"]
    code = say_unread(
        [(names[row], predicted.reason[row]) for row in predicted.missing], "left out"
    )
    return DRIFT if compared.drifted else code
