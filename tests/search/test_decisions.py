"""Decisions: which stand, what follows from them, and what an index does with them."""

import csv
import itertools
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import twinset
from halves import Halves
from twinset.decision import Calibrator
from twinset.errors import DataError, StoreError
from twinset.search.decisions import NEAR, Decision, Settled, read_judgements, row_of, standing
from twinset.search.index import Index
from twinset.search.items import Items

PLACES = {"a": 0.0, "b": 0.1, "c": 0.2, "x": 0.5, "y": 0.65, "far": 0.9}


def make(url=None):
    vectors = np.float32([[0, place] for place in PLACES.values()])
    metadata = tuple({"path": str(Path(f"/photos/{name}.png"))} for name in PLACES)
    return Index.build(Halves(threshold=0.16), Items(tuple(PLACES), vectors, metadata), url)


def decided(left, right, same, undone=False, who="anna"):
    return Decision(left, right, same, who, "2026-11-28T21:30:00+00:00", "m", 0.5, "", undone)


def ids(found):
    return sorted(sorted(one.id for one in group.members) for group in found.groups)


def test_in_every_store(url):
    """What is decided is kept with who, when and by which model, and answered by."""
    with make(url) as index:
        told = index.decide([("a", "b", False), ("x", "far", True)], who="anna")
        assert (told.new, told.contradictions) == (2, ())
    with Index.open(url, Halves(threshold=0.16)) as index:
        first, second = index.decisions()
        assert (first.left, first.right, first.same, first.who) == ("a", "b", False, "anna")
        assert (first.model, first.when[-6:]) == ("halves", "+00:00")
        assert second.distance == pytest.approx(0.4)
        assert ids(twinset.duplicates(index)) == [["b", "c"], ["far", "x", "y"]]
        answer = index.similar("a")
        assert [one.id for one in answer] == ["c", "x", "y", "far"]
        assert index.decide([("b", "a", True)], undo=True).undone == 1
        assert ids(twinset.duplicates(index)) == [["a", "b", "c"], ["far", "x", "y"]]
        assert [one.undone for one in index.decisions(all=True)] == [False, False, True]


def test_what_is_the_same_comes_first_and_is_a_match():
    with make() as index:
        index.decide([("a", "far", True), ("a", "c", False), ("c", "x", True)])
        answer = index.similar("a", k=2)
        assert [one.id for one in answer] == ["far", "b"]
        assert answer.matches == answer.neighbours
        assert answer[0].distance == pytest.approx(0.9)
        # x is the same as c, which is different
        assert [one.id for one in index.similar("a")] == ["far", "b", "y"]
        known = {"path": {"!=": str(Path("/photos/far.png"))}}
        assert [one.id for one in index.similar("a", where=known)] == ["b", "y"]
        index.remove(["c"])  # by way of c it is known still
        assert [one.id for one in index.similar("a")] == ["far", "b", "y"]
        assert ids(twinset.duplicates(index, 0.6)) == [["a", "b", "far"], ["x", "y"]]
        with pytest.raises(StoreError, match="'nothing'"):
            index.similar("nothing")
        with pytest.raises(StoreError, match="k as 1 or more"):
            index.similar("a", k=0)


def test_a_table_with_paths_and_open_rows_is_read(tmp_path):
    table = tmp_path / "decisions.csv"
    photo = Path("/photos/b.png")
    table.write_text(f"left,right,same,why\na,{photo},same,near the threshold\nb,c,,\nc,x,0,\n")
    with make() as index:
        told = index.decide(table, who="")
        assert (told.new, told.open, told.sentence()) == (2, 1, "2 new, 1 open")
        assert [(one.pair, one.same, one.why) for one in index.decisions()] == [
            (("a", "b"), True, "near the threshold"),
            (("c", "x"), False, ""),
        ]
        again = index.decide(table)
        assert (again.new, again.known) == (0, 2)
        assert len(index.decisions(all=True)) == 2


def test_later_decisions_overrule_and_undoing_brings_the_earlier_back():
    first, second = decided("a", "b", True), decided("b", "a", False)
    back = decided("a", "b", True, undone=True)
    assert standing([first, second]) == [second]
    assert standing([first, second, back]) == [first]
    assert standing([first, second, back, back, back]) == []
    assert standing([first, decided("c", "d", True), second])[-1] == second


