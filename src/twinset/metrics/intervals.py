"""How far a number can be trusted: standard errors over images, seeds and folds.

Pairs that share an image are not independent. Counting 50 million test pairs as 50 million
observations gives standard errors dozens of times too small; what varies from one test set to
another is the images. So every rate over pairs is written as its value plus a sum of one
contribution per image (Hoeffding's projection), and these are what is squared and summed. The
images count as drawn together with their classes: where a test set holds each class to a fixed
size, the intervals are somewhat wider than they need be, never narrower.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from twinset import distance as distances
from twinset.errors import DataError
from twinset.metrics.all_pairs import TILE, AllPairs, PerImage
from twinset.metrics.listed_pairs import ListedPairs
from twinset.metrics.pairs import ENOUGH_ERRORS, Curve, auc, eer, equal_error_point, tpr_at_fpr

LEVEL = 0.95  # share of repetitions whose interval holds the true number
LOWER, UPPER = (1 - LEVEL) / 2, (1 + LEVEL) / 2
NORMAL = NormalDist().inv_cdf(UPPER)  # standard errors to either side
Ends: TypeAlias = tuple[float, float]  # the least and the largest that a number can be
SHARE: Ends = (0.0, 1.0)


@dataclass(frozen=True)
class Interval:
    """A number with its uncertainty; both ends and the error are NaN where nothing can be said."""

    value: float
    low: float
    high: float
    error: float  # standard error
    level: float = LEVEL

    def __format__(self, spec: str) -> str:
        return f"{self.value:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"


@dataclass(frozen=True, eq=False)
class Estimate:
    """A number over pairs, and what each image contributes to its deviation from the true one."""

    value: float
    # contributions of the n images, float64 of shape (n,); they sum to about 0
    pulls: NDArray[np.float64]
    # sum over pairs of their squared contributions. Each pair's is in the pulls of both its images,
    # so in the sum of squared pulls once too often.
    squares: float

    @property
    def error(self) -> float:
        """Standard error: √(Σ_i pull_i² − Σ_pairs contribution²)."""
        variance = float(np.square(self.pulls).sum()) - self.squares
        return math.sqrt(max(variance, 0.0))

    def plus(self, other: Estimate, factor: float = 1.0) -> Estimate:
        """Add a multiple of another estimate that rests on other pairs of the same images."""
        return Estimate(
            self.value + factor * other.value,
            self.pulls + factor * other.pulls,
            self.squares + factor**2 * other.squares,
        )

    def times(self, factor: float) -> Estimate:
        """Multiply by a number."""
        return Estimate(factor * self.value, factor * self.pulls, factor**2 * self.squares)

    def at(self, value: float) -> Estimate:
        """Keep the contributions, and name another value."""
        return Estimate(value, self.pulls, self.squares)

    def interval(self, extra_error: float = 0.0, ends: Ends = SHARE) -> Interval:
        """Bound the number within its range, for the number of pairs it is worth."""
        error = math.hypot(self.error, extra_error)
        # an unseen error is rarer than 3 in as many tries as there are independent pairs
        return bounded(self.value, error, ends=ends, tries=max(len(self.pulls) / 2, 1.0))


def bounded(
    value: float,
    error: float,
    *,
    quantile: float = NORMAL,
    ends: Ends = SHARE,
    tries: float | None = None,
) -> Interval:
    """Bound a number within the range that it can have, by its standard error."""
    # As a share p of the range, it is worth n = p (1 − p) / error² independent observations, which
    # would have this standard error (Fogliato et al.); Wilson's interval for them stays within.
    # Where one end is infinite, its logarithm is bounded; where both are, as much to either side.
    # At an end no error was seen, and nothing is known of its spread: the rule of three for so many
    # `tries`. Without these, no error is taken for none.
    # Fogliato, Patil, Perona (2024), Confidence Intervals for Error Rates in 1:1 Matching
    # Tasks; Wilson (1927), Probable Inference, the Law of Succession, and Statistical Inference.
    least, most = ends
    width = most - least
    if math.isfinite(width):
        p, own = (value - least) / width, error / width
        n = p * (1 - p) / own**2 if 0 < p < 1 and own > 0 else tries
        low, high = (p, p) if n is None else _wilson(p, n, quantile)
        # rounded, the ends may pass the number itself
        return Interval(
            value, min(least + width * low, value), max(least + width * high, value), error
        )
    half = quantile * error
    if math.isinf(least) and math.isinf(most):
        return Interval(value, value - half, value + half, error)
    end = least if math.isinf(most) else most
    if value == end:
        return Interval(value, value, value, error)
    factor = math.exp(half / abs(value - end))
    low, high = sorted((end + (value - end) / factor, end + (value - end) * factor))
    return Interval(value, low, high, error)


def share_interval(share: float, count: int) -> Interval:
    """Compute Wilson's interval of a share of independent tries: of queries, not of pairs."""
    error = math.sqrt(max(share * (1 - share), 0.0) / count)
    return bounded(share, error, tries=count)


