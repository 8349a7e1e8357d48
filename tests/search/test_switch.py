"""An index switched to another model: one of both at any moment, and no decision lost."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from halves import Halves, write
from switching import Left, kill_many, loaded
from twinset.errors import StoreError
from twinset.search import index_model
from twinset.search.answer import Changes
from twinset.search.index import Index


@pytest.fixture(autouse=True)
def _kept_models(monkeypatch):
    monkeypatch.setattr("twinset.models.onnx_model.load_model", loaded)


def pictures():
    """Dark and light by the upper half; by both, a's nearest is c."""
    write("photos/dark/a.png", 0.0, 0.0)
    write("photos/dark/b.png", 0.1, 1.0)
    write("photos/light/c.png", 0.8, 0.0)
    write("photos/light/d.png", 1.0, 1.0)


@pytest.fixture
def index():
    pictures()
    with Index.build(Halves(), "photos", "photos.index") as made:
        yield made


def left():
    return Left("left", threshold=0.3)


PAIR = ("dark/a.png", "light/c.png", False)


class TestEveryStore:
    """What a store promises that can be switched: folder, Postgres, Milvus."""

    @pytest.fixture
    def index(self, switchable):
        pictures()
        with Index.build(Halves(), "photos", switchable) as made:
            yield made

    def test_a_switch_answers_by_the_new_model_and_goes_back(self, index):
        index.decide([PAIR], who="anna")
        reader = Index.open(index.url, Halves())
        found = index.switch(left())
        assert found.switched
        assert (found.items, found.labelled, found.thresholds) == (4, 4, (0.2, 0.3))
        # by hand: before, a is nearest to c (0.8), b to d (0.9), c to a, d to b; after, to its kind
        assert (found.recall_before.value, found.recall_after.value) == (0, 1)
        assert found.gained == ("dark/a.png", "dark/b.png", "light/c.png", "light/d.png")
        assert dict(found.labels) == {"dark": (2, 0), "light": (2, 0)}
        assert found.neighbours.value == 1  # of 3 others, all are among the 10 nearest
        # 2 of the 6 pairs become matches: a and b are at (0.1, 0.1), c and d at (0.2, 0.1)
        assert found.verdicts == pytest.approx(4 / 6)
        assert index.search("photos/dark/a.png", k=2)[1].id == "dark/b.png"
        for use in (len, lambda one: one.search("photos/dark/a.png"), lambda one: one.decisions()):
            with pytest.raises(StoreError, match="replaced since it was opened"):
                use(reader)
        with pytest.raises(StoreError, match="replaced since it was opened"):
            reader.decide([("dark/a.png", "dark/b.png", True)], who="late")
        reader.close()
        with pytest.raises(StoreError, match="was made by the model left"):
            Index.open(index.url, Halves())
        with Index.open(index.url, left()) as again:
            assert again.search("photos/dark/a.png", k=2)[1].id == "dark/b.png"
            assert again.threshold.value == 0.3
            assert [one.who for one in again.decisions()] == ["anna"]
            assert again.update("photos") == Changes(unchanged=4)
            assert again.model.embedded == 1  # the query
            again.decide([("dark/a.png", "dark/b.png", True)], who="ben")
            again.roll_back()
        with Index.open(index.url, Halves()) as old:
            assert old.search("photos/dark/a.png", k=2)[1].id == "light/c.png"
            assert old.threshold.value == 0.2
            assert [one.who for one in old.decisions()] == ["anna", "ben"]
            old.roll_back()
            assert old.store.signature.model == "left"

    def test_a_decision_that_is_made_meanwhile_is_carried_over(self, index):
        """While images are embedded, and while one state takes the place of the other."""
        index.decide([PAIR], who="before")
        other, switch = Index.open(index.url, Halves()), index.store.switch

        def at_the_last_moment(version):
            other.decide([("dark/b.png", "light/c.png", False)], who="after all is compared")
            return switch(version)

        index.store.switch = at_the_last_moment
        same = [("light/c.png", "light/d.png", True)]
        index.switch(left(), progress=lambda _: other.decide(same, who="while embedding"))
        other.close()
        expected = ["before", "while embedding", "after all is compared"]
        assert [one.who for one in index.decisions(all=True)] == expected
        index.roll_back()
        assert [one.who for one in index.decisions(all=True)] == expected

    def test_what_is_embedded_is_kept_and_what_changes_meanwhile_is_followed(self, index):
        other = Left("left")
        assert not index.switch(other, compare_only=True).switched
        assert (other.embedded, index.store.signature.model) == (4, "halves")
        index.remove(["dark/b.png"])
        write("photos/light/e.png", 0.9, 0.9)
        index.update("photos")  # b as well, as it is there still
        found = index.switch(other)
        assert (found.items, other.embedded) == (5, 5)
        assert sorted(own for own, _ in index.items()) == sorted(
            f"{kind}.png" for kind in ("dark/a", "dark/b", "light/c", "light/d", "light/e")
        )
        # removals compact the new vectors; those before stay
        index.remove(["dark/a.png", "dark/b.png", "light/c.png"])
        index.roll_back()
        with Index.open(index.url, Halves()) as old:
            assert len(old) == 5
            assert old.search("photos/dark/b.png", k=1)[0].distance == 0

    def test_another_writes_between_the_comparison_and_the_switch(self, index):
        writer, switch = Index.open(index.url, Halves()), index.store.switch

        def interrupted(version):
            if "light/e.png" not in dict(index.items()):
                write("photos/light/e.png", 0.9, 0.9)
                writer.update("photos")
                assert not switch(version)
                assert index.store.signature.model == "halves"
                return False
            return switch(version)

        index.store.switch = interrupted
        assert index.switch(left()).items == 5
        writer.close()
        assert len(index) == 5

    def test_readers_get_answers_of_one_model(self, index):
        """A search that began before the switch ends; one that begins after it is told."""
        at = {model: model.embed(["photos/dark/a.png"]) for model in (Halves(), left())}
        old, new = at.values()
        stop, wrong = threading.Event(), []
        opened = threading.Barrier(3, timeout=60)  # both readers, and the one who switches

        def read():
            with Index.open(index.url, Halves()) as one:
                opened.wait()
                while not stop.is_set():
                    try:
                        ((hit,),) = one.store.search(old, k=1)
                    except StoreError as error:
                        wrong.extend([] if "replaced since" in str(error) else [str(error)])
                        return
                    wrong.extend([] if hit.distance == 0 else [hit])

        with ThreadPoolExecutor(2) as pool:
            readers = [pool.submit(read) for _ in range(2)]
            try:
                opened.wait()
                index.switch(left())
                stop.wait(0.1)
            finally:
                stop.set()
        assert wrong == []
        for reader in readers:
            reader.result()
        assert index.store.search(new, k=1)[0][0].distance == 0

    def test_one_model_before_is_kept(self, index):
        for name in ("left", "second", "third"):
            index.switch(Halves(name))
        with pytest.raises(StoreError, match="made by this model already"):
            index.switch(Halves("third"))
        index.roll_back()
        assert index.store.signature.model == "second"
        index.roll_back()
        assert index.store.signature.model == "third"

    def test_what_was_not_switched_or_is_made_anew_has_no_model_before(self, index):
        with pytest.raises(StoreError, match="has no model before"):
            index.roll_back()
        index.switch(left())
        with (
            Index.build(Halves(), "photos", index.url, overwrite=True) as anew,
            pytest.raises(StoreError, match="has no model before"),
        ):
            anew.roll_back()


