"""How far a whole ROC curve can be trusted: a band around it, from the images behind the pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinset.errors import DataError
from twinset.metrics.all_pairs import PerImage
from twinset.metrics.curves import ENOUGH_ERRORS, Curve, tpr_at_fpr
from twinset.metrics.intervals import tpr_at

POINTS = 40
LOWEST = 1e-4


@dataclass(frozen=True, eq=False)
class Bands:
    """A ROC curve at some false match rates, with an interval at each.

    Pointwise: each interval holds the true TPR at its FMR in 95% of the repetitions; the whole
    curve lies within the band less often. For a DET curve, FNMR = 1 − TPR.
    """

    fmr: NDArray[np.float64]  # false match rates, ascending, float64 of shape (b,); the last is 1
    tpr: NDArray[np.float64]  # true match rate at each, 1 − FNMR
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def band_thresholds(curve: Curve, points: int = POINTS) -> list[float]:
    """Pick thresholds whose false match rates are about evenly spaced on a logarithmic scale."""
    # From 10⁻⁴, or from the rate of 30 false matches if that is higher, to 1. Each is the largest
    # whose rate is at most that of a grid; so where distances tie, they are fewer.
    if points < 2:
        raise DataError(f"Expected at least 2 points of a band. Received {points}.")
    lowest = min(max(ENOUGH_ERRORS / curve.negatives, LOWEST), 1.0)
    # the tiny factor: the rate of exactly 30 false matches is within itself, whatever the rounding
    grid = np.minimum(np.geomspace(lowest, 1.0, points) * (1 + 1e-9), 1.0)
    found = [tpr_at_fpr(curve, float(fpr)) for fpr in grid]
    return sorted({rates.threshold for rates in found if rates.false_matches})


def bands(curve: Curve, counts: PerImage, start: int = 0) -> Bands:
    """Bound the ROC curve at thresholds that were counted per image."""
    ks = range(start, len(counts.thresholds))
    intervals = [tpr_at(curve, counts, k).interval() for k in ks]
    fmr = np.array([counts.rates(k).fmr for k in ks])
    # where everything matches, everything does: no interval is needed
    low = np.where(fmr == 1, 1.0, [each.low for each in intervals])
    tpr, high = (np.array([getattr(each, end) for each in intervals]) for end in ("value", "high"))
    return Bands(fmr, tpr, low, high)
