"""How well distances tell same from different pairs: at one threshold, and over all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twinset.evaluate.curves import auc, checked_pairs, curve_of_pairs, rates_at


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
    curve = curve_of_pairs(distances, same)
    rates = rates_at(curve, threshold)
    return PairScores(
        pairs=rates.positives + rates.negatives,
        positives=rates.positives,
        negatives=rates.negatives,
        threshold=float(threshold),
        accuracy=rates.accuracy,
        false_match_rate=rates.fmr,
        false_non_match_rate=rates.fnmr,
        false_matches=rates.false_matches,
        false_non_matches=rates.false_non_matches,
        auc=auc(curve),
    )


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
    curve = curve_of_pairs(distances, same)
    right = curve.true_matches + curve.negatives - curve.false_matches
    return float(curve.thresholds[np.argmax(right)])


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
    d, truth = checked_pairs(distances, same)
    false_matches = np.flatnonzero((d <= threshold) & ~truth)
    false_non_matches = np.flatnonzero((d > threshold) & truth)
    false_matches = false_matches[np.argsort(d[false_matches], kind="stable")]
    false_non_matches = false_non_matches[np.argsort(-d[false_non_matches], kind="stable")]
    half = max(count - count // 2, count - len(false_non_matches))
    chosen = false_matches[:half]
    return np.concatenate([chosen, false_non_matches[: count - len(chosen)]])
