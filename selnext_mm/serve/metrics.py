"""Metrics for Prometheus; each server has its own."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """``/metrics``: requests by path and status, seconds, batches, and requests in flight."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            'selnext_mm_requests',
            'Requests that were answered',
            ['path', 'status'],
            registry=self.registry,
        )
        self.seconds = Histogram(
            'selnext_mm_request_seconds',
            'From the first byte of a request to its answer',
            ['path'],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.batch = Histogram(
            'selnext_mm_batch_pictures',
            'Images per batch',
            buckets=(1, 2, 4, 8, 16, 32),
            registry=self.registry,
        )
        self.in_flight = Gauge(
            'selnext_mm_requests_in_flight',
            'Requests in progress or waiting',
            registry=self.registry,
        )

    def text(self) -> bytes:
        """All metrics in Prometheus's text format."""
        return generate_latest(self.registry)
