import json
import math
from dataclasses import asdict
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss

import calibration_oracles as oracles
from strategies import scored_pairs
from twinset.data.split import protocol_split
from twinset.errors import DataError
from twinset.metrics.all_pairs import AllPairs
from twinset.metrics.calibration import (
    Calibrator,
    brier,
    cllr,
    fit_calibrator,
    min_cllr,
    recalibrate,
    reliability,
)
from twinset.metrics.pairs import Curve, curve_of_pairs

CALIBRATORS = st.builds(Calibrator, st.floats(-5, 0), st.floats(-5, 5))
PRIORS = st.floats(0.01, 0.99)


def normal_pairs(count, prior, seed=0):
    """Distances N(0.4, 0.15²) of same and N(1, 0.15²) of different pairs.

    The log-likelihood ratio is ((d − 1)² − (d − 0.4)²) / (2 · 0.15²) = (0.84 − 1.2 d) / 0.045.
    """
    rng = np.random.default_rng(seed)
    same = rng.random(count) < prior
    return rng.normal(np.where(same, 0.4, 1.0), 0.15), same


def fitted(distances, same):
    return fit_calibrator(curve_of_pairs(distances, same))


TRUE_SLOPE, TRUE_INTERCEPT = -1.2 / 0.045, 0.84 / 0.045


# --- the calibrator


@given(st.floats(-50, 0), st.floats(-50, 50), st.floats(0, 10), PRIORS)
def test_probability_is_bayes_rule(slope, intercept, d, prior):
    calibrator = Calibrator(slope, intercept)
    ratio = math.exp(slope * d + intercept)
    expected = prior * ratio / (prior * ratio + 1 - prior)
    assert calibrator.probability(d, prior) == pytest.approx(expected, rel=1e-9)
    assert calibrator.llr(d) == pytest.approx(math.log(ratio), abs=1e-9)


def test_probabilities_by_hand():
    calibrator = Calibrator(-math.log(9), math.log(3))
    # odds 3 at distance 0 and 1/3 at distance 1; prior odds 1/3 at a prior of 1/4
    assert calibrator.probability([[0.0, 1.0]]) == pytest.approx(np.array([[0.75, 0.25]]))
    assert calibrator.probability([0.0, 1.0], 0.25) == pytest.approx(np.array([0.5, 0.1]))
    # far away there is no overflow, and small probabilities keep their digits
    assert Calibrator(-1.0, 0.0).probability([1e4, 700.0, 0.0]) == pytest.approx(
        np.array([0.0, math.exp(-700), 0.5]), rel=1e-9
    )


def test_a_calibrator_goes_through_json():
    calibrator = fitted(*normal_pairs(200, 0.5))
    assert Calibrator(**json.loads(json.dumps(asdict(calibrator)))) == calibrator


@pytest.mark.parametrize(
    ("slope", "intercept"), [(1.0, 0.0), (math.nan, 0.0), (-math.inf, 0.0), (-1.0, math.inf)]
)
def test_what_is_no_calibrator(slope, intercept):
    with pytest.raises(DataError, match=f"slope of at most 0 .* Received {slope} and {intercept}"):
        Calibrator(slope, intercept)


def test_distances_and_priors_are_checked():
    calibrator = Calibrator(-1.0, 0.0)
    curve = curve_of_pairs([1.0, 2.0], [1, 0])
    with pytest.raises(DataError, match="finite distances. Received nan"):
        calibrator.llr([0.0, math.nan])
    with pytest.raises(DataError, match="finite distances. Received inf"):
        calibrator.probability(math.inf)
    for prior in (0.0, 1.0, -0.1, math.nan):
        with pytest.raises(DataError, match=f"prior between 0 and 1. Received {prior}"):
            calibrator.probability(1.0, prior)
        with pytest.raises(DataError, match=f"prior between 0 and 1. Received {prior}"):
            brier(curve, calibrator, prior)
        with pytest.raises(DataError, match=f"prior between 0 and 1. Received {prior}"):
            reliability(curve, calibrator, prior=prior)


# --- its fit


