"""`review`: which pairs are worth a question, on collections that a person can see through."""

import csv
import io
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from halves import Halves
from twinset.decision import Calibrator
from twinset.errors import StoreError
from twinset.search.decisions import NEAR
from twinset.search.index import Index
from twinset.search.items import Items


def make(places, labels=None, threshold=0.16):
    vectors = np.float32([[0, place] for place in places.values()])
    known = [{} if labels is None else {"product": label} for label in labels or places]
    model = Halves(threshold=threshold)
    model.calibrator = Calibrator(-40.0, 40.0 * threshold)
    return Index.build(model, Items(tuple(places), vectors, known))


def pairs(found, why=""):
    return {frozenset((q.left, q.right)) for q in found.questions if q.why.startswith(why)}


@pytest.fixture
def products():
    """Five products of three views each; one holds a view of something far away."""
    places, labels = {}, []
    for number in range(5):
        for view in range(3):
            far = 0.35 if (number, view) == (3, 2) else 0.0
            places[f"{number}{view}"] = number + 0.02 * view + far
            labels.append(f"product {number}")
    with make(places, labels) as index:
        yield index


def test_the_wrong_group_is_asked_about_first(products):
    found = products.review(5, column="product")
    first = found.questions[0]
    assert {first.left, first.right} in ({"30", "32"}, {"31", "32"})
    assert first.why == "weakest link of its group: product 3"
    # its distance to the others is 0.37 on average, of which the evidence is 40 * (0.16 - 0.38)
    assert first.gain == pytest.approx(1, abs=0.01)
    assert first.probability == pytest.approx(1 / (1 + np.exp(40 * (first.distance - 0.16))))
    assert found.claims == "product"


def test_what_is_decided_is_not_asked_again(products):
    asked = set()
    for _ in range(4):
        found = products.review(8, column="product")
        now = pairs(found)
        assert not now & asked
        asked |= now
        products.decide([(q.left, q.right, q.left[0] == q.right[0]) for q in found.questions])
    # 30, 31 and 32 are one product now, so that what follows from it is not asked either
    assert pairs(products.review(100, column="product")) <= {
        frozenset(pair) for pair in combinations([own for own, _ in products.items()], 2)
    }


def test_without_claims_the_groups_of_the_model_are_doubted():
    places = {"a": 0.0, "b": 0.15, "c": 0.29, "d": 0.43, "x": 2.0, "y": 2.01}
    with make(places) as index:
        found = index.review(6)  # so few that none is asked for its distance alone
    assert found.claims == "groups"
    links = pairs(found, "weakest link of its group")
    assert {frozenset("xy")} <= links
    joins = pairs(found, "would join two groups")
    assert joins
    assert all(len({"b", "c"} & pair) == 1 for pair in joins)
    near = [q for q in found.questions if q.why == NEAR]
    assert all(abs(q.distance - 0.16) <= 0.08 for q in near)


def test_items_recorded_as_different_that_look_the_same():
    with make({"a": 0.0, "b": 0.01, "c": 1.0, "d": 1.01}, ["cat", "dog", "cow", "cow"]) as index:
        found = index.review(10, column="product")
    assert pairs(found, "recorded as different: cat and dog") == {frozenset("ab")}
    assert found.questions[0].left == "a"


def test_an_item_is_in_two_questions_at_most_and_no_pair_twice():
    rng = np.random.default_rng(0)
    with make({str(k): float(p) for k, p in enumerate(rng.random(60))}) as index:
        found = index.review(40)
    ends = [end for q in found.questions for end in (q.left, q.right)]
    assert max(map(ends.count, ends)) <= 2
    assert len(pairs(found)) == len(found)
    gains = [q.gain for q in found.questions]
    assert gains == sorted(gains, reverse=True)


def test_the_table_is_one_that_decide_takes(products):
    found = products.review(6, column="product")
    rows = list(csv.DictReader(io.StringIO(found.to_csv())))
    assert [row["left"] for row in rows] == [q.left for q in found.questions]
    assert {row["same"] for row in rows} == {""}
    Path("review.csv").write_text(found.to_csv().replace(",,", ",1,"))
    assert products.decide("review.csv").new == len(found)
    reasons = {one.why for one in products.decisions()}
    assert reasons == {q.why for q in found.questions}


def test_few_or_none():
    with Index.build(Halves(), Items(("a", "b"), np.float32([[0, 0], [0, 0.1]]))) as index:
        (one,) = index.review().questions
        assert one.probability is None  # of a model without a calibration
        assert ",,weakest link" in index.review().to_csv()
    with make({"a": 0.0}) as index:
        assert index.review().questions == ()
        assert index.review().sentence() == "0 questions"
    with Index.create(Halves()) as empty:
        assert len(empty.review()) == 0


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"count": 0}, "questions of 1 or more"),
        ({"column": "nothing"}, "a column of the items' metadata. Received 'nothing'"),
    ],
)
def test_what_cannot_be_asked_is_told(products, asked, words):
    with pytest.raises(StoreError, match=words):
        products.review(**asked)


def test_on_the_command_line(command, monkeypatch):
    monkeypatch.setattr("twinset.models.onnx_model.load_model", Halves.load)
    Index.build(
        Halves(), Items(("a", "b"), np.float32([[0, 0], [0, 0.05]])), "photos.index"
    ).close()
    done = command("review", "photos.index", "--out", "doubts.v2")
    assert done.code == 0, done.err
    assert done.out == ("1 question: 1 weakest link of its group; doubts.v2.csv, doubts.v2.html\n")
    assert Path("doubts.v2.html").read_text("utf-8").count("data:image") == 0
    assert '"questions": [' in command("review", "photos.index", "--json").out
