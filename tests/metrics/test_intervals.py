"""The intervals must be honest: shown by repeating a test set whose truth is known."""

import math

import numpy as np
import pytest
from scipy import stats

from twinset.errors import DataError
from twinset.metrics.all_pairs import AllPairs
from twinset.metrics.intervals import (
    Estimate,
    auc_estimate,
    difference,
    eer_at,
    eer_threshold,
    fmr_estimate,
    fnmr_estimate,
    share_interval,
    t_interval,
    tpr_at,
)
from twinset.metrics.pairs import rates_at, tpr_at_fpr

# Three classes on a line; distances of two images are |N(Δ, √2)|, so the truth is known exactly.
CENTRES, SIZES, THRESHOLD = np.array([0.0, 2.5, 4.0]), np.array([60, 50, 40]), 1.2
LABELS = np.repeat(np.arange(3), SIZES)


def _truth():
    grid = np.linspace(0, 12, 60_001)

    def share(gap):
        return stats.norm.cdf(grid, gap, math.sqrt(2)) - stats.norm.cdf(-grid, gap, math.sqrt(2))

    tpr = share(0.0)
    weights, fmr = 0, 0
    for a in range(3):
        for b in range(a + 1, 3):
            fmr = fmr + SIZES[a] * SIZES[b] * share(CENTRES[b] - CENTRES[a])
            weights += SIZES[a] * SIZES[b]
    fmr = fmr / weights
    at = np.searchsorted(grid, THRESHOLD)
    return {
        "FMR": fmr[at],
        "FNMR": 1 - tpr[at],
        "AUC": np.trapezoid(tpr, fmr),
        "EER": fmr[np.argmin(np.abs(fmr - (1 - tpr)))],
        "TPR at FPR 10%": tpr[np.searchsorted(fmr, 0.1)],
    }


def _estimates(rng):
    walk = AllPairs(rng.normal(CENTRES[LABELS])[:, None], LABELS)
    curve = walk.curve()
    thresholds = [THRESHOLD, eer_threshold(curve), tpr_at_fpr(curve, 0.1).threshold]
    counts = walk.per_image(thresholds)
    return {
        "FMR": fmr_estimate(counts, 0),
        "FNMR": fnmr_estimate(counts, 0),
        "AUC": auc_estimate(walk),
        "EER": eer_at(curve, counts, 1),
        "TPR at FPR 10%": tpr_at(curve, counts, 2),
    }


@pytest.fixture(scope="module")
def repetitions(once):
    rng = np.random.default_rng(20)
    return once("repeated_estimates", lambda: [_estimates(rng) for _ in range(600)])


@pytest.mark.parametrize("name", ["FMR", "FNMR", "AUC", "EER", "TPR at FPR 10%"])
def test_95_percent_intervals_cover_the_truth(repetitions, name):
    """600 repetitions: a coverage of 95% is seen with a standard deviation of 0.9 points."""
    truth = _truth()[name]
    intervals = [each[name].interval() for each in repetitions]
    covered = np.mean([each.low <= truth <= each.high for each in intervals])
    assert 0.92 <= covered <= 0.98
    # The standard error is that of the repetitions; a little wider, as it lets the number of
    # images per class vary, which the repetitions hold fixed.
    spread = np.std([each[name].value for each in repetitions])
    stated = np.sqrt(np.mean([each[name].error ** 2 for each in repetitions]))
    assert 0.92 * spread < stated < 1.2 * spread


