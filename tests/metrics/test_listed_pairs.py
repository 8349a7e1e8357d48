"""Judged pairs are counted as all pairs are, where all are listed."""

import numpy as np
import pytest

from twinset.errors import DataError
from twinset.metrics.all_pairs import AllPairs
from twinset.metrics.intervals import auc_estimate, fmr_estimate, fnmr_estimate
from twinset.metrics.listed_pairs import ListedPairs, hardest_pairs
from twinset.metrics.measure import calibrate, measure
from twinset.metrics.measured import Part
from twinset.metrics.pairs import auc


@pytest.fixture(scope="module")
def both():
    rng = np.random.default_rng(0)
    labels = np.arange(40) // 4
    rows = (rng.normal(size=(10, 3))[labels] + rng.normal(scale=0.6, size=(40, 3))).astype("f4")
    left, right = np.triu_indices(40, 1)
    swap = rng.random(len(left)) < 0.5  # in any order
    left, right = np.where(swap, right, left), np.where(swap, left, right)
    judged = left, right, labels[left] == labels[right]
    return rows, labels, judged


def test_all_pairs_listed_are_all_pairs(both):
    rows, labels, judged = both
    whole, listed = AllPairs(rows, labels), ListedPairs(rows, *judged)
    assert auc(listed.curve()) == pytest.approx(auc(whole.curve()), abs=1e-4)
    a, b = (walk.per_image([0.5, 1.0]) for walk in (whole, listed))
    for name in ("positives", "negatives", "true_matches", "false_matches"):
        assert np.array_equal(getattr(a, name), getattr(b, name)), name
    one, other = auc_estimate(whole), auc_estimate(listed)
    assert other.pulls == pytest.approx(one.pulls, abs=1e-4)
    assert other.error == pytest.approx(one.error, rel=1e-3)
    near, far = hardest_pairs(whole, 5), hardest_pairs(listed, 5)
    assert near.to_dict() == far.to_dict()


def test_blocks_are_not_compared(both):
    rows, labels, judged = both
    blocks = np.arange(40) // 20
    whole, listed = AllPairs(rows, labels, blocks), ListedPairs(rows, *judged, blocks)
    a, b = whole.per_image([0.8]), listed.per_image([0.8])
    assert np.array_equal(a.negatives, b.negatives)
    rest = listed.curve(without=1)
    assert (rest.positives, rest.negatives) == (5 * 6, 190 - 5 * 6)


def test_measures_of_judged_pairs_alone(both):
    rows, labels, judged = both
    rng = np.random.default_rng(1)
    some = np.flatnonzero(judged[2] | (rng.random(len(judged[2])) < 0.2))
    part = Part(rows, labels, judged=tuple(each[some] for each in judged))
    found = measure(part, calibration=calibrate(part, over="class"))
    whole = measure(Part(rows, labels))
    assert found.numbers["auc"].value == pytest.approx(whole.numbers["auc"].value, abs=0.03)
    # what takes pairs that nobody judged has no value
    assert not any(key.startswith(("recall", "map_at")) for key in found.numbers)
    assert found.class_errors is None
    assert found.points[0].fmr.low <= found.points[0].rates.fmr <= found.points[0].fmr.high
    assert found.points[0].rates.negatives == int((~part.judged[2]).sum())


def test_the_interval_of_disjoint_pairs_is_that_of_independent_ones():
    rng = np.random.default_rng(0)
    pairs = 400
    rows = np.zeros((2 * pairs, 1), np.float32)
    rows[1::2, 0] = rng.random(pairs)
    left = 2 * np.arange(pairs)
    listed = ListedPairs(rows, left, left + 1, np.arange(pairs) % 2 == 0)
    counts = listed.per_image([0.3])
    found = fnmr_estimate(counts, 0)
    independent = (found.value * (1 - found.value) / 200) ** 0.5
    assert found.error == pytest.approx(independent, rel=1e-6)


def test_one_kind_of_pairs_tells_nothing(both):
    rows, _, judged = both
    only = judged[2]
    with pytest.raises(DataError, match="Expected pairs of both kinds"):
        ListedPairs(rows, judged[0][only], judged[1][only], judged[2][only])


def test_pairs_of_one_thing_are_one_observation():
    """Each pair again and again, between copies of its images: the interval stays as wide."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(120, 2)).astype(np.float32)
    rows[1::2] = rows[::2] + 0.5 * rows[1::2]  # things of two
    left, right = np.arange(0, 120, 2), np.arange(1, 120, 2)
    apart = np.roll(right, 1)
    judged = [np.concatenate(each) for each in ((left, left), (right, apart))]
    same = np.arange(120) < 60
    once = ListedPairs(rows, *judged, same)
    copies = np.concatenate([rows, rows])
    again = [np.concatenate([each, each + 120]) for each in judged]
    tied = np.arange(120), np.arange(120) + 120  # and each image with its copy
    twice = ListedPairs(
        copies,
        np.concatenate([again[0], tied[0]]),
        np.concatenate([again[1], tied[1]]),
        np.concatenate([same, same, np.ones(120, bool)]),
    )
    threshold = [0.7]
    a, b = (fmr_estimate(each.per_image(threshold), 0) for each in (once, twice))
    assert len(a.pulls) == len(b.pulls) == 60
    assert b.value == pytest.approx(a.value)
    # but for the square of each pair itself, of which there are twice as many
    assert a.error <= b.error <= 1.3 * a.error
    separate = ListedPairs(copies, *again, np.concatenate([same, same]))
    assert fmr_estimate(separate.per_image(threshold), 0).error < 0.8 * a.error