def test_what_contradicts_by_way_of_others_is_told():
    with make() as index:
        index.decide([("a", "b", True), ("a", "c", False)], who="anna")
        told = index.decide([("b", "c", True)], who="ben")
        (sentence,) = told.contradictions
        assert sentence.startswith("b and c are the same (ben, 20")
        assert "a and c are different (anna, 20" in sentence
        assert ids(twinset.duplicates(index)) == [["a", "b"], ["x", "y"]]
        assert index.decide([("a", "c", True)]).contradictions == ()
        assert ids(twinset.duplicates(index)) == [["a", "b", "c"], ["x", "y"]]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([("a", "nothing", True)], "row 1: expected the id of an item.*'nothing'"),
        ([("a", "a", True)], "the same item twice"),
        ([("a", "b", True), ("b", "a", False)], "row 2.*different here and the same at row 1"),
        ([("a", "b")], "Expected decisions as rows"),
        (["a", "b", True], "Expected decisions as rows"),
        ([(1, 2, True)], "two ids or paths"),
        ([("a", "b", np.array([1, 0]))], "two ids or paths"),
        ([("a", "b", "yes")], "two ids or paths, and True, False or None. Received .*'yes'"),
    ],
)
def test_what_cannot_be_is_refused_whole(rows, words):
    with make() as index:
        with pytest.raises(StoreError, match=words):
            index.decide([("x", "y", True), *rows])
        assert index.decisions() == []


def test_open_rows_of_a_table_are_left_out_of_an_undo():
    Path("again.csv").write_text("left,right,same\na,b,1\nx,y,\nb,never,\n")
    with make() as index:
        index.decide([(Path("/photos/a.png"), "b", True), ("x", "y", False)])
        told = index.decide("again.csv", undo=True)
        assert (told.undone, told.open) == (1, 2)
        assert [one.pair for one in index.decisions()] == [("x", "y")]


def test_who_is_a_name():
    with make() as index:
        with pytest.raises(StoreError, match="name of who decides, a text. Received 7"):
            index.decide([("x", "y", True)], who=7)
        with pytest.raises(StoreError, match="name of who decides, a text. Received 7"):
            index.save_point("a", 0.1, who=7)
        assert (index.decisions(), index.points()) == ([], {})
        # one that an earlier version took
        record = {**vars(decided("a", "b", True)), "who": 7}
        index.store.record("decisions", [record, vars(decided("b", "c", False))])
        (told,) = index.decide([("a", "c", True)]).contradictions
        assert "b and c are different" in told


def test_what_was_decided_about_an_item_that_is_gone_is_taken_back():
    with make() as index:
        index.decide([("a", "b", True), ("b", "c", False), ("x", "far", True)])
        assert len(index.decide([("a", "c", True)]).contradictions) == 1
        index.remove(["b"])
        told = index.decide([("b", "c", False)], undo=True)
        assert (told.undone, told.contradictions) == (1, ())
        # whether they are the same, or open, does not matter
        told = index.decide([("a", "b", None), ("b", "a", False)], undo=True)
        assert (told.undone, told.open) == (1, 0)
        assert {one.pair for one in index.decisions()} == {("a", "c"), ("far", "x")}
        with pytest.raises(StoreError, match="This index has no 'nothing'"):
            index.decide([("a", "nothing", True)], undo=True)


def test_a_table_that_is_none_is_refused():
    Path("bad.csv").write_text("left,right\na,b\n")
    with make() as index, pytest.raises(DataError, match="left, right and same"):
        index.decide("bad.csv")


def consequences(decisions):
    """Sets of ids that are the same, by trying; a "same" that two differ by is left out."""
    apart = [{*one.pair} for one in decisions if not one.same]
    sets = [{name} for name in "abcdef"]
    for one in decisions:
        if one.same:
            left, right = (next(own for own in sets if end in own) for end in one.pair)
            both = left | right
            if not any(pair <= both for pair in apart):
                sets = [own for own in sets if own not in (left, right)] + [both]
    return sets, apart


@given(st.lists(st.tuples(st.permutations("abcdef"), st.booleans(), st.booleans()), max_size=12))
def test_what_follows_from_decisions(drawn):
    log = [decided(names[0], names[1], same, undone) for names, same, undone in drawn]
    stands = standing(log)
    assert len({one.pair for one in stands}) == len(stands)
    sets, apart = consequences(stands)
    settled = Settled(stands)
    for left, right in itertools.combinations("abcdef", 2):
        here, there = (next(own for own in sets if end in own) for end in (left, right))
        if here == there:
            assert settled.says(left, right) is True
            assert right in settled.same_as(left)
        elif any(pair & here and pair & there for pair in apart):
            assert settled.says(left, right) is False
            assert right in settled.differs_from(left)
        else:
            assert settled.says(left, right) is None
            assert right not in settled.differs_from(left) | settled.same_as(left)
    refused = [one for one in stands if one.same and settled.says(*one.pair) is not True]
    assert len(settled.contradictions()) == len(refused)


def test_rows_of_ids_need_no_table():
    rows, still_open = read_judgements(
        [row_of(("a", "b", 1)), row_of(["b", "c", None])], {n: n for n in "abc"}
    )
    assert ([tuple(row) for row in rows], still_open) == ([("a", "b", True, "")], 1)


# --- the threshold


def doubtful(count, even):
    """Items in pairs at distances from 0 to 0.4 that are the same up to `even`, with its rows."""
    model = Halves(threshold=0.2)
    model.calibrator = Calibrator(-40.0, 8.0)
    far = np.linspace(0, 0.4, count)
    places = [(10.0 * k + side * d, 0.0) for k, d in enumerate(far) for side in (0, 1)]
    names = tuple(f"{k}{side}" for k in range(count) for side in "lr")
    rows = [(f"{k}l", f"{k}r", bool(d <= even), NEAR) for k, d in enumerate(far)]
    return Index.build(model, Items(names, np.float32(places)), "doubt.index"), rows


