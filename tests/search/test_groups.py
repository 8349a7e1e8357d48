"""Groups against a plain search through the graph, and plain average linkage within it."""

import itertools

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
from twinset.search.cut import joined, sets_of
from twinset.search.groups import find_groups


def by_walking(vectors, threshold):
    """Lists of positions that steps connect, by depth-first search."""
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
        found.append(sorted(reached))
    return found


def by_averages(apart, threshold):
    """Join the two closest parts, by their mean distance, until none are within the threshold."""
    parts = [[row] for row in range(len(apart))]

    def mean(pair):
        return np.mean([apart[i][j] for i in parts[pair[0]] for j in parts[pair[1]]])

    while len(parts) > 1:
        a, b = min(itertools.combinations(range(len(parts)), 2), key=mean)
        if mean((a, b)) > threshold:
            break
        parts[a] += parts.pop(b)
    return parts


def check(vectors, threshold, different=()):
    """Hold groups and links to what they promise, whatever ties there are."""
    found = find_groups(vectors, threshold, different=different)
    keys = [(group.diameter, len(group), min(group.members)) for group in found.groups]
    assert keys == sorted(keys)
    groups = [set(group.members.tolist()) for group in found.groups]
    assert sum(map(len, groups)) == len(set().union(*groups))
    home = {one: k for k, own in enumerate(groups) for one in own}
    links = {frozenset((link.left, link.right)): link.distance for link in found.links}
    for group in found.groups:
        members = group.members.tolist()
        table = [[far(vectors[a], vectors[b]) for b in members] for a in members]
        sums = [sum(row) for row in table]
        assert sums[0] == pytest.approx(min(sums), rel=1e-5)
        assert group.diameter == pytest.approx(max(map(max, table)), rel=1e-5)
        np.testing.assert_allclose(group.distances, table[0], rtol=1e-5, atol=1e-7)
        assert group.distances[0] == 0
        assert (np.diff(group.distances) >= 0).all()
    for connected in by_walking(vectors, threshold):
        parts = {home.get(one, -1 - one): set() for one in connected}
        for one in connected:
            parts[home.get(one, -1 - one)].add(one)
        widest = max(far(vectors[a], vectors[b]) for a in connected for b in connected)
        inside = [pair for pair in different if {*pair} <= {*connected}]
        if widest <= threshold and not inside:
            assert len(parts) == 1
        own = [pair for pair in links if pair <= {*connected}]
        assert len(own) == len(parts) - 1
        for pair in own:  # the closest of the two parts
            left, right = (parts[home.get(one, -1 - one)] for one in pair)
            closest = min(far(vectors[a], vectors[b]) for a in left for b in right)
            assert links[pair] == pytest.approx(closest, rel=1e-5)
    for left, right in different:
        assert home.get(left, -1) != home.get(right, -2)
    return found


@given(
    st.integers(0, 2**32),
    st.integers(0, 40),
    st.integers(1, 4),
    st.sampled_from([0.0, 1.0, 1.5, 2.0]),
    st.sampled_from([0.0, 1000.0]),
)
def test_groups_and_links_keep_their_promises(seed, n, d, threshold, offset):
    check(grid(np.random.default_rng(seed), n, d, 6) + np.float32(offset), threshold)


@given(st.integers(0, 2**32), st.integers(2, 24), st.sampled_from([0.1, 0.2, 0.35]))
def test_what_connects_is_cut_as_by_hand(seed, n, threshold):
    vectors = np.random.default_rng(seed).random((n, 2)).astype(np.float32)
    expected = set()
    for connected in by_walking(vectors, threshold):
        apart = [[far(vectors[a], vectors[b]) for b in connected] for a in connected]
        for part in by_averages(apart, threshold):
            expected.add(frozenset(connected[k] for k in part))
    found = find_groups(vectors, threshold)
    groups = {frozenset(group.members.tolist()) for group in found.groups}
    assert groups == {part for part in expected if len(part) > 1}


