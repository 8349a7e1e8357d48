"""What databases return is measured anew: order, limits and ties do not hang on their rounding."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from search_oracles import nearest as oracle
from twinset.search.candidates import Candidates, best, measure, nearest, rounding, settled
from twinset.search.items import Neighbour


def candidates(vectors, positions=None):
    n = len(vectors)
    positions = np.arange(n) if positions is None else np.array(positions)
    names = [f"at {position}" for position in positions]
    return Candidates(positions, names, np.float32(vectors), [{"n": i} for i in range(n)])


def test_ties_come_by_position_not_as_they_came():
    found = candidates([[3, 0], [0, 3], [1, 0]], positions=[9, 2, 5])
    hits = nearest(np.zeros(2, np.float32), found, None, 3.0)
    assert hits == [
        Neighbour("at 5", 1.0, {"n": 2}),
        Neighbour("at 2", 3.0, {"n": 1}),
        Neighbour("at 9", 3.0, {"n": 0}),
    ]
    assert [hit.id for hit in nearest(np.zeros(2, np.float32), found, 2, 3.0)] == ["at 5", "at 2"]


def test_the_limit_is_not_rounded():
    far = np.float32([[0.1, 0]])
    distance = float(measure(np.zeros(2, np.float32), candidates(far))[0])
    assert best(np.float32([distance]), np.array([0]), None, distance).tolist() == [0]
    below = float(np.nextafter(distance, 0))
    assert np.float32(below) == np.float32(distance)  # else this would show nothing
    assert best(np.float32([distance]), np.array([0]), None, below).tolist() == []


def hits(*distances):
    return [Neighbour(str(i), distance, {}) for i, distance in enumerate(distances)]


@pytest.mark.parametrize(
    ("farthest", "found", "k", "within", "slack", "answer"),
    [
        (5.0, hits(1.0, 2.0), 2, None, 0.0, True),
        (2.0, hits(1.0, 2.0), 2, None, 0.0, False),  # the next may be as far, and put in before
        (5.0, hits(1.0, 2.0), 2, None, 21.0, False),  # 25 - 21 is no more than 4
        (5.0, hits(1.0, 2.0), 3, None, 0.0, False),  # fewer than k
        (5.0, hits(1.0, 2.0), 3, 4.0, 0.0, True),
        (4.0, hits(1.0, 2.0), 3, 4.0, 0.0, False),
        (5.0, [], None, 4.0, 0.0, True),
    ],
)
def test_settled(farthest, found, k, within, slack, answer):
    assert settled(farthest, found, k, within, slack) is answer


vectors = hnp.arrays(
    np.float32,
    st.tuples(st.integers(2, 12), st.integers(1, 20)),
    elements=st.floats(-1000, 1000, width=32),
)


@given(vectors)
def test_rounding_bounds_what_float32_gets_wrong(found):
    """Both ways in which databases compute d², against float64."""
    query, others = found[0], found[1:]
    true = [far**2 for far, _ in sorted(oracle(others, query), key=lambda pair: pair[1])]
    dim = found.shape[1]
    for other, exact in zip(others, true, strict=True):
        direct = np.float32(0)
        for a, b in zip(query, other, strict=True):
            direct += (a - b) * (a - b)
        assert abs(float(direct) - exact) <= rounding(dim, exact) / 4
        expanded = query @ query + other @ other - 2 * (query @ other)
        scale = (np.linalg.norm(np.float64(query)) + np.linalg.norm(np.float64(other))) ** 2
        assert abs(float(expanded) - exact) <= rounding(dim, scale) / 4


@given(vectors, st.integers(1, 5))
def test_what_was_left_out_is_no_neighbour(found, k):
    """A database with the worst rounding allowed: if `settled`, the answer is the true one."""
    query, others = found[0], found[1:]
    everything = candidates(others)
    distances = measure(query, everything)
    rng = np.random.default_rng(0)
    scale = float(distances.max()) ** 2
    wrong = distances.astype(float) ** 2 * (1 + 2.0**-24 * rng.choice([-1, 1], len(distances)))
    order = np.argsort(wrong)
    for limit in range(1, len(others) + 1):
        some = everything.take(order[:limit])
        answer = nearest(query, some, k, None)
        farthest = float(measure(query, some).max())
        if settled(farthest, answer, k, None, rounding(found.shape[1], scale)):
            assert answer == nearest(query, everything, k, None)


def test_joined_and_taken():
    one = candidates([[1, 1], [2, 2]]).joined(candidates([[3, 3]], positions=[7]))
    assert len(one) == 3
    picked = one.take([2, 0])
    assert picked.positions.tolist() == [7, 0]
    items = picked.items()
    assert items.ids == ("at 7", "at 0")
    assert items.vectors.tolist() == [[3, 3], [1, 1]]
    assert items.metadata == ({"n": 0}, {"n": 0})
