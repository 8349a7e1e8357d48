"""Probabilities from distances, and how far to believe them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twinset.decision import Calibrator
from twinset.errors import DataError
from twinset.metrics.pairs import Curve, curve_of_pairs

Floats = NDArray[np.float64]


def fit_calibrator(distances: ArrayLike, same: ArrayLike) -> Calibrator:
    """Fit a calibrator to the distances of a list of pairs."""
    return calibrator_of(curve_of_pairs(distances, same))


def calibrator_of(curve: Curve) -> Calibrator:
    """Fit a calibrator by logistic regression to pairs counted by distance."""
    # Maximises the likelihood of log odds a · d + b without penalty, then takes the log odds of the
    # sample's own share of same pairs off b: what stays is evidence, fit for any prior.
    # Two cases have no such maximum; `Calibrator.note` tells which it was:
    # - No different pair is closer than a same one (or the solver cannot tell): the best slope
    #   would be −∞, and every verdict certain. The labels are then softened as by one more pair of
    #   each answer: of P same pairs each counts as same to (P + 1) / (P + 2), of N different ones
    #   each to 1 / (N + 2). The slope is finite, and the steeper the more pairs there were.
    # - Same pairs are no closer than different ones on average, constant distances among them: the
    #   best slope would not be negative. It is set to 0, and every probability is the prior.
    # Platt (1999), Probabilistic Outputs for Support Vector Machines (softened labels); Brümmer, du
    # Preez (2006), Application-Independent Evaluation of Speaker Detection.
    d, positives, negatives = _counts(curve)
    # The slope has the sign of the difference of means: the likelihood is concave.
    # Distances that differ by less than any rounding would overflow it.
    mean_same, mean_different = (np.average(d, weights=w) for w in (positives, negatives))
    if np.ptp(d) < 1e-100 or mean_same >= mean_different:
        return Calibrator(0.0, 0.0, "same pairs are no closer than different ones: slope set to 0")
    likely, unlikely, note = positives, negatives, ""
    separated = d[positives > 0].max() <= d[negatives > 0].min()
    line = None if separated else _logistic(d, likely, unlikely)
    if line is None:
        right = (positives.sum() + 1) / (positives.sum() + 2)
        wrong = 1 / (negatives.sum() + 2)
        likely = positives * right + negatives * wrong
        unlikely = positives * (1 - right) + negatives * (1 - wrong)
        line = _logistic(d, likely, unlikely)
        note = "distances separate same from different pairs: labels softened after Platt (1999)"
    prior_odds = np.log(likely.sum() / unlikely.sum())
    slope, intercept = line or (0.0, prior_odds)
    slope = min(slope, 0.0)  # where the means all but agree, rounding may leave it a hair above
    return Calibrator(slope, float(intercept - prior_odds), note)


def cllr(curve: Curve, calibrator: Calibrator) -> float:
    """Compute the cost of the log-likelihood ratios, in bits."""
    # Cllr = ½ [mean⁺ log₂(1 + exp(−llr)) + mean⁻ log₂(1 + exp(llr))], over same pairs (⁺) and
    # different ones (⁻). 0 is perfect, 1 is what llr = 0 for every pair costs, and above 1 the
    # evidence misleads.
    # This and the other scores take a pair's distance to be the threshold at the upper end of its
    # bin: exact for `curve_of_pairs`, whose thresholds are the distances. For a histogram each llr
    # is too low by the width of a bin, times the slope, at most.
    # Brümmer, du Preez (2006), Application-Independent Evaluation of Speaker Detection.
    d, same, different = _weights(curve, 0.5)
    llr = calibrator.llr(d)
    bits = same * np.logaddexp(0, -llr) + different * np.logaddexp(0, llr)
    return float(bits.sum() / np.log(2))


def min_cllr(curve: Curve) -> float:
    """Compute the least Cllr that any falling function from distance to llr reaches."""
    # It is found by pooling adjacent violators (isotonic regression), both kinds of pairs weighing
    # one half. `cllr` − `min_cllr` is what the calibration costs; `min_cllr` itself is what the
    # distances cannot tell, and no monotone map of the distances changes it.
    # Do not read it as reached: it is fitted to the very pairs that it scores.
    # Brümmer, du Preez (2006), Application-Independent Evaluation of Speaker Detection.
    from sklearn.isotonic import isotonic_regression

    _, same, different = _weights(curve, 0.5)
    mass = same + different
    p = isotonic_regression(same / mass, sample_weight=mass, increasing=False)
    # where there is none of a kind, the other's share may be 1 and this one's logarithm infinite
    a, b = same > 0, different > 0
    bits = (same[a] * np.log2(p[a])).sum() + (different[b] * np.log2(1 - p[b])).sum()
    return float(abs(bits))


def brier(curve: Curve, calibrator: Calibrator, prior: float = 0.5) -> float:
    """Compute the mean squared error of the probabilities, at a prior."""
    # Brier = π mean⁺ (1 − p)² + (1 − π) mean⁻ p², with p = P(same | distance) at the prior π. 0 is
    # perfect, π (1 − π) is what llr = 0 costs: compare only at one prior.
    # Brier (1950), Verification of Forecasts Expressed in Terms of Probability.
    d, same, different = _weights(curve, prior)
    p = calibrator.probability(d, prior)
    return float((same * (1 - p) ** 2 + different * p**2).sum())


@dataclass(frozen=True, eq=False)
class Reliability:
    """Promised and observed shares of same pairs, bin by bin."""

    predicted: Floats  # mean probability in each bin, float64 of shape (b,), rising
    observed: Floats
    mass: Floats  # share of all pairs in each bin, adding up to 1. All at the same prior.


def reliability(
    curve: Curve, calibrator: Calibrator, bins: int = 15, prior: float = 0.5
) -> Reliability:
    """Group pairs by predicted probability, and compare with how many are same."""
    # Bins hold equal mass, up to ties: pairs of one probability stay together, in the bin in which
    # the middle of their mass falls, so there may be fewer bins than asked for.
    # Do not read the gaps as a score: they depend on the number of bins. `cllr` − `min_cllr` does
    # not.
    # DeGroot, Fienberg (1983), The Comparison and Evaluation of Forecasters.
    d, same, different = _weights(curve, prior)
    p, where = np.unique(calibrator.probability(d, prior), return_inverse=True)
    positive = np.bincount(where, same)
    mass = np.bincount(where, same + different)
    # the tiny term: a middle on a border belongs above it, whatever the rounding
    middle = np.floor((np.cumsum(mass) - mass / 2) * bins + 1e-9)
    _, starts = np.unique(np.minimum(middle, bins - 1), return_index=True)
    total = np.add.reduceat(mass, starts)
    predicted, observed = (np.add.reduceat(x, starts) / total for x in (mass * p, positive))
    return Reliability(predicted, observed, total)


def _counts(curve: Curve) -> tuple[Floats, Floats, Floats]:
    """List the distances that occur, and how many same and different pairs have each."""
    same, different = np.diff(curve.true_matches), np.diff(curve.false_matches)
    used = same + different > 0
    return curve.thresholds[1:][used], same[used] * 1.0, different[used] * 1.0


def _weights(curve: Curve, prior: float) -> tuple[Floats, Floats, Floats]:
    """Scale these counts so that same pairs add up to the prior, and all to 1."""
    d, same, different = _counts(curve)
    return d, prior * same / curve.positives, (1 - prior) * different / curve.negatives


def _logistic(d: Floats, likely: Floats, unlikely: Floats) -> tuple[float, float] | None:
    """Fit log odds a · d + b to the masses of "same" and "different"; None without a maximum."""
    from scipy.linalg import LinAlgWarning
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    mass = likely + unlikely
    centre = np.average(d, weights=mass)
    scale = np.average(np.abs(d - centre), weights=mass)
    x = np.tile((d - centre) / scale, 2)[:, None]
    weights = np.concatenate([likely, unlikely])
    used = weights > 0
    model = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10, max_iter=1000)
    with warnings.catch_warnings():
        for kind in (ConvergenceWarning, LinAlgWarning):
            warnings.simplefilter("error", kind)
        try:
            model.fit(x[used], np.repeat([1, 0], len(d))[used], weights[used])
        except (ConvergenceWarning, LinAlgWarning):
            return None
    slope = float(model.coef_[0, 0] / scale)
    return slope, float(model.intercept_[0] - slope * centre)


# --- Pairs of which no two share an image, so that each is a piece of evidence of its own.


def disjoint_pairs(
    labels: ArrayLike, *, seed: int
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.bool_]]:
    """Draw pairs that share no image, half of them same, half different."""
    # Same pairs are spread over the classes by size. The other images meet at random; where two of
    # one class meet, one is exchanged with a random pair's. All is a function of the seed.
    # Returns positions `left` and `right`, int32, and `same`, bool, of one shape; same pairs first.
    rng = np.random.default_rng(seed)
    codes = np.unique(np.asarray(labels), return_inverse=True)[1]
    sizes = np.bincount(codes)
    order = rng.permutation(len(codes))
    order = order[np.argsort(codes[order], kind="stable")]  # by class, random within
    whole = _rank(codes[order]) < (sizes - sizes % 2)[codes[order]]
    couples = order[whole].reshape(-1, 2)
    chosen = _share_out(codes[couples[:, 0]], sizes, rng)
    if chosen is None:
        raise DataError(
            "Expected images for 2 pairs that share none, one same and one different. "
            f"Received {len(codes)} images of {len(sizes)} classes: take more."
        )
    positives = couples[chosen]  # (half, 2)
    others = rng.permutation(np.setdiff1d(order, positives))
    negatives = _different_pairs(others, codes, len(chosen), rng)  # (half, 2)
    left, right = np.concatenate([positives, negatives]).T.astype(np.int32)
    return left, right, np.repeat([True, False], len(chosen))


def disjoint_pairs_within(
    labels: NDArray[np.integer], blocks: NDArray[np.integer] | None, *, seed: int
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.bool_]] | None:
    """Draw pairs that share no image in each block; None where no block holds two of both kinds."""
    if blocks is None:
        return disjoint_pairs(labels, seed=seed)
    found = []
    for block in np.unique(blocks):
        rows = np.flatnonzero(blocks == block).astype(np.int32)
        try:
            left, right, same = disjoint_pairs(labels[rows], seed=seed)
        except DataError:  # as few as two images of each of two classes
            continue
        found.append((rows[left], rows[right], same))
    if not found:
        return None
    left, right, same = (np.concatenate(each) for each in zip(*found, strict=True))
    return left, right, same


def _rank(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number the items of each class from 0, in their order."""
    order = np.argsort(codes, kind="stable")
    ranks = np.empty(len(codes), np.int64)
    ranks[order] = np.arange(len(codes)) - np.searchsorted(codes[order], codes[order])
    return ranks