def fmr_estimate(counts: PerImage, k: int) -> Estimate:
    """Estimate the false match rate at the k-th threshold of the counts."""
    return ratio_estimate(counts.false_matches[k], counts.negatives, counts.clusters)


def fnmr_estimate(counts: PerImage, k: int) -> Estimate:
    """Estimate the false non-match rate at the k-th threshold of the counts."""
    missed = counts.positives - counts.true_matches[k]
    return ratio_estimate(missed, counts.positives, counts.clusters, within=True)


def auc_estimate(pairs: AllPairs | ListedPairs) -> Estimate:
    """Estimate the area under the ROC curve of all pairs."""
    return Estimate(auc(pairs.curve()), *pairs.placements())


def eer_threshold(curve: Curve) -> float:
    """Find the candidate threshold at which the equal error rate is estimated."""
    return float(curve.thresholds[equal_error_point(curve)[0]])


def eer_at(curve: Curve, counts: PerImage, k: int) -> Estimate:
    """Estimate the equal error rate, where the k-th threshold of the counts is `eer_threshold`."""
    # Where FMR and FNMR move by a little, the crossing moves by their mean, weighted with the other
    # curve's slope: δEER = (f⁺ δFMR + f⁻ δFNMR) / (f⁺ + f⁻), f the densities of the distances of
    # same and different pairs at the threshold.
    same, different = _densities(curve, equal_error_point(curve)[0])
    weight = same / (same + different)
    mean = fmr_estimate(counts, k).times(weight).plus(fnmr_estimate(counts, k), 1 - weight)
    return mean.at(eer(curve))


def tpr_at(curve: Curve, counts: PerImage, k: int) -> Estimate:
    """Estimate the TPR at the FPR that the k-th threshold of the counts has."""
    # To keep that FPR, the threshold moves with the images: δTPR = −δFNMR − (f⁺ / f⁻) δFMR, f the
    # densities of the distances at the threshold.
    i = max(int(np.searchsorted(curve.thresholds, counts.thresholds[k])), 1)
    same, different = _densities(curve, i)
    slope = same / different if different else 0.0
    fnmr = fnmr_estimate(counts, k)
    moved = fnmr.times(-1).plus(fmr_estimate(counts, k), -slope)
    return moved.at(1 - fnmr.value)


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


def band_thresholds(curve: Curve, points: int = 40) -> list[float]:
    """Pick thresholds whose false match rates are about evenly spaced on a logarithmic scale."""
    # From 10⁻⁴, or from the rate of 30 false matches if that is higher, to 1. Each is the largest
    # whose rate is at most that of a grid; so where distances tie, they are fewer.
    lowest = min(max(ENOUGH_ERRORS / curve.negatives, 1e-4), 1.0)
    # the tiny factor: the rate of exactly 30 false matches is within itself, whatever the rounding
    grid = np.minimum(np.geomspace(lowest, 1.0, points) * (1 + 1e-9), 1.0)
    tried = [tpr_at_fpr(curve, float(fpr)) for fpr in grid]
    return sorted({rates.threshold for rates in tried if rates.false_matches})


def bands(curve: Curve, counts: PerImage, start: int = 0) -> Bands:
    """Bound the ROC curve at thresholds that were counted per image."""
    ks = range(start, len(counts.thresholds))
    found = [tpr_at(curve, counts, k).interval() for k in ks]
    fmr = np.array([counts.rates(k).fmr for k in ks])
    # where everything matches, everything does: no interval is needed
    low = np.where(fmr == 1, 1.0, [each.low for each in found])
    tpr, high = (np.array([getattr(each, end) for each in found]) for end in ("value", "high"))
    return Bands(fmr, tpr, low, high)