@settings(deadline=None)
@given(scored_pairs())
def test_the_fit_is_where_the_likelihood_is_flat(pairs):
    d, y = np.array(pairs[0]), np.array(pairs[1])
    calibrator = fitted(*pairs)
    if "slope set to 0" in calibrator.note:
        # such as differ by less are equal
        assert d[y == 1].mean() >= d[y == 0].mean() - max(1e-8 * d.max(), 1e-100)
        assert (calibrator.slope, calibrator.intercept) == (0, 0)
        return
    truth = y.astype(float)
    if calibrator.note:
        assert "Platt" in calibrator.note
        truth = np.where(y == 1, (y.sum() + 1) / (y.sum() + 2), 1 / ((1 - y).sum() + 2))
    else:
        assert d[y == 1].max() > d[y == 0].min()
    # both kinds weigh one half
    mass = np.where(y == 1, 0.5 / y.sum(), 0.5 / (1 - y).sum())
    missed = mass * (truth - calibrator.probability(d, (mass * truth).sum()))
    assert missed.sum() == pytest.approx(0, abs=1e-6)
    assert (missed * d).sum() == pytest.approx(0, abs=1e-6 * max(d.max(), 1))


@pytest.mark.parametrize("prior", [0.5, 0.1])
def test_the_fit_agrees_with_newton_and_with_scikit_learn(prior):
    d, same = normal_pairs(400, prior, seed=1)
    d[:40] = d[:40].round(1)  # some ties
    calibrator = fitted(d, same)
    # as if there were as many of either kind
    times = np.where(same, (~same).sum(), same.sum()) // math.gcd(same.sum(), (~same).sum())
    a, b = oracles.logistic(np.repeat(d, times).tolist(), np.repeat(same, times).tolist())
    assert calibrator.slope == pytest.approx(a, rel=1e-6)
    assert calibrator.intercept == pytest.approx(b, rel=1e-6)
    model = LogisticRegression(
        C=np.inf, solver="lbfgs", tol=1e-10, max_iter=1000, class_weight="balanced"
    )
    model.fit(d[:, None], same)
    assert calibrator.slope == pytest.approx(model.coef_[0, 0], rel=1e-4)
    assert calibrator.intercept == pytest.approx(model.intercept_[0], rel=1e-4)
    assert calibrator.note == ""


@pytest.mark.parametrize("prior", [0.5, 0.1, 0.9])
def test_the_truth_is_found_whatever_the_samples_prior(prior):
    calibrator = fitted(*normal_pairs(200_000, prior))
    assert calibrator.slope == pytest.approx(TRUE_SLOPE, rel=0.03)
    assert calibrator.intercept == pytest.approx(TRUE_INTERCEPT, rel=0.03)


@settings(deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.floats(1e-90, 5))
def test_perfect_separation_is_softened(positives, negatives, gap):
    same = [1] * positives + [0] * negatives
    calibrator = fitted([0.0] * positives + [gap] * negatives, same)
    # Two distances: the fit goes through both softened truths, whatever the gap.
    up, down = (positives + 1) / (positives + 2), 1 / (negatives + 2)
    prior = (up + down) / 2
    assert calibrator.probability([0.0, gap], prior) == pytest.approx(np.array([up, down]))
    assert "Platt" in calibrator.note
    # pairs that share images soften as the few that do not
    many = curve_of_pairs([0.0] * 50 * positives + [gap] * 50 * negatives, np.repeat(same, 50))
    if positives == negatives:
        softened = fit_calibrator(many, evidence=positives)
        assert softened.probability([0.0, gap], prior) == pytest.approx(np.array([up, down]))


def test_touching_kinds_are_separated_too():
    # no threshold parts 2.0 from 2.0, and yet the likelihood rises with the slope for ever
    calibrator = fitted([1.0, 2.0, 2.0, 3.0], [1, 1, 0, 0])
    assert "Platt" in calibrator.note
    assert calibrator.slope < 0
    a, b = oracles.logistic([1.0, 2.0, 2.0, 3.0], [3 / 4, 3 / 4, 1 / 4, 1 / 4])
    assert (calibrator.slope, calibrator.intercept) == pytest.approx((a, b))


