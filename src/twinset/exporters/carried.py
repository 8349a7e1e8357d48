"""What decides for a model, carried over to its graph in 8 bits, whose distances are others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset.data.labelled import Labelled
from twinset.decision import Calibrator, ErrorCurve, Threshold
from twinset.errors import DataError
from twinset.models.embedder import Embedder

# Images of which all pairs are measured by both graphs, and so many of a class at most, so that
# there are same pairs where classes are many.
SAMPLE, OF_A_CLASS = 256, 16
NOTE = "carried over to 8 bits"
# Evidence up to which a line matters, log odds of 50 to 1, and the pairs that it takes to draw one.
CERTAIN, ENOUGH = np.log(50), 50


def decided(
    small: Embedder, whole: Embedder, seen: Labelled, calibration: Labelled | None, *, rule: str
) -> tuple[Embedder, str]:
    """Give a model in 8 bits thresholds and a probability of its own, and say how."""
    if calibration is not None:
        try:
            found = small.calibrate(calibration, rule=rule)
            return found, f"chosen anew on {len(calibration):,} calibration images"
        except DataError:  # these have no pairs of both kinds
            pass
    # What was left out in turn was embedded by other models, which are gone: the distances of any
    # images say where a threshold went, and how many verdicts changed on the way.
    both = _Both.of(small, whole, seen)
    first, *others = (both.threshold(each) for each in (whole.threshold, *whole.alternatives))
    known = None if whole.calibrator is None else both.calibrator(whole.calibrator)
    this: Any = small  # a dataclass, as models are
    found = replace(this, threshold=first, alternatives=tuple(others), calibrator=known)
    found.__dict__["error_curve"] = both.curve(whole.error_curve)
    return found, f"{NOTE} by the distances of {both.images:,} images"


@dataclass(frozen=True, eq=False)
class _Both:
    images: int
    whole: NDArray[np.float64]  # distances of pairs, (p,)
    small: NDArray[np.float64]  # of the same pairs
    same: NDArray[np.bool_]

    @classmethod
    def of(cls, small: Embedder, whole: Embedder, images: Labelled) -> _Both:
        from scipy.spatial.distance import pdist

        rng = np.random.default_rng(0)
        order = rng.permutation(len(images))
        place = rng.permutation(int(images.labels.max()) + 1)  # of each class
        order = order[np.argsort(place[images.labels[order]], kind="stable")]
        labels = images.labels[order]
        starts = np.flatnonzero(np.diff(labels, prepend=-1))
        rank = np.arange(len(labels)) - np.repeat(starts, np.diff(starts, append=len(labels)))
        chosen = images.subset(np.sort(order[rank < OF_A_CLASS][:SAMPLE]))
        left, right = np.triu_indices(len(chosen), 1)
        before, after = (pdist(each.embed(chosen).astype(np.float64)) for each in (whole, small))
        return cls(len(chosen), before, after, chosen.labels[left] == chosen.labels[right])

    @cached_property
    def ranked(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return np.sort(self.whole), np.sort(self.small)

    def at(self, distance: float) -> float:
        # the distance below which there are as many pairs in 8 bits: as many verdicts change one
        # way as the other
        known, found = self.ranked
        if distance > known[-1]:
            return float(distance * found[-1] / known[-1])
        return float(np.interp(distance, np.append(0, known), np.append(0, found)))

    def changes(self, distance: float) -> dict[str, tuple[float, float]]:
        # of each rate: what it gains there, and the share of the pairs whose verdict changes
        before, after = self.whole <= distance, self.small <= self.at(distance)
        told = {}
        for name, kind, sign in (("fmr", ~self.same, 1), ("fnmr", self.same, -1)):
            rows = kind if kind.any() else np.ones_like(kind)
            moved = after[rows].astype(int) - before[rows]
            told[name] = sign * float(moved.mean()), float(np.abs(moved).mean())
        return told

    def threshold(self, own: Threshold) -> Threshold:
        # promised is what was promised and what the change adds; how far that can be trusted is
        # widened by all verdicts that change
        changed: dict[str, Any] = {"value": self.at(own.value)}
        for name, (gain, moved) in self.changes(own.value).items():
            rate, ends = getattr(own, name), getattr(own, f"{name}_range")
            if rate is not None:
                changed[name] = min(max(rate + gain, 0.0), 1.0)
            if ends:
                changed[f"{name}_range"] = max(ends[0] - moved, 0.0), min(ends[1] + moved, 1.0)
        if own.across:
            changed["across"] = f"{own.across}, {NOTE}"
        return replace(own, **changed)

    def calibrator(self, own: Calibrator) -> Calibrator:
        if not own.slope:
            return own
        known, found = self.ranked
        doubt = np.abs(own.llr(known))
        count = max(int((doubt <= CERTAIN).sum()), ENOUGH)
        there = np.argsort(doubt, kind="stable")[:count]
        scale, offset = 1.0, float(np.mean(known[there] - found[there]))
        if np.ptp(found[there]) > 0:
            scale, offset = np.polyfit(found[there], known[there], 1).tolist()
        note = f"{own.note}; {NOTE}" if own.note else NOTE
        return Calibrator(own.slope * scale, own.intercept + own.slope * offset, note)

    def curve(self, own: ErrorCurve | None) -> ErrorCurve | None:
        if own is None:
            return None
        changes = [self.changes(each) for each in own.distance]
        told: dict[str, Any] = {"distance": tuple(self.at(each) for each in own.distance)}
        for name, rising in (("fmr", np.maximum), ("fnmr", np.minimum)):
            gain, moved = np.transpose([each[name] for each in changes])
            for end, by in (("", gain), ("_low", -moved), ("_high", moved)):
                rates = np.clip(getattr(own, name + end) + by, 0, 1)
                told[name + end] = _rounded(rising.accumulate(rates))
        return replace(own, **told)


def _rounded(rates: Sequence[float] | NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(round(float(each), 6) for each in rates)
