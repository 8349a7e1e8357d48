"""What follows from judged pairs, and what contradicts what."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import twinset
from twinset import LabelledFeatures, LabelledImages, Pairs
from twinset.data.pairs import closed_labels, pairs_to_learn, settle
from twinset.errors import DataError, RecipeError

NONE = np.full(9, -1)


def judged(*rows):
    left, right, same = zip(*rows, strict=True)
    return Pairs(left, right, same)


def test_what_hangs_together_by_same_is_one_thing():
    found = settle(judged((1, 0, 1), (1, 2, 1), (3, 4, 1), (2, 4, 0)), NONE)
    assert found.labels.tolist() == [0, 0, 0, 1, 1, 2, 3, 4, 5]
    assert (found.conflicts, found.contradictions, found.repeated) == ((), (), 0)
    assert (found.pairs.left[0], found.pairs.right[0]) == (0, 1)


def test_a_pair_judged_both_ways_counts_for_nothing():
    found = settle(judged((0, 1, 1), (1, 0, 0), (2, 3, 1), (3, 2, 1), (4, 4, 0), (5, 5, 1)), NONE)
    assert found.contradictions == ((0, 1), (4, 4))
    assert len(found.pairs) == 1
    assert found.repeated == 2  # 3 = 2 again, and 5 = 5
    assert len({*found.labels[[0, 1]].tolist()}) == 2


def test_a_chain_that_ends_in_different_is_told_and_concludes_nothing():
    rows = [(0, 1, 1), (1, 2, 1), (2, 3, 1), (0, 4, 1), (4, 3, 1), (3, 0, 0), (5, 6, 1)]
    found = settle(judged(*rows), NONE)
    assert found.conflicts == ((0, 4, 3), (0, 1, 2, 3))  # the shortest first
    assert len({*found.labels[:5].tolist()}) == 5
    assert found.labels[5] == found.labels[6]
    assert len(found.pairs) == len(rows)


def test_classes_and_judgements_together():
    labels = np.array([0, 0, 1, 1, -1, -1, -1, -1])
    found = settle(judged((0, 4, 1), (4, 5, 1), (2, 6, 0), (1, 2, 1), (2, 3, 0)), labels, 2)
    assert found.labels[:6].tolist() == [0, 0, 1, 1, 0, 0]  # by way of what is the same
    assert min(found.labels[6:]) >= 2
    against = [(int(found.pairs.left[k]), int(found.pairs.right[k])) for k in found.against]
    assert against == [(1, 2), (2, 3)]


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.booleans()), min_size=1))
def test_nothing_is_learned_that_does_not_follow(rows):
    """Against a closure by the definition: same is transitive, and different goes with it."""
    data = LabelledFeatures(np.eye(7), judged=judged(*rows))
    kept = list(zip(data.judged.left, data.judged.right, data.judged.same, strict=True))
    same = {(i, i) for i in range(7)} | {(a, b) for a, b, s in kept if s}
    same |= {(b, a) for a, b in same}
    for _, a, b in itertools.product(range(3), range(7), range(7)):
        if any((a, c) in same and (c, b) in same for c in range(7)):
            same.add((a, b))
    different = {(a, b) for a, b, s in kept if not s}
    different |= {(b, a) for a, b in different}
    closed = {
        (c, d)
        for a, b in different
        for c, d in itertools.product(range(7), range(7))
        if (a, c) in same and (b, d) in same
    }
    found = pairs_to_learn(data.judged, data.labels, seed=3)
    for a, b, s in zip(found.left, found.right, found.same, strict=True):
        judgement = (int(a), int(b), bool(s))
        known = judgement in [(*map(int, k[:2]), bool(k[2])) for k in kept]
        if data.settled.conflicts:  # where both follow, neither against what was judged
            assert (a, b) in (same if s else closed)
            assert (int(a), int(b), not s) not in [(*map(int, k[:2]), bool(k[2])) for k in kept]
        else:
            assert known or (a, b) in (same - closed if s else closed - same)
    if data.judged.same.any() and not data.judged.same.all():
        counts = np.bincount(found.same.astype(int))
        assert counts.max() <= 10 * counts.min() or counts.min() == counts.max()


def test_the_rarer_kind_comes_again_and_again():
    rows = [(0, 1, 1), *((i, j, 0) for i, j in itertools.combinations(range(2, 8), 2))]
    data = LabelledFeatures(np.eye(8), judged=judged(*rows))
    found = pairs_to_learn(data.judged, data.labels)
    assert np.bincount(found.same).tolist() == [15, 10]


def test_images_with_judged_pairs_and_no_labels():
    pixels = np.arange(6, dtype=np.uint8)[:, None, None]
    data = LabelledImages(pixels, judged=judged((0, 1, 1), (1, 2, 0), (4, 5, 1)))
    assert repr(data) == "LabelledImages('images', 6 images of (1, 1), 3 judged pairs)"
    part = data.subset(np.array([1, 2, 5, 0]))
    found = zip(part.judged.left, part.judged.right, part.judged.same, strict=True)
    assert [tuple(map(int, each)) for each in found] == [(0, 1, 0), (0, 3, 1)]
    assert part.labels[0] == part.labels[3] != part.labels[1]
    other = LabelledImages(pixels, judged=judged((0, 1, 1), (1, 2, 1), (4, 5, 1)))
    assert len({data.digest, part.digest, other.digest}) == 3
    with pytest.raises(DataError, match="positions of 6 images in judged pairs. Received 6"):
        LabelledImages(pixels, judged=judged((0, 6, 1)))
    with pytest.raises(DataError, match="Expected one label per image"):
        LabelledImages(pixels)


def test_things_that_are_all_known_to_differ():
    rows = [(0, 1, 1), (2, 3, 1), (4, 5, 1), (6, 7, 1), (0, 2, 0), (3, 4, 0), (1, 5, 0), (6, 0, 0)]
    data = LabelledFeatures(np.eye(9), judged=judged(*rows))
    labels, count = closed_labels(data.judged, data.labels)
    # of 6 = 7 and the two in the middle nobody knows, and 8 was not judged
    assert (labels.tolist(), count) == ([0, 0, 1, 1, 2, 2, 3, 4, 5], 3)
    labelled = LabelledFeatures(
        np.eye(9), [0, 0, 1, 1, -1, -1, -1, -1, -1], ("a", "b"), judged=judged(*rows)
    )
    labels, count = closed_labels(labelled.judged, labelled.labels, 2)
    assert (labels[:6].tolist(), count) == ([0, 0, 1, 1, 2, 2], 3)


def test_a_batch_of_classes_needs_things_that_are_known_to_differ():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(4, 5))[np.arange(40) % 4] + rng.normal(scale=0.1, size=(40, 5))
    rows = [(i, i + 4, 1) for i in range(36)] + list(itertools.product(range(2), range(2, 4), [0]))
    rows += [(0, 1, 0), (2, 3, 0)]
    data = LabelledFeatures(vectors, judged=judged(*rows))
    model = twinset.fit(
        data, "head", epochs=2, encoder={"name": "head", "units": []}, progress=False
    )
    assert model.embed(data).shape == (40, 128)
    apart = LabelledFeatures(
        vectors, judged=judged(*rows[:36], *[(4 * i, 4 * i + 1, 0) for i in range(9)])
    )
    words = "learns from judged pairs. Received 'head', which takes"
    with pytest.raises(RecipeError, match=words):
        twinset.fit(apart, "head", encoder={"name": "head", "units": []}, progress=False)


def test_one_wrong_judgement_does_not_dissolve_what_hangs_together():
    rng = np.random.default_rng(0)
    things = np.arange(60) // 30
    pairs = rng.integers(0, 60, (400, 2))
    same = things[pairs[:, 0]] == things[pairs[:, 1]]
    same[pairs[:, 0] != pairs[:, 1]] ^= np.arange((pairs[:, 0] != pairs[:, 1]).sum()) == 17
    found = settle(Pairs(pairs[:, 0], pairs[:, 1], same), np.full(60, -1))
    assert found.conflicts
    counts = np.unique(found.labels, return_counts=True)[1]
    assert sorted(counts)[-2] > 25
    for label in np.unique(found.labels):
        assert len({*things[found.labels == label].tolist()}) == 1