def test_decisions_near_the_threshold_move_it_and_undoing_moves_it_back():
    index, rows = doubtful(200, even=0.1)
    with index:
        index.decide(rows[95:105])  # all ten are different
        assert 0.18 < index.threshold.value < 0.2
        told = index.decide(rows)
        assert told.threshold.startswith("the threshold moves from 0.2000 to 0.1")
        assert "by 200 decisions near it: 50 contradict the model's" in told.threshold
        assert 0.1 < index.threshold.value < 0.14
        assert index.threshold.origin == "fixed by hand, moved by 200 decisions"
        assert index.calibrator.probability(0.15) < 0.5 < index.model.calibrator.probability(0.15)
        assert not index.search(np.float32([[10 * 100.0 - 0.15, 0]]), k=1)[0].known
    with Index.open("doubt.index", index.model) as again:
        assert again.threshold == index.threshold
        back = again.decide(rows, undo=True)
        assert back.threshold == "the threshold is the model's, 0.2000: no decision near it stands"
        assert again.threshold.value == 0.2
        assert again.calibrator == index.model.calibrator


def test_decisions_that_were_not_chosen_by_distance_leave_the_threshold():
    index, rows = doubtful(200, even=0.1)
    with index:
        assert index.decide([row[:3] for row in rows]).threshold == ""
        assert index.threshold.value == 0.2


def test_a_model_that_is_calibrated_anew_has_its_own_threshold_again():
    index, rows = doubtful(200, even=0.1)
    with index:
        index.decide(rows)
    model = Halves(threshold=0.3)
    model.calibrator = Calibrator(-40.0, 12.0)
    with Index.open("doubt.index", model) as again:
        assert again.threshold.value == 0.3


def test_without_a_model_or_a_calibration_the_threshold_stays():
    with make() as index:
        told = index.decide([("a", "b", True, NEAR)])
    assert told.threshold.endswith("the model has no calibration that decisions could move")
    make("bare.index").close()
    shutil.rmtree("bare.index/model")
    with Index.open("bare.index") as index:
        told = index.decide([("a", "b", True, NEAR)])
        assert told.new == 1
        assert told.threshold.endswith("pass the model for the decisions to move it")


def test_decisions_on_the_command_line(command, monkeypatch):
    monkeypatch.setattr("twinset.models.onnx_model.load_model", Halves.load)
    make("photos.index").close()
    Path("decided.csv").write_text("left,right,same\na,b,0\nx,y,1\n")
    done = command("decide", "photos.index", "decided.csv", "--who", "anna")
    assert (done.code, done.out) == (0, "photos.index: 2 new\n"), done.err
    listed = command("decisions", "photos.index", "--csv", "pairs.csv")
    assert listed.out.splitlines()[0] == "photos.index: 2 decisions"
    assert listed.out.splitlines()[2].split()[1:] == ["anna", "different", "0.1000", "a", "b"]
    (first, second) = csv.DictReader(Path("pairs.csv").read_text().splitlines())
    assert (first["left"], first["same"]) == (str(Path("/photos/a.png")), "0")
    assert second["same"] == "1"
    found = command("search", "photos.index", "--item", "a", "-k", "1")
    assert found.out.splitlines()[-1].split()[-1] == "c"
    assert "or --item" in command("search", "photos.index").err
    assert "without images" in command("search", "photos.index", "--item", "a", "--all").err
    undone = command("decide", "photos.index", "pairs.csv", "--undo")
    assert undone.out == "photos.index: 2 undone\n"
    assert '"decisions": []' in command("decisions", "photos.index", "--json").out
    assert "2 new" in command("decide", "photos.index", "pairs.csv").out  # by their paths


def test_threads_decide_at_once_and_none_is_lost():
    pairs = list(itertools.combinations(PLACES, 2))
    with make() as index, ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda pair: index.decide([(*pair, False)]), pairs))
        looked = list(pool.map(lambda _: index.similar("a", k=9), range(20)))
        assert sum(one.new for one in told) == len(pairs) == len(index.decisions())
        assert {len(answer) for answer in looked} == {0}


def test_who_asks_while_another_decides_keeps_nothing_old():
    """What was read before a decision is not kept after it."""
    with make() as index, ThreadPoolExecutor(1) as pool:
        read, go_on = threading.Event(), threading.Event()
        records = index.store.records

        def slow(kind):
            found = records(kind)
            if threading.current_thread() is not threading.main_thread():
                read.set()
                go_on.wait(5)
            return found

        index.store.records = slow
        asking = pool.submit(lambda: index.settled)
        read.wait(5)
        threading.Timer(0.05, go_on.set).start()
        index.decide([("a", "b", False)])
        assert asking.result().different in ([], [("a", "b")])
        assert index.settled.different == [("a", "b")]