def _share_out(
    kinds: NDArray[np.int64], sizes: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64] | None:
    """Choose same pairs, of these kinds, so that enough images of many classes are left."""
    # More starts than one: rounding may take the last images of a small class.
    starts = rng.permutation(len(kinds))[:8]
    # A different pair holds at most one image of the largest class.
    others = sizes.sum() - sizes.max(initial=0)
    for half in range(min(len(kinds), sizes.sum() // 4, others), 0, -1):
        for start in starts:
            # evenly spaced in the order of the classes: each gives its share
            chosen: NDArray[np.int64] = (np.arange(half) * len(kinds) + start) // half
            spare = sizes - 2 * np.bincount(kinds[chosen], minlength=len(sizes))
            if np.minimum(spare, half).sum() >= 2 * half:
                return chosen
    return None


def _different_pairs(
    images: NDArray[np.int64], codes: NDArray[np.int64], half: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Pair off 2 · half of the images, in their order, each with one of another class."""
    # with more than `half` of one class, two of it would have to meet
    chosen = images[_rank(codes[images]) < half][: 2 * half]
    pairs = chosen.reshape(half, 2)
    kinds = codes[pairs]
    for i in np.flatnonzero(kinds[:, 0] == kinds[:, 1]):
        own = kinds[i, 0]
        if own == kinds[i, 1]:  # not yet exchanged for another's sake
            # there is one: else each pair held one of this class, and this pair two
            j = rng.choice(np.flatnonzero((kinds != own).all(axis=1)))
            for table in (pairs, kinds):
                table[[i, j], 1] = table[[j, i], 1]
    return pairs
