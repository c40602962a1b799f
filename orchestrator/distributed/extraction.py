"""The features of a frozen backbone, computed on Ray Data with all of the cluster's devices."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import ray
import torch
from numpy.typing import NDArray
from ray.exceptions import RayError, RayTaskError, UserCodeException

from orchestrator.base.errors import InputError
from orchestrator.base.files import one_line, reason_of
from orchestrator.config.settings import Precision
from orchestrator.data.store.meta import Shard
from orchestrator.distributed.no_cuda import refuse_no_cuda
from orchestrator.training.features.compute import write_file
from orchestrator.training.features.stored import Features, Pieces
from orchestrator.training.inference import pick_device, uses_bf16

if TYPE_CHECKING:
    from models.backbone import BackboneNetwork

GO_ON = "the same command goes on where it was"
EACH_GPU = 2
"""Processes on a GPU: one reads and writes while another computes."""
DEATHS = 2
"""How often Ray starts a process in place of one that died, and gives a file to another."""


def extract(
    features: Features,
    pieces: Pieces,
    network: "BackboneNetwork",
    precision: Precision,
    show: Callable[[int, int], None],
) -> None:
    """Compute some files of features.

    NOTE: Ray Data runs in a task, not in this process, since Ray aborts a process that breaks an
    execution off (2.60: "Check failed: it != submissible_tasks_.end()"); here that is the task's.

    Parameters
    ----------
    features
        What they belong to.
    pieces
        The files, as `Features.pieces` gives them.
    network
        Has the backbone.
    precision
        To compute in.
    show
        Called with the images done so far and those to do.

    Raises
    ------
    InputError
        A shard of the data is damaged, the features cannot be written, or processes die.
    """
    total = sum(shard.rows for _, shard in pieces)
    done = 0
    show(done, total)
    outcomes: Any = _extract.remote(features, pieces, [ray.put(network)], precision)
    try:
        for outcome in outcomes:
            rows, error = ray.get(outcome)
            if error:
                raise InputError(error)
            done += rows
            show(done, total)
    except RayError as error:
        cause = error.cause if isinstance(error, RayTaskError) else error
        if isinstance(cause, RayTaskError | UserCodeException) or not isinstance(cause, RayError):
            raise  # a fault in our own code
        reason = (one_line(cause) or type(cause).__name__)[:200]
        raise InputError(
            f"{features.store.path}: Ray lost a process while it computed features, perhaps "
            f"because memory ran out ({reason}); {GO_ON}"
        ) from None
    except BaseException:  # not in any case: Ray 2.60 aborts on who cancels what has just ended
        ray.cancel(outcomes, force=True)
        raise
    if done != total:
        raise RuntimeError(f"{total - done} of {total} images were left undone")


@ray.remote(num_cpus=0, max_retries=0, num_returns="streaming")
def _extract(
    features: Features, pieces: Pieces, network: list[Any], precision: Precision
) -> Iterator[tuple[int, str]]:
    """Give the rows of each file as it is done, and what went wrong."""
    import ray.data as ray_data  # half a second, which a process that trains does not need

    cluster = ray.cluster_resources()
    gpus, cpus = int(cluster.get("GPU", 0)), int(cluster.get("CPU", 1))
    rows = [{"variant": variant, "shard": shard.model_dump_json()} for variant, shard in pieces]
    # Actors, which keep the network, on all devices that there are and on those that join.
    outcomes = ray_data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        _Extractor,
        fn_constructor_args=(features, network, precision),
        batch_size=1,
        compute=ray_data.ActorPoolStrategy(
            min_size=1,
            initial_size=max(1, min(EACH_GPU * gpus or cpus, len(rows))),
            max_size=len(rows),
            max_tasks_in_flight_per_actor=2,
        ),
        num_cpus=0 if gpus else 1,
        num_gpus=1 / EACH_GPU if gpus else None,
        max_restarts=DEATHS,
        max_task_retries=DEATHS,
    )
    for outcome in outcomes.iter_rows():
        yield outcome["rows"], outcome["error"]


class _Extractor:
    """A process that holds the network on its device, and makes files."""

    def __init__(self, features: Features, network: list[Any], precision: Precision) -> None:
        torch.set_num_threads(1)
        self._features = features
        self._network: BackboneNetwork = ray.get(network[0]).to(pick_device())
        self._autocast = uses_bf16(precision, pick_device())

    def __call__(self, piece: dict[str, NDArray[Any]]) -> dict[str, list[Any]]:
        variant, error = str(piece["variant"][0]), ""
        shard = Shard.model_validate_json(piece["shard"][0])
        try:
            refuse_no_cuda()
            write_file(self._features, variant, shard, self._network, self._autocast)
        except InputError as failure:  # raised here, it would reach the user in Ray's wrapping
            error = str(failure)
        except OSError as failure:
            error = (
                f"{self._features.folder(variant)}: {reason_of(failure)}; mend that, then {GO_ON}"
            )
        return {"rows": [shard.rows], "error": [error]}
