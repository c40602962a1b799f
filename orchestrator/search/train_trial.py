"""One trial of a sweep, in an actor of Tune's; it imports no more than a training needs."""

from typing import Any

import torch
from ray import tune

from orchestrator.distributed import devices
from orchestrator.distributed.faults import OWN_FAULTS, is_own
from orchestrator.distributed.no_cuda import refuse_no_cuda
from orchestrator.distributed.preemption import a_node_leaves
from orchestrator.distributed.sharing import Shared
from orchestrator.training.trial import Assignment, report_row, run_trial, write_failure


def train_trial(config: dict[str, Any], shared: Shared) -> None:
    """Train the trial that `config` is the packed assignment of; its own failure is written down.

    Anything else that goes wrong is raised: Tune ends this process, of which CUDA may be broken,
    and tries again on another.
    """
    assignment = Assignment.unpack(config)
    if assignment.trial.has_ended:  # its process died before Tune had heard so
        return
    try:
        if assignment.config.workers > 1:
            _on_workers(assignment, shared)
        else:
            _here(assignment, shared)
    except OWN_FAULTS as error:  # the files say it, and the sweep goes on
        if not is_own(error):
            raise
        write_failure(assignment, str(error))


def _on_workers(assignment: Assignment, shared: Shared) -> None:
    from ray.tune.integration.ray_train import TuneReportCallback

    from orchestrator.distributed.many_workers import train_on_workers

    train_on_workers(assignment, shared, [TuneReportCallback()])


def _here(assignment: Assignment, shared: Shared) -> None:
    refuse_no_cuda()
    torch.set_num_threads(int(tune.get_context().get_trial_resources().head_cpus))
    devices.keep_to_share()
    data = shared.get(assignment.config)
    run_trial(
        assignment,
        data,
        lambda metrics, kept: tune.report(report_row(metrics, kept)),
        a_node_leaves,
    )
