"""The band around the ROC curve: the intervals of single points, and their coverage."""

import math

import numpy as np
import pytest
from scipy import stats

from twinset.metrics.all_pairs import AllPairs
from twinset.metrics.intervals import band_thresholds, bands, tpr_at
from twinset.metrics.pairs import curve_of_pairs, tpr_at_fpr

# Three classes on a line; distances of two images are |N(Δ, √2)|, so the truth is known exactly.
CENTRES, SIZES = np.array([0.0, 2.5, 4.0]), np.array([60, 50, 40])
LABELS = np.repeat(np.arange(3), SIZES)
WATCHED = (0.01, 0.03, 0.1, 0.3, 0.6)


def _walk(rng):
    return AllPairs(rng.normal(CENTRES[LABELS])[:, None], LABELS)


def _true_roc():
    grid = np.linspace(0, 12, 60_001)

    def share(gap):
        return stats.norm.cdf(grid, gap, math.sqrt(2)) - stats.norm.cdf(-grid, gap, math.sqrt(2))

    couples = [(a, b) for a in range(3) for b in range(a + 1, 3)]
    weights = [SIZES[a] * SIZES[b] for a, b in couples]
    rates = np.average([share(CENTRES[b] - CENTRES[a]) for a, b in couples], 0, weights)
    return rates, share(0.0)


def _band(walk):
    curve = walk.curve()
    return bands(curve, walk.per_image(band_thresholds(curve)))


def test_each_point_is_the_interval_of_that_point_alone():
    walk = _walk(np.random.default_rng(0))
    curve = walk.curve()
    found = _band(walk)
    assert 20 < len(found.fmr) <= 40
    assert (np.diff(found.fmr) > 0).all()
    assert found.fmr[0] * curve.negatives <= 30 < found.fmr[1] * curve.negatives
    for k in (0, len(found.fmr) // 2, -2):
        rates = tpr_at_fpr(curve, float(found.fmr[k]))
        assert rates.fmr == found.fmr[k]
        alone = tpr_at(curve, walk.per_image([rates.threshold]), 0).interval()
        assert (found.tpr[k], found.low[k], found.high[k]) == (alone.value, alone.low, alone.high)
        assert found.tpr[k] == pytest.approx(1 - rates.fnmr)
    assert (found.fmr[-1], found.tpr[-1], found.low[-1], found.high[-1]) == (1, 1, 1, 1)
    assert (found.low <= found.tpr).all()
    assert (found.tpr <= found.high).all()


def test_the_band_may_start_after_other_thresholds():
    walk = _walk(np.random.default_rng(1))
    curve = walk.curve()
    counts = walk.per_image([0.7, 2.0, *band_thresholds(curve)])
    found, alone = bands(curve, counts, 2), _band(walk)
    for name in ("fmr", "tpr", "low", "high"):
        np.testing.assert_array_equal(getattr(found, name), getattr(alone, name))


def test_pointwise_coverage_of_the_truth():
    """200 repetitions: a coverage of 95% is seen with a standard deviation of 1.5 points."""
    rng = np.random.default_rng(22)
    true_fmr, true_tpr = _true_roc()
    covered = np.zeros(len(WATCHED))
    for _ in range(200):
        found = _band(_walk(rng))
        for w, fmr in enumerate(WATCHED):
            k = int(np.argmin(np.abs(np.log(found.fmr / fmr))))
            truth = np.interp(found.fmr[k], true_fmr, true_tpr)
            covered[w] += found.low[k] <= truth <= found.high[k]
    assert (covered / 200 >= 0.915).all(), covered / 200
    assert (covered / 200 <= 0.985).all(), covered / 200


def test_few_negatives_and_ties_give_few_points():
    few = curve_of_pairs([1.0, 2.0, 3.0], [1, 0, 0])
    assert band_thresholds(few) == [3.0], "2 negatives never make 30 errors: all of them"
    tied = curve_of_pairs([1.0] * 50 + [2.0] * 50, [1, 0] * 50)
    assert band_thresholds(tied) == [1.0, 2.0]
    walk = AllPairs(np.ones((6, 2)), [0, 0, 0, 1, 1, 1])
    found = _band(walk)
    assert (found.fmr.tolist(), found.tpr.tolist(), found.low.tolist()) == ([1], [1], [1])
