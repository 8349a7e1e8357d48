from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinset.errors import DataError
from twinset.metrics.calibration import disjoint_pairs


def check(labels, left, right, same):
    labels = np.asarray(labels)
    images = np.concatenate([left, right])
    assert len(set(images.tolist())) == len(images), "an image is in two pairs"
    assert ((labels[left] == labels[right]) == same).all()
    assert same.sum() * 2 == len(same)
    assert left.dtype == right.dtype == np.int32


@given(st.lists(st.integers(0, 5), max_size=40), st.integers(0, 3))
def test_no_image_is_used_twice(labels, seed):
    sizes = Counter(labels)
    # without two images of one class, images of two classes are left
    possible = any(
        size >= 2 and sum(n - 2 * (other == label) > 0 for other, n in sizes.items()) >= 2
        for label, size in sizes.items()
    )
    if not possible:
        with pytest.raises(DataError, match="images for 2 pairs that share none"):
            disjoint_pairs(labels, seed=seed)
        return
    drawn = disjoint_pairs(labels, seed=seed)
    check(labels, *drawn)
    again = disjoint_pairs(labels, seed=seed)
    assert [a.tolist() for a in again] == [b.tolist() for b in drawn]


@given(st.lists(st.integers(1, 12), min_size=2, max_size=8), st.integers(0, 3))
def test_balanced_classes_give_every_pair_there_is(sizes, seed):
    count = 4 * max(sizes)
    labels = np.repeat(np.arange(len(sizes)), count)
    left, right, same = disjoint_pairs(labels, seed=seed)
    check(labels, left, right, same)
    assert len(same) == len(labels) // 2


def test_the_protocols_calibration_pairs():
    """2,500 pairs of 5,000 images, half of each kind, each class with its share."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 500))
    left, right, same = disjoint_pairs(labels, seed=0)
    check(labels, left, right, same)
    assert len(same) == 2500
    assert np.bincount(labels[left[same]]).tolist() == [125] * 10
    # different pairs meet all 45 combinations of classes: 1250 / 45 = 27.8 each
    met = Counter(
        tuple(sorted(pair)) for pair in zip(labels[left[~same]], labels[right[~same]], strict=True)
    )
    assert len(met) == 45
    assert 8 < min(met.values()) <= max(met.values()) < 55
    other = disjoint_pairs(labels, seed=1)
    assert not np.array_equal(other[0], left)


def test_one_large_class():
    # 4 images of others: at most one of them per different pair
    labels = [0] * 96 + [1] * 4
    left, right, same = disjoint_pairs(labels, seed=0)
    check(labels, left, right, same)
    assert 2 <= len(same) // 2 <= 4


def test_singletons_make_different_pairs_only():
    labels = [0, 0, 1, 2, 3, 4]
    left, right, same = disjoint_pairs(labels, seed=0)
    check(labels, left, right, same)
    assert sorted([left[0], right[0]]) == [0, 1]


def test_what_is_possible_does_not_hang_on_the_seed():
    # the pair 1, 1 would leave 0, 0, 0
    for seed in range(20):
        left, right, same = disjoint_pairs([0, 0, 0, 1, 1], seed=seed)
        check([0, 0, 0, 1, 1], left, right, same)
        assert {int(left[0]), int(right[0])} < {0, 1, 2}


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([0, 0, 0, 0], "for 2 pairs .* Received 4 images of 1 classes"),
        ([0, 1, 2, 3], "Received 4 images of 4 classes"),
        ([], "Received 0 images of 0 classes"),
    ],
)
def test_what_cannot_be_paired(labels, words):
    with pytest.raises(DataError, match=words):
        disjoint_pairs(labels, seed=0)