@pytest.mark.parametrize("name", ["FMR", "FNMR"])
def test_naive_intervals_are_shown_to_fail(repetitions, name):
    """Pairs taken for independent observations: √(p (1 − p) / pairs)."""
    truth = _truth()[name]
    n = len(LABELS)
    positives = sum(size * (size - 1) // 2 for size in SIZES)
    pairs = positives if name == "FNMR" else n * (n - 1) // 2 - positives
    covered = 0
    for each in repetitions:
        p = each[name].value
        covered += abs(p - truth) <= 1.96 * math.sqrt(p * (1 - p) / pairs)
    assert covered / len(repetitions) < 0.6


def test_comparisons_of_two_models_on_the_same_images():
    """B sees what A sees with more noise: the difference is covered, and found more often."""
    rng = np.random.default_rng(21)
    found, covered, alone = [], 0, 0
    results = []
    for _ in range(200):
        x = rng.normal(CENTRES[LABELS])
        blurred = x + rng.normal(scale=0.6, size=len(x))
        a, b = (auc_estimate(AllPairs(v[:, None], LABELS)) for v in (x, blurred))
        results.append((a, b))
    truth = np.mean([a.value - b.value for a, b in results])
    for a, b in results:
        interval = difference(a, b)
        covered += interval.low <= truth <= interval.high
        found.append(interval.low > 0)
        alone += a.value - b.value > 1.96 * math.hypot(a.error, b.error)
    assert 0.92 <= covered / 200 <= 0.985
    assert np.mean(found) > alone / 200 + 0.1


def test_a_model_does_not_beat_itself():
    rng = np.random.default_rng(0)
    estimate = auc_estimate(AllPairs(rng.normal(CENTRES[LABELS])[:, None], LABELS))
    interval = difference(estimate, estimate)
    assert (interval.value, interval.low, interval.high) == (0, 0, 0)


def test_estimates_agree_with_the_counts():
    rng = np.random.default_rng(5)
    walk = AllPairs(rng.normal(CENTRES[LABELS])[:, None], LABELS)
    curve = walk.curve()
    threshold = float(curve.thresholds[len(curve.thresholds) // 2])
    rates, counts = rates_at(curve, threshold), walk.per_image([threshold])
    assert fmr_estimate(counts, 0).value == pytest.approx(rates.fmr)
    assert fnmr_estimate(counts, 0).value == pytest.approx(rates.fnmr)
    for name, estimate in _estimates(rng).items():
        assert abs(estimate.pulls.sum()) < 1e-9, name


def test_no_error_seen_is_no_certainty():
    interval = Estimate(0.0, np.zeros(200), 0.0).interval()
    assert interval.low == 0
    # 100 independent pairs of 200 images: about 3.84 / 100
    assert 0.03 < interval.high < 0.04
    assert Estimate(1.0, np.zeros(200), 0.0).interval().low < 0.97


def test_shares_of_independent_tries_against_scipy():
    for right, tries in ((0, 30), (1, 30), (417, 500), (500, 500)):
        found = share_interval(right / tries, tries)
        known = stats.binomtest(right, tries).proportion_ci(0.95, method="wilson")
        assert (found.low, found.high) == (pytest.approx(known.low), pytest.approx(known.high))
        assert found.low <= found.value <= found.high
    # the same as the estimate of as many images in no common pair
    p, n = 0.8, 250
    alike = Estimate(p, np.full(n, math.sqrt(p * (1 - p)) / n), 0.0).interval()
    found = share_interval(p, n)
    assert (found.low, found.high) == (pytest.approx(alike.low), pytest.approx(alike.high))
    assert found.error == pytest.approx(alike.error)


def test_seeds_widen_the_interval():
    estimate = Estimate(0.9, np.full(100, 0.001), 0.0)
    assert estimate.interval(extra_error=0.02).low < estimate.interval().low


def test_student_by_hand_and_against_scipy():
    values = [0.9, 0.92, 0.91, 0.95, 0.88]
    error, quantile, mean = stats.sem(values), stats.t.ppf(0.975, 4), np.mean(values)
    found = t_interval(values, (-math.inf, math.inf))
    low, high = stats.t.interval(0.95, 4, mean, error)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    # of shares, the numbers p that lie so many of their own errors from the mean
    within = t_interval(values)
    for end in (within.low, within.high):
        own = error * math.sqrt(end * (1 - end) / (mean * (1 - mean)))
        assert abs(end - mean) == pytest.approx(quantile * own)
    # of what has one end, so far on the scale of logarithms
    positive = t_interval(values, (0, math.inf))
    assert positive.high / mean == pytest.approx(math.exp(quantile * error / mean))
    assert mean / positive.low == pytest.approx(positive.high / mean)
    mirrored = t_interval([-value for value in values], (-math.inf, 0))
    assert (mirrored.low, mirrored.high) == (-positive.high, -positive.low)
    assert math.isnan(t_interval([0.5]).low)
    with pytest.raises(DataError, match="at least one value. Received none"):
        t_interval([])


def _around(mean, spread):
    """Shares about a mean that deviate by a share of its distance to 1."""
    worth = mean * (1 - mean) / (spread * (1 - mean)) ** 2 - 1
    return lambda rng, size: rng.beta(mean * worth, (1 - mean) * worth, size)


def _counted(mean, tries, worth=None):
    """Shares of so many tries, each of its own chance where that varies."""

    def draw(rng, size):
        chance = mean if worth is None else rng.beta(mean * worth, (1 - mean) * worth, size)
        return rng.binomial(tries, chance, size) / tries

    return draw


FEW = {
    "AUC of 0.9, wide": (0.9, _around(0.9, 0.6), (0, 1)),
    "AUC of 0.97": (0.97, _around(0.97, 0.3), (0, 1)),
    "AUC of 0.99, wide": (0.99, _around(0.99, 0.6), (0, 1)),
    "FMR of 0.01, wide": (0.01, lambda *a: 1 - _around(0.99, 0.6)(*a), (0, 1)),
    "accuracy of 0.98": (0.98, _counted(0.98, 200), (0, 1)),
    "recall of 0.99": (0.99, _counted(0.99, 300), (0, 1)),
    "recall that folds differ in": (0.97, _counted(0.97, 100, 60), (0, 1)),
    "gain": (0.02, lambda rng, size: rng.normal(0.02, 0.05, size), (-1, 1)),
    "gain near its end": (0.9, lambda *a: 2 * _around(0.95, 0.5)(*a) - 1, (-1, 1)),
    "cost": (0.3, lambda rng, size: rng.gamma(12, 0.3 / 12, size), (0, math.inf)),
}


@pytest.mark.parametrize("name", FEW)
@pytest.mark.parametrize("count", [3, 5, 10])
def test_few_seeds_or_folds_near_the_end_of_the_range(name, count):
    """2,000 repetitions: a coverage of 95% is seen with a standard deviation of 0.5 points."""
    truth, draw, ends = FEW[name]
    values = draw(np.random.default_rng(count), (2000, count))
    found = [t_interval(each.tolist(), ends) for each in values]
    assert all(ends[0] <= each.low <= each.value <= each.high <= ends[1] for each in found)
    assert 0.92 <= np.mean([each.low <= truth <= each.high for each in found]) <= 0.98


def test_plain_students_intervals_pass_the_end_and_hold_too_seldom():
    truth, draw, _ = FEW["recall that folds differ in"]
    values = draw(np.random.default_rng(5), (2000, 5))
    plain = [t_interval(each.tolist(), (-math.inf, math.inf)) for each in values]
    assert np.mean([each.high > 1 for each in plain]) > 0.1
    assert np.mean([each.low <= truth <= each.high for each in plain]) < 0.92


def test_all_values_at_the_end_are_no_certainty():
    """As many tries as there are values, or as these rest on; equal ones elsewhere are exact."""
    for count, tries in ((5, None), (5, 40)):
        known = stats.binomtest(tries or count, tries or count).proportion_ci(method="wilson")
        found = t_interval([1.0] * count, tries=tries)
        assert (found.low, found.high) == (pytest.approx(known.low), 1)
        mirrored = t_interval([0.0] * count, tries=tries)
        assert (mirrored.low, mirrored.high) == (0, pytest.approx(1 - known.low))
    # 0.1 three times has another mean in floats
    equal = t_interval([0.1] * 3)
    assert (equal.value, equal.low, equal.high) == (0.1, 0.1, 0.1)


def test_folds_that_see_no_error_cover_what_their_classes_allow():
    """Five folds of 4 classes, of which one in 33 is hard: half of the time none is among them."""
    hard = np.random.default_rng(0).random((4000, 5, 4)) < 0.03
    folds = 1 - 0.5 * hard.mean(axis=2)
    found = [t_interval(each.tolist(), tries=20) for each in folds[(folds == 1).all(axis=1)]]
    assert len(found) > 2000
    assert all(each.low <= 1 - 0.5 * 0.03 for each in found)


def test_comparing_different_images_is_refused():
    a, b = Estimate(0.5, np.zeros(3), 0.0), Estimate(0.5, np.zeros(4), 0.0)
    with pytest.raises(DataError, match="on the same images. Received 3 and 4 images"):
        difference(a, b)