def test_nearly_separated_at_an_absurd_scale():
    """The solver gives up where the Hessian is singular; the softened truth has a maximum."""
    distances = [1e-112, 1e-63, 1e64, 1e-108, 1e19, 1e39, 1e-70, 1e-48, 1e28, 1e57, 1e6]
    calibrator = fitted(distances, [0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0])
    assert calibrator.slope < 0
    assert "Platt" in calibrator.note


@pytest.mark.parametrize(
    ("distances", "same"),
    [
        ([0.5] * 7, [1, 1, 1, 0, 0, 0, 0]),
        ([0.1] * 10, [1, 1, 1, 0, 0, 0, 0, 0, 0, 0]),
        ([3.0, 4.0, 1.0, 2.0], [1, 1, 0, 0]),
        ([1.0, 3.0, 2.0], [1, 1, 0]),
        ([1.0, 2.0, 3.0, 1.5], [0, 1, 1, 0]),
        ([0.0, 5e-324], [1, 0]),
    ],
)
def test_distances_that_say_nothing_give_the_prior(distances, same):
    calibrator = fitted(distances, same)
    assert (calibrator.slope, calibrator.intercept) == (0, 0)
    assert "slope set to 0" in calibrator.note
    assert calibrator.probability(distances, 0.3) == pytest.approx(0.3)
    assert cllr(curve_of_pairs(distances, same), calibrator) == pytest.approx(1)


def test_random_distances_calibrate_to_a_cllr_of_one():
    rng = np.random.default_rng(0)
    calibrator = fitted(rng.random(20_000), rng.random(20_000) < 0.1)
    fresh = curve_of_pairs(rng.random(20_000), rng.random(20_000) < 0.1)
    assert cllr(fresh, calibrator) == pytest.approx(1, abs=2e-3)
    assert min_cllr(fresh) == pytest.approx(1, abs=0.02)


def test_what_cannot_be_fitted():
    with pytest.raises(DataError, match="pairs of both kinds"):
        fitted([1.0, 2.0], [1, 1])
    with pytest.raises(DataError, match="finite distances. Received nan at position 0"):
        fitted([math.nan, 2.0], [1, 0])


# --- scores against slow oracles


@settings(deadline=None)
@given(scored_pairs(), CALIBRATORS, PRIORS)
def test_scores_agree_with_the_loops(pairs, calibrator, prior):
    distances, same = pairs
    curve = curve_of_pairs(distances, same)
    llrs = [calibrator.slope * d + calibrator.intercept for d in distances]
    assert cllr(curve, calibrator) == pytest.approx(oracles.cllr(llrs, same))
    assert min_cllr(curve) == pytest.approx(oracles.min_cllr(distances, same), abs=1e-12)
    p = calibrator.probability(distances, prior).tolist()
    assert brier(curve, calibrator, prior) == pytest.approx(oracles.brier(p, same, prior))


@given(
    scored_pairs(),
    st.sampled_from([Calibrator(-1.0, 2.0), Calibrator(-0.25, 0.0), Calibrator(0.0, 1.0)]),
    st.integers(1, 20),
    st.sampled_from(["1/2", "1/10", "3/4"]),
)
def test_reliability_agrees_with_the_loop(pairs, calibrator, bins, prior):
    distances, same = pairs
    table = reliability(curve_of_pairs(distances, same), calibrator, bins, float(Fraction(prior)))
    p = calibrator.probability(distances, float(Fraction(prior))).tolist()
    expected = oracles.reliability(p, same, bins, Fraction(prior))
    got = np.column_stack([table.predicted, table.observed, table.mass])
    assert got == pytest.approx(np.array(expected), rel=1e-9, abs=1e-12)


