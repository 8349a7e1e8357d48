"""Two models on the same images, A against B: which is better, and can one tell?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from twinset import tables
from twinset.errors import DataError
from twinset.files import plain
from twinset.metrics import intervals
from twinset.metrics.all_pairs import AllPairs
from twinset.metrics.curves import ENOUGH_ERRORS, auc, tpr_at_fpr
from twinset.metrics.intervals import Estimate, Interval
from twinset.metrics.judge import Part
from twinset.metrics.retrieval import retrieval_estimates

Verdict: TypeAlias = Literal["A beats B", "B beats A", "cannot tell"]

SCHEMA = 1
FPR = 0.01
LABELS = {
    "auc": "ROC AUC",
    "eer": "Equal error rate",
    "tpr@fpr=0.01": "TPR at FPR 1%",
    "hter": "Half total error rate",
    "fmr": "False match rate",
    "fnmr": "False non-match rate",
    "recall_at_1": "Recall@1",
    "map_at_r": "MAP@R",
}
_AT_OWN = ("hter", "fmr", "fnmr")  # these depend on the threshold, and each model has its own


@dataclass(frozen=True)
class Difference:
    """One number of two models, and how far its difference can be trusted.

    Args:
        name: of the number: "auc", "eer", "tpr@fpr=0.01", "hter" (half total error rate, the mean
            of the next two), "fmr" and "fnmr" at each model's own threshold, "recall_at_1",
            "map_at_r".
        a: the first model's.
        b: the second's.
        interval: of a − b; paired, over images.
        better: 1 if higher is better, −1 if lower is.
        enough_errors: whether the model with more errors has 30 or more of them.
    """

    name: str
    a: float
    b: float
    interval: Interval
    better: Literal[1, -1]
    enough_errors: bool = True

    @property
    def verdict(self) -> Verdict:
        """Who is better: nobody for certain if the interval holds 0 or errors are too few.

        Example:
            >>> lower = Interval(-0.02, -0.03, -0.01, 0.005)
            >>> Difference("eer", 0.05, 0.07, lower, -1).verdict
            'A beats B'
            >>> Difference("eer", 0.05, 0.07, lower, -1, enough_errors=False).verdict
            'cannot tell'
        """
        if not self.enough_errors or self.interval.low <= 0 <= self.interval.high:
            return "cannot tell"
        return "A beats B" if self.better * self.interval.value > 0 else "B beats A"


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

    def __getitem__(self, name: str) -> Difference:
        """Return the difference of the number of this name."""
        return {each.name: each for each in self.differences}[name]

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values for JSON.

        Schema 1: `schema`, `a` and `b` (name and facts of each model), `data`, `images`, `pairs`,
        and `differences`: name → a, b, difference, low, high, error, level, better, enough_errors,
        verdict.
        """
        content: dict[str, Any] = plain(
            {
                "schema": SCHEMA,
                "a": {"name": self.names[0], **self.facts.get("A", {})},
                "b": {"name": self.names[1], **self.facts.get("B", {})},
                "data": dict(self.facts.get("Data", {})),
                "images": self.images,
                "pairs": self.pairs,
                "differences": {each.name: _as_dict(each) for each in self.differences},
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
                    f"{LABELS[each.name]}{' *' if each.name in _AT_OWN else ''}",
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


def differences(a: Part, b: Part, thresholds: tuple[float, float]) -> tuple[Difference, ...]:
    """Compare two embeddings of the same images, number by number."""
    # Each image pulls both numbers: those over pairs by Hoeffding's projection, those over queries
    # by the jackknife, as query and as neighbour. What is left of the pulls in the difference is
    # its error: √(Σ_i (pull of i on a − pull of i on b)²).
    # Returns one difference each for AUC, EER, TPR@FPR 1%, HTER, FMR, FNMR, recall@1 and MAP@R.
    # Fogliato, Patil, Perona (2024), Confidence Intervals for Error Rates in 1:1 Matching Tasks.
    if not np.array_equal(a.labels, b.labels):
        raise DataError(
            "Expected embeddings of the same images in the same order. Received labels of "
            f"{len(a.labels)} and of {len(b.labels)} images that differ: embed one test set with "
            "both models."
        )
    of_a, of_b = (
        {**_over_pairs(part, threshold), **_over_queries(part)}
        for part, threshold in zip((a, b), thresholds, strict=True)
    )
    return tuple(_difference(name, of_a[name], of_b[name]) for name in LABELS)


@dataclass(frozen=True, eq=False)
class _Number:
    """One model's number, and how many errors it rests on."""

    estimate: Estimate
    better: Literal[1, -1]
    errors: float = math.inf


def _over_pairs(part: Part, threshold: float) -> dict[str, _Number]:
    walk = AllPairs(part.embeddings, part.labels)
    curve = walk.curve()
    even = intervals.eer_threshold(curve)
    counts = walk.per_image([threshold, even, tpr_at_fpr(curve, FPR).threshold])
    rates = counts.rates(0)
    fmr, fnmr = intervals.fmr_estimate(counts, 0), intervals.fnmr_estimate(counts, 0)
    eer, tpr = intervals.eer_at(curve, counts, 1), intervals.tpr_at(curve, counts, 2)
    rarer = min(curve.positives, curve.negatives)
    # of the mean of two rates, the larger one decides
    larger = rates.false_matches if fmr.value > fnmr.value else rates.false_non_matches
    missed = min(FPR * curve.negatives, (1 - tpr.value) * curve.positives)
    return {
        "auc": _Number(Estimate(auc(curve), *walk.placements()), 1),
        "eer": _Number(eer, -1, eer.value * rarer),
        f"tpr@fpr={FPR:g}": _Number(tpr, 1, missed),
        "hter": _Number(fmr.plus(fnmr).times(0.5), -1, larger),
        "fmr": _Number(fmr, -1, rates.false_matches),
        "fnmr": _Number(fnmr, -1, rates.false_non_matches),
    }


def _over_queries(part: Part) -> dict[str, _Number]:
    found = retrieval_estimates(part.embeddings, part.labels)
    first, whole = found["recall_at_1"], found["map_at_r"]
    return {
        "recall_at_1": _Number(first, 1, (1 - first.value) * len(part.labels)),
        "map_at_r": _Number(whole, 1),
    }


def _difference(name: str, a: _Number, b: _Number) -> Difference:
    interval = intervals.difference(a.estimate, b.estimate)
    enough = max(a.errors, b.errors) >= ENOUGH_ERRORS
    return Difference(name, a.estimate.value, b.estimate.value, interval, a.better, enough)


def _as_dict(each: Difference) -> dict[str, Any]:
    interval = each.interval
    return {
        "a": each.a,
        "b": each.b,
        "difference": interval.value,
        "low": interval.low,
        "high": interval.high,
        "error": interval.error,
        "level": interval.level,
        "better": "higher" if each.better == 1 else "lower",
        "enough_errors": each.enough_errors,
        "verdict": each.verdict,
    }


def _told(facts: Mapping[str, Any]) -> str:
    known = [f"{key} {facts[key]}" for key in ("recipe", "seed") if key in facts]
    return f" ({', '.join(known)})" if known else ""
