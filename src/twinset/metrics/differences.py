"""What sets two models apart on the same images, number by number, and can one tell?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from twinset.decision import Threshold
from twinset.errors import DataError
from twinset.metrics.intervals import Estimate, Interval, difference
from twinset.metrics.measured import Measured, Part
from twinset.metrics.pairs import ENOUGH_ERRORS
from twinset.metrics.table import METRICS, Metric, of_kind

Verdict: TypeAlias = Literal["A beats B", "B beats A", "cannot tell"]


@dataclass(frozen=True)
class Difference:
    """One number of two models, and how far its difference can be trusted.

    Args:
        key: of the metric, as in `twinset.metrics.table`; false match and false non-match rate,
            and their mean, at each model's own threshold.
        a: the first model's.
        b: the second's.
        interval: of a − b; paired, over images.
        enough_errors: whether the model with more errors has 30 or more of them. Defaults to True.
    """

    key: str
    a: float
    b: float
    interval: Interval
    enough_errors: bool = True

    @property
    def metric(self) -> Metric:
        """The row of the table of metrics."""
        return METRICS[self.key]

    @property
    def verdict(self) -> Verdict:
        """Who is better: nobody for certain if the interval holds 0 or errors are too few.

        Example:
            >>> lower = Interval(-0.02, -0.03, -0.01, 0.005)
            >>> Difference("eer", 0.05, 0.07, lower).verdict
            'A beats B'
            >>> Difference("eer", 0.05, 0.07, lower, enough_errors=False).verdict
            'cannot tell'
        """
        if not self.enough_errors or self.interval.low <= 0 <= self.interval.high:
            return "cannot tell"
        return "A beats B" if self.metric.better * self.interval.value > 0 else "B beats A"

    def to_dict(self) -> dict[str, Any]:
        """Say it for programs, in plain Python values."""
        interval = self.interval
        return {
            "a": self.a,
            "b": self.b,
            "difference": interval.value,
            "low": interval.low,
            "high": interval.high,
            "error": interval.error,
            "level": interval.level,
            "better": "higher" if self.metric.better == 1 else "lower",
            "enough_errors": self.enough_errors,
            "verdict": self.verdict,
        }


def differences(a: Part, b: Part, thresholds: tuple[float, float]) -> tuple[Difference, ...]:
    """Compare two embeddings of the same images, number by number."""
    # Each image pulls both numbers: those over pairs by Hoeffding's projection, those over queries
    # by the jackknife, as query and as neighbour. What is left of the pulls in the difference is
    # its error: √(Σ_i (pull of i on a − pull of i on b)²).
    # Fogliato, Patil, Perona (2024), Confidence Intervals for Error Rates in 1:1 Matching Tasks.
    if not np.array_equal(a.labels, b.labels):
        raise DataError(
            "Expected embeddings of the same images in the same order. Received labels of "
            f"{len(a.labels)} and of {len(b.labels)} images that differ: embed one test set with "
            "both models."
        )
    of_a, of_b = (
        Measured(part, thresholds=(Threshold(value, "own"),))
        for part, value in zip((a, b), thresholds, strict=True)
    )
    found = []
    for metric in (*of_kind("test"), *of_kind("threshold")):
        if not metric.compared:
            continue
        one, other = metric.measure(of_a), metric.measure(of_b)
        if isinstance(one, Estimate) and isinstance(other, Estimate):
            rests_on = max(metric.rests_on(of_a, one.value), metric.rests_on(of_b, other.value))
            enough = rests_on >= ENOUGH_ERRORS
            interval = difference(one, other)
            found.append(Difference(metric.key, one.value, other.value, interval, enough))
    return tuple(found)
