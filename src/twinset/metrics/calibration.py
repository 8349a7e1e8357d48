"""Probabilities from distances, and how far to believe them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twinset.decision import Calibrator
from twinset.metrics.pairs import Curve

Floats = NDArray[np.float64]


def fit_calibrator(curve: Curve, *, evidence: int | None = None) -> Calibrator:
    """Fit a calibrator by logistic regression: the line with the least `cllr`."""
    # Maximises the likelihood of log odds a · d + b without penalty, same pairs weighing as much as
    # different ones together: what comes out is evidence, fit for any prior.
    # Two cases have no such maximum; `Calibrator.note` tells which it was:
    # - No different pair is closer than a same one (or the solver cannot tell): the best slope
    #   would be −∞, and every verdict certain. The labels are then softened as by one more pair of
    #   each answer: of P same pairs each counts as same to (P + 1) / (P + 2), of N different ones
    #   each to 1 / (N + 2). The slope is finite, and the steeper the more pairs there were. Pairs
    #   that share images are less evidence than their number: P and N are `evidence` at most.
    # - Same pairs are no closer than different ones on average, constant distances among them: the
    #   best slope would not be negative. It is set to 0, and every probability is the prior.
    # Platt (1999), Probabilistic Outputs for Support Vector Machines (softened labels); Brümmer, du
    # Preez (2006), Application-Independent Evaluation of Speaker Detection.
    d, same, different = _weights(curve, 0.5)
    # The slope has the sign of the difference of means: the likelihood is concave.
    # Distances of float32 that differ by less are equal: the line would be lost in rounding.
    mean_same, mean_different = (np.average(d, weights=w) for w in (same, different))
    if np.ptp(d) < max(1e-8 * d.max(), 1e-100) or mean_same >= mean_different:
        return Calibrator(0.0, 0.0, "same pairs are no closer than different ones: slope set to 0")
    likely, unlikely, note = same, different, ""
    separated = d[same > 0].max() <= d[different > 0].min()
    line = None if separated else _logistic(d, likely, unlikely)
    if line is None:
        p, n = (min(k, evidence or k) for k in (curve.positives, curve.negatives))
        right, wrong = (p + 1) / (p + 2), 1 / (n + 2)
        likely = same * right + different * wrong
        unlikely = same * (1 - right) + different * (1 - wrong)
        line = _logistic(d, likely, unlikely)
        note = "distances separate same from different pairs: labels softened after Platt (1999)"
    prior_odds = np.log(likely.sum() / unlikely.sum())
    slope, intercept = line or (0.0, prior_odds)
    slope = min(slope, 0.0)  # where the means all but agree, rounding may leave it a hair above
    return Calibrator(slope, float(intercept - prior_odds), note)


# What the model's own calibration is worth beside decisions, in pairs, and where it speaks: at the
# distances that have these probabilities by it.
WORTH, SPREAD = 50, np.linspace(0.05, 0.95, 19)
FOLDS = 10


@dataclass(frozen=True)
class Recalibration:
    """What decided pairs make of a model's calibration and threshold."""

    slope: float
    intercept: float
    threshold: float  # at which the new probability is what the own was at the own threshold
    pairs: int  # decided
    before: float  # mean cost of the decided answers in bits by the own probability
    after: float  # by the new one, fitted without a tenth of the pairs in turn
    wrong_before: int  # answers that contradict the own threshold
    wrong_after: int  # the new one, likewise
    better: bool  # whether bits are fewer by more than their standard error, and no more are wrong