@settings(deadline=None)
@given(scored_pairs(), st.integers(0, 2**32 - 1))
def test_scores_agree_with_scikit_learn(pairs, seed):
    d, y = np.array(pairs[0]), np.array(pairs[1])
    curve = curve_of_pairs(d, y)
    rng = np.random.default_rng(seed)
    calibrator = Calibrator(-rng.exponential(), rng.normal())
    share = y.mean()  # at the sample's own prior, all pairs weigh the same
    p = calibrator.probability(d, share)
    assert brier(curve, calibrator, share) == pytest.approx(brier_score_loss(y, p))
    half = np.where(y == 1, 0.5 / y.sum(), 0.5 / (1 - y).sum())
    p = calibrator.probability(d)
    inside = (p > 1e-12) & (p < 1 - 1e-12)  # scikit-learn clips outside
    if inside.all():
        bits = log_loss(y, p, sample_weight=half) / math.log(2)
        assert cllr(curve, calibrator) == pytest.approx(bits)
    ranks = np.unique(d, return_inverse=True)[1]  # scikit-learn takes 0 and 5e-324 for a tie
    pooled = IsotonicRegression(increasing=False).fit(ranks, y, half).predict(ranks)
    chance = np.where(y == 1, pooled, 1 - pooled)
    assert min_cllr(curve) == pytest.approx(-(half * np.log2(chance)).sum(), abs=1e-9)


# --- scores by hand


def test_scores_by_hand():
    # llr = ln 3 at distance 0 and −ln 3 at distance 1, so p = 3/4 and 1/4
    calibrator = Calibrator(-math.log(9), math.log(3))
    right = curve_of_pairs([0.0, 0.0, 1.0, 1.0], [1, 1, 0, 0])
    assert cllr(right, calibrator) == pytest.approx(math.log2(4 / 3))
    assert brier(right, calibrator) == pytest.approx(1 / 16)
    mixed = curve_of_pairs([0.0, 1.0, 0.0, 1.0], [1, 1, 0, 0])
    # ½ [½ log₂ 4/3 + ½ log₂ 4] · 2
    assert cllr(mixed, calibrator) == pytest.approx((math.log2(4 / 3) + 2) / 2)
    assert brier(mixed, calibrator) == pytest.approx((1 / 16 + 9 / 16) / 2)
    # three of four same pairs near, one of four different ones: the calibrator is exact
    exact = curve_of_pairs([0.0] * 4 + [1.0] * 4, [1, 1, 1, 0, 1, 0, 0, 0])
    entropy = -(0.75 * math.log2(0.75) + 0.25 * math.log2(0.25))
    assert cllr(exact, calibrator) == pytest.approx(entropy)
    assert min_cllr(exact) == pytest.approx(entropy)
    known = fitted([0.0] * 4 + [1.0] * 4, [1, 1, 1, 0, 1, 0, 0, 0])
    assert (known.slope, known.intercept) == pytest.approx((-math.log(9), math.log(3)))


@given(scored_pairs())
def test_no_evidence_costs_one_bit_and_a_quarter(pairs):
    curve = curve_of_pairs(*pairs)
    assert cllr(curve, Calibrator(0.0, 0.0)) == pytest.approx(1)
    assert brier(curve, Calibrator(0.0, 0.0)) == pytest.approx(0.25)
    assert brier(curve, Calibrator(0.0, 0.0), 0.1) == pytest.approx(0.09)


def test_perfect_evidence_costs_nothing():
    curve = curve_of_pairs([0.0, 0.1, 2.0, 2.1, 2.2], [1, 1, 0, 0, 0])
    assert cllr(curve, Calibrator(-1e4, 1e4)) == 0
    assert brier(curve, Calibrator(-1e4, 1e4)) == 0
    assert min_cllr(curve) == 0
    assert math.copysign(1, min_cllr(curve)) == 1  # not −0.0
    # and wrong evidence costs what its certainty was worth
    assert cllr(curve_of_pairs([0.0, 2.0], [0, 1]), Calibrator(-1e4, 1e4)) > 1e4


