"""The synthetic faces as a source; they are drawn, chunk by chunk, as they are prepared."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd

from orchestrator.base.errors import InputError
from orchestrator.base.files import Anywhere
from orchestrator.data.sources.source import Source, make_source
from orchestrator.data.sources.synthetic.population import draw_range, plan_faces, write_tables

DEFAULT_FACES, FLIP_SHARE = 4000, 0.02


@dataclass(frozen=True)
class SyntheticDrawing:
    """Draws the faces of a plan; see `orchestrator.data.sources.source.Drawing`."""

    n: int
    seed: int
    flip_share: float = FLIP_SHARE

    def draw(self, folder: Anywhere, filenames: Sequence[str]) -> list[str]:
        """Draw the named faces into `folder`; return their paths."""
        draw_range(folder, self._rows(filenames), self.seed)
        return [str(folder / name) for name in filenames]

    def finish(self, folder: Anywhere, filenames: Sequence[str]) -> None:
        """Write the manifest and the true labels of the named faces, once all are drawn."""
        write_tables(folder, self._rows(filenames), self.seed, self.flip_share)

    def plan(self) -> pd.DataFrame:
        """Return the plan of all faces; a process makes it once."""
        return _plan(self.n, self.seed, self.flip_share)

    def _rows(self, filenames: Sequence[str]) -> pd.DataFrame:
        plan = self.plan()
        return plan[plan["filename"].isin(filenames)]


def open_synthetic(spec: str, seed: int = 0) -> Source:
    """Plan synthetic faces.

    Parameters
    ----------
    spec
        ``synthetic`` or ``synthetic:N``, with the number of faces.
    seed
        Another seed, other faces.

    Raises
    ------
    InputError
        N is no number, or too small for both classes of both genders.
    """
    _, colon, number = spec.partition(":")
    if colon and not number.isdecimal():
        raise InputError(f"{spec}: give the number of faces, as synthetic:{DEFAULT_FACES}")
    drawing = SyntheticDrawing(int(number) if colon else DEFAULT_FACES, seed)
    plan = drawing.plan()
    table = pd.DataFrame(
        {
            "filename": plan["filename"],
            "path": plan["filename"],  # of the folder that they are drawn into
            "label": plan["class"].astype(np.int8),
            "gender": plan["gender"].astype(np.int8),
            "identity": plan["identity"].astype("Int32"),
            "split": None,
        }
    )
    # Under CelebA's names; the class is one or the other of them, but for the flipped labels.
    known = plan[["blond", "glasses"]].set_axis(["Blond_Hair", "Eyeglasses"], axis=1)
    return make_source(f"synthetic:{drawing.n} (seed {seed})", table, spec, drawing, known)


@lru_cache(maxsize=1)
def _plan(n: int, seed: int, flip_share: float) -> pd.DataFrame:
    return plan_faces(n, seed, flip_share)