def test_a_folder_keeps_the_model_that_it_answers_by(index):
    index.switch(left())
    with Index.open("photos.index") as again:
        assert isinstance(again.model, Left)
        again.roll_back()
        assert again.search("photos/dark/a.png", k=2)[1].id == "light/c.png"
        assert not isinstance(again.model, Left)


def test_images_that_are_gone_are_told_before_anything_is_done(index):
    Path("photos/dark/a.png").unlink()
    other = Left("left")
    with pytest.raises(StoreError, match=r"1 items cannot be .* \(dark/a.png: .*--drop"):
        index.switch(other)
    assert (other.embedded, index.store.signature.model) == (0, "halves")
    found = index.switch(other, drop_missing=True)
    assert ([each.name for each in found.dropped], len(index)) == (["dark/a.png"], 3)


def test_a_folder_keeps_the_two_last_models(index):
    for name in ("left", "second", "third"):
        index.switch(Halves(name))
    copies = [path for path in Path("photos.index/model").iterdir() if path.is_dir()]
    assert len(copies) == 2
    assert not Path("photos.index/next").exists()
    assert index_model.kept("photos.index", "halves") is None


def test_a_kill_at_any_moment_leaves_one_of_the_two(tmp_path):
    seen = kill_many(tmp_path, 4, seed=0)
    assert seen["halves"] + seen["left"] == 4


def test_a_store_that_cannot_says_so_before_anything_is_embedded(index, tmp_path):
    other = Left("left")
    with Index.build(Halves(), "photos", f"json://{tmp_path / 'photos.json'}") as made:
        for switch in (lambda: made.switch(other), made.roll_back):
            with pytest.raises(StoreError, match="cannot be switched to another model in one step"):
                switch()
    assert not other.embedded