def test_pooling_by_hand():
    assert min_cllr(curve_of_pairs([1, 2, 3, 4], [1, 0, 1, 0])) == pytest.approx(0.5)
    assert min_cllr(curve_of_pairs([1, 1, 1, 1], [1, 0, 1, 0])) == 1
    assert min_cllr(curve_of_pairs([1, 2, 3, 4], [0, 0, 1, 1])) == pytest.approx(1)
    # masses ¼ ¼ (same), ½ (different), and nothing to pool; then pooled with the farther one
    assert min_cllr(curve_of_pairs([1, 2, 3], [1, 1, 0])) == 0
    # distance 1: same. Distances 2, 3: different ½ before same ¼, pooled to p = ⅓
    expected = -(1 / 4 * math.log2(1 / 3) + 1 / 2 * math.log2(2 / 3))
    assert min_cllr(curve_of_pairs([1, 2, 3], [1, 0, 1])) == pytest.approx(expected)


def test_reliability_by_hand():
    curve = curve_of_pairs([0.0] * 4 + [1.0] * 4, [1, 1, 1, 0, 1, 0, 0, 0])
    table = reliability(curve, Calibrator(-math.log(9), math.log(3)))
    assert table.predicted == pytest.approx(np.array([0.25, 0.75]))
    assert table.observed == pytest.approx(np.array([0.25, 0.75]))
    assert table.mass == pytest.approx(np.array([0.5, 0.5]))
    one = reliability(curve, Calibrator(0.0, 0.0))
    assert (one.predicted, one.observed, one.mass) == pytest.approx((0.5, 0.5, 1.0))


def test_a_middle_on_a_border_belongs_above():
    # six sixths in four bins: the middles 1/12, 3/12, … of which 3/12 and 9/12 are borders; in
    # floats 9/12 comes out as 0.7499999999999999
    distances, same = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5], [1, 0, 1, 0, 1, 0]
    calibrator = Calibrator(-1.0, 0.0)
    table = reliability(curve_of_pairs(distances, same), calibrator, bins=4)
    assert table.mass == pytest.approx(np.array([1, 2, 1, 2]) / 6)
    p = calibrator.probability(distances).tolist()
    expected = oracles.reliability(p, same, 4, Fraction(1, 2))
    assert table.observed == pytest.approx(np.array([row[1] for row in expected]))


def test_the_last_speck_of_mass_gets_no_bin_of_its_own():
    curve = Curve(np.arange(4.0), np.array([0, 1, 10**12, 10**12]), np.array([0, 0, 0, 10**12]))
    table = reliability(curve, Calibrator(-1.0, 2.0), bins=2)
    assert table.mass == pytest.approx(np.array([0.5, 0.5]))


# --- invariances


@settings(deadline=None)
@given(scored_pairs())
def test_monotone_maps_leave_min_cllr(pairs):
    distances, same = np.array(pairs[0]), np.array(pairs[1])
    # ranks keep order and ties, where exp() and the like would round some apart ones together
    ranks = np.unique(distances, return_inverse=True)[1] ** 2.0
    assert min_cllr(curve_of_pairs(ranks, same)) == min_cllr(curve_of_pairs(distances, same))
    assert min_cllr(curve_of_pairs(distances[::-1], same[::-1])) == min_cllr(curve_of_pairs(*pairs))


@settings(deadline=None)
@given(scored_pairs(), CALIBRATORS)
def test_nothing_monotone_beats_min_cllr(pairs, calibrator):
    curve = curve_of_pairs(*pairs)
    least = min_cllr(curve)
    assert 0 <= least <= 1 + 1e-12
    assert cllr(curve, calibrator) >= least - 1e-12
    assert cllr(curve, fitted(*pairs)) >= least - 1e-12


@settings(deadline=None)
@given(scored_pairs(), CALIBRATORS)
def test_more_pairs_of_a_kind_at_the_same_distances_change_no_score(pairs, calibrator):
    """Scores are at a stated prior, not at the sample's."""
    distances, same = np.array(pairs[0]), np.array(pairs[1])
    repeated = np.where(same == 1, 3, 1)
    curve = curve_of_pairs(*pairs)
    more = curve_of_pairs(np.repeat(distances, repeated), np.repeat(same, repeated))
    assert cllr(more, calibrator) == pytest.approx(cllr(curve, calibrator))
    assert brier(more, calibrator) == pytest.approx(brier(curve, calibrator))
    assert min_cllr(more) == pytest.approx(min_cllr(curve), abs=1e-12)


