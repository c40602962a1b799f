"""Reading a run's splits in a process of its own; one that imports no torch, and so begins soon."""

from typing import Any

import ray

from orchestrator.config.settings import Config
from orchestrator.data.balance import held_out
from orchestrator.data.loading import Residence, load
from orchestrator.data.splits import count_strata
from orchestrator.data.store.store import Store
from orchestrator.distributed.stream_windows import read_on_ray
from orchestrator.training.features.stored import Features


@ray.remote(num_cpus=0, num_returns=2)
def load_splits(
    store: Store, config: Config, residence: Residence, features: Features | None
) -> Any:
    """Return the splits, and the counts of the rows of train that are not held out.

    Raises
    ------
    InputError
        As `load` does.
    """
    attach = features.attach if features else None
    data = load(store, config.data, residence, reader=read_on_ray, attach=attach)
    train = data["train"]
    apart = held_out(config.last_layer, train.gender, train.label, train.rank)
    return data, count_strata(train.gender[~apart], train.label[~apart])
