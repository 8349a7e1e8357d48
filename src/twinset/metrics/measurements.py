"""What is said of one model on one test part, and how its JSON says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset.decision import Threshold
from twinset.files import plain
from twinset.metrics.calibration import Reliability
from twinset.metrics.hardest import HardestPairs
from twinset.metrics.intervals import Bands, Interval
from twinset.metrics.open_set import OpenSet
from twinset.metrics.pairs import Curve, Rates
from twinset.metrics.table import METRICS


@dataclass(frozen=True)
class OperatingPoint:
    """The errors at one threshold: what was promised, and what came true on the test part."""

    threshold: Threshold
    rates: Rates
    fmr: Interval
    fnmr: Interval
    precision: Mapping[float, float]  # prior → share of matches that are right
    # standard deviation over the classes of a class' own rate
    fmr_spread: float
    fnmr_spread: float
    even_odds: float | None = None  # the distance at which the probability passes one half

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values for JSON."""
        return {
            "rule": self.threshold.rule,
            "origin": self.threshold.origin,
            "promised_fmr": self.threshold.fmr,
            "promised_fnmr": self.threshold.fnmr,
            "promised_fmr_range": self.threshold.fmr_range,
            "promised_fnmr_range": self.threshold.fnmr_range,
            "rates": asdict(self.rates),
            "fmr": asdict(self.fmr),
            "fnmr": asdict(self.fnmr),
            "precision": [{"prior": p, "precision": share} for p, share in self.precision.items()],
            "fmr_spread": self.fmr_spread,
            "fnmr_spread": self.fnmr_spread,
            "even_odds": self.even_odds,
            "accuracy": self.rates.accuracy,
            "balanced_accuracy": self.rates.balanced_accuracy,
            "enough_errors": self.rates.enough_errors,
        }


@dataclass(frozen=True)
class NearClasses:
    """A number among the images of classes that are alike: the hard case."""

    key: str
    classes: tuple[int, ...]  # their labels
    interval: Interval


@dataclass(frozen=True, eq=False)
class ClassErrors:
    """Who is taken for whom, at one threshold."""

    classes: NDArray[Any]  # the labels, (c,)
    fnmr: NDArray[np.float64]  # share of each class' own pairs that do not match, (c,)
    # share of the pairs between two classes that match, (c, c); NaN on the diagonal
    fmr: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Histogram:
    """Pairs by their distance; no bar reaches from one side of the threshold to the other."""

    upper: NDArray[np.float64]  # the largest distance of each bar, ascending, (b,)
    same: NDArray[np.int64]
    different: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Measurements:
    """All that is said of one model on one test part; None is what it cannot be asked for."""

    images: int
    numbers: Mapping[str, Interval]  # key of a metric → number, in the order of the table
    few: frozenset[str]  # keys of the numbers that rest on fewer than 30 errors
    near: tuple[NearClasses, ...]
    points: tuple[OperatingPoint, ...]  # the model's own threshold first
    class_errors: ClassErrors | None  # at the first of `points`
    scores: Mapping[str, float]  # key → value, of the calibrated probability
    reliability: Reliability | None
    health: Mapping[str, float]  # key → value, of the embedding
    curve: Curve
    distances: Histogram | None = None  # cut at the first of `points`
    bands: Bands | None = None
    hardest: HardestPairs | None = None
    open_set: OpenSet | None = None  # where there are identities enough

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values for JSON, as `Evaluation.to_dict` tells of them."""
        thin = _thinned(self.curve)
        told = asdict(self)
        told.pop("few")
        content: dict[str, Any] = plain(
            told
            | {
                "pairs": self.curve.positives + self.curve.negatives,
                "positives": self.curve.positives,
                "numbers": {
                    key: {
                        **METRICS[key].fields,
                        **asdict(number),
                        "enough_errors": key not in self.few,
                    }
                    for key, number in self.numbers.items()
                },
                "near": [
                    {"key": each.key, "classes": each.classes, **asdict(each.interval)}
                    for each in self.near
                ],
                "points": [point.to_dict() for point in self.points],
                "curve": {
                    "threshold": self.curve.thresholds[thin],
                    "fmr": self.curve.fmr[thin],
                    "fnmr": self.curve.fnmr[thin],
                },
                "hardest": None if self.hardest is None else self.hardest.to_dict(),
            }
        )
        return content


def _thinned(curve: Curve, steps: int = 200) -> NDArray[np.intp]:
    # candidates at which one of the rates is next to a step of a logarithmic grid
    grid = np.concatenate([np.geomspace(1e-5, 0.1, steps), np.linspace(0.1, 1, steps)])
    by_fmr = np.searchsorted(curve.fmr, grid)
    by_fnmr = len(curve.fnmr) - 1 - np.searchsorted(curve.fnmr[::-1], grid)
    ends = [0, len(curve.thresholds) - 1]
    return np.unique(np.clip(np.concatenate([by_fmr, by_fnmr, ends]), 0, ends[1]))
