"""The jackknife of recall@1 and MAP@R: exact against leaving each image out, one by one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinset.errors import DataError
from twinset.metrics.retrieval import retrieval_estimates, retrieve


def slow_pulls(vectors, labels):
    """Leave each image out, and score the rest from the start."""
    n = len(labels)
    without = {"recall_at_1": [], "map_at_r": []}
    for i in range(n):
        rest = np.arange(n) != i
        try:
            scores = retrieve(vectors[rest], labels[rest], ks=(1,))
        except DataError:  # no query is left
            found = (0.0, 0.0)
        else:
            found = (scores.recall_at[1], scores.map_at_r)
        for name, value in zip(without, found, strict=True):
            without[name].append(value)
    scale = np.sqrt((n - 1) / n)
    return {name: scale * (np.mean(values) - values) for name, values in without.items()}


@given(
    st.lists(st.integers(0, 4), min_size=4, max_size=18).filter(
        lambda labels: np.bincount(labels).max() > 1
    ),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_pulls_are_those_of_leaving_each_image_out(labels, ties, seed):
    rng = np.random.default_rng(seed)
    labels = np.array(labels)
    vectors = rng.integers(0, 4, (len(labels), 1)) if ties else rng.normal(size=(len(labels), 2))
    vectors = vectors.astype(float)
    found, scores = retrieval_estimates(vectors, labels, block=5), retrieve(vectors, labels)
    assert found["recall_at_1"].value == pytest.approx(scores.recall_at[1], abs=1e-12)
    assert found["map_at_r"].value == pytest.approx(scores.map_at_r, abs=1e-12)
    for name, pulls in slow_pulls(vectors, labels).items():
        np.testing.assert_allclose(found[name].pulls, pulls, atol=1e-12)
        assert found[name].squares == 0


def test_pulls_by_hand():
    """On a line: a at 0, a at 1, b at 3. Both a find each other; b has nobody and is no query.

    Without an a there is no query: 0. Without b nothing changes: 1. The mean is 1/3, and the pulls
    are √(2/3) times 1/3, 1/3, −2/3.
    """
    found = retrieval_estimates([[0.0], [1.0], [3.0]], [0, 0, 1])
    for each in found.values():
        assert each.value == 1
        np.testing.assert_allclose(each.pulls, np.sqrt(2 / 3) * np.array([1, 1, -2]) / 3)


def test_blocks_change_nothing():
    rng = np.random.default_rng(1)
    vectors, labels = rng.normal(size=(70, 3)), rng.integers(0, 4, 70)
    whole, parts = (retrieval_estimates(vectors, labels, block=size) for size in (256, 7))
    for name, each in whole.items():
        np.testing.assert_allclose(each.pulls, parts[name].pulls, atol=1e-15)


def test_the_spread_over_test_sets_is_the_stated_error():
    """Queries alone, with the gallery as it is, state half of the true spread of MAP@R."""
    rng = np.random.default_rng(2)
    labels = np.repeat([0, 1, 2], [30, 25, 20])
    centres = np.array([0.0, 2.5, 4.0])[labels]
    values, stated, queries = [], [], []
    for _ in range(200):
        x = rng.normal(centres)[:, None]
        found = retrieval_estimates(x, labels)["map_at_r"]
        each = retrieve(x, labels).per_query["map_at_r"]
        values.append(found.value)
        stated.append(found.error)
        queries.append(each.std() / np.sqrt(len(each)))
    spread = np.std(values)
    assert 0.9 * spread < np.mean(stated) < 1.35 * spread
    assert np.mean(queries) < 0.75 * spread


def test_what_has_no_query_is_refused():
    with pytest.raises(DataError, match="no query has anything to find"):
        retrieval_estimates([[0.0], [1.0]], [0, 1])
    with pytest.raises(DataError, match="one label per row"):
        retrieval_estimates([[0.0], [1.0]], [0, 0, 1])
