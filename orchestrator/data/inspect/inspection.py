"""`fairfront inspect`: what is in a data set, as a few tables and a picture."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, TextIO

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from rich.console import RenderableType
from rich.filesize import decimal
from rich.table import Table

from orchestrator.base.console import new_table, open_console
from orchestrator.base.errors import InputError
from orchestrator.base.files import Anywhere, one_line
from orchestrator.config.settings import BalanceConfig
from orchestrator.data.balance import expected_counts, name_policy
from orchestrator.data.inspect.class_rules import Cooccurrence, Rule, count_together, rank_rules
from orchestrator.data.inspect.contact_sheet import write_sheet
from orchestrator.data.splits import GENDERS, SPLITS
from orchestrator.data.store.arrays import Arrays
from orchestrator.data.store.meta import PREPARE_AGAIN
from orchestrator.data.store.store import DROPPED, Store
from orchestrator.data.store.streaming import stream

CONTACT_SHEET = "contact_sheet.png"
"""Where the picture lies in the data set, if nothing else is said."""
DRAWING = (
    BalanceConfig(policy="none"),
    BalanceConfig(policy="undersample", over="gender"),
    BalanceConfig(policy="undersample", over="gender_class"),
    BalanceConfig(policy="oversample", over="gender"),
    BalanceConfig(policy="oversample", over="gender_class"),
)
"""The policies that are shown: those that differ in whom they draw."""
MOST_REASONS, MOST_RULES, MOST_RULES_OF_GENDER = 20, 10, 5

Splits = Mapping[str, Arrays]
Shown = Iterator[RenderableType]


def inspect(store: Store, out: TextIO, sheet: Anywhere | None = None) -> None:
    """Say what is in a data set, and draw some of its faces.

    Parameters
    ----------
    store
        The data set; of its pixels only those that are drawn are read.
    out
        A terminal, or any other text stream.
    sheet
        The PNG to write; None: `CONTACT_SHEET` in the data set.

    Raises
    ------
    InputError
        The data set is damaged; or, last of all, the picture cannot be written.
    """
    console = open_console(out)
    splits = {split: stream(store, split) for split in SPLITS}
    for part in (_about, _count, _list_dropped, _plan_epochs, _explain):
        for shown in part(store, splits):
            console.print(shown, soft_wrap=isinstance(shown, str) and not out.isatty())
        console.print()
    sheet = sheet or store.path / CONTACT_SHEET
    title = f"{len(splits['train']):,} faces of train: {store.meta.source}"
    write_sheet(title, splits["train"], sheet)
    console.print(f"Contact sheet: {sheet}", soft_wrap=True)


def figures(store: Store) -> dict[str, Any]:
    """Return what `inspect` says, for programs.

    Parameters
    ----------
    store
        The data set, whose pixels are not read.

    Raises
    ------
    InputError
        The data set is damaged.
    """
    meta = store.meta
    counted = _count_attributes(store, {split: stream(store, split) for split in SPLITS})
    reasons = _read_dropped(store)["reason"].tolist() if meta.dropped else []
    counts = meta.strata("train")
    return {
        "data": str(store.path),
        **meta.model_dump(exclude={"shards", "dropped"}),
        "dropped": {reason: len(rows) for reason, rows in group_reasons(reasons).items()},
        "draws": {
            name_policy(config): {
                f"{who} {label}": expected_counts(config, counts)[code, label]
                for who, code in GENDERS.items()
                for label in (0, 1)
            }
            for config in DRAWING
        },
        "rules": [asdict(rule) for rule in rank_rules(counted, most=MOST_RULES)] if counted else [],
        "notes": meta.empty_strata(),
    }


def group_reasons(reasons: Sequence[str]) -> dict[str, list[int]]:
    """Group reasons that are alike save for numbers, the most frequent first.

    Returns
    -------
    dict of str to list of int
        The positions of each group's reasons; in its name N stands for numbers that differ.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for row, reason in enumerate(reasons):
        groups[re.sub(r"\d+", "N", reason)].append(row)
    named = {}
    for name, rows in sorted(groups.items(), key=lambda group: (-len(group[1]), group[0])):
        same = all(reasons[row] == reasons[rows[0]] for row in rows)
        named[reasons[rows[0]] if same else name] = rows
    return named


def _about(store: Store, _splits: Splits) -> Shown:
    meta = store.meta
    size = decimal(sum(shard.bytes for shards in meta.shards.values() for shard in shards))
    shares = ":".join(f"{share:g}" for share in meta.fractions)
    how = "official" if meta.split_by == "official" else f"by {meta.split_by}, {shares}"
    yield f"{store.path}: {meta.rows:,} faces of {meta.image_size}x{meta.image_size}, {size}"
    yield f"source: {meta.source}" + (f", limited to {meta.limit:,} faces" if meta.limit else "")
    yield f"splits: {how}; seed {meta.seed}"
    yield f"pixels: {meta.decoder}; {meta.resampling}"


def _count(store: Store, splits: Splits) -> Shown:
    meta = store.meta
    people = {split: rows.identity[rows.identity >= 0] for split, rows in splits.items()}
    people["all"] = np.concatenate(list(people.values()))
    people_too = ["people"] * bool(len(people["all"]))
    strata = _over_strata("class 0", "class 1", "% class 1")
    table = new_table("split", "faces", *people_too, *strata, title="Faces", left=1)
    counts = {split: np.reshape(list(meta.strata(split).values()), (2, 2)) for split in SPLITS}
    counts["all"] = np.sum(list(counts.values()), axis=0)
    for split, of_split in counts.items():
        cells = [split, f"{of_split.sum():,}"]
        if len(people["all"]):
            cells.append(f"{len(np.unique(people[split])):,}")
        for zeros, ones in of_split:
            cells += [f"{zeros:,}", f"{ones:,}", f"{ones / max(1, zeros + ones):.1%}"]
        table.add_row(*cells)
    yield table
    yield from meta.empty_strata()
    yield from _tell_people(meta.rows, [people[split] for split in SPLITS])


