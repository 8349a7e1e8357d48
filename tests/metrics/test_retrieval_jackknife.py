"""The jackknife of retrieval scores: exact against leaving each image out, one by one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinset.errors import DataError
from twinset.metrics.retrieval import retrieval_estimates, retrieve


def named(scores):
    """Give the scores of `retrieve` by the names of all metrics."""
    names = "r_precision", "map_at_r", "map_at_10", "mean_average_precision"
    found = {f"recall_at_{k}": value for k, value in scores.recall_at.items()}
    return found | {name: getattr(scores, name) for name in names}


def slow_pulls(vectors, labels):
    """Leave each image out, and score the rest from the start."""
    n = len(labels)
    names = named(retrieve(vectors, labels))
    without = []
    for i in range(n):
        rest = np.arange(n) != i
        try:
            without.append(named(retrieve(vectors[rest], labels[rest])))
        except DataError:  # no query is left
            without.append(dict.fromkeys(names, 0.0))
    scale = np.sqrt((n - 1) / n)
    columns = {name: np.array([each[name] for each in without]) for name in names}
    return {name: scale * (values.mean() - values) for name, values in columns.items()}


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
    assert {name: each.value for name, each in found.items()} == pytest.approx(named(scores))
    for name, pulls in slow_pulls(vectors, labels).items():
        np.testing.assert_allclose(found[name].pulls, pulls, atol=1e-12)
        assert found[name].squares == 0


def test_pulls_by_hand():
    """On a line: a at 0, a at 1, b at 3. Both a find each other; b has nobody and is no query.

    Without an a there is no query: 0. Without b nothing changes: 1. The mean is 1/3, and the pulls
    are √(2/3) times 1/3, 1/3, −2/3.
    """
    found = retrieval_estimates([[0.0], [1.0], [3.0]], [0, 0, 1])
    for name, each in found.items():
        right = 0.1 if name == "map_at_10" else 1.0
        assert each.value == pytest.approx(right)
        np.testing.assert_allclose(each.pulls, right * np.sqrt(2 / 3) * np.array([1, 1, -2]) / 3)


def test_blocks_change_nothing():
    rng = np.random.default_rng(1)
    vectors, labels = rng.normal(size=(70, 3)), rng.integers(0, 4, 70)
    whole, parts = (retrieval_estimates(vectors, labels, block=size) for size in (256, 7))
    for name, each in whole.items():
        np.testing.assert_allclose(each.pulls, parts[name].pulls, atol=1e-15)


@pytest.fixture(scope="module")
def test_sets():
    """Two hundred test sets of one kind: values, stated errors, and those of the queries alone."""
    rng = np.random.default_rng(2)
    labels = np.repeat([0, 1, 2], [30, 25, 20])
    centres = np.array([0.0, 2.5, 4.0])[labels]
    found = []
    for _ in range(200):
        x = rng.normal(centres)[:, None]
        queries = retrieve(x, labels).per_query
        found.append(
            {
                name: (each.value, each.error, queries[name].std() / np.sqrt(len(x)))
                for name, each in retrieval_estimates(x, labels).items()
            }
        )
    return {name: np.array([each[name] for each in found]).T for name in found[0]}


@pytest.mark.parametrize(
    ("name", "most"),
    [
        *((f"recall_at_{k}", 2.1) for k in (1, 2, 4, 8)),
        *((name, 1.35) for name in ("r_precision", "map_at_r", "map_at_10")),
        ("mean_average_precision", 1.35),
    ],
)
def test_the_spread_over_test_sets_is_the_stated_error(test_sets, name, most):
    values, stated, _ = test_sets[name]
    spread = np.std(values)
    assert 0.9 * spread < np.mean(stated) < most * spread


def test_queries_alone_state_half_of_the_spread(test_sets):
    """The gallery varies from one test set to another, too."""
    values, _, queries = test_sets["map_at_r"]
    assert np.mean(queries) < 0.75 * np.std(values)


def test_what_has_no_query_is_refused():
    with pytest.raises(DataError, match="no query has anything to find"):
        retrieval_estimates([[0.0], [1.0]], [0, 1])
    with pytest.raises(DataError, match="one label per row"):
        retrieval_estimates([[0.0], [1.0]], [0, 0, 1])
