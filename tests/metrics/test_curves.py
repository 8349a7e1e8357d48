import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

import oracles
from strategies import scored_pairs
from twinset.errors import DataError
from twinset.metrics.pairs import (
    auc,
    curve_of_pairs,
    eer,
    precision_at_prior,
    rates_at,
    tpr_at_fpr,
)


@given(scored_pairs())
def test_counts_are_those_of_each_threshold(pairs):
    d, same = np.array(pairs[0]), np.array(pairs[1], bool)
    curve = curve_of_pairs(d, same)
    for i, threshold in enumerate(curve.thresholds):
        assert curve.true_matches[i] == (same & (d <= threshold)).sum()
        assert curve.false_matches[i] == (~same & (d <= threshold)).sum()
    assert curve.true_matches[0] == curve.false_matches[0] == 0
    assert (curve.positives, curve.negatives) == (same.sum(), (~same).sum())


@given(scored_pairs())
def test_the_curve_is_scikit_learns(pairs):
    d, same = np.array(pairs[0]), np.array(pairs[1], bool)
    curve = curve_of_pairs(d, same)
    fpr, tpr, _ = roc_curve(same, -d, drop_intermediate=False)
    np.testing.assert_allclose(curve.fmr, fpr)
    np.testing.assert_allclose(1 - curve.fnmr, tpr)


@given(scored_pairs(), st.floats(-1, 11))
def test_rates_at_any_threshold(pairs, threshold):
    d, same = np.array(pairs[0]), np.array(pairs[1], bool)
    rates = rates_at(curve_of_pairs(d, same), threshold)
    assert rates.false_matches == (~same & (d <= threshold)).sum()
    assert rates.false_non_matches == (same & (d > threshold)).sum()
    assert rates.accuracy == pytest.approx(oracles.accuracy(d, same, threshold))
    assert rates.balanced_accuracy == pytest.approx(1 - (rates.fmr + rates.fnmr) / 2)


@given(scored_pairs(), st.floats(0, 1))
def test_tpr_at_fpr_is_attained_and_the_largest(pairs, fpr):
    d, same = np.array(pairs[0]), np.array(pairs[1], bool)
    curve = curve_of_pairs(d, same)
    rates = tpr_at_fpr(curve, fpr)
    assert rates.fmr <= fpr
    again = rates_at(curve, rates.threshold)
    assert (again.fmr, again.fnmr) == (rates.fmr, rates.fnmr)
    allowed = curve.fmr <= fpr
    assert 1 - rates.fnmr == pytest.approx((1 - curve.fnmr)[allowed].max())


@given(scored_pairs())
def test_the_eer_lies_on_the_curve_between_its_bounds(pairs):
    d, same = np.array(pairs[0]), np.array(pairs[1], bool)
    curve = curve_of_pairs(d, same)
    equal = eer(curve)
    worst = np.maximum(curve.fmr, curve.fnmr)
    best = np.minimum(curve.fmr, curve.fnmr)
    assert best.max() - 1e-12 <= equal <= worst.min() + 1e-12
    # a curve and its mirror image (distances turned round) have complementary EERs
    assert eer(curve_of_pairs(-d, same)) == pytest.approx(1 - equal)


def test_eer_where_two_thresholds_tie():
    """0.4167 and 0.5833 are equally near to equal rates: the line between them says 0.5."""
    similarity, same = np.array([0.13, 0.26, 0.08, 0.19, 0.34]), [0, 0, 1, 1, 1]
    assert eer(curve_of_pairs(-similarity, same)) == pytest.approx(0.5)


def test_constant_scores_say_nothing():
    curve = curve_of_pairs([2.0] * 6, [1, 0, 1, 0, 0, 0])
    assert auc(curve) == 0.5
    assert eer(curve) == 0.5
    assert tpr_at_fpr(curve, 0.5).fnmr == 1


def test_precision_by_hand():
    # TPR 0.8, FMR 0.1: at prior 0.1, 0.08 right of 0.08 + 0.09 matches
    d = [0] * 8 + [9] * 2 + [0] * 1 + [9] * 9
    rates = rates_at(curve_of_pairs(np.array(d, float), [1] * 10 + [0] * 10), 1.0)
    assert precision_at_prior(rates, 0.1) == pytest.approx(0.08 / 0.17)
    assert precision_at_prior(rates, 0.5) == pytest.approx(0.8 / 0.9)
    nothing = rates_at(curve_of_pairs(np.array(d, float), [1] * 10 + [0] * 10), -1.0)
    assert math.isnan(precision_at_prior(nothing, 0.1))


def test_few_errors_are_marked():
    d = np.concatenate([np.zeros(100), np.ones(100)])
    for wrong, enough in ((29, False), (30, True)):
        same = np.concatenate([np.ones(100, bool), np.zeros(100, bool)])
        same[:wrong] = False
        same[100 : 100 + wrong] = True
        assert rates_at(curve_of_pairs(d, same), 0.5).enough_errors is enough


def test_arguments_out_of_range():
    curve = curve_of_pairs([1.0, 2.0], [1, 0])
    with pytest.raises(DataError, match=r"a false match rate from 0 to 1. Received 1.5"):
        tpr_at_fpr(curve, 1.5)
    with pytest.raises(DataError, match="Expected a number as threshold. Received NaN"):
        rates_at(curve, float("nan"))
    for prior in (0, 1):
        with pytest.raises(DataError, match=f"a prior between 0 and 1. Received {prior}"):
            precision_at_prior(rates_at(curve, 1.0), prior)
