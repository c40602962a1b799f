"""Faces on which a network is judged, whose class and gender are known, prepared or not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from orchestrator.base.errors import InputError
from orchestrator.base.files import parse_uri
from orchestrator.data.sources.registry import open_source
from orchestrator.data.splits import SPLITS
from orchestrator.data.store.store import Store
from orchestrator.data.to_label import open_to_label

ALL = "all"


@dataclass(frozen=True)
class LabelledFaces:
    """n faces, and what is known of them; arrays of shape (n,)."""

    name: str
    """What the set is called."""
    place: str
    fingerprint: str
    filename: NDArray[np.object_]
    path: list[str]
    """As `orchestrator.data.to_label.ToLabel` has it."""
    label: NDArray[np.int8]
    gender: NDArray[np.int8]
    split: NDArray[np.object_]
    """None where nothing says."""
    attributes: Mapping[str, NDArray[np.bool_]]
    """What else is known, by name."""
    store: Store | None = None
    notes: tuple[str, ...] = ()

    def of_split(self, split: str) -> "LabelledFaces":
        """Return the faces of one split, or all.

        Raises
        ------
        InputError
            There are none.
        """
        if split == ALL:
            return self
        rows = self.split == split
        if not rows.any():
            known = [name for name in SPLITS if (self.split == name).any()]
            said = f"has {', '.join(known)}" if known else "has no splits; leave --split out"
            raise InputError(f"--split {split}: no such face in {self.place}, which {said}")
        return replace(
            self,
            filename=self.filename[rows],
            path=[path for path, taken in zip(self.path, rows, strict=True) if taken],
            label=self.label[rows],
            gender=self.gender[rows],
            split=self.split[rows],
            attributes={name: has[rows] for name, has in self.attributes.items()},
        )


def open_labelled(
    spec: str,
    *,
    images: str | None = None,
    label: str | None = None,
    group: str | None = None,
    columns: Sequence[str] = (),
) -> LabelledFaces:
    """Open a data set of `prepare`, or a source as `prepare` takes it.

    Parameters
    ----------
    spec, images, label, group, columns
        As `open_source` takes them; a data set has a use for the first alone.

    Raises
    ------
    InputError
        No such place, or something wrong in it.
    """
    path = parse_uri(spec)
    if path.is_dir() and (path / "meta.json").exists():
        for option, value in {
            "--images": images, "--label": label, "--group": group, "--column": columns
        }.items():  # fmt: skip
            if value:
                raise InputError(f"{option}: {spec} is a prepared data set; leave {option} out")
        return of_store(Store.open(path))
    source = open_source(spec, images=images, label=label, group=group, columns=columns)
    if source.drawing is not None:
        raise InputError(f"--data {spec}: has no images yet; prepare it first, and give that")
    table, known = source.table, source.attributes
    return LabelledFaces(
        name=source.name,
        place=str(path),
        fingerprint=source.fingerprint,
        filename=table["filename"].to_numpy(object),
        path=table["path"].tolist(),
        label=table["label"].to_numpy(),
        gender=table["gender"].to_numpy(),
        split=table["split"].astype(object).where(table["split"].notna(), None).to_numpy(object),
        attributes={} if known is None else {n: known[n].to_numpy() for n in known.columns},
        notes=source.notes,
    )


def of_store(store: Store) -> LabelledFaces:
    """Return the faces of a prepared data set, one split after another."""
    found = open_to_label(str(store.path), keep=True)
    if found.kept is None:
        raise RuntimeError("a data set says what it knows of its faces")
    known = store.attributes()
    return LabelledFaces(
        name=store.meta.source,
        place=str(store.path),
        fingerprint=store.meta.fingerprint,
        filename=found.images["filename"].to_numpy(object),
        path=found.images["path"].tolist(),
        label=found.kept["class"].to_numpy(np.int8),
        gender=found.kept["gender"].to_numpy(np.int8),
        split=found.kept["split"].to_numpy(object),
        attributes={} if known is None else {n: known[n].to_numpy() for n in known.columns},
        store=store,
    )
