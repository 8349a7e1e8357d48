import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import oracles
import twinset
from twinset import distance
from twinset.errors import DataError, RecipeError

ROWS = hnp.arrays(
    np.float64, st.tuples(st.integers(1, 5), st.integers(1, 4)), elements=st.floats(-100, 100)
)


@given(ROWS, st.randoms(use_true_random=False))
def test_euclidean_agrees_with_the_loop(left, random):
    right = left[::-1] + random.uniform(-3, 3)
    expected = [oracles.euclidean(a, b) for a, b in zip(left, right, strict=True)]
    np.testing.assert_allclose(distance.euclidean(left, right), expected, rtol=1e-12)


@given(rows=ROWS)
def test_the_distance_is_symmetric_and_zero_at_equality(rows):
    measure = distance.euclidean
    other = np.roll(rows, 1, axis=0)
    np.testing.assert_array_equal(measure(rows, other), measure(other, rows))
    np.testing.assert_array_equal(measure(rows, rows), 0)
    assert (measure(rows, other) >= 0).all()


@given(ROWS, st.floats(-np.pi, np.pi))
def test_euclidean_is_unchanged_by_rotation(rows, angle):
    plane = np.resize(rows, (len(rows), 2))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    other = plane[::-1] * 0.5
    np.testing.assert_allclose(
        distance.euclidean(plane @ turn, other @ turn), distance.euclidean(plane, other), atol=1e-9
    )


def test_pairs_are_measured_in_chunks_in_order():
    rng = np.random.default_rng(0)
    vectors = rng.integers(0, 256, (50, 3, 4), dtype=np.uint8)
    left, right = rng.integers(0, 50, (2, 101))
    expected = [
        oracles.euclidean(vectors[i].ravel().tolist(), vectors[j].ravel().tolist())
        for i, j in zip(left, right, strict=True)
    ]
    for chunk in (1, 10, 101, 1000):
        found = distance.of_pairs(vectors, left, right, chunk=chunk)
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_cosines_are_distances_of_unit_vectors():
    rows = np.random.default_rng(0).normal(size=(20, 3))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    far = distance.euclidean(rows[:10], rows[10:])
    cosine = (rows[:10] * rows[10:]).sum(axis=1)
    np.testing.assert_allclose(twinset.to_cosine(far), cosine)
    np.testing.assert_allclose(twinset.from_cosine(cosine), far)
    assert twinset.to_cosine(np.float32(2.0000002)) == -1
    for wrong in (2.1, -0.1, np.nan):
        with pytest.raises(DataError, match="embeddings of length 1, from 0 to 2. Received"):
            twinset.to_cosine([0.5, wrong])
    with pytest.raises(DataError, match="cosine similarities, from -1 to 1. Received 1.5"):
        twinset.from_cosine(1.5)
    with pytest.raises(RecipeError, match=r"fast': embeddings are compared by .* orders those of"):
        twinset.Recipe.load("fast", distance="cosine")
