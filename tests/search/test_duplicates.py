"""`duplicates`: groups by hand, their words and tables, and what they need of a model."""

import csv
import io
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import twinset
from halves import Halves
from twinset.errors import StoreError
from twinset.search.duplicates import duplicates
from twinset.search.index import Index
from twinset.search.store import Items

# Two chains on a line, and one alone: steps of 0.1, then 0.15, then far away.
PLACES = {"a": 0.0, "b": 0.1, "c": 0.2, "x": 0.5, "y": 0.65, "far": 0.9}


@pytest.fixture
def line():
    vectors = np.float32([[0, place] for place in PLACES.values()])
    metadata = tuple({"label": name.upper(), "path": f"/{name}.png"} for name in PLACES)
    with Index.build(Halves(threshold=0.16), Items(tuple(PLACES), vectors, metadata)) as index:
        yield index


def ids(found):
    return [[one.id for one in group.members] for group in found.groups]


def test_groups_are_those_that_small_steps_connect(line):
    found = twinset.duplicates(line, 0.1 + 1e-6)
    assert ids(found) == [["b", "a", "c"]]
    (group,) = found.groups
    assert len(group) == 3
    assert group.diameter == pytest.approx(0.2)
    assert [one.distance for one in group.members] == pytest.approx([0, 0.1, 0.1])
    assert [one.metadata["label"] for one in group.members] == ["B", "A", "C"]
    assert (found.items, found.chained) == (6, 1)
    assert found.sentences() == [
        "1 group with 3 of 6 items, each within 0.1 of another (as asked for)",
        "1 of them wider than that: chains of small steps connect what is not alike itself; a "
        "smaller threshold takes them apart",
    ]


def test_the_default_is_the_models_own_threshold(line):
    found = duplicates(line)
    assert ids(found) == [["b", "a", "c"], ["x", "y"]]
    assert found.threshold == line.threshold
    assert found.sentences()[0] == (
        "2 groups with 5 of 6 items, each within 0.16 of another (fixed by hand)"
    )


def test_none_is_an_answer(line):
    found = duplicates(line, 0)
    assert found.groups == ()
    assert found.sentences() == [
        "0 groups with 0 of 6 items, each within 0 of another (as asked for)"
    ]
    assert found.to_dict()["groups"] == []
    with Index.create(Halves()) as empty:
        assert duplicates(empty).items == 0


def test_the_table_has_a_row_for_each_member(line):
    rows = list(csv.DictReader(io.StringIO(duplicates(line).to_csv())))
    assert [row["id"] for row in rows] == ["b", "a", "c", "x", "y"]
    assert rows[1] == {
        "group": "1",
        "size": "3",
        "diameter": "0.200000",
        "id": "a",
        "distance": "0.100000",
        "label": "A",
        "path": "/a.png",
    }


@pytest.mark.parametrize("threshold", [-0.1, float("nan")])
def test_thresholds_out_of_range_are_refused(line, threshold):
    with pytest.raises(StoreError, match="a threshold of 0 or more. Received (-0.1|nan)"):
        duplicates(line, threshold)


def test_a_model_is_asked_for_its_threshold_only_where_none_is_given():
    Index.build(Halves(), Items(("a", "b"), np.zeros((2, 2))), "x.index").close()
    shutil.rmtree("x.index/model")
    with Index.open("x.index") as index:
        assert ids(duplicates(index, 0.5)) == [["a", "b"]]
        with pytest.raises(StoreError, match="--model"):
            duplicates(index)


@settings(max_examples=25)
@given(st.integers(0, 40), st.floats(0, 0.6), st.integers(0, 3))
def test_groups_are_the_components_of_a_graph(count, threshold, seed):
    places = np.random.default_rng(seed).integers(0, 8, (count, 2)) / 8  # exact in float32
    names = tuple(map(str, range(count)))
    with Index.create(Halves()) as index:
        index.update(Items(names, places))
        found = duplicates(index, threshold)
    apart = [[float(np.float32(np.hypot(*(a - b)))) for b in places] for a in places]
    left = set(range(count))
    expected = set()
    while left:
        group, waiting = set(), [left.pop()]
        while waiting:
            one = waiting.pop()
            group.add(one)
            near = {other for other in left if apart[one][other] <= threshold}
            left -= near
            waiting += near
        if len(group) > 1:
            expected.add(frozenset(map(str, group)))
    assert {frozenset(own) for own in ids(found)} == expected
    sizes = [len(group) for group in found.groups]
    assert sizes == sorted(sizes, reverse=True)
    for group in found.groups:
        rows = [int(one.id) for one in group.members]
        widest = max(apart[a][b] for a in rows for b in rows)
        assert group.diameter == pytest.approx(widest, abs=1e-6)
