"""Where the parts of CelebA lie, in each layout that it is handed on in.

::

    torchvision's   list_attr_celeba.txt, list_eval_partition.txt, identity_CelebA.txt,
                    img_align_celeba/ or img_align_celeba.zip; perhaps all of it in celeba/
    Kaggle's        list_attr_celeba.csv, list_eval_partition.csv,
                    img_align_celeba/img_align_celeba/
    the authors'    Anno/ with attributes and people, Eval/ with the splits, Img/ with the images,
                    packed or not, or in img_align_celeba_png/, whose files the lists call .jpg
    CelebAMask-HQ   CelebAMask-HQ-attribute-anno.txt, CelebA-HQ-img/
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from orchestrator.base.files import Anywhere
from orchestrator.data.reading.zip_members import SUFFIX

ATTRIBUTES = (
    "list_attr_celeba.txt", "list_attr_celeba.csv", "CelebAMask-HQ-attribute-anno.txt",
)  # fmt: skip
PARTITION = ("list_eval_partition.txt", "list_eval_partition.csv")
IDENTITY = ("identity_CelebA.txt", "identity_CelebA.csv")
IMAGES, PNG, HQ = "img_align_celeba", "img_align_celeba_png", "CelebA-HQ-img"


@dataclass(frozen=True)
class Layout:
    """The parts of a CelebA folder."""

    folder: Anywhere
    """In which all of them lie."""
    attributes: Anywhere
    partition: Anywhere | None
    identity: Anywhere | None

    def images(self) -> Anywhere:
        """Return the folder or archive of the images; `IMAGES` where there is none."""
        for name, place in product((IMAGES, PNG, HQ), ("", "Img")):
            folder = self.folder / place / name if place else self.folder / name
            if folder.exists():
                nested = folder / name  # as Kaggle packs it
                return nested if nested.exists() else folder
            archive = folder.with_name(name + SUFFIX)
            if archive.exists():
                return archive
        return self.folder / IMAGES

    def __str__(self) -> str:
        """Say what was found where."""
        found = {"attributes": self.attributes, "splits": self.partition, "people": self.identity}
        said = [f"{what} in {self.within(path)}" for what, path in found.items() if path]
        return f"{self.folder}: CelebA, " + ", ".join(said)

    def within(self, path: Anywhere) -> str:
        """Return a path in the folder, or the whole of another."""
        return str(path).removeprefix(str(self.folder).rstrip("/") + "/")


def find_layout(folder: Anywhere) -> Layout | None:
    """Find CelebA's lists in a folder, or in ``celeba`` there; None where there are none."""
    for base in (folder, folder / "celeba"):
        if attributes := next(_there(base, ATTRIBUTES, "Anno"), None):
            partition = next(_there(base, PARTITION, "Eval"), None)
            return Layout(base, attributes, partition, next(_there(base, IDENTITY, "Anno"), None))
    return None


def _there(base: Anywhere, names: tuple[str, ...], below: str) -> Iterator[Anywhere]:
    """Give the files of some names that there are, in the folder and in one below."""
    for folder, name in product((base, base / below), names):
        if (folder / name).exists():
            yield folder / name
