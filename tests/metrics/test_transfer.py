"""Thresholds on unseen classes: rates of pairs across two parts, and what was promised."""

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

from twinset.decision import Threshold
from twinset.errors import DataError
from twinset.metrics import intervals
from twinset.metrics.intervals import cross_match_estimate
from twinset.metrics.measure import Calibration, calibrate, measure, transfer
from twinset.metrics.measured import Part


@pytest.mark.parametrize("tile", [3, 1024])
def test_the_rate_and_its_pulls_agree_with_the_double_loop(monkeypatch, tile):
    monkeypatch.setattr(intervals, "TILE", tile)
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(14, 3)), rng.normal(0.5, size=(11, 3))
    found = cross_match_estimate(left, right, 1.7)
    match = np.array([[math.dist(a, b) <= 1.7 for b in right] for a in left])
    assert 0.1 < match.mean() < 0.9
    assert found.value == pytest.approx(match.mean())
    # what the rate would move by if the image were left out, but for the factor (n - 1) / n
    for i in range(14):
        moved = match.mean() - np.delete(match, i, axis=0).mean()
        assert found.pulls[i] == pytest.approx(moved * 13 / 14)
    for j in range(11):
        moved = match.mean() - np.delete(match, j, axis=1).mean()
        assert found.pulls[14 + j] == pytest.approx(moved * 10 / 11)
    contributions = (match - match.mean()) / match.size
    assert found.squares == pytest.approx(np.square(contributions).sum())


def test_intervals_cover_the_truth_and_naive_ones_do_not():
    """500 repetitions of two samples on a line; 95% is seen with an SD of 1 point."""
    rng = np.random.default_rng(6)
    m, n, gap, threshold = 50, 70, 1.5, 1.0
    apart = stats.norm(gap, math.sqrt(2))
    truth = apart.cdf(threshold) - apart.cdf(-threshold)
    covered = naive = 0
    for _ in range(500):
        left, right = rng.normal(size=(m, 1)), rng.normal(gap, size=(n, 1))
        interval = cross_match_estimate(left, right, threshold).interval()
        covered += interval.low <= truth <= interval.high
        p = interval.value
        naive += abs(p - truth) <= 1.96 * math.sqrt(p * (1 - p) / (m * n))
    assert 0.92 <= covered / 500 <= 0.98
    assert naive / 500 < 0.6


def test_no_match_is_no_certainty():
    interval = cross_match_estimate(np.zeros((40, 2)), np.ones((60, 2)), 0.5).interval()
    assert (interval.value, interval.low) == (0, 0)
    assert 0.05 < interval.high < 0.1  # 3.84 / 50: as many tries as there are independent pairs


def _parts():
    """Four classes on a plane: two seen and far apart, two unseen and near each other."""
    rng = np.random.default_rng(3)
    centres = np.array([[0.0, 0.0], [6.0, 0.0], [0.0, 5.0], [1.0, 5.5]])

    def part(classes, each):
        labels = np.repeat(classes, each)
        return Part(centres[labels] + rng.normal(size=(len(labels), 2)), labels)

    return part([0, 1], 60), part([0, 1], 50), part([2, 3], 40)


def test_promises_stand_beside_what_came_true():
    calibration, seen, unseen = _parts()
    found_all = measure(unseen, calibration=calibrate(calibration))
    for point in found_all.points:
        told = transfer(point, unseen, seen)
        d = np.linalg.norm(unseen.embeddings[:, None] - seen.embeddings[None], axis=2)
        cross = told["cross_fmr"]["value"]
        assert told["threshold"] == point.threshold.value
        assert cross == pytest.approx((d <= point.threshold.value).mean(), abs=1e-3)
        assert told["fmr"] == dataclasses.asdict(point.fmr)
        assert told["fnmr"] == dataclasses.asdict(point.fnmr)
        assert told["gap_fmr"] == point.fmr.value - point.threshold.fmr
        assert told["gap_fnmr"] == point.fnmr.value - point.threshold.fnmr
        assert told["gap_cross_fmr"] == cross - point.threshold.fmr
        # near to each other, far from the seen ones
        assert told["gap_fmr"] > 0.1 > cross
        assert told["fmr"]["low"] <= told["fmr"]["value"] <= told["fmr"]["high"]


def test_a_fixed_threshold_promises_nothing():
    _, seen, unseen = _parts()
    (point,) = measure(unseen, calibration=Calibration((Threshold(0.5, "half the margin"),))).points
    told = transfer(point, unseen, seen)
    names = ("promised_fmr", "promised_fnmr", "gap_fmr", "gap_fnmr", "gap_cross_fmr")
    assert {told[name] for name in names} == {None}


def test_what_cannot_be_compared():
    calibration, seen, unseen = _parts()
    (point, *_) = measure(unseen, calibration=calibrate(calibration)).points
    with pytest.raises(DataError, match="without a common class. Received class 2 in both"):
        transfer(point, unseen, Part(seen.embeddings, seen.labels + 2))
    with pytest.raises(DataError, match="at least one on each side. Received 0 on the right"):
        cross_match_estimate(np.zeros((2, 1)), np.zeros((0, 1)), 1.0)
    with pytest.raises(DataError, match="Received 2 on the left, 1 numbers not finite"):
        cross_match_estimate(np.array([[0.0], [np.inf]]), np.zeros((1, 1)), 1.0)
