"""How well distances tell same from different pairs: at one threshold, and over all."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twinset.decision import Threshold
from twinset.errors import DataError
from twinset.metrics.curves import Curve, auc, checked_pairs, curve_of_pairs, rates_at, tpr_at_fpr


@dataclass(frozen=True)
class PairScores:
    """Counts and rates of a list of pairs at one threshold; a match is distance ≤ threshold.

    Args:
        pairs: number of pairs.
        positives: pairs of one class.
        negatives: pairs of two classes.
        threshold: largest distance that still counts as a match.
        accuracy: share of right verdicts, in [0, 1].
        fmr: share of the negatives that match (FMR, also FPR), in [0, 1].
        fnmr: share of the positives that do not (FNMR, also FNR), in [0, 1].
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
    fmr: float
    fnmr: float
    false_matches: int
    false_non_matches: int
    auc: float


def score_pairs(distances: ArrayLike, same: ArrayLike, threshold: float) -> PairScores:
    """Score a list of pairs at a given threshold.

    Do not read the accuracy as the accuracy on any mix of pairs: it holds for this list's share
    of positives, and for a threshold that was not chosen on this list.

    Args:
        distances: finite numbers of shape (p,), smaller is closer.
        same: ground truth of shape (p,), 1 or True for the same class.
        threshold: a match is `distance <= threshold`.

    Raises:
        DataError: lengths differ, a distance is NaN or infinite, or one of the two kinds of
            pairs is missing.

    Example:
        >>> scores = score_pairs([0.1, 0.6, 0.5, 0.9], [1, 1, 0, 0], threshold=0.5)
        >>> scores.accuracy, scores.fmr, scores.auc
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
        fmr=rates.fmr,
        fnmr=rates.fnmr,
        false_matches=rates.false_matches,
        false_non_matches=rates.false_non_matches,
        auc=auc(curve),
    )


def best_accuracy_threshold(distances: ArrayLike, same: ArrayLike) -> float:
    """Find the threshold with the most right verdicts."""
    # Candidates are every distance that occurs, and one below them all ("nothing matches"), so the
    # accuracy recomputed at the returned threshold is the best there is, ties included. The
    # smallest of equally good candidates wins: it matches the least.
    # Do not score the very pairs it was chosen on: that number flatters.
    curve = curve_of_pairs(distances, same)
    right = curve.true_matches + curve.negatives - curve.false_matches
    return float(curve.thresholds[np.argmax(right)])


def hardest_mistakes(
    distances: ArrayLike, same: ArrayLike, threshold: float, count: int
) -> NDArray[np.intp]:
    """Pick the pairs whose verdict is most wrong: farthest on the wrong side of the threshold."""
    # Takes half of them from each kind of mistake while both last.
    # Returns positions in the list, false matches first, the worst of each kind first.
    d, is_same = checked_pairs(distances, same)
    false_matches = np.flatnonzero((d <= threshold) & ~is_same)
    false_non_matches = np.flatnonzero((d > threshold) & is_same)
    false_matches = false_matches[np.argsort(d[false_matches], kind="stable")]
    false_non_matches = false_non_matches[np.argsort(-d[false_non_matches], kind="stable")]
    half = max(count - count // 2, count - len(false_non_matches))
    chosen = false_matches[:half]
    return np.concatenate([chosen, false_non_matches[: count - len(chosen)]])


# --- Thresholds by a stated rule, with the error rates that they promise.


@dataclass(frozen=True)
class Rule:
    """What a threshold is to be best at."""

    name: str
    # "cost" (least cost), "EER" (least |FMR − FNMR|) or "FPR" (largest within a limit)
    kind: Literal["cost", "EER", "FPR"]
    costs: tuple[int, int] = (1, 1)  # of a false match and of a false non-match, as whole numbers
    limit: float = 0.0  # largest FMR that is allowed, in (0, 1)


def parse_rule(text: str) -> Rule:
    """Read a rule for thresholds."""
    # - "balanced accuracy": largest 1 − (FMR + FNMR) / 2; the same as "cost 1:1".
    # - "EER": FMR and FNMR as near to each other as a threshold brings them.
    # - "FPR <= 0.01": the largest threshold whose FMR is at most 0.01; any number in (0, 1).
    # - "cost 10:1": least 10 · FMR + 1 · FNMR, the expected cost where same and different pairs are
    #   equally frequent (prior 0.5). For a prior π write "cost a(1 − π):bπ", worked out.
    words = " ".join(text.lower().replace("≤", "<=").split())
    number = r"(\d+\.?\d*|\.\d+)"
    if words == "balanced accuracy":
        return Rule(words, "cost")
    if words == "eer":
        return Rule("EER", "EER")
    if (match := re.fullmatch(rf"f[pm]r ?<= ?({number}(e[-+]?\d+)?)", words)) and (
        0 < float(match[1]) < 1
    ):
        return Rule(f"FPR <= {match[1]}", "FPR", limit=float(match[1]))
    # bounds: their product with two counts of pairs is to stay a number
    if (match := re.fullmatch(rf"cost {number} ?: ?{number}", words)) and all(
        1e-6 <= float(cost) <= 1e6 for cost in match.groups()
    ):
        ratio = Fraction(match[1]) / Fraction(match[2])
        costs = (ratio.numerator, ratio.denominator)
        return Rule(f"cost {match[1]}:{match[2]}", "cost", costs=costs)
    raise DataError(
        "Expected a rule 'balanced accuracy', 'EER', 'FPR <= x' with x between 0 and 1, or "
        "'cost a:b' (of a false match : of a false non-match) with numbers from 1e-6 to 1e6. "
        f"Received {text!r}."
    )


def choose_threshold(curve: Curve, rule: str) -> Threshold:
    """Choose the threshold that a rule asks for."""
    # Candidates are all of the curve's, both ends included ("nothing matches", "all match"); the
    # smallest of equally good ones wins: it matches the least. The promised rates are those of the
    # returned value, recomputed.
    # Do not report them as test results: they hold for the pairs that the threshold was chosen on,
    # which are never test data.
    wanted = parse_rule(rule)
    if wanted.kind == "FPR":
        value = tpr_at_fpr(curve, wanted.limit).threshold
    else:
        # Rates times positives · negatives are whole numbers: below 2⁵³ ties are exact.
        false_match = curve.false_matches * float(curve.positives)
        false_non_match = (curve.positives - curve.true_matches) * float(curve.negatives)
        a, b = map(float, wanted.costs)
        cost = a * false_match + b * false_non_match
        gap = np.abs(false_match - false_non_match)
        value = float(curve.thresholds[np.argmin(gap if wanted.kind == "EER" else cost)])
    rates = rates_at(curve, value)
    return Threshold(value, wanted.name, fmr=rates.fmr, fnmr=rates.fnmr)
