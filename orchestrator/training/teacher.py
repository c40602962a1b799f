"""What a network learns of each training face: its label, or in part what other networks say."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.special import expit

from models.config import LossConfig
from orchestrator.base.errors import InputError
from orchestrator.base.files import parse_uri
from orchestrator.run.trial import Trial

LEAST = 1e-6
"""Nothing is certain: a power below 1 of what is left of a certainty has no gradient."""


def targets(config: LossConfig, label: NDArray[np.int8], names: pa.Array) -> NDArray[np.float32]:
    """Return the probability of class 1 that is to be learned of each face.

    With a teacher it is ``(1 - trust) · label + trust · p``, p being the mean probability by the
    teacher's networks that were not trained on the face. Many networks' knowledge goes into one so
    (Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, 2015; at temperature
    1), and labels that they hold for wrong pull less.

    Parameters
    ----------
    config
        Its teacher, and how far that is trusted.
    label
        Shape (n,), 0 or 1.
    names
        The file names of the same faces.

    Returns
    -------
    Shape (n,); the labels where there is no teacher.

    Raises
    ------
    InputError
        The teacher's predictions are not there, are damaged, or lack a face.
    """
    if config.teacher is None:
        return label.astype(np.float32)
    path = parse_uri(config.teacher)
    try:
        rows = Trial(path).predicted()["val"]
    except FileNotFoundError:
        raise InputError(
            f"loss.teacher={path}: no predictions.parquet there; give the folder of a finished "
            "trial, as RUN/ensembles/ID-ensemble"
        ) from None
    except (ValueError, KeyError) as error:
        raise InputError(f"loss.teacher: {path}/predictions.parquet: {error}") from None
    known = pa.array(rows.filename, pa.large_string())
    place = pc.index_in(names, value_set=known).fill_null(-1).to_numpy(zero_copy_only=False)
    if len(lacking := np.flatnonzero(place < 0)):
        raise InputError(
            f"loss.teacher={path}: has not judged {len(lacking):,} of {len(place):,} training "
            f"faces, the first is {names[lacking[0]]}; the ensemble of a sweep's finalists has "
            "judged all of its data's train and val"
        )
    believed = expit(rows.logit[place].astype(np.float64))
    mixed: NDArray[np.float64] = (1 - config.trust) * label + config.trust * believed
    return np.clip(mixed, LEAST, 1 - LEAST).astype(np.float32)
