"""What the service says of itself to Prometheus: requests by route and status, their times, batches."""

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

# Seconds and rows at which the counts of histograms begin: guesses.
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
ROWS = (1, 2, 4, 8, 16, 32, 64)
MEDIA_TYPE = CONTENT_TYPE_PLAIN_0_0_4


class Measures:
    """The measures of one service."""

    clock = staticmethod(time.perf_counter)

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        # To find one by its labels takes several times what counting takes.
        self._known: dict[tuple[str, str], tuple[Counter, Histogram]] = {}
        ProcessCollector(registry=registry)
        self._requests = Counter("seesay_requests", "Requests.", ["route", "status"], registry=registry)
        self._seconds = Histogram(
            "seesay_request_seconds", "From headers to answer.", ["route"], buckets=SECONDS, registry=registry
        )
        self.batch_rows = Histogram(
            "seesay_batch_rows", "Texts and images encoded at once.", buckets=ROWS, registry=registry
        )
        self.in_hand = Gauge("seesay_requests_in_hand", "Requests that are being answered.", registry=registry)
        self.photos = Gauge("seesay_photos", "Photos in the index.", registry=registry)

    def answered(self, route: str, status: str, seconds: float) -> None:
        """Count a request; `status` is "gone" where its caller went away."""
        if (route, status) not in self._known:
            self._known[route, status] = self._requests.labels(route, status), self._seconds.labels(route)
        count, times = self._known[route, status]
        count.inc()
        times.observe(seconds)

    def text(self) -> bytes:
        """All of it in the format of Prometheus."""
        return generate_latest(self._registry)