def recalibrate(
    own: Calibrator, threshold: float, distances: ArrayLike, same: ArrayLike
) -> Recalibration | None:
    """Fit P(same | distance) to decided pairs, with a model's own calibration as a prior.

    None where the model's distances say nothing. The prior is 50 more pairs, spread evenly over the
    probabilities of the own line and answered as it expects.

    Pairs may be chosen by their distance in any way: what is fitted is the share of "same" given
    the distance, and how many pairs there are at each distance does not enter it. Pairs that were
    chosen by what is claimed of them, or by their groups, say another share, and do not belong
    here.
    """
    # If S, the choice, depends on d alone, P(same | d, S) = P(same | d) by Bayes' rule, so that the
    # likelihood of the answers given the distances is that of any sample (Little, Rubin 2002,
    # Statistical Analysis with Missing Data: an ignorable design).
    d, y = np.asarray(distances, np.float64), np.asarray(same, bool)
    if not own.slope or not len(d):
        return None
    slope, intercept = _towards(own, d, y)
    left_out = np.empty(len(d))
    for fold in range(min(FOLDS, len(d))):
        part = np.arange(len(d)) % FOLDS == fold
        other = _towards(own, d[~part], y[~part])
        left_out[part] = other[0] * d[part] + other[1]
    costs = [np.logaddexp(0, np.where(y, -llr, llr)) for llr in (own.llr(d), left_out)]
    before, after = (float(cost.mean() / np.log(2)) for cost in costs)
    gains = costs[0] - costs[1]
    error = gains.std(ddof=1) / np.sqrt(len(d)) if len(d) > 1 else np.inf
    moved = (float(own.llr(threshold)) - intercept) / slope if slope else -1.0
    wrong = int(((d <= threshold) != y).sum()), int(((left_out >= own.llr(threshold)) != y).sum())
    better = bool(moved >= 0 and gains.mean() > error and wrong[1] <= wrong[0])
    found = slope, intercept, max(moved, 0.0), len(d), before, after, *wrong
    return Recalibration(*found, better)


def _towards(own: Calibrator, d: Floats, same: NDArray[np.bool_]) -> tuple[float, float]:
    there = np.maximum((np.log(SPREAD / (1 - SPREAD)) - own.intercept) / own.slope, 0)
    likely = own.probability(there) * WORTH / len(SPREAD)
    unlikely = WORTH / len(SPREAD) - likely
    every = np.concatenate([there, d])
    if not np.ptp(every):
        return own.slope, own.intercept
    answers = np.concatenate([likely, same]), np.concatenate([unlikely, ~same])
    line = _logistic(every, *answers)
    # decisions that call the near different and the far the same leave no line to use
    return line if line and line[0] < 0 else (0.0, 0.0)


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
    from scipy.optimize import isotonic_regression

    _, same, different = _weights(curve, 0.5)
    mass = same + different
    p = isotonic_regression(same / mass, weights=mass, increasing=False).x
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


def _weights(curve: Curve, prior: float) -> tuple[Floats, Floats, Floats]:
    # the distances that occur, and the mass of same pairs, which is the prior in all, and of others
    same, different = np.diff(curve.true_matches), np.diff(curve.false_matches)
    used = same + different > 0
    masses = prior * same / curve.positives, (1 - prior) * different / curve.negatives
    return curve.thresholds[1:][used], masses[0][used], masses[1][used]


def _logistic(d: Floats, likely: Floats, unlikely: Floats) -> tuple[float, float] | None:
    """Fit log odds a · d + b to the masses of "same" and "different"; None without a maximum."""
    # By SciPy, as a server that takes decisions is installed without scikit-learn.
    from scipy.optimize import minimize, root
    from scipy.special import expit

    mass = likely + unlikely
    centre = np.average(d, weights=mass)
    scale = np.average(np.abs(d - centre), weights=mass)
    x = np.stack([(d - centre) / scale, np.ones(len(d))])
    mass, likely = mass / mass.sum(), likely / mass.sum()

    def cost(at: Floats) -> tuple[float, Floats]:
        odds = at @ x
        told = mass * np.logaddexp(0, odds) - likely * odds
        return float(told.sum()), x @ (mass * expit(odds) - likely)

    def curvature(at: Floats) -> Floats:
        share = expit(at @ x)
        return np.asarray((x * (mass * share * (1 - share))) @ x.T)

    # The minimum comes near from anywhere; but the cost is flat there, so that half of its digits
    # tell nothing. The root of the gradient has all.
    near = minimize(cost, np.zeros(2), jac=True, hess=curvature, method="trust-exact").x
    found = root(lambda at: cost(at)[1], near, jac=curvature, tol=1e-13)
    at = found.x
    if np.abs(cost(at)[1]).max() > 1e-9:
        return None
    slope = float(at[0] / scale)
    return slope, float(at[1] - slope * centre)