@given(st.integers(0, 2**32), st.integers(2, 24), st.integers(0, 8), st.integers(0, 8))
def test_what_is_decided_holds(seed, n, agreed, denied):
    rng = np.random.default_rng(seed)
    vectors = rng.random((n, 2)).astype(np.float32)
    same, different = (
        [tuple(rng.choice(n, 2, replace=False).tolist()) for _ in range(count)]
        for count in (agreed, denied)
    )
    check(vectors, 0.2, different)
    found = find_groups(vectors, 0.2, same=same, different=different)
    home = {int(one): k for k, group in enumerate(found.groups) for one in group.members}
    assert len(home) == sum(map(len, found.groups))
    refused = joined(same, different)[1]
    for place, (left, right) in enumerate(same):
        assert place in refused or home[left] == home[right]
    for left, right in different:
        assert home.get(left, -1) != home.get(right, -2)
    for link in found.links:
        assert home.get(link.left, -1) != home.get(link.right, -2)
    if not denied:  # whole groups are joined, and none loses a member
        for group in find_groups(vectors, 0.2).groups:
            assert len({home[one] for one in group.members.tolist()}) == 1


def test_joining_in_order_leaves_out_what_contradicts():
    home, refused = joined([(1, 2), (2, 3), (4, 5), (3, 4)], [(1, 5)])
    assert sets_of(home) == [[1, 2, 3], [4, 5]]
    assert refused == [3]


@pytest.mark.parametrize("threshold", [0.0, 0.12, 5.0])
def test_across_tiles(monkeypatch, threshold):
    monkeypatch.setattr(groups, "TILE", 64)
    monkeypatch.setattr(groups, "ROOM", 2000)
    monkeypatch.setattr(groups, "_MANY", 100)
    monkeypatch.setattr(groups, "SMALL", 8)
    rng = np.random.default_rng(0)
    vectors = rng.random((130, 2)).astype(np.float32)
    vectors[110:] = vectors[:20]
    assert check(vectors, threshold).groups


def test_two_clouds_on_a_bridge_are_two_groups_and_the_bridge_is_named():
    vectors = np.array([[0.0], [0.1], [0.2], [1.0], [1.8], [1.9], [2.0]])
    found = find_groups(vectors, 0.85)
    assert [sorted(group.members.tolist()) for group in found.groups] == [[0, 1, 2], [4, 5, 6]]
    assert {(link.left, link.right) for link in found.links} == {(2, 3), (3, 4)}
    assert [link.distance for link in found.links] == pytest.approx([0.8, 0.8])


def test_a_chain_is_no_group():
    found = find_groups(np.arange(101.0)[::-1, None], 1.0)
    assert max(map(len, found.groups)) == 2
    assert max(group.diameter for group in found.groups) == 1
    assert len(found.links) >= 50
    assert find_groups(np.arange(101.0)[:, None], 0.99).groups == []


def test_a_crowd_is_cut_by_smaller_steps_first():
    rng = np.random.default_rng(0)
    middles = np.repeat([0.0, 1.0, 2.0], 900)[:, None]
    vectors = np.concatenate([middles, np.zeros_like(middles)], 1)
    vectors += rng.uniform(-0.2, 0.2, vectors.shape)
    found = find_groups(vectors, 0.7)  # 2,700 in one chain, above what is held at once
    sizes = sorted(len(group) for group in found.groups)
    assert sum(sizes) == 2700
    assert sizes == [900, 900, 900]
    equal = find_groups(np.zeros((2500, 2)), 0, different=[(3, 7)])
    assert [len(group) for group in equal.groups] == [2499]


def test_the_threshold_itself_connects():
    pair = np.array([[0.0, 0.0], [3.0, 4.0]])
    assert len(find_groups(pair, 5.0).groups) == 1
    assert find_groups(pair, np.nextafter(5.0, 0)).groups == []


def test_equal_vectors():
    vectors = np.full((1500, 5), 0.3)
    (group,) = find_groups(vectors, 0).groups
    assert group.members.tolist() == list(range(1500))
    assert group.diameter == 0


@pytest.mark.parametrize("threshold", [1e200, np.inf])
def test_a_threshold_beyond_all(threshold):
    (group,) = find_groups([[0.0], [1e15], [2.0]], threshold).groups
    assert sorted(group.members.tolist()) == [0, 1, 2]


def test_few_or_none():
    assert find_groups(np.empty((0, 3)), 1.0).groups == []
    assert find_groups(np.zeros((1, 3)), 1.0).groups == []


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
