"""Two models on the same images, A against B: number by number, and can one tell?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from twinset import tables
from twinset.decision import Threshold
from twinset.errors import DataError
from twinset.files import plain
from twinset.metrics.intervals import Estimate, Interval, difference
from twinset.metrics.measured import Measured, Part
from twinset.metrics.pairs import ENOUGH_ERRORS
from twinset.metrics.table import METRICS, Metric, of_kind

Verdict: TypeAlias = Literal["A beats B", "B beats A", "cannot tell"]


@dataclass(frozen=True)
class Difference:
    """One number of two models, and how far its difference can be trusted."""

    # of the metric, as in `twinset.metrics.table`; those of kind "threshold" at each model's own
    key: str
    a: float  # the first model's
    b: float  # the second's
    interval: Interval  # of a − b; paired, over images
    enough_errors: bool = True  # whether the model with more errors has 30 or more of them

    @property
    def metric(self) -> Metric:
        """The row of the table of metrics."""
        return METRICS[self.key]

    @property
    def verdict(self) -> Verdict:
        """Who is better: nobody for certain if the interval holds 0 or errors are too few."""
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
            interval = difference(one, other, metric.ends)
            found.append(Difference(metric.key, one.value, other.value, interval, enough))
    return tuple(found)


SCHEMA = 2


@dataclass(frozen=True, eq=False)
class Comparison:
    """Which of two models is better on the same test images, number by number.

    Do not read it as a comparison of two recipes: another seed gives another model, and the
    intervals hold the two models fixed. For that, train each recipe with several seeds. Nor read
    the rows as one verdict: of twenty comparisons of equally good models, each row gets about one
    wrong, so choose the row that matters before looking.

    Args:
        names: of A and of B.
        differences: one for each number.
        images: number of test images.
        pairs: number of their pairs; all of them count.
        facts: "A", "B" and "Data" → key → value: recipe, seed, threshold, digests.
    """

    names: tuple[str, str]
    differences: tuple[Difference, ...]
    images: int
    pairs: int
    facts: Mapping[str, Mapping[str, Any]]

    def __getitem__(self, key: str) -> Difference:
        """Return the difference in the metric of this key."""
        return {each.key: each for each in self.differences}[key]

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values for JSON.

        Schema 2: `schema`, `a` and `b` (name and facts of each model), `data`, `images`, `pairs`,
        and `differences`: key of the metric → a, b, difference, low, high, error, level, better,
        enough_errors, verdict.
        """
        content: dict[str, Any] = plain(
            {
                "schema": SCHEMA,
                "a": {"name": self.names[0], **self.facts.get("A", {})},
                "b": {"name": self.names[1], **self.facts.get("B", {})},
                "data": dict(self.facts.get("Data", {})),
                "images": self.images,
                "pairs": self.pairs,
                "differences": {each.key: each.to_dict() for each in self.differences},
            }
        )
        return content

    def summary(self) -> str:
        """Lay the differences out as an aligned table of plain text, a verdict in each row."""
        rows = []
        for each in self.differences:
            few = "" if each.enough_errors else f" (fewer than {ENOUGH_ERRORS} errors)"
            ends = f"{each.interval.low:+.4f} to {each.interval.high:+.4f}"
            rows.append(
                (
                    f"{each.metric.label}{' *' if each.metric.kind == 'threshold' else ''}",
                    f"{each.a:.4f}",
                    f"{each.b:.4f}",
                    f"{each.interval.value:+.4f}",
                    ends,
                    each.verdict + few,
                )
            )
        columns = ("", ">A", ">B", ">A - B", ">95% interval", "verdict")
        heads = [
            f"{key}: {name}{_told(self.facts.get(key, {}))}"
            for key, name in zip("AB", self.names, strict=True)
        ]
        return "\n".join(
            [
                *heads,
                f"on {self.images:,} images, {self.pairs:,} pairs",
                "",
                tables.text(columns, rows),
                "",
                "* at each model's own threshold",
                "This is about these two models. A claim about their recipes takes several seeds.",
            ]
        )


def _told(facts: Mapping[str, Any]) -> str:
    known = [f"{key} {facts[key]}" for key in ("recipe", "seed") if key in facts]
    return f" ({', '.join(known)})" if known else ""
