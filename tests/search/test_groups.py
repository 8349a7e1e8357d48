"""Groups against a plain search through the graph."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_oracles import distance as far
from search_oracles import grid
from twinset import distance
from twinset.errors import StoreError
from twinset.progress import Progress
from twinset.search import groups
from twinset.search.groups import find_groups


def by_walking(vectors, threshold):
    """Sets of positions that steps connect, by depth-first search; largest, then first, first."""
    left, found = set(range(len(vectors))), []
    while left:
        pending, reached = [min(left)], set()
        while pending:
            here = pending.pop()
            if here not in reached:
                reached.add(here)
                pending += [
                    there
                    for there in left
                    if float(distance.euclidean(vectors[here], vectors[there])) <= threshold
                ]
        left -= reached
        if len(reached) > 1:
            found.append(sorted(reached))
    return sorted(found, key=lambda members: (-len(members), members[0]))


def check(vectors, threshold):
    found = find_groups(vectors, threshold)
    assert [sorted(group.members.tolist()) for group in found] == by_walking(vectors, threshold)
    for group in found:
        members = group.members.tolist()
        table = [[far(vectors[a], vectors[b]) for b in members] for a in members]
        sums = [sum(row) for row in table]
        assert sums[0] == pytest.approx(min(sums), rel=1e-5)
        assert group.diameter == pytest.approx(max(map(max, table)), rel=1e-5)
        np.testing.assert_allclose(group.distances, table[0], rtol=1e-5, atol=1e-7)
        assert group.distances[0] == 0
        assert (np.diff(group.distances) >= 0).all()
    return found


@given(
    st.integers(0, 2**32),
    st.integers(0, 60),
    st.integers(1, 4),
    st.sampled_from([0.0, 1.0, 1.5, 2.0]),
    st.sampled_from([0.0, 1000.0]),
)
def test_groups_are_what_walking_finds(seed, n, d, threshold, offset):
    check(grid(np.random.default_rng(seed), n, d, 6) + np.float32(offset), threshold)


@pytest.mark.parametrize("threshold", [0.0, 0.05, 0.12, 0.3, 5.0])
def test_across_tiles(monkeypatch, threshold):
    monkeypatch.setattr(groups, "TILE", 64)
    monkeypatch.setattr(groups, "ROOM", 2000)
    monkeypatch.setattr(groups, "_MANY", 100)
    monkeypatch.setattr(groups, "SMALL", 8)
    rng = np.random.default_rng(0)
    vectors = rng.random((300, 2)).astype(np.float32)
    vectors[200:220] = vectors[:20]
    assert check(vectors, threshold)


def test_a_chain_is_one_group_and_its_diameter_tells():
    (group,) = find_groups(np.arange(101.0)[::-1, None], 1.0)
    assert len(group) == 101
    assert group.members[0] == 50
    assert group.diameter == 100
    assert group.distances[-1] == 50
    assert find_groups(np.arange(101.0)[:, None], 0.99) == []


def test_the_threshold_itself_connects():
    pair = np.array([[0.0, 0.0], [3.0, 4.0]])
    assert len(find_groups(pair, 5.0)) == 1
    assert find_groups(pair, np.nextafter(5.0, 0)) == []


def test_equal_vectors():
    vectors = np.full((1500, 5), 0.3)
    (group,) = find_groups(vectors, 0)
    assert group.members.tolist() == list(range(1500))
    assert group.diameter == 0


@pytest.mark.parametrize("threshold", [1e200, np.inf])
def test_a_threshold_beyond_all(threshold):
    (group,) = find_groups([[0.0], [1e15], [2.0]], threshold)
    assert sorted(group.members.tolist()) == [0, 1, 2]


def test_few_or_none():
    assert find_groups(np.empty((0, 3)), 1.0) == []
    assert find_groups(np.zeros((1, 3)), 1.0) == []


def test_progress_ends_with_all():
    told = []
    find_groups(np.random.default_rng(0).random((2500, 3)), 0.01, progress=told.append)
    assert len(told) == 3
    assert told[-1] == Progress("compare", 2500 * 2501 // 2, 2500 * 2501 // 2, "pairs")
    assert [now.done for now in told] == sorted(now.done for now in told)


@pytest.mark.parametrize("threshold", [-1.0, np.nan])
def test_thresholds_that_make_no_sense(threshold):
    with pytest.raises(StoreError, match="Expected a threshold of 0 or more. Received"):
        find_groups(np.zeros((2, 2)), threshold)
