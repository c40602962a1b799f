"""What the trials that a sweep still lacks will cost."""

from statistics import median

from orchestrator.config.settings import Config
from orchestrator.data.balance import expected_counts
from orchestrator.data.splits import Counts
from orchestrator.distributed import devices
from orchestrator.distributed.speed import images_per_second
from orchestrator.run.cost import Cost
from orchestrator.run.directory import Run
from orchestrator.run.progress import Progress
from orchestrator.search.retrain_winners import most_retrainings
from orchestrator.search.tune_trials import at_a_time, plan


def cost_of(run: Run, config: Config, image_size: int, counts: Counts, begun: Progress) -> Cost:
    """Say what a sweep that begins, or goes on, will cost.

    Parameters
    ----------
    run, config
        The sweep's. How fast a trial trains those that have ended tell, or else it is measured.
    image_size
        Pixels a side.
    counts
        Of the rows that are trained on.
    begun
        Its progress by now.
    """
    nodes = devices.nodes()
    reserved = plan(config, nodes)
    together = at_a_time(config, reserved, nodes)
    each = reserved
    if config.workers > 1:  # of whom each reserves for itself
        each = devices.share(nodes, config.resources, config.workers * together)
        each |= {"GPU": 1} if "GPU" in each else {}
    speeds = [trial.result.images_per_second for trial in run.complete()]
    speed = median(speeds) if speeds else None
    if speed is None and (alone := images_per_second(config, image_size, each)):
        speed = alone * config.workers
    cost = Cost(
        gpus=each.get("GPU", 0.0) * config.workers,
        price_per_hour=config.sweep.price_per_hour,
        images_an_epoch=sum(expected_counts(config.balance, counts).values()),
        images_per_second=speed,
    )
    left = max(0, begun.trials_total - len(begun.ended))
    limit, so_far = begun.seconds_limit, begun.search_seconds(begun.started)
    seconds = None if limit is None else max(0.0, limit - so_far)
    cost = cost.expect(left, begun.epochs_to_come, together, seconds)
    return cost.expect_finalists(most_retrainings(config), begun.epochs, together)