@given(scored_pairs(), CALIBRATORS, st.integers(1, 20), PRIORS)
def test_reliability_adds_up(pairs, calibrator, bins, prior):
    table = reliability(curve_of_pairs(*pairs), calibrator, bins, prior)
    assert 1 <= len(table.mass) <= bins
    assert len(table.predicted) == len(table.observed) == len(table.mass)
    assert table.mass.sum() == pytest.approx(1)
    assert (table.mass * table.observed).sum() == pytest.approx(prior)
    assert (np.diff(table.predicted) >= 0).all()
    assert ((table.observed >= 0) & (table.observed <= 1 + 1e-12)).all()


# --- many pairs, and histograms of them


@pytest.mark.parametrize("prior", [0.5, 0.05])
def test_the_true_calibrator_is_reliable(prior):
    curve = curve_of_pairs(*normal_pairs(400_000, 0.3))
    truth = Calibrator(TRUE_SLOPE, TRUE_INTERCEPT)
    table = reliability(curve, truth, prior=prior)
    assert len(table.mass) == 15
    assert table.mass == pytest.approx(1 / 15, rel=1e-3)
    assert table.observed == pytest.approx(table.predicted, abs=0.005)
    assert cllr(curve, truth) == pytest.approx(min_cllr(curve), abs=1e-3)
    known = fitted(*normal_pairs(2_500, 0.5, seed=1))
    assert cllr(curve, truth) < cllr(curve, known) < cllr(curve, truth) + 2e-3


def in_bins(curve, count):
    """The same counts at `count` equal steps only."""
    edges = np.linspace(curve.thresholds[0], curve.thresholds[-1], count + 1)
    at = np.searchsorted(curve.thresholds, edges, side="right") - 1
    return Curve(edges, curve.true_matches[at], curve.false_matches[at])


@pytest.mark.parametrize("count", [64, 1024, 65_536])
def test_a_histogram_is_off_by_less_than_its_bins(count):
    curve = curve_of_pairs(*normal_pairs(50_000, 0.3))
    binned = in_bins(curve, count)
    assert (binned.positives, binned.negatives) == (curve.positives, curve.negatives)
    calibrator = Calibrator(TRUE_SLOPE, TRUE_INTERCEPT)
    width = binned.thresholds[1] - binned.thresholds[0]
    slack = -calibrator.slope * width  # of each llr; d/dllr of ln(1 + exp(llr)) is at most 1
    difference = cllr(binned, calibrator) - cllr(curve, calibrator)
    assert 0 < abs(difference) <= slack / math.log(2)
    # of each p: its slope is at most ¼
    assert abs(brier(binned, calibrator) - brier(curve, calibrator)) <= 2 * slack / 4
    # bins mix pairs: what they can tell is less, and never more
    assert 0 <= min_cllr(binned) - min_cllr(curve) < 0.003
    assert min_cllr(binned) <= cllr(binned, calibrator)


def test_empty_bins_change_nothing():
    pairs = [0.1, 0.4, 0.4, 0.9], [1, 1, 0, 0]
    curve = curve_of_pairs(*pairs)
    wide = Curve(
        *(
            np.repeat(column, 3)
            for column in (curve.thresholds, curve.true_matches, curve.false_matches)
        )
    )
    calibrator = Calibrator(-2.0, 1.0)
    assert cllr(wide, calibrator) == cllr(curve, calibrator)
    assert min_cllr(wide) == min_cllr(curve)
    assert brier(wide, calibrator) == brier(curve, calibrator)
    assert (
        reliability(wide, calibrator).mass.tolist() == reliability(curve, calibrator).mass.tolist()
    )


# --- real pixels


