"""Operating points: thresholds with a name, and answers by them; and pages of items."""

import numpy as np
import pytest

from halves import Halves
from twinset.errors import StoreError
from twinset.search.index import Index
from twinset.search.items import Items

PLACES = {"a": 0.0, "b": 0.1, "c": 0.2, "x": 0.5, "y": 0.65, "far": 0.9}


def make(url=None):
    vectors = np.float32([[0, place] for place in PLACES.values()])
    metadata = tuple({"place": place, "kind": "ab"[place > 0.3]} for place in PLACES.values())
    return Index.build(Halves(threshold=0.16), Items(tuple(PLACES), vectors, metadata), url)


def query(place=0.0):
    return np.float32([0, place])


def test_answers_by_a_point(url):
    with make(url) as index:
        assert index.points() == {}
        made = index.save_point("strict", 0.05, who="anna")
        index.save_point("wide", 0.6, who="bo")
        assert (made.name, made.threshold, made.who, made.model) == (
            "strict",
            0.05,
            "anna",
            "halves",
        )
    with Index.open(url, Halves(threshold=0.16)) as index:
        assert [*index.points()] == ["strict", "wide"]
        for point, matches in ((None, "ab"), ("strict", "a"), ("wide", "abcx")):
            answer = index.search(query(), k=6, point=point)
            assert [one.id for one in answer.matches] == list(matches)
            assert len(index.search(query(), k=None, within="threshold", point=point)) == len(
                matches
            )
            similar = index.similar("a", k=6, point=point)
            assert [one.id for one in similar.matches] == list(matches)[1:]
        assert answer.threshold.rule == "operating point wide"
        index.save_point("strict", 0.15, who="anna")
        assert index.points()["strict"].threshold == 0.15
        index.remove_point("wide")
        with pytest.raises(StoreError, match=r"operating point \('strict'\). Received 'wide'"):
            index.search(query(), point="wide")
        assert [*index.points()] == ["strict"]


@pytest.mark.parametrize("name", ["", " a", "a ", "-a", "a/b", "a" * 61, None, 3])
def test_names_are_checked(name):
    with make() as index, pytest.raises(StoreError, match="Expected a name of 1 to 60 letters"):
        index.save_point(name, 0.1)


@pytest.mark.parametrize("threshold", [-0.1, float("nan"), float("inf"), "0.1", None, True])
def test_thresholds_are_checked(threshold):
    with make() as index, pytest.raises(StoreError, match="Expected a threshold of 0 or more"):
        index.save_point("a", threshold)


@pytest.mark.parametrize("threshold", [np.float32(0.5), np.int64(1), np.float64(0), 1])
def test_thresholds_of_numpy(threshold):
    with make() as index:
        assert index.save_point("a", threshold).threshold == float(threshold)


def test_points_of_another_model_mean_nothing():
    with make() as index:
        index.save_point("strict", 0.05)
        index.store.record("points", [{**index.points()["strict"].to_dict(), "model": "other"}])
        assert index.points() == {}
        with pytest.raises(StoreError, match="none yet"):
            index.remove_point("strict")


def test_identities_by_a_point():
    with make() as index:
        index.identify_by("kind")
        index.save_point("none", 0.0)
        index.save_point("all", 9.0)
        assert not index.identify(query(0.21), point="none")
        found = index.identify(query(3.0), point="all")
        assert found
        assert found.settings.threshold_rule == "operating point all"


def test_several_images_of_one_thing_are_one_query():
    """An item is as far as it is from the nearest of them, by a loop over all."""
    queries = np.float32([[0, 0.12], [0, 0.62], [0.3, 0.9]])
    with make() as index:
        far = {own: min(np.hypot(*(q - [0, at])) for q in queries) for own, at in PLACES.items()}
        expected = sorted(far, key=far.get)
        for k in (1, 3, 6):
            found = index.search(queries, k=k, together=True)
            assert [one.id for one in found] == expected[:k]
            assert [one.distance for one in found] == pytest.approx([far[o] for o in expected[:k]])
        assert found.query == "vector 0 and 2 more"
        none = index.search(queries, k=None, within=0.01, together=True)
        assert len(none) == 0
        assert none.nearest.id == expected[0]
        with pytest.raises(StoreError, match="Expected an image to search for"):
            index.search(np.zeros((0, 2), np.float32), together=True)


def test_pages_of_items(url):
    names = list(PLACES)
    with make(url) as index:
        page = index.store.page(2, 3)
        assert (page.ids, page.total) == (tuple(names[2:5]), 6)
        assert page.metadata[0]["place"] == 0.2
        assert index.store.page(9, 3).ids == ()
        assert index.store.page(0, 0).total == 6
        found = index.store.page(1, 5, where=["kind=b"])
        assert (found.ids, found.total) == (("y", "far"), 3)
        index.remove(["b"])
        assert index.store.page(0, 2).ids == ("a", "c")
        index.put(Items(["new"], query()[None]))
        assert index.store.page(4, 9).ids == ("far", "new")
        with pytest.raises(StoreError, match=r"Expected the offset as 0 or more. Received -1"):
            index.store.page(-1)
        with pytest.raises(StoreError, match="has 'new' already"):
            index.put(Items(["new"], query()[None]))


def test_columns(url):
    known = [{"a": 2, "z": True}, {"a": "x", "b": None}, {"a": 10, "z": False}, {"a": 2}]
    vectors = np.float32([[0, place] for place in range(4)])
    with Index.build(Halves(), Items([*"wxyz"], vectors, known), url) as index:
        found = {one.name: one for one in index.store.columns() if one.name[0] != "_"}
        assert (found["a"].kinds, found["a"].values) == (("number", "text"), (2, 10, "x"))
        assert (found["b"].kinds, found["b"].values) == ((), ())
        assert found["z"].values == (False, True)
        index.remove(["x"])
        found = {one.name: one for one in index.store.columns(1) if one.name[0] != "_"}
        assert {name: len(one.values) for name, one in found.items()} == {"a": 1, "z": 1}
