"""`fairfront inspect --suspects`: the faces whose labels a run doubts, as a table and a picture."""

import argparse
import json
from collections.abc import Mapping
from typing import Any, TextIO

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from rich.table import Table

from orchestrator.base.console import new_table, open_console
from orchestrator.base.errors import InputError
from orchestrator.base.files import one_line, parse_uri, writing
from orchestrator.cli.runs import DONE
from orchestrator.data.inspect.contact_sheet import ACROSS, DOWN, Block, draw_sheet, save_sheet
from orchestrator.data.store.store import Store
from orchestrator.data.store.streaming import read_named
from orchestrator.judging.label_noise import mislabelled
from orchestrator.judging.rates import WHO, binned
from orchestrator.report.failing import by_stratum
from orchestrator.report.outline import summary_of
from orchestrator.run.directory import Run
from orchestrator.run.trial import PredictedRows

Strata = Mapping[tuple[str, int], NDArray[np.intp]]
"""Rows by gender and class."""


def list_suspects(store: Store, arguments: argparse.Namespace, out: TextIO) -> int:
    """Write ``suspects.csv`` and a contact sheet of what a run doubts into it.

    Raises
    ------
    InputError
        The run is of other data, has no report yet or no complete trial, or a file cannot be
        written.
    """
    run = Run.open(arguments.suspects)
    if run.data.get("fingerprint") != store.meta.fingerprint:
        raise InputError(
            f"--suspects {arguments.suspects}: a run of other data ({run.data['path']}); give that "
            "as DATA"
        )
    summary = summary_of(run)
    if summary is None:
        raise InputError(f"{run.path}: has no report yet; fairfront report {run.path}")
    if (trial_id := summary["verdict"]["trial_id"]) is None:
        raise InputError(f"{run.path}: no trial of this run is complete, so it doubts no label")
    trial = run.trial(trial_id)
    try:
        rows = trial.predicted()["val"]
    except (FileNotFoundError, ValueError, KeyError) as error:
        raise InputError(f"{trial.path}/predictions.parquet: {one_line(error)}") from None
    found = mislabelled(rows.label, rows.logit, rows.gender)
    table = pd.DataFrame(
        {
            "filename": rows.filename[found],
            "gender": rows.gender[found],
            "label": rows.label[found],
            "probability": binned(rows.logit[found])[0].round(6),
        }
    )
    csv = run.path / "suspects.csv"
    sheet = parse_uri(arguments.sheet) if arguments.sheet else run.path / "suspects.png"
    doubted = by_stratum(rows, found)
    save_sheet(_drawn(store, rows, doubted, trial_id), sheet)
    with writing(csv, "w", encoding="utf-8", newline="") as file:
        table.to_csv(file, index=False, lineterminator="\n")
    if arguments.json:
        told: dict[str, Any] = {"trial_id": trial_id, "looked_at": len(rows.label), "csv": str(csv)}
        told |= {"sheet": str(sheet), "suspects": table.to_dict("records")}
        print(json.dumps(told, indent=2), file=out)
        return DONE
    open_console(out).print(_counts(rows, doubted))
    print(f"All of them: {csv}\nContact sheet: {sheet}", file=out)
    return DONE


def _counts(rows: PredictedRows, doubted: Strata) -> Table:
    """Say how many of each gender and class are doubted."""
    title = f"Labels doubted, of {len(rows.label):,} faces not trained on"
    shown = new_table("labelled", "faces", "doubted", "share", title=title, left=1)
    for (who, kind), of in doubted.items():
        faces = int(np.sum((rows.gender == WHO[who]) & (rows.label == kind)))
        share = f"{len(of) / faces:.1%}" if faces else ""
        shown.add_row(f"{who}, class {kind}", f"{faces:,}", f"{len(of):,}", share)
    return shown


def _drawn(store: Store, rows: PredictedRows, doubted: Strata, trial_id: str) -> Image.Image:
    """Draw the first of each gender and class."""
    names = {of: rows.filename[some[: ACROSS * DOWN]].tolist() for of, some in doubted.items()}
    faces = read_named(store, [name for some in names.values() for name in some])
    side = store.meta.image_size
    drawn = []
    for who in WHO:
        blocks = []
        for kind in (0, 1):
            shown = [faces[name] for name in names[who, kind] if name in faces]
            pixels = np.stack(shown) if shown else np.empty((0, side, side, 3), np.uint8)
            remark = f"{len(doubted[who, kind]):,} doubted"
            blocks.append(Block(f"{who}, class {kind}", remark, pixels))
        drawn.append(blocks)
    return draw_sheet(f"Labels that {trial_id} doubts, the least believed first", drawn)