def test_raw_pixels_are_calibrated_by_the_protocol(fashion_mnist):
    """Fitted on all calibration pairs, tested on all test pairs: little is lost."""
    train, test = fashion_mnist
    calibration = train.subset(protocol_split(train.labels)["calibration"])
    measured = []
    for data in (calibration, test):
        x = data.images.reshape(len(data), -1).astype(np.float32)
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        measured.append(AllPairs(x, data.labels).curve())
    calibrator = fit_calibrator(measured[0])
    assert calibrator.note == ""
    assert -12 < calibrator.slope < -4
    fresh = measured[1]
    least, reached = min_cllr(fresh), cllr(fresh, calibrator)
    assert 0.7 < least < reached < least + 0.03
    # raw pixels bend a little: a straight line is off by up to 8 points in a fifth of the pairs
    table = reliability(fresh, calibrator, bins=5)
    assert table.observed == pytest.approx(table.predicted, abs=0.1)


# --- moved by decisions


OWN = Calibrator(-10.0, 5.0)  # even odds at 0.5


def answered(count, slope, intercept, seed=0, low=0.0, high=1.0):
    """Draw distances evenly, and answers by a line of log odds."""
    rng = np.random.default_rng(seed)
    d = rng.uniform(low, high, count)
    return d, rng.random(count) < 1 / (1 + np.exp(-slope * d - intercept))


def test_the_new_line_has_the_least_cost_beside_fifty_pairs_of_the_own():
    d, same = answered(40, -8.0, 2.0)
    found = recalibrate(OWN, 0.5, d, same)
    p = np.linspace(0.05, 0.95, 19)
    at = 0.5 - np.log(p / (1 - p)) / 10

    def cost(line):
        own, new = (line[0] * x + line[1] for x in (at, d))
        prior = (p * np.logaddexp(0, -own) + (1 - p) * np.logaddexp(0, own)).sum() * 50 / 19
        return prior + np.logaddexp(0, np.where(same, -new, new)).sum()

    best = minimize(cost, [-10, 5], tol=1e-12)
    assert [found.slope, found.intercept] == pytest.approx(best.x, rel=1e-4)
    assert found.slope * found.threshold + found.intercept == pytest.approx(0, abs=1e-9)


def test_ten_decisions_do_not_overturn_a_model():
    d, _ = answered(10, -10.0, 5.0, low=0.4, high=0.6)
    found = recalibrate(OWN, 0.5, d, np.zeros(10, bool))  # whatever is near is called different
    assert 0.35 < found.threshold < 0.5
    few = recalibrate(OWN, 0.5, [0.1] * 10, [False] * 10)
    assert few.slope <= 0


def test_many_decisions_do():
    # the truth is shifted: at 0.5 one pair in a hundred is the same
    d, same = answered(4000, -10.0, 0.5)
    found = recalibrate(OWN, 0.5, d, same)
    assert found.better
    assert found.after < found.before
    assert found.wrong_after < found.wrong_before == ((d <= 0.5) != same).sum()
    assert found.threshold == pytest.approx(0.05, abs=0.03)


@pytest.mark.parametrize("span", [(0.0, 1.0), (0.2, 0.6), (0.0, 0.4)])
def test_pairs_may_be_chosen_by_their_distance(span):
    d, same = answered(20_000, -10.0, 3.0, low=span[0], high=span[1])
    found = recalibrate(OWN, 0.5, d, same)
    assert (found.slope, found.intercept) == pytest.approx((-10, 3), rel=0.1)


def test_a_model_that_is_right_stays_or_hardly_moves():
    better, moved = 0, []
    for seed in range(20):
        found = recalibrate(OWN, 0.5, *answered(60, -10.0, 5.0, seed, 0.3, 0.7))
        better += found.better
        moved.append(abs(found.threshold - 0.5))
    assert better <= 6  # one in six by chance where the gain is symmetric about 0
    assert max(moved) < 0.06


def test_where_decisions_say_nothing_or_the_reverse():
    assert recalibrate(Calibrator(0.0, 0.0), 0.5, [0.1], [True]) is None
    assert recalibrate(OWN, 0.5, [], []) is None
    d, same = answered(2000, 20.0, -10.0)  # the far are called the same
    found = recalibrate(OWN, 0.5, d, same)
    assert (found.better, found.slope) == (False, 0.0)
    one = recalibrate(OWN, 0.5, [0.5], [True])
    assert not one.better
