"""An index switched to another model: one of both at any moment, and no decision lost."""

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
    monkeypatch.setattr("twinset.models.load.load_model", loaded)


@pytest.fixture
def index():
    """Dark and light by the upper half; by both, a's nearest is c."""
    write("photos/dark/a.png", 0.0, 0.0)
    write("photos/dark/b.png", 0.1, 1.0)
    write("photos/light/c.png", 0.8, 0.0)
    write("photos/light/d.png", 1.0, 1.0)
    with Index.build(Halves(), "photos", "photos.index") as made:
        yield made


def test_a_switch_answers_by_the_new_model_and_goes_back(index):
    index.decide([("dark/a.png", "light/c.png", False)], who="anna")
    reader = Index.open("photos.index")
    found = index.switch(Left("left", threshold=0.3))
    assert found.switched
    assert (found.items, found.labelled, found.thresholds) == (4, 4, (0.2, 0.3))
    # by hand: before, a is nearest to c (0.8), b to d (0.9), c to a, d to b; after, to its own kind
    assert (found.recall_before.value, found.recall_after.value) == (0, 1)
    assert found.gained == ("dark/a.png", "dark/b.png", "light/c.png", "light/d.png")
    assert dict(found.labels) == {"dark": (2, 0), "light": (2, 0)}
    assert found.neighbours.value == 1  # of 3 others, all are among the 10 nearest
    # 2 of the 6 pairs become matches: a and b are at (0.1, 0.1), c and d at (0.2, 0.1)
    assert found.verdicts == pytest.approx(4 / 6)
    with Index.open("photos.index") as again:
        assert isinstance(again.model, Left)
        assert again.search("photos/dark/a.png", k=2)[1].id == "dark/b.png"
        assert again.threshold.value == 0.3
        assert [one.who for one in again.decisions()] == ["anna"]
        before = again.model.embedded
        assert again.update("photos") == Changes(unchanged=4)
        assert again.model.embedded == before
        again.roll_back()
        assert again.search("photos/dark/a.png", k=2)[1].id == "light/c.png"
        assert (again.threshold.value, len(again.decisions())) == (0.2, 1)
        again.roll_back()
        assert again.store.signature.model == "left"
    with reader, pytest.raises(StoreError, match="replaced since it was opened"):
        reader.search("photos/dark/a.png")


def test_what_is_embedded_is_kept_and_what_changes_meanwhile_is_followed(index):
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
    assert len(index) == 5
    assert index.search("photos/dark/b.png", k=1)[0].distance == 0


def test_images_that_are_gone_are_told_before_anything_is_done(index):
    Path("photos/dark/a.png").unlink()
    other = Left("left")
    with pytest.raises(StoreError, match=r"1 items cannot be .* \(dark/a.png: .*--drop"):
        index.switch(other)
    assert (other.embedded, index.store.signature.model) == (0, "halves")
    found = index.switch(other, drop_missing=True)
    assert ([each.name for each in found.dropped], len(index)) == (["dark/a.png"], 3)


def test_only_the_two_last_models_are_kept(index):
    for name in ("left", "second", "third"):
        index.switch(Halves(name))
    copies = [path for path in Path("photos.index/model").iterdir() if path.is_dir()]
    assert len(copies) == 2
    assert not Path("photos.index/next").exists()
    assert index_model.kept("photos.index", "halves") is None
    with pytest.raises(StoreError, match="made by this model already"):
        index.switch(Halves("third"))


def test_an_index_of_an_earlier_version_names_its_one_copy_otherwise(index):
    named = next(Path("photos.index/model").glob("current-*"))
    named.rename(named.with_name("current"))
    index.switch(Left("left"))
    index.roll_back()
    assert index.model.digest == "halves"


def test_what_was_not_switched_has_no_model_before(index):
    with pytest.raises(StoreError, match="has no model before"):
        index.roll_back()


def test_a_kill_at_any_moment_leaves_one_of_the_two(tmp_path):
    seen = kill_many(tmp_path, 4, seed=0)
    assert seen["halves"] + seen["left"] == 4


def test_a_database_switches_in_one_transaction_and_goes_back(index, postgres_server):
    url = postgres_server.url("switch me")
    with Index.build(Halves(), "photos", url) as made:
        made.decide([("dark/a.png", "light/c.png", False)], who="anna")
        with pytest.raises(StoreError, match="was not switched: there is no model to go back to"):
            made.roll_back()
        reader = Index.open(url, Halves())
        assert made.switch(Left("left", threshold=0.3)).switched
        assert made.search("photos/dark/a.png", k=2)[1].id == "dark/b.png"
    with reader, pytest.raises(StoreError, match="replaced since it was opened"):
        reader.search("photos/dark/a.png")
    with pytest.raises(StoreError, match="was made by the model left"):
        Index.open(url, Halves())
    with Index.open(url, Left("left", threshold=0.3)) as again:
        assert [one.who for one in again.decisions()] == ["anna"]
        assert again.update("photos") == Changes(unchanged=4)
        again.decide([("dark/a.png", "dark/b.png", True)], who="ben")
        again.store.roll_back()
    with Index.open(url, Halves()) as old:
        assert old.search("photos/dark/a.png", k=2)[1].id == "light/c.png"
        assert [one.who for one in old.decisions()] == ["anna", "ben"]
        # once more the other way: what was before is let go, and nothing is left over
        assert old.switch(Left("left too", threshold=0.3)).switched
        assert old.store.signature.model == "left too"


def test_a_database_that_changes_meanwhile_is_not_switched(index, postgres_server):
    url = postgres_server.url("busy")
    with Index.build(Halves(), "photos", url) as made:
        version = made.store.version()
        with Index.build(Left("left", threshold=0.3), "photos", made.store.beside()):
            made.remove(["dark/a.png"])
            assert not made.store.switch(version)
            assert made.store.signature.model != "left"
            assert made.store.switch(made.store.version())
        assert len(made.store) == 4


def test_a_store_that_cannot_says_so_before_anything_is_embedded(index, tmp_path):
    other = Left("left")
    with Index.build(Halves(), "photos", f"json://{tmp_path / 'photos.json'}") as made:
        for switch in (lambda: made.switch(other), made.roll_back):
            with pytest.raises(StoreError, match="cannot be switched to another model in one step"):
                switch()
    assert not other.embedded
