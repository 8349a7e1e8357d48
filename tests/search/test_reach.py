"""What each threshold leaves, by a count over all pairs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csgraph

from twinset.search import thresholds as module
from twinset.search.items import Items, Signature
from twinset.search.store import create_store
from twinset.search.thresholds import reach, reach_of


@given(st.lists(st.tuples(*[st.integers(0, 6)] * 2), max_size=6))
def test_counts_are_those_of_all_pairs(points):
    """Of up to six items all others are among the five nearest."""
    vectors = np.float32(points).reshape(-1, 2)
    found = reach_of(vectors, 10.0, 30)
    apart = np.linalg.norm(vectors[:, None] - vectors[None], axis=-1)
    np.fill_diagonal(apart, np.inf)
    for at, threshold in enumerate(found.distance):
        within = apart <= threshold + 1e-6
        labels = csgraph.connected_components(within)[1] if len(vectors) else []
        sizes = np.bincount(labels) if len(vectors) else np.zeros(0)
        assert found.matches[at] == within.any(axis=1).sum()
        assert found.groups[at] == (sizes > 1).sum()
    assert found.items == len(vectors)


def test_a_large_collection_is_sampled_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "QUERIES", 10)
    vectors = np.repeat(np.arange(20.0), 2)[:, None] * [1, 0]
    with create_store(tmp_path / "index", Signature("m", 2)) as store:
        store.add(Items([str(at) for at in range(len(vectors))], vectors))
        found = reach(store)
    assert (found.whole, found.groups, found.items) == (False, (), 40)
    assert found.matches[0] == 40
    assert found.distance[-1] == pytest.approx(1.0)
