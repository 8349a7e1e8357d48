"""What is counted while the server runs, and told to Prometheus."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, math.inf)
IMAGES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, math.inf)


class Histogram:
    """How often values fell into buckets, by their upper ends."""

    def __init__(self, ends: Sequence[float]) -> None:
        self._ends = ends
        self.counts = [0] * len(ends)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self._ends, value)] += 1
        self.sum += value

    def buckets(self) -> list[tuple[str, float]]:
        """List upper ends, as Prometheus writes them, and how many values were below each."""
        total, told = 0, []
        for end, count in zip(self._ends, self.counts, strict=True):
            total += count
            told.append(("+Inf" if math.isinf(end) else repr(end), float(total)))
        return told


class Measures:
    """Counts of one server; they outlive a reload.

    Counted here and not by prometheus-client's own counters: that package takes a tenth of the
    time from the shell to the first answer, and most servers are never asked. Each count has one
    thread that writes it.
    """

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()  # by route and status
        self.seconds: dict[str, Histogram] = {}  # by route
        self.shed: Counter[str] = Counter()  # by the name of the problem
        self.batches = Histogram(IMAGES)
        self.inference = Histogram(SECONDS)
        self.failed = 0  # images that the model could not embed
        self.dropped = 0  # images that nobody waited for any more
        self.reloads = 0

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self.requests[route, status] += 1
        if route not in self.seconds:
            self.seconds[route] = Histogram(SECONDS)
        self.seconds[route].add(seconds)

    def batch(self, images: int, seconds: float) -> None:
        """Count a batch."""
        self.batches.add(images)
        self.inference.add(seconds)

    def text(self, **now: float) -> str:
        """Write all in Prometheus' text format."""
        from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

        registry = CollectorRegistry()
        registry.register(_Told(list(self._families(now))))
        ProcessCollector(registry=registry)
        return generate_latest(registry).decode("utf-8")

    def _families(self, now: dict[str, float]) -> Iterator[Any]:
        from prometheus_client.core import (
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
        )

        for name, value in now.items():
            about = name.replace("_", " ")
            yield GaugeMetricFamily(f"twinset_{name}", f"Now: {about}.", value=value)
        counted = CounterMetricFamily(
            "twinset_requests", "Requests answered.", labels=["route", "status"]
        )
        for (route, status), count in self.requests.items():
            counted.add_metric([route, str(status)], count)
        yield counted
        shed = CounterMetricFamily("twinset_shed", "Requests refused for load.", labels=["reason"])
        for reason, count in self.shed.items():
            shed.add_metric([reason], count)
        yield shed
        took = HistogramMetricFamily(
            "twinset_request_seconds", "Seconds from headers to answer.", labels=["route"]
        )
        for route, one in self.seconds.items():
            took.add_metric([route], one.buckets(), one.sum)
        yield took
        for name, about, one in (
            ("twinset_batch_images", "Images that went through the model at once.", self.batches),
            ("twinset_batch_seconds", "Seconds of a batch in the model.", self.inference),
        ):
            yield HistogramMetricFamily(name, about, buckets=one.buckets(), sum_value=one.sum)
        for name, about, count in (
            ("twinset_failed_images", "Images that the model failed on.", self.failed),
            ("twinset_dropped_images", "Images that nobody waited for any more.", self.dropped),
            ("twinset_reloads", "Times that model and index were taken up anew.", self.reloads),
        ):
            yield CounterMetricFamily(name, about, value=count)


class _Told:
    """A collector of what is there already."""

    def __init__(self, families: list[Any]) -> None:
        self._families = families

    def collect(self) -> list[Any]:
        return self._families
