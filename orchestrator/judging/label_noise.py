"""Labels that networks which were not trained on a face hold for wrong: confident learning.

Northcutt, Jiang and Chuang, Confident Learning: Estimating Uncertainty in Dataset Labels, JAIR 70,
2021.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestrator.judging.fairness import MAN, WOMAN
from orchestrator.judging.rates import binned


def mislabelled(label: ArrayLike, logit: ArrayLike, gender: ArrayLike) -> NDArray[np.intp]:
    """Return which rows are likely mislabelled, those whose label is least believed first.

    Parameters
    ----------
    label, logit, gender
        Shape (n,): 0 or 1, a float, and -1 or 1. The logits are of networks that were not trained
        on their row.

    Notes
    -----
    A row is suspect where the probability of the other class is at least what rows that are
    labelled so have on average, and more than that of its own class, should that reach its own
    average, too: the confident joint off its diagonal. Averages are of one gender at a time. Those
    who are labelled worse are believed less, and under an average for all more of them would be
    suspect for no fault of their labels.
    """
    truth, of = np.asarray(label), np.asarray(gender)
    one = binned(logit)[0]
    believed = np.stack([1 - one, one])
    rows = np.arange(truth.size)
    own, other = believed[truth, rows], believed[1 - truth, rows]
    found = np.zeros(truth.size, dtype=np.bool_)
    for who in (WOMAN, MAN):
        here = of == who
        if len({*truth[here].tolist()}) < 2:
            continue
        average = np.array([own[here & (truth == kind)].mean() for kind in (0, 1)])
        reaches = other >= average[1 - truth]
        found |= here & reaches & ((own < average[truth]) | (other > own))
    suspect = np.flatnonzero(found)
    return suspect[np.argsort(own[suspect], kind="stable")]
