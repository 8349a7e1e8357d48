"""How well distances tell same from different pairs: counts, rates, scores, thresholds."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twinset.decision import Threshold, check_prior, truth
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
    # Numbers below the distances that entry i counts and entry i − 1 does not, (k,). None: these
    # distances are the threshold itself, as in the curve of a list of pairs.
    floors: NDArray[np.float64] | None = None

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

    def midway(self, i: int) -> float:
        """Place a threshold with the counts of candidate i midway to the next distance."""
        # New pairs fall to both sides of the distances that were seen: a threshold on one of them
        # would part it from its own noisy copy. At both ends there is no distance to go midway to.
        value = float(self.thresholds[i])
        if i == 0 or i == len(self.thresholds) - 1:
            return value
        if self.floors is None:
            end = float(np.nextafter(self.thresholds[i + 1], -np.inf))
        else:
            end = float(self.floors[i + 1])
        return value + (end - value) / 2


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
    check_prior(prior)
    right = prior * (1 - rates.fnmr)
    matches = right + (1 - prior) * rates.fmr
    return right / matches if matches > 0 else float("nan")


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
        same: ground truth of shape (p,), 1 or True for the same class, 0 or False for others.
        threshold: a match is `distance <= threshold`.

    Raises:
        DataError: lengths differ, a distance is NaN or infinite, `same` has other values, or one
            of the two kinds of pairs is missing.

    Example:
        >>> scores = score_pairs([0.1, 0.6, 0.5, 0.9], [1, 1, 0, 0], threshold=0.5)
        >>> scores.accuracy, scores.fmr, scores.auc
        (0.5, 0.5, 0.75)
    """
    curve = curve_of_pairs(distances, same)
    rates = rates_at(curve, threshold)
    return PairScores(
        pairs=rates.positives + rates.negatives,
        accuracy=rates.accuracy,
        fmr=rates.fmr,
        fnmr=rates.fnmr,
        auc=auc(curve),
        **asdict(rates),
    )


def best_accuracy_threshold(distances: ArrayLike, same: ArrayLike) -> float:
    """Find the threshold with the most right verdicts."""
    # Candidates are every distance that occurs, and one below them all ("nothing matches"), so the
    # accuracy recomputed at the returned threshold is the best there is, ties included. The
    # smallest of equally good candidates wins, as it matches the least, and the threshold lies
    # midway from it to the next.
    # Do not score the very pairs it was chosen on: that number flatters.
    curve = curve_of_pairs(distances, same)
    right = curve.true_matches + curve.negatives - curve.false_matches
    return curve.midway(int(np.argmax(right)))


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
    # - "FPR <= 0.01": the largest threshold whose FMR is at most 0.01; any number in (0, 1). Where
    #   one parts all same from all different pairs, that one.
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
    # smallest of equally good ones wins: it matches the least. The threshold lies midway from it to
    # the next distance: with the same counts, and so in the middle of a gap between the kinds. The
    # promised rates are those of the returned value, recomputed.
    # Do not report them as test results: they hold for the pairs that the threshold was chosen on,
    # which are never test data.
    wanted = parse_rule(rule)
    perfect = (curve.false_matches == 0) & (curve.true_matches == curve.positives)
    if wanted.kind == "FPR":
        # beyond a gap the rule is fulfilled as well, but no same pair is won
        last = int(np.searchsorted(curve.fmr, wanted.limit, side="right")) - 1
        best = int(np.argmax(perfect)) if perfect.any() else last
    else:
        # Rates times positives · negatives are whole numbers: below 2⁵³ ties are exact.
        false_match = curve.false_matches * float(curve.positives)
        false_non_match = (curve.positives - curve.true_matches) * float(curve.negatives)
        a, b = map(float, wanted.costs)
        cost = a * false_match + b * false_non_match
        gap = np.abs(false_match - false_non_match)
        best = int(np.argmin(gap if wanted.kind == "EER" else cost))
    value = curve.midway(best)
    rates = rates_at(curve, value)
    return Threshold(value, wanted.name, fmr=rates.fmr, fnmr=rates.fnmr)


def checked_pairs(
    distances: ArrayLike, same: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Check a list of pairs, and return it as float64 and bool."""
    d = np.asarray(distances, dtype=np.float64)
    is_same = truth(same)
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
