import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import oracles
from twinset.data.pairs import balanced_pairs, class_indices, tutorial_pairs
from twinset.errors import DataError

LABELS = st.lists(st.integers(0, 4), min_size=4, max_size=60).filter(
    lambda labels: len(set(labels)) > 1 and min(labels.count(x) for x in set(labels)) > 1
)


@given(LABELS, st.integers(0, 2**31))
def test_the_rule_agrees_with_the_loop(labels, seed):
    found = tutorial_pairs(labels, seed=seed)
    pairs, same = oracles.tutorial_pairs(labels, seed)
    assert list(zip(found.left.tolist(), found.right.tolist(), strict=True)) == pairs
    assert found.same.astype(int).tolist() == same


@given(LABELS, st.integers(0, 2**31))
def test_properties_of_the_rule(labels, seed):
    labels = np.array(labels)
    pairs = tutorial_pairs(labels, seed=seed)
    n = min(np.bincount(labels)[np.unique(labels)]) - 1
    assert len(pairs) == 2 * len(np.unique(labels)) * n
    np.testing.assert_array_equal(labels[pairs.left] == labels[pairs.right], pairs.same)
    np.testing.assert_array_equal(pairs.same[::2], True)
    np.testing.assert_array_equal(pairs.same[1::2], False)
    np.testing.assert_array_equal(pairs.left[::2], pairs.left[1::2])
    assert (pairs.left != pairs.right).all()
    assert pairs.left.dtype == pairs.right.dtype == np.int32
    assert pairs.same.dtype == np.bool_


def test_a_case_by_hand():
    # class 5 at 0, 2, 3; class 9 at 1, 4: n = 1, so one step each; of two classes the other is sure
    pairs = tutorial_pairs([5, 9, 5, 5, 9], seed=123)
    assert pairs.left.tolist() == [0, 0, 1, 1]
    assert pairs.right.tolist() == [2, 1, 4, 0]


def test_fashion_mnist_gives_the_tutorials_numbers(fashion_mnist):
    train, test = fashion_mnist
    pairs = tutorial_pairs(train.labels)
    assert len(pairs) == 119_980
    assert len(tutorial_pairs(test.labels)) == 19_980
    assert pairs.left.nbytes + pairs.right.nbytes + pairs.same.nbytes < 1_100_000
    expected, _ = oracles.tutorial_pairs(test.labels.tolist(), 7)
    found = tutorial_pairs(test.labels, seed=7)
    assert list(zip(found.left.tolist(), found.right.tolist(), strict=True)) == expected


def test_seeds_change_only_the_negatives():
    labels = np.repeat(np.arange(10), 20)
    a, b = tutorial_pairs(labels, seed=0), tutorial_pairs(labels, seed=1)
    np.testing.assert_array_equal(a.left, b.left)
    np.testing.assert_array_equal(a.right[::2], b.right[::2])
    assert (a.right[1::2] != b.right[1::2]).mean() > 0.5


def test_the_other_class_is_uniform():
    labels = np.repeat(np.arange(4), 3001)
    pairs = tutorial_pairs(labels, seed=0)
    other = (labels[pairs.right[1::2]] - labels[pairs.left[1::2]]) % 4
    counts = np.bincount(other, minlength=4)
    assert counts[0] == 0
    # 12,000 draws from 3: a standard deviation of 52
    assert np.abs(counts[1:] - 4000).max() < 5 * 52


def test_class_indices_keep_the_order_of_the_images():
    groups = class_indices(np.array([2, 0, 2, 0, 2]))
    assert [group.tolist() for group in groups] == [[1, 3], [0, 2, 4]]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([0, 0, 0], "at least 2 classes. Received 1"),
        ([], "at least 2 classes. Received 0"),
        ([0, 0, 1], "at least 2 images of every class. Received 1 with label 1"),
    ],
)
def test_labels_that_cannot_be_paired(labels, words):
    with pytest.raises(DataError, match=words):
        tutorial_pairs(labels)


@given(st.lists(st.integers(0, 5), min_size=2, max_size=60), st.integers(0, 9))
def test_balanced_pairs_are_what_they_say(labels, seed):
    labels = np.array(labels)
    counts = np.bincount(labels)
    if (counts > 0).sum() < 2 or counts.max() < 2:
        with pytest.raises(DataError, match="at least 2 classes, one of them with 2 images"):
            balanced_pairs(labels, seed=seed)
        return
    pairs = balanced_pairs(labels, seed=seed)
    assert (pairs.left != pairs.right).all()
    np.testing.assert_array_equal(labels[pairs.left] == labels[pairs.right], pairs.same)
    assert 0 < len(pairs) <= 2 * (counts[labels] > 1).sum()
    np.testing.assert_array_equal(pairs.same, np.tile([True, False], len(pairs) // 2))
    both = np.sort(np.stack([pairs.left, pairs.right], axis=1), axis=1)
    assert len(np.unique(both, axis=0)) == len(pairs)  # none twice, the other way round either
    np.testing.assert_array_equal(pairs.right, balanced_pairs(labels, seed=seed).right)


def test_balanced_pairs_reach_every_partner():
    labels = np.array([0, 0, 0, 0, 1, 1, 2])
    drawn = [balanced_pairs(labels, seed=seed) for seed in range(60)]
    met = {
        (int(a), int(b)) for pairs in drawn for a, b in zip(pairs.left, pairs.right, strict=True)
    }
    assert {b for a, b in met if a == 0} == {1, 2, 3, 4, 5, 6}