def cross_match_estimate(left: NDArray[Any], right: NDArray[Any], threshold: float) -> Estimate:
    """Estimate the share of all pairs of a left and a right image that match."""
    # With m · n pairs, image i of the left contributes (its share of matches − the rate) / m to the
    # deviation, and one of the right likewise with n: Hoeffding's projection for two samples.
    for name, vectors in (("left", left), ("right", right)):
        if not len(vectors) or not np.isfinite(vectors).all():
            raise DataError(
                f"Expected finite embeddings, at least one on each side. Received {len(vectors)} "
                f"on the {name}, {int((~np.isfinite(vectors)).sum())} numbers not finite."
            )
    m, n = len(left), len(right)
    # one centre for both, or distances would change
    rows, squares = distances.centred(np.concatenate([left, right]))
    of_left, of_right = np.zeros(m), np.zeros(n)
    room = np.empty((TILE, TILE), np.float32)
    for top in range(0, m, TILE):
        here = slice(top, min(top + TILE, m))
        for start in range(m, m + n, TILE):
            there = slice(start, min(start + TILE, m + n))
            out = room[: here.stop - top, : there.stop - start]
            distances.cross(rows[here], rows[there], squares[here], squares[there], out)
            match = out <= np.float32(threshold)
            of_left[here] += match.sum(axis=1)
            of_right[start - m : there.stop - m] += match.sum(axis=0)
    rate = float(of_left.sum() / (m * n))
    pulls = np.concatenate([(of_left / n - rate) / m, (of_right / m - rate) / n])
    return Estimate(rate, pulls, rate * (1 - rate) / (m * n))


def apart(ends: Ends) -> Ends:
    """Give the range of a difference of two numbers that have one range."""
    return ends[0] - ends[1], ends[1] - ends[0]


def difference(a: Estimate, b: Estimate, ends: Ends = SHARE) -> Interval:
    """Compare two models on the same images: the interval of a − b, numbers of this range."""
    # What both models find hard cancels out, image by image, so the interval is narrower than two
    # separate ones suggest. Where it holds 0, one cannot tell which is better.
    if len(a.pulls) != len(b.pulls):
        raise DataError(
            "Expected two estimates on the same images. "
            f"Received {len(a.pulls)} and {len(b.pulls)} images."
        )
    # the pairs' own squares are left in: a little wide rather than too narrow
    error = math.sqrt(float(np.square(a.pulls - b.pulls).sum()))
    return bounded(a.value - b.value, error, ends=apart(ends))


def t_interval(
    values: Sequence[float], ends: Ends = SHARE, *, tries: float | None = None
) -> Interval:
    """Bound the mean of independent values of one range, seeds or folds, by Student's quantile."""
    # Where all are at one end, the rule of three for so many tries as they rest on together, by
    # default one each. Equal ones elsewhere have no spread, as of a training without chance.
    # Student (1908), The Probable Error of a Mean.
    n = len(values)
    if n == 0:
        raise DataError("Expected at least one value. Received none.")
    mean = float(np.mean(values))
    if n == 1:
        return Interval(mean, math.nan, math.nan, math.nan)
    if min(values) == max(values):  # but for rounding, which is no spread
        mean = float(values[0])
        return bounded(mean, 0.0, ends=ends, tries=(tries or n) if mean in ends else None)
    error = float(np.std(values, ddof=1)) / math.sqrt(n)
    return bounded(mean, error, quantile=student(n), ends=ends, tries=tries or n)


def student(count: int) -> float:
    """Tell how many standard errors reach to either side where so many values tell the error."""
    from scipy import special

    return float(special.stdtrit(max(count - 1, 1), UPPER))


def _wilson(p: float, n: float, z: float) -> tuple[float, float]:
    # bounds of a share of n tries, z standard errors to either side
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(max(p * (1 - p), 0) / n + z**2 / (4 * n**2))
    # at 0 and 1 the ends meet the share but for rounding
    return max(min(middle - half, p), 0.0), min(max(middle + half, p), 1.0)


def ratio_estimate(
    errors: NDArray[np.int64],
    pairs: NDArray[np.int64],
    clusters: NDArray[np.int64] | None = None,
    *,
    within: bool = False,
) -> Estimate:
    """Estimate Σ errors / Σ pairs, both given per image, each pair in two images."""
    total = pairs.sum() / 2
    rate = float(errors.sum() / 2 / total)
    pulls = (errors - rate * pairs) / total
    squares = rate * (1 - rate) / float(total)
    if clusters is None:
        return Estimate(rate, pulls, squares)
    pulls = np.bincount(clusters, pulls).astype(np.float64)
    # a pair within a cluster is in that one's sum twice, and has no other to be taken off
    return Estimate(rate, pulls / 2, 0.0) if within else Estimate(rate, pulls, squares)


def _densities(curve: Curve, i: int, share: float = 0.01) -> tuple[float, float]:
    """Estimate both densities of distance around candidate i, up to a common factor."""
    # The window holds about this share of either kind of pairs: wide enough to be smooth.
    fmr, tpr = curve.fmr, 1 - curve.fnmr
    near = np.maximum(np.abs(fmr - fmr[i]), np.abs(tpr - tpr[i])) <= share
    window = np.flatnonzero(near)
    first, last = max(window[0] - 1, 0), window[-1]
    return float(tpr[last] - tpr[first]), float(fmr[last] - fmr[first])
