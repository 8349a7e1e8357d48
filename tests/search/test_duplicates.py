"""`duplicates`: groups by hand, their words and tables, and what they need of a model."""

import csv
import io
import shutil

import numpy as np
import pytest
from PIL import Image

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


def test_a_chain_within_the_mean_is_one_group(line):
    found = twinset.duplicates(line, 0.16)
    assert ids(found) == [["x", "y"], ["b", "a", "c"]]
    group = found.groups[1]
    assert (len(group), group.kind) == (3, "same thing")
    assert group.diameter == pytest.approx(0.2)
    assert [one.distance for one in group.members] == pytest.approx([0, 0.1, 0.1])
    assert [one.metadata["label"] for one in group.members] == ["B", "A", "C"]
    assert (found.items, found.links) == (6, ())
    assert found.sentences() == [
        "2 groups with 5 of 6 items: same thing, within 0.16 of each other on average "
        "(as asked for)"
    ]


def test_a_chain_is_cut_and_what_would_join_it_is_named(line):
    found = twinset.duplicates(line, 0.1 + 1e-6)
    assert ids(found) == [["a", "b"]]
    (link,) = found.links
    assert (link.left, link.right) == ("b", "c")
    assert link.distance == pytest.approx(0.1)
    assert found.sentences()[1] == (
        "1 cut between groups that only a chain of small steps connects, or that you decided are "
        "different: the shortest is b - c at 0.1"
    )
    assert found.to_dict()["links"] == [{"left": "b", "right": "c", "distance": link.distance}]


def test_the_default_is_the_models_own_threshold(line):
    found = duplicates(line)
    assert ids(found) == [["x", "y"], ["b", "a", "c"]]
    assert found.threshold == line.threshold


def test_none_is_an_answer(line):
    found = duplicates(line, 0)
    assert found.groups == ()
    assert found.sentences() == [
        "0 groups with 0 of 6 items: same thing, within 0 of each other on average (as asked for)"
    ]
    assert found.to_dict()["groups"] == []
    with Index.create(Halves()) as empty:
        assert duplicates(empty).items == 0


def test_the_table_has_a_row_for_each_member(line):
    rows = list(csv.DictReader(io.StringIO(duplicates(line).to_csv())))
    assert [row["id"] for row in rows] == ["x", "y", "b", "a", "c"]
    assert rows[3] == {
        "group": "2",
        "kind": "same thing",
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


def test_the_same_picture_is_told_apart_from_the_same_thing(tmp_path):
    rng = np.random.default_rng(0)
    first, other = (
        Image.fromarray(rng.integers(0, 256, (12, 12), np.uint8)).resize((96, 96), 3)
        for _ in range(2)
    )
    for name, picture in (
        ("a", first),
        ("a again", first.resize((80, 80), 3)),
        ("a mirrored", first.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
        ("b", other),
        ("c", other.rotate(180)),
        ("d", first.rotate(90)),
    ):
        picture.save(tmp_path / f"{name}.png")
    names = ("a", "a again", "a mirrored", "b", "c", "d")
    places = np.float32([[0, 0.00], [0, 0.01], [0, 0.02], [0, 0.03], [0, 0.9], [0, 0.91]])
    known = [{"path": str(tmp_path / f"{name}.png")} for name in names]
    with Index.build(Halves(threshold=0.05), Items(names, places, known)) as index:
        found = duplicates(index)
        plain = duplicates(index, pictures=False)
        unread = duplicates(index, 0)
    assert [(group.kind, sorted(one.id for one in group.members)) for group in found.groups] == [
        ("same picture", ["a", "a again", "a mirrored"]),
        ("same thing", ["c", "d"]),
        ("same thing", ["a", "a again", "a mirrored", "b"]),
    ]
    assert found.sentences()[0] == "1 group with 3 of 6 items: same picture, by their pixels"
    assert {group.kind for group in plain.groups} == {"same thing"}
    assert unread.groups == ()
