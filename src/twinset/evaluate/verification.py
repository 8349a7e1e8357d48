"""How well distances tell same from different pairs: at one threshold, and over all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twinset.errors import DataError


@dataclass(frozen=True)
class PairScores:
    """Counts and rates of a list of pairs at one threshold; a match is distance ≤ threshold.

    Args:
        pairs: number of pairs.
        positives: pairs of one class.
        negatives: pairs of two classes.
        threshold: largest distance that still counts as a match.
        accuracy: share of right verdicts, in [0, 1].
        false_match_rate: share of the negatives that match (FMR, also FPR), in [0, 1].
        false_non_match_rate: share of the positives that do not (FNMR, also FNR), in [0, 1].
        false_matches: negatives that match.
        false_non_matches: positives that do not.
        auc: area under the ROC curve: the probability that a random positive pair is closer
            than a random negative one, ties counting half. Independent of the threshold.
    """

    pairs: int
    positives: int
    negatives: int
    threshold: float
    accuracy: float
    false_match_rate: float
    false_non_match_rate: float
    false_matches: int
    false_non_matches: int
    auc: float


def score_pairs(distances: ArrayLike, same: ArrayLike, threshold: float) -> PairScores:
    """Score a list of pairs at a given threshold.

    Do not read the accuracy as the accuracy on any mix of pairs: it holds for this list's share
    of positives, and for a threshold that was not chosen on this list.

    Args:
        distances: finite numbers of shape (p,), smaller is closer.
        same: truth of shape (p,), 1 or True for the same class.
        threshold: a match is `distance <= threshold`.

    Raises:
        DataError: lengths differ, a distance is NaN or infinite, or one of the two kinds of
            pairs is missing.

    Example:
        >>> scores = score_pairs([0.1, 0.6, 0.5, 0.9], [1, 1, 0, 0], threshold=0.5)
        >>> scores.accuracy, scores.false_match_rate, scores.auc
        (0.5, 0.5, 0.75)
    """
    d, truth = _checked(distances, same)
    match = d <= threshold
    positives, negatives = int(truth.sum()), int((~truth).sum())
    false_matches = int((match & ~truth).sum())
    false_non_matches = int((~match & truth).sum())
    return PairScores(
        pairs=len(d),
        positives=positives,
        negatives=negatives,
        threshold=float(threshold),
        accuracy=1 - (false_matches + false_non_matches) / len(d),
        false_match_rate=false_matches / negatives,
        false_non_match_rate=false_non_matches / positives,
        false_matches=false_matches,
        false_non_matches=false_non_matches,
        auc=roc_auc(d, truth),
    )


def roc_auc(distances: ArrayLike, same: ArrayLike) -> float:
    """Compute the area under the ROC curve of a list of pairs.

    AUC = P(d⁺ < d⁻) + ½ P(d⁺ = d⁻), by counting, for each distinct distance, the negatives
    above it and at it.

    Args:
        distances: finite numbers of shape (p,), smaller is closer.
        same: truth of shape (p,).

    Returns:
        A number in [0, 1]; 0.5 for constant distances.

    Raises:
        DataError: as in `score_pairs`.

    Reference:
        Hanley, McNeil (1982), The Meaning and Use of the Area under a ROC Curve.

    Example:
        >>> roc_auc([1.0, 2.0, 2.0, 3.0], [1, 1, 0, 0])
        0.875
    """
    d, truth = _checked(distances, same)
    positives, negatives = _counts_by_distance(d, truth)[1:]
    above = negatives.sum() - np.cumsum(negatives)
    wins = (positives * (above + negatives / 2)).sum()
    return float(wins / (positives.sum() * negatives.sum()))


def best_accuracy_threshold(distances: ArrayLike, same: ArrayLike) -> float:
    """Find the threshold with the most right verdicts.

    Candidates are every distance that occurs, and one below them all ("nothing matches"), so the
    accuracy recomputed at the returned threshold is the best there is, ties included. The
    smallest of equally good candidates wins: it matches the least.

    Do not score the very pairs it was chosen on: that number flatters.

    Args:
        distances: finite numbers of shape (p,), smaller is closer.
        same: truth of shape (p,).

    Raises:
        DataError: as in `score_pairs`.

    Example:
        >>> best_accuracy_threshold([1.0, 2.0, 10.0, 20.0], [1, 1, 0, 0])
        2.0
    """
    d, truth = _checked(distances, same)
    values, positives, negatives = _counts_by_distance(d, truth)
    right = np.concatenate([[0], np.cumsum(positives - negatives)]) + negatives.sum()
    best = int(np.argmax(right))
    return float(values[best - 1] if best else np.nextafter(values[0], -np.inf))


def hardest_mistakes(
    distances: ArrayLike, same: ArrayLike, threshold: float, count: int
) -> NDArray[np.intp]:
    """Pick the pairs whose verdict is most wrong: farthest on the wrong side of the threshold.

    Takes half of them from each kind of mistake while both last.

    Args:
        distances: finite numbers of shape (p,).
        same: truth of shape (p,).
        threshold: a match is `distance <= threshold`.
        count: how many at the most.

    Returns:
        Positions in the list, false matches first, the worst of each kind first.

    Raises:
        DataError: as in `score_pairs`.

    Example:
        >>> hardest_mistakes([0.9, 0.1, 0.2, 0.3, 0.0], [1, 0, 0, 1, 1], 0.5, 2).tolist()
        [1, 0]
    """
    d, truth = _checked(distances, same)
    false_matches = np.flatnonzero((d <= threshold) & ~truth)
    false_non_matches = np.flatnonzero((d > threshold) & truth)
    false_matches = false_matches[np.argsort(d[false_matches], kind="stable")]
    false_non_matches = false_non_matches[np.argsort(-d[false_non_matches], kind="stable")]
    half = max(count - count // 2, count - len(false_non_matches))
    chosen = false_matches[:half]
    return np.concatenate([chosen, false_non_matches[: count - len(chosen)]])


def _counts_by_distance(
    d: NDArray[np.float64], truth: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Count positives and negatives at each distinct distance, ascending."""
    values, where = np.unique(d, return_inverse=True)
    positives = np.bincount(where[truth], minlength=len(values))
    negatives = np.bincount(where[~truth], minlength=len(values))
    return values, positives, negatives


def _checked(
    distances: ArrayLike, same: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    d = np.asarray(distances, dtype=np.float64)
    truth = np.asarray(same).astype(bool)
    if d.ndim != 1 or d.shape != truth.shape:
        raise DataError(
            f"Expected distances and truth of one shape (p,). Received {d.shape} and {truth.shape}."
        )
    wrong = np.flatnonzero(~np.isfinite(d))
    if wrong.size:
        raise DataError(
            f"Expected finite distances. Received {d[wrong[0]]} at position {wrong[0]} "
            f"({wrong.size} in all): the embeddings are broken, train again."
        )
    if truth.all() or not truth.any():
        raise DataError(
            "Expected pairs of both kinds. "
            f"Received {int(truth.sum())} same and {int((~truth).sum())} different."
        )
    return d, truth