def _tell_people(rows: int, people: Sequence[NDArray[np.int32]]) -> Shown:
    known = sum(map(len, people))
    if not known:
        yield "Who is on which face is not known."
        return
    if known < rows:
        yield f"Of {rows - known:,} faces it is not known who is on them."
    _, splits = np.unique(np.concatenate(list(map(np.unique, people))), return_counts=True)
    shared = int((splits > 1).sum())
    if shared:
        yield (
            f"{shared:,} of {len(splits):,} people are in more than one split, so networks are "
            "judged on people they know; prepare --split-by identity keeps people apart."
        )


def _list_dropped(store: Store, _splits: Splits) -> Shown:
    if not store.meta.dropped:
        yield "No image was dropped."
        return
    dropped = _read_dropped(store)
    total = store.meta.rows + len(dropped)
    title = f"Dropped: {len(dropped):,} of {total:,} images ({len(dropped) / total:.2%})"
    table = new_table("reason", "images", "for example", title=title, left=1)
    grouped = group_reasons(dropped["reason"].tolist())
    for reason, rows in list(grouped.items())[:MOST_REASONS]:
        table.add_row(reason, f"{len(rows):,}", dropped["filename"].iloc[rows[0]])
    yield table
    if len(grouped) > MOST_REASONS:
        yield f"and {len(grouped) - MOST_REASONS} more reasons"
    yield f"All of them: {store.path / DROPPED}"


def _read_dropped(store: Store) -> pd.DataFrame:
    path = store.path / DROPPED
    try:
        with path.open("rb") as file:
            dropped = pd.read_csv(file, dtype=str, keep_default_na=False)
    except FileNotFoundError:
        raise InputError(f"{path}: this part of the data is missing; {PREPARE_AGAIN}") from None
    except ValueError as error:
        raise InputError(f"{path}: damaged ({one_line(error)}); {PREPARE_AGAIN}") from None
    if list(dropped.columns) != ["filename", "reason"] or len(dropped) != store.meta.dropped:
        raise InputError(
            f"{path}: damaged: not a filename and a reason for each of the "
            f"{store.meta.dropped:,} images that meta.json counts; {PREPARE_AGAIN}"
        )
    return dropped


def _plan_epochs(store: Store, _splits: Splits) -> Shown:
    title, strata = "What an epoch draws from train, by policy", _over_strata("class 0", "class 1")
    table = new_table("balance.policy", "faces", *strata, title=title, left=1)
    counts = store.meta.strata("train")
    for config in DRAWING:
        drawn = expected_counts(config, counts)
        cells = [sum(drawn.values()), *(drawn[stratum] for stratum in counts)]
        table.add_row(name_policy(config), *(f"{n:,}" for n in cells))
    yield table


def _explain(store: Store, splits: Splits) -> Shown:
    counted = _count_attributes(store, splits)
    if counted is None:
        yield (
            "Only the class is known, so no rule behind it can be looked for; for that, prepare "
            "from a CelebA folder, or from a manifest with more columns of 0/1 or -1/1."
        )
        return
    ranked = rank_rules(counted, most=MOST_RULES)
    if not ranked:
        yield f"None of the {len(counted.names)} attributes tells anything about the class."
        return
    yield _rules(f"Which of {len(counted.names)} attributes, or pairs, tell the class", ranked)
    label = np.concatenate([part.label for part in splits.values()])
    share = label.mean()
    yield (
        "phi: Matthews correlation with the class, 1 where the rule is the class. agreement: share "
        f"of faces; always class {int(share > 0.5)} agrees on {max(share, 1 - share):.2%}."
    )
    best = ranked[0]
    agreeing = round(best.agreement * len(label))
    if agreeing == len(label):
        yield f"Class 1 is {best.name}, on all {len(label):,} faces."
    else:
        yield (
            f"No rule is the class on every face; the best, {best.name}, is on {agreeing:,} of "
            f"{len(label):,}."
        )
    of_gender = {gender: rank_rules(counted, (gender,), MOST_RULES_OF_GENDER) for gender in GENDERS}
    if len({rules[0].name for rules in of_gender.values() if rules}) > 1:
        for gender, rules in of_gender.items():
            yield _rules(f"Among {gender} alone", rules)


def _count_attributes(store: Store, splits: Splits) -> Cooccurrence | None:
    known, parts = store.attributes(), splits.values()
    if known is None:
        return None
    return count_together(
        known.loc[pa.concat_arrays([part.filename for part in parts]).to_pylist()],
        np.concatenate([part.label for part in parts]),
        np.concatenate([part.gender for part in parts]),
    )


def _rules(title: str, rules: Sequence[Rule]) -> Table:
    table = new_table("rule", "phi", "agreement", "phi of women", "phi of men", title=title, left=1)
    for rule in rules:
        phis = (rule.phi_women, rule.phi_men)
        table.add_row(
            rule.name, f"{rule.phi:.3f}", f"{rule.agreement:.2%}", *(f"{phi:.3f}" for phi in phis)
        )
    return table


def _over_strata(*names: str) -> list[str]:
    return [f"{gender}\n{name}" for gender in GENDERS for name in names]
