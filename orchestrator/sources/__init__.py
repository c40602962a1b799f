"""Where faces come from: each entry of `SOURCES` opens one kind as a `Source`."""

from collections.abc import Callable
from typing import Any

from orchestrator.errors import InputError
from orchestrator.files import place
from orchestrator.sources.base import Drawing, Source, make_source
from orchestrator.sources.celeba import open_celeba
from orchestrator.sources.drawn import open_synthetic
from orchestrator.sources.manifest import open_manifest

__all__ = ["SOURCES", "Drawing", "Source", "make_source", "open_source"]


def open_source(
    spec: str,
    *,
    images: str | None = None,
    label: str = "Blond_Hair|Eyeglasses",
    group: str = "Male",
    seed: int = 0,
) -> Source:
    """Open the faces that `spec` names.

    Parameters
    ----------
    spec
        A manifest (``.csv``, ``.parquet``), a CelebA folder, or ``synthetic[:N]``.
    images
        The folder of the images, where it is not the source's own.
    label, group
        CelebA's rule for class 1, and the attribute that is 1 for men.
    seed
        Of synthetic faces.

    Raises
    ------
    InputError
        No such source, or something wrong in it.
    """
    options = {"images": images and place(images), "label": label, "group": group, "seed": seed}
    return SOURCES[_kind(spec)](spec, options)


def _kind(spec: str) -> str:
    if spec.partition(":")[0] == "synthetic":
        return "synthetic"
    path = place(spec)
    if path.suffix in (".csv", ".parquet"):
        return "manifest"
    if path.is_dir():
        return "celeba"
    fault = "neither .csv nor .parquet" if path.exists() else "no such file or folder"
    raise InputError(
        f"{spec}: {fault}; give a manifest (.csv, .parquet), a CelebA folder, or synthetic[:N]"
    )


SOURCES: dict[str, Callable[[str, dict[str, Any]], Source]] = {
    "manifest": lambda spec, o: open_manifest(place(spec), o["images"]),
    "celeba": lambda spec, o: open_celeba(place(spec), o["images"], o["label"], o["group"]),
    "synthetic": lambda spec, o: open_synthetic(spec, o["seed"]),
}
