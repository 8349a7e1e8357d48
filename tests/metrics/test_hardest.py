"""The hardest pairs against a sort of all pairs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinset.distance import of_pairs
from twinset.metrics import all_pairs
from twinset.metrics.all_pairs import AllPairs
from twinset.metrics.listed_pairs import hardest_pairs


def by_sorting(points, labels, count):
    """All pairs, sorted by distance and then by position, in plain Python."""
    found = {False: [], True: []}
    for i in range(len(labels)):
        for j in range(i + 1, len(labels)):
            (d,) = of_pairs(points, np.array([i]), np.array([j])).tolist()
            found[bool(labels[i] == labels[j])].append((i, j, d))
    close = sorted(found[False], key=lambda pair: (pair[2], pair[0], pair[1]))
    far = sorted(found[True], key=lambda pair: (-pair[2], pair[0], pair[1]))
    return {
        "false_matches": [list(pair) for pair in close[:count]],
        "false_non_matches": [list(pair) for pair in far[:count]],
    }


@pytest.fixture(params=[4, 1024])
def _tile(request, monkeypatch):
    monkeypatch.setattr(all_pairs, "TILE", request.param)


@st.composite
def labelled_points(draw):
    """Few places for many points, so that most distances tie; or anywhere, far off or not."""
    n = draw(st.integers(3, 18))
    some = draw(
        st.sampled_from(
            [
                st.just(3.0),
                st.integers(-1, 1).map(float),
                st.floats(-5, 5, width=32),
                st.floats(1000, 1001, width=32),
            ]
        )
    )
    points = draw(st.lists(st.tuples(some, some), min_size=n, max_size=n))
    labels = draw(
        st.lists(st.integers(0, 3), min_size=n, max_size=n).filter(
            lambda chosen: 1 < len(set(chosen)) < n
        )
    )
    return np.array(points, np.float32), np.array(labels)


@pytest.mark.usefixtures("_tile")
@settings(max_examples=60)
@given(labelled_points(), st.integers(1, 200))
def test_they_are_the_first_of_all_pairs_sorted(case, count):
    points, labels = case
    found = hardest_pairs(AllPairs(points, labels), count)
    assert found.to_dict() == by_sorting(points, labels, count)


@pytest.mark.usefixtures("_tile")
def test_close_pairs_are_measured_and_not_read_off_the_tiles():
    """Nearly equal images of two classes: in the tiles' arithmetic their order is noise."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(60, 32))
    points[30:] = points[:30] + 1e-5 * np.arange(1, 31)[:, None]
    labels = np.repeat([0, 1], 30)
    found = hardest_pairs(AllPairs(points, labels), 8)
    assert found.closest_different.tolist() == [[i, i + 30] for i in range(8)]
    assert (np.diff(found.closest_distances) > 0).all()
    assert found.to_dict() == by_sorting(points, labels, 8)


def test_larger_sets_over_many_tiles(monkeypatch):
    monkeypatch.setattr(all_pairs, "TILE", 64)
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 5, 300)
    points = rng.normal(size=(300, 8)) + labels[:, None]
    found = hardest_pairs(AllPairs(points, labels), 10)
    i, j = np.triu_indices(300, 1)
    d, same = of_pairs(points, i, j), labels[i] == labels[j]
    np.testing.assert_array_equal(found.closest_distances, np.sort(d[~same])[:10])
    np.testing.assert_array_equal(found.farthest_distances, -np.sort(-d[same])[:10])
    for positions, distances, kind in (
        (found.closest_different, found.closest_distances, False),
        (found.farthest_same, found.farthest_distances, True),
    ):
        left, right = positions.T
        assert (left < right).all()
        assert ((labels[left] == labels[right]) == kind).all()
        np.testing.assert_array_equal(of_pairs(points, left, right), distances)


def test_a_collapsed_network_is_ranked_by_position():
    labels = np.tile([0, 1], 700)  # more than a tile
    found = hardest_pairs(AllPairs(np.ones((1400, 4)), labels), 3)
    assert found.closest_different.tolist() == [[0, 1], [0, 3], [0, 5]]
    assert found.farthest_same.tolist() == [[0, 2], [0, 4], [0, 6]]
    assert not found.closest_distances.any()
    assert not np.signbit(found.farthest_distances).any()


def test_an_exact_duplicate_is_a_pair_and_an_image_with_itself_is_none():
    points, labels = np.array([[1.0], [1.0], [4.0], [9.0]]), [0, 1, 0, 1]
    found = hardest_pairs(AllPairs(points, labels), 10).to_dict()
    assert found["false_matches"][0] == [0, 1, 0.0]
    assert len(found["false_matches"]) == 4
    assert found["false_non_matches"] == [[1, 3, 8.0], [0, 2, 3.0]]
