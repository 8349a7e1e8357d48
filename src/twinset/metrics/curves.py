"""Counts at every threshold, and what one reads off them: AUC, EER, rates, precision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twinset.errors import DataError

# Doddington's rule of 30: a rate that rests on fewer errors is not to be trusted.
ENOUGH_ERRORS = 30


@dataclass(frozen=True, eq=False)
class Curve:
    """Counts of matches at candidate thresholds, ascending; a match is distance ≤ threshold."""

    # float64 of shape (k,). Entry 0 lies below every distance: nothing matches there. The last
    # entry is at or above every distance: all match.
    thresholds: NDArray[np.float64]
    # int64 of shape (k,); entry i counts the same pairs whose distance is at most `thresholds[i]`,
    # from 0 to all of them
    true_matches: NDArray[np.int64]
    false_matches: NDArray[np.int64]

    @property
    def positives(self) -> int:
        """The number of same pairs."""
        return int(self.true_matches[-1])

    @property
    def negatives(self) -> int:
        """The number of different pairs."""
        return int(self.false_matches[-1])

    @property
    def fmr(self) -> NDArray[np.float64]:
        """False match rate at each threshold (also FPR): from 0 to 1, never falling."""
        return self.false_matches / self.negatives

    @property
    def fnmr(self) -> NDArray[np.float64]:
        """False non-match rate at each threshold (also FNR, 1 − TPR): from 1 to 0."""
        return 1 - self.true_matches / self.positives


@dataclass(frozen=True)
class Rates:
    """The errors at one threshold, and how many pairs they rest on."""

    threshold: float
    positives: int
    negatives: int
    false_matches: int
    false_non_matches: int

    @property
    def fmr(self) -> float:
        """False match rate: share of the different pairs that match."""
        return self.false_matches / self.negatives

    @property
    def fnmr(self) -> float:
        """False non-match rate: share of the same pairs that do not match."""
        return self.false_non_matches / self.positives

    @property
    def accuracy(self) -> float:
        """Share of right verdicts on this mix of pairs."""
        wrong = self.false_matches + self.false_non_matches
        return 1 - wrong / (self.positives + self.negatives)

    @property
    def balanced_accuracy(self) -> float:
        """Share of right verdicts if half the pairs were same: 1 − (FMR + FNMR) / 2."""
        return 1 - (self.fmr + self.fnmr) / 2

    @property
    def enough_errors(self) -> bool:
        """Whether both rates rest on at least 30 errors."""
        return min(self.false_matches, self.false_non_matches) >= ENOUGH_ERRORS


def curve_of_pairs(distances: ArrayLike, same: ArrayLike) -> Curve:
    """Count the matches of a list of pairs, at each distance that occurs."""
    d, is_same = checked_pairs(distances, same)
    values, where = np.unique(d, return_inverse=True)
    below = np.nextafter(values[0], -np.inf)
    return Curve(
        np.concatenate([[below], values]),
        _cumulated(np.bincount(where[is_same], minlength=len(values))),
        _cumulated(np.bincount(where[~is_same], minlength=len(values))),
    )


def auc(curve: Curve) -> float:
    """Compute the area under the ROC curve."""
    # AUC = P(d⁺ < d⁻) + ½ P(d⁺ = d⁻): the chance that a random same pair is closer than a random
    # different one; 0.5 for constant distances. The trapezium rule counts ties half.
    # Do not read it as a rate of right verdicts: no threshold plays a part.
    # Hanley, McNeil (1982), The Meaning and Use of the Area under a ROC Curve.
    return float(np.trapezoid(1 - curve.fnmr, curve.fmr))


def eer(curve: Curve) -> float:
    """Find the equal error rate: where the line FMR = FNMR cuts the ROC curve."""
    # Between two neighbouring thresholds the curve is a straight line, so the answer is one number
    # even where no threshold has equal rates, or several do.
    # Do not read it as an operating point: its threshold was chosen on the data it is read from.
    i, share = equal_error_point(curve)
    return float(curve.fmr[i - 1] + share * (curve.fmr[i] - curve.fmr[i - 1]))


def equal_error_point(curve: Curve) -> tuple[int, float]:
    """Find the segment of the ROC curve that holds the EER, and the place on it."""
    # Returns (i, share): the point lies between candidates i − 1 and i, at this share of the way.
    excess = curve.fmr - curve.fnmr  # from −1 to 1, never falling
    i = max(int(np.argmax(excess >= 0)), 1)
    return i, float(-excess[i - 1] / (excess[i] - excess[i - 1]))


def tpr_at_fpr(curve: Curve, fpr: float) -> Rates:
    """Find the errors at the largest threshold whose false match rate is at most `fpr`."""
    # 1 − FNMR there is the rate called TPR@FPR (TAR@FAR); no interpolation, an attained threshold.
    if not 0 <= fpr <= 1:
        raise DataError(f"Expected a false match rate from 0 to 1. Received {fpr}.")
    return _rates(curve, int(np.searchsorted(curve.fmr, fpr, side="right")) - 1)


def rates_at(curve: Curve, threshold: float) -> Rates:
    """Read off the errors at a threshold."""
    # Counts are those of the largest candidate that is not above the threshold: exact where the
    # curve holds every distance, or this very threshold.
    if np.isnan(threshold):
        raise DataError("Expected a number as threshold. Received NaN.")
    i = max(int(np.searchsorted(curve.thresholds, threshold, side="right")) - 1, 0)
    return _rates(curve, i, threshold)


def precision_at_prior(rates: Rates, prior: float) -> float:
    """Compute the share of matches that are right, where a share `prior` of pairs is same."""
    # precision = π·TPR / (π·TPR + (1 − π)·FMR); NaN where nothing matches.
    if not 0 < prior < 1:
        raise DataError(f"Expected a prior between 0 and 1. Received {prior}.")
    right = prior * (1 - rates.fnmr)
    matches = right + (1 - prior) * rates.fmr
    return right / matches if matches > 0 else float("nan")


def checked_pairs(
    distances: ArrayLike, same: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Check a list of pairs, and return it as float64 and bool."""
    d = np.asarray(distances, dtype=np.float64)
    is_same = np.asarray(same).astype(bool)
    if d.ndim != 1 or d.shape != is_same.shape:
        raise DataError(
            "Expected distances and `same` of one shape (p,). "
            f"Received {d.shape} and {is_same.shape}."
        )
    wrong = np.flatnonzero(~np.isfinite(d))
    if wrong.size:
        raise DataError(
            f"Expected finite distances. Received {d[wrong[0]]} at position {wrong[0]} "
            f"({wrong.size} in all): the embeddings are broken, train again."
        )
    if is_same.all() or not is_same.any():
        raise DataError(
            "Expected pairs of both kinds. "
            f"Received {int(is_same.sum())} same and {int((~is_same).sum())} different."
        )
    return d, is_same


def _cumulated(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(counts)])


def _rates(curve: Curve, i: int, threshold: float | None = None) -> Rates:
    return Rates(
        threshold=float(curve.thresholds[i] if threshold is None else threshold),
        positives=curve.positives,
        negatives=curve.negatives,
        false_matches=int(curve.false_matches[i]),
        false_non_matches=curve.positives - int(curve.true_matches[i]),
    )
