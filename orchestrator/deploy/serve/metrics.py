"""What a Prometheus server is told: requests, times and what pictures were labelled."""

from collections.abc import Iterable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    generate_latest,
)

GENDERS = {None: "unknown", -1: "woman", 1: "man"}
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """Counts of one server.

    Parameters
    ----------
    run, trial
        What is served.
    """

    def __init__(self, run: str, trial: str) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        model = Info("fairfront_model", "What is served.", registry=registry)
        model.info({"run": run, "trial": trial})
        self._requests = Counter(
            "fairfront_requests", "Requests answered.", ["path", "status"], registry=registry
        )
        self._seconds = Histogram(
            "fairfront_predict_seconds",
            "From a request's first byte to its answer.",
            buckets=SECONDS,
            registry=registry,
        )
        self._pictures = Counter(
            "fairfront_pictures", "Pictures labelled.", ["gender", "label"], registry=registry
        )
        self.in_flight = Gauge("fairfront_in_flight", "Requests at work.", registry=registry)

    def answered(self, path: str, status: int) -> None:
        """Count a request."""
        self._requests.labels(path, str(status)).inc()

    def labelled(self, gender: Iterable[int | None], label: Iterable[int], seconds: float) -> None:
        """Count the pictures of a request, and the time that it took."""
        for who, what in zip(gender, label, strict=True):
            self._pictures.labels(GENDERS[who], str(what)).inc()
        self._seconds.observe(seconds)

    def text(self) -> bytes:
        """Return all of it in Prometheus' own format."""
        return generate_latest(self._registry)
