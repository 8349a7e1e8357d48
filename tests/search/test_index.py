"""`Index`: what goes in comes out, in every form it may come, and nothing is done twice or lost."""

import contextlib
import io
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import twinset
from halves import Halves, write
from twinset.data import cache
from twinset.data.labelled import LabelledFeatures, VectorInput
from twinset.errors import DataError, StoreError
from twinset.models.bulk import Embedded
from twinset.progress import Progress
from twinset.search.answer import Changes
from twinset.search.index import Index
from twinset.search.index_changes import gathered
from twinset.search.indexing import index_images
from twinset.search.store import Items


@pytest.fixture(autouse=True)
def _kept_models_are_halves(monkeypatch):
    """Let the copy of a model in an index's folder be one of these, which needs no Keras."""
    monkeypatch.setattr("twinset.models.onnx_model.load_model", Halves.load)


@pytest.fixture
def photos():
    """Five images in two classes and in none; the distance of a to b is 0.1."""
    write("photos/dark/a.png", 0.0, 0.0)
    write("photos/dark/b.png", 0.0, 0.1)
    write("photos/light/c.png", 1.0, 1.0)
    write("photos/light/d.png", 1.0, 0.8)
    write("photos/loose.png", 0.0, 1.0)
    return Path("photos")


def ids(answer):
    return [one.id for one in answer]


# --- build and search


def test_a_folder_goes_in_and_its_images_come_out_nearest_first(photos):
    write("query.png", 0.0, 0.06)
    with Index.build(Halves(), photos, "photos.index") as index:
        assert len(index) == 5
        assert index.changes == Changes(added=5)
        answer = index.search("query.png", k=4)
    # by hand: 0.06 is 15 of 255 levels, 0.1 is 26, 0.8 is 204
    assert ids(answer) == ["dark/b.png", "dark/a.png", "loose.png", "light/d.png"]
    expected = [11 / 255, 15 / 255, 240 / 255, np.hypot(1, 189 / 255)]
    assert [one.distance for one in answer] == pytest.approx(expected, abs=1e-6)
    assert [answer.is_match(one) for one in answer] == [True, True, False, False]
    assert ids(answer.matches) == ["dark/b.png", "dark/a.png"]
    assert answer.known
    assert answer[0].metadata["label"] == "dark"
    assert answer[0].metadata["path"] == str(photos.absolute() / "dark/b.png")
    assert "label" not in answer[2].metadata
    assert answer.sentence() == (
        "query.png: 4 nearest, 2 of them matches (distance <= 0.2000, fixed by hand)"
    )


def test_nothing_similar_enough_is_an_answer(photos):
    write("new.png", 0.5, 0.5)
    with Index.build(Halves(), photos) as index:
        answer = index.search("new.png", within="threshold")
        loose = index.search("new.png", within=0.6)
    assert not answer
    assert not answer.known
    assert ids(answer) == []
    assert answer.nearest.id == "light/d.png"
    assert answer.nearest.distance == pytest.approx(np.hypot(127, 76) / 255)
    assert answer.sentence() == (
        "new.png: nothing similar enough: the nearest, light/d.png, is at 0.5804 > 0.2000"
    )
    assert ids(loose) == ["light/d.png"]
    assert not loose.known


def test_all_within_and_conditions(photos):
    write("q.png", 0.0, 0.0)
    with Index.build(Halves(), photos) as index:
        assert ids(index.search("q.png", k=None, within=1.01)) == [
            "dark/a.png",
            "dark/b.png",
            "loose.png",
        ]
        light = index.search("q.png", where={"label": "light"})
        assert ids(light) == ["light/d.png", "light/c.png"]
        assert ids(index.search("q.png", where=["label=light"])) == ids(light)
        none = index.search("q.png", where={"label": "green"}, within="threshold")
        assert none.nearest is None
        assert (
            none.sentence() == "q.png: nothing to compare with: no item, or none that is asked for"
        )


def test_queries_of_every_form_give_the_same_answer(photos):
    write("q.png", 0.0, 0.1)
    with Image.open("q.png") as opened:
        picture = opened.copy()
    pixels = np.asarray(picture)
    with Index.build(Halves(), photos) as index:
        one = index.search("q.png")
        assert index.search(Path("q.png")) == one
        assert ids(index.search(picture)) == ids(one)
        many = index.search(["q.png", picture, pixels])
        assert [answer.query for answer in many] == ["q.png", "image 1", "image 2"]
        vectors = Halves().embed(["q.png", "photos/light/c.png"])
        first, second = index.search(vectors)
        assert (first.query, second.query) == ("vector 0", "vector 1")
        assert ids(second)[0] == "light/c.png"
        assert second[0].distance == 0
        stacked = index.search(pixels[None])
        for answer in (*many, first, *stacked):
            assert answer.neighbours == one.neighbours
        assert index.search([]) == []


def test_one_image_is_one_query_in_colour_too(photos):
    gray = np.full((4, 4), 26, np.uint8)
    larger = np.full((16, 12), 26, np.uint8)  # not of the model's own size
    colour = np.repeat(larger[..., None], 3, axis=-1)
    with Index.build(Halves(), photos) as index:
        expected = index.search(gray, k=2)
        assert expected.query == "image 0"
        assert ids(expected) == ["dark/b.png", "dark/a.png"]
        for one in (larger, colour, Image.fromarray(colour), colour.astype(int), colour / 255):
            assert index.search(one, k=2) == expected
        encoded = io.BytesIO()
        Image.fromarray(colour).save(encoded, "PNG")
        assert index.search(encoded.getvalue(), k=2).neighbours == expected.neighbours
        encoded.seek(0)
        assert index.search(encoded, k=2).neighbours == expected.neighbours
        for many in ([colour], colour[None], iter([colour]), larger[None]):
            assert index.search(many, k=2) == [expected]
        two = index.search(np.stack([colour, colour]), k=2)
        assert [answer.query for answer in two] == ["image 0", "image 1"]
        assert [answer.neighbours for answer in two] == [expected.neighbours] * 2
        vector = Halves().embed(colour)[0]
        assert index.search(vector, k=2).neighbours == expected.neighbours
        assert index.search(vector[None], k=2)[0].neighbours == expected.neighbours
        for wrong, words in (
            (3, "Expected one image .*Received int"),
            (colour - 300.0, "Received float64 from -274 to -274"),
            (colour[None, None], "Received uint8 of shape"),
            ({"a.png"}, "Make it a list"),
        ):
            with pytest.raises(DataError, match=words):
                index.search(wrong)
        with pytest.raises(StoreError, match="Expected queries of size 2.*Received 12"):
            index.search(colour.astype(np.float32)[:, :, 0])


def test_a_closed_index_has_a_name(photos):
    with Index.build(Halves(), photos, "named.index") as index:
        assert repr(index) == f"Index({index.url!r}, {len(index)} items)"
    assert repr(index) == f"Index({index.url!r})"


def test_an_index_of_its_own_is_gone_when_closed(photos):
    index = Index.build(Halves(), photos)
    place = Path(index.url)
    assert place.is_dir()
    index.close()
    assert not place.exists()


def test_labelled_images_and_embeddings_go_in(fashion_mnist):
    _, test = fashion_mnist
    some = test.subset(np.arange(300))
    model = Halves()
    with Index.build(model, some, "fashion.index") as index:
        answers = index.search(some.images[:20], k=1)
        assert [a[0].distance for a in answers] == [0] * 20
        assert answers[7][0].metadata["label"] == some.class_names[some.labels[7]]
        vectors = model.embed(some.images)
    names = tuple(f"v{i}" for i in range(300))
    with Index.build(model, Items(names, vectors)) as index:
        assert [a[0].id for a in index.search(vectors[:50], k=1)][49] == "v49"
    known = [{"label": "x", "path": "/a.png", "group": None, "price": 2}, {}]
    with Index.build(model, Items(["a", "b"], vectors[:2], known)) as index:
        held = index.get(["a", "b"]).metadata
        assert [{k: v for k, v in each.items() if k[0] != "_"} for each in held] == known
    np.save("vectors.npy", vectors)
    np.savez("vectors.npz", embeddings=vectors, ids=names)
    with Index.build(model, "vectors.npy") as index:
        assert index.search(vectors[3:4], k=1)[0][0].id == "vectors.npy[3]"
        assert index.update("vectors.npz") == Changes(added=300)
        assert len(index) == 600


class FirstTwo(Halves):
    """Takes vectors of three numbers, and leaves out the last."""

    preprocessing = VectorInput(3)

    def encode(self, rows):
        self.embedded += len(rows)
        return rows[:, :2]


def test_a_model_of_vectors_takes_vectors():
    rows = np.float32([[0, 0, 5], [1, 0, 6], [0, 1, 7]])
    np.savez("rows.npz", features=rows, ids=["a", "b", "c"])
    model = FirstTwo()
    with Index.build(model, "rows.npz") as index:
        np.testing.assert_array_equal(index.get(["b", "c"]).vectors, rows[1:, :2])
        (answer,) = index.search(np.float32([[0.9, 0, 99]]), k=1)
        assert (answer.query, answer[0].id) == ("vector 0", "b")
        assert index.update("rows.npz") == Changes(unchanged=3)
        assert model.embedded == 4
        data = LabelledFeatures(rows, [0, 1, 1], ("x", "y"), "mine")
        assert index.update(data) == Changes(added=3)
        assert index.get(["mine/2"]).metadata[0]["label"] == "y"
        write("a.png", 0, 0)
        single = index.search(np.float32([0.9, 0, 99]), k=1)
        assert (single.query, single[0].id) == ("vector 0", "b")
        with pytest.raises(DataError, match="takes no images and no files"):
            index.search("a.png")
        with pytest.raises(StoreError, match="embeddings of size 2"):
            index.update(Items(("d",), rows[:1]))


def test_embeddings_of_a_table_keep_its_other_columns():
    arrow = pytest.importorskip("pyarrow", reason="needs pyarrow, of the extra parquet")
    columns = {
        "embedding": [[0.0, 1.0], [1.0, 0.0]],
        "path": ["a.png", "b.png"],
        "label": ["x", None],
        "price": [1.5, 2.0],
    }
    pytest.importorskip("pyarrow.parquet").write_table(arrow.table(columns), "t.parquet")
    with Index.build(Halves(), "t.parquet") as index:
        known = dict(index.items())
        assert known["a.png"]["label"] == "x"
        assert known["a.png"]["price"] == 1.5
        assert "label" not in known["b.png"]
        (answer,) = index.search(np.float32([[1, 0]]), where=["price>=2"])
        assert ids(answer) == ["b.png"]


def test_embeddings_of_another_size_are_refused():
    with pytest.raises(StoreError, match="embeddings of size 2.*Received 3"):
        Index.build(Halves(), Items(("a",), np.zeros((1, 3))), "x.index")
    assert not Path("x.index").exists()


# --- tables


def test_a_tables_columns_become_metadata(photos):
    Path("shop.csv").write_text(
        "id,path,class,price,sold,code\n"
        "A1,photos/dark/a.png,hat,8,true,007\n"
        "B2,photos/light/c.png,shoe,12.5,false,008\n"
        "C3,photos/light/d.png,shoe,,,\n"
    )
    with Index.build(Halves(), "shop.csv") as index:
        (a,) = index.get(["A1"]).metadata
        expected = {"label": "hat", "class": "hat", "price": 8, "sold": True, "code": "007"}
        assert {name: a[name] for name in expected} == expected
        (c,) = index.get(["C3"]).metadata
        assert "price" not in c
        vectors = Halves().embed(["photos/dark/a.png"])
        assert ids(index.search(vectors, where=["price<10"])[0]) == ["A1"]
        assert ids(index.search(vectors, where={"price": {">": 10}})[0]) == ["B2"]
        assert ids(index.search(vectors, where={"code": "007"})[0]) == ["A1"]
        assert ids(index.search(vectors, where={"sold": False})[0]) == ["B2"]


def test_a_list_of_paths_goes_in(photos):
    with Index.build(Halves(), ["photos/light/c.png", photos / "dark/a.png"]) as index:
        assert [own for own, _ in index.items()] == ["photos/light/c.png", "photos/dark/a.png"]


# --- what cannot be read


def test_bad_files_are_listed_and_the_rest_goes_in(photos):
    Path("photos/broken.png").write_bytes(b"no image")
    Path("photos/notes.txt").write_text("hello")
    Path("photos/empty.jpg").touch()
    with Index.build(Halves(), photos) as index:
        assert len(index) == 5
        assert sorted(bad.name for bad in index.changes.skipped) == [
            "broken.png",
            "empty.jpg",
            "notes.txt",
        ]


def test_where_all_fail_nothing_is_made_and_nothing_replaced(photos):
    Path("bad").mkdir()
    Path("bad/broken.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="All 1 failed, the last: broken.png"):
        Index.build(Halves(), "bad", "bad.index")
    assert not Path("bad.index").exists()
    Index.build(Halves(), photos, "good.index").close()
    with pytest.raises(DataError, match="All 1 failed"):
        Index.build(Halves(), "bad", "good.index", overwrite=True)
    with Index.open("good.index") as index:
        assert len(index) == 5


class Failing(Halves):
    """Embeds one batch, and no second one."""

    def encode(self, pixels):
        if self.embedded:
            raise RuntimeError("out of memory")
        return super().encode(pixels)


class Unkept(Halves):
    """Cannot be copied into a folder."""

    def save(self, folder):
        raise OSError("no space left")


def open_files():
    own = os.path.realpath("photos.index")  # other tests keep a server with one of this name
    return [fd for fd in Path("/proc/self/fd").iterdir() if own in os.path.realpath(fd)]


@pytest.mark.parametrize("url", ["photos.index", None])
def test_where_embedding_fails_nothing_stays_open(photos, url, monkeypatch, tmp_path):
    """Neither the store, nor the folder of an index that has no place of its own."""
    monkeypatch.setattr(cache, "CHUNK", 2)
    monkeypatch.setattr(cache, "BATCH", 2)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    with pytest.raises(RuntimeError, match="out of memory"):
        Index.build(Failing(), photos, url)
    with pytest.raises(StoreError, match="no space left") if url else contextlib.nullcontext():
        Index.build(Unkept(), photos, url, overwrite=True).close()
    if url:
        Index.build(Halves(), photos, url, overwrite=True).close()
        with pytest.raises(StoreError, match="this one is other"):
            index_images(Halves("other"), photos, url)
        with pytest.raises(StoreError, match="this one is other"):
            Index.open(url, Halves("other"))
    assert open_files() == []
    assert list((tmp_path / "temporary").iterdir()) == []


def test_progress_is_told_as_it_is_everywhere(photos):
    told = []
    with Index.build(Halves(), photos, progress=told.append) as index:
        assert told[-1] == Progress("embed", 5, 5, "items")
        twinset.duplicates(index, 0.1, progress=told.append)
        assert told[-1] == Progress("compare", 15, 15, "pairs")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere", "nowhere: expected .*a folder of images.*no such file"),
        ("a.txt", "a.txt: expected .*a folder of images.*a file .txt"),
        ("empty", "empty: expected images. Received an empty folder"),
        ([], "the list of paths: expected images. Received none"),
        ([3], "Received a list with int in it"),
        (["missing.png"], "All 1 failed, the last: missing.png: .*No such file"),
    ],
)
def test_sources_that_are_none_are_refused(source, message):
    Path("a.txt").touch()
    Path("empty").mkdir()
    with pytest.raises(DataError, match=message):
        Index.build(Halves(), source, "x.index")
    assert not Path("x.index").exists()


# --- update


def test_update_touches_only_what_has_changed(photos):
    model = Halves()
    index = Index.build(model, photos, "photos.index")
    assert model.embedded == 5
    assert index.update(photos) == Changes(unchanged=5)
    write("photos/dark/a.png", 0.4, 0.4)
    write("photos/new.png", 0.2, 0.2)
    Path("photos/light/c.png").unlink()
    assert index.update(photos) == Changes(added=1, changed=1, unchanged=3)
    assert model.embedded == 7
    np.testing.assert_allclose(index.get(["dark/a.png"]).vectors, [[0.4, 0.4]], atol=1e-6)
    assert len(index) == 6  # what is gone stays, until it is told to go
    assert index.update(photos, remove_missing=True) == Changes(unchanged=5, removed=1)
    assert "light/c.png" not in dict(index.items())
    index.close()


def test_a_changed_file_that_cannot_be_read_keeps_its_item(photos):
    with Index.build(Halves(), photos) as index:
        Path("photos/dark/a.png").write_bytes(b"no image")
        changes = index.update(photos, remove_missing=True)
        assert (changes.unchanged, changes.removed) == (4, 0)
        assert [bad.name for bad in changes.skipped] == ["dark/a.png"]
        assert "dark/a.png" in dict(index.items())


def test_what_came_from_elsewhere_is_never_missing(photos):
    write("others/z.png", 0.3, 0.3)
    with Index.build(Halves(), photos) as index:
        assert index.update("others", remove_missing=True) == Changes(added=1)
        assert len(index) == 6
        with pytest.raises(StoreError, match="remove_missing needs a folder or a table"):
            index.update(["photos/loose.png"], remove_missing=True)


def test_a_folder_that_moved_is_not_embedded_again(photos):
    model = Halves()
    with Index.build(model, photos) as index:
        photos.rename("elsewhere")
        assert index.update("elsewhere") == Changes(relabelled=5)
        assert model.embedded == 5
        paths = {known["path"] for _, known in index.items()}
        assert str(Path("elsewhere/loose.png").absolute()) in paths
        before = index.get(["loose.png"]).vectors
        np.testing.assert_array_equal(before, model.embed(["elsewhere/loose.png"]))


def test_a_new_label_is_no_new_image(photos):
    model = Halves()
    Path("t.csv").write_text("path,label\nphotos/dark/a.png,x\nphotos/dark/b.png,y\n")
    with Index.build(model, "t.csv") as index:
        Path("t.csv").write_text("path,label\nphotos/dark/a.png,z\nphotos/dark/b.png,y\n")
        assert index.update("t.csv") == Changes(relabelled=1, unchanged=1)
        assert model.embedded == 2
        assert index.get(["photos/dark/a.png"]).metadata[0]["label"] == "z"


def test_one_id_for_two_files_is_refused(photos):
    write("others/loose.png", 0.7, 0.7)
    with Index.build(Halves(), photos) as index:
        changes = index.update("others")
        assert changes.added == changes.changed == 0
        (bad,) = changes.skipped
        assert bad.name == "loose.png"
        assert bad.reason.startswith(f"the id is taken by {photos.absolute()}/loose.png")
        np.testing.assert_allclose(index.get(["loose.png"]).vectors, [[0, 1]])


def test_add_takes_new_ids_only(photos):
    write("more/x.png", 0.5, 0.5)
    with Index.build(Halves(), photos) as index:
        assert index.add("more") == Changes(added=1)
        with pytest.raises(StoreError, match="has 5 of these 5 ids already.*`update`"):
            index.add(photos)


def test_ids_are_removed_all_or_none(photos):
    with Index.build(Halves(), photos) as index:
        index.remove(["loose.png", "dark/a.png"])
        assert len(index) == 3
        with pytest.raises(StoreError, match="'nonsense'"):
            index.remove(["dark/b.png", "nonsense"])
        assert len(index) == 3


@settings(max_examples=15)
@given(
    st.lists(
        st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 9), max_size=6),
        min_size=2,
        max_size=4,
    )
)
def test_after_any_updates_the_index_holds_what_the_source_does(states):
    """Removing what is missing, an index is a function of its source alone."""
    model = Halves()
    with Index.create(model) as index:
        for state in states:
            grays = np.repeat([[level / 10] * 2 for level in state.values()], 1, axis=0)
            vectors = np.float32(grays).reshape(-1, 2)
            items = Items(tuple(state), vectors, tuple({"label": n} for n in state))
            known = dict(index.items())
            changes = index.update(items)
            assert changes.added == len(set(state) - set(known))
            assert changes.added + changes.changed + changes.unchanged == len(state)
            gone = sorted(set(known) - set(state))
            index.remove(gone)
            held = index.get(sorted(state))
            expected = dict(zip(items.ids, items.vectors.tolist(), strict=True))
            assert dict(zip(held.ids, held.vectors.tolist(), strict=True)) == expected
            assert len(index) == len(state)


# --- the model


def test_a_folder_keeps_its_model_and_can_be_moved(photos):
    Index.build(Halves(threshold=0.3), photos, "photos.index").close()
    shutil.move("photos.index", "moved.index")
    with Index.open("moved.index") as index:
        assert index.threshold.value == 0.3
        assert ids(index.search("photos/dark/a.png", within="threshold"))[0] == "dark/a.png"


def test_an_index_of_another_model_is_refused(photos):
    Index.build(Halves(), photos, "photos.index").close()
    with pytest.raises(StoreError, match="made by the model halves, and this one is other"):
        Index.open("photos.index", Halves("other"))
    with pytest.raises(StoreError, match="this one is other"):
        index_images(Halves("other"), photos, "photos.index")
    (copy,) = filter(Path.is_dir, Path("photos.index/model").iterdir())
    Halves("other").save(copy)  # somebody's hand
    with Index.open("photos.index") as index, pytest.raises(StoreError, match="this one is other"):
        index.search("photos/dark/a.png")


def test_an_index_without_its_model_asks_for_it(photos):
    Index.build(Halves(), photos, "photos.index").close()
    shutil.rmtree("photos.index/model")
    with Index.open("photos.index") as index, pytest.raises(StoreError, match="--model"):
        index.search("photos/dark/a.png")
    with Index.open("photos.index", Halves()) as index:
        assert index.search("photos/dark/a.png")[0].id == "dark/a.png"
    index_images(Halves(), photos, "photos.index").close()  # puts it back
    with Index.open("photos.index") as index:
        assert index.model.digest == "halves"


def test_a_model_calibrated_anew_takes_the_place_of_its_copy(photos):
    index_images(Halves(threshold=0.2), photos, "photos.index").close()
    index_images(Halves(threshold=0.4), photos, "photos.index").close()
    with Index.open("photos.index") as index:
        assert index.threshold.value == 0.4
    assert sum(path.is_dir() for path in Path("photos.index/model").iterdir()) == 1


MODEL_WRITER = """
import sys
sys.path.insert(0, {tests!r})
from halves import Halves
from twinset.search import index_model

for turn in range(10_000):
    index_model.keep(Halves(threshold=1 + turn % 2), "photos.index")
    print(turn, flush=True)
"""


def test_there_is_always_a_whole_model(photos):
    """While it is replaced again and again, and at a kill: the one before, or the new one."""
    Index.build(Halves(threshold=1), photos, "photos.index").close()
    script = MODEL_WRITER.format(tests=str(Path(__file__).parents[1]))
    for kill in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout.readline()
            for _ in range(30):
                with Index.open("photos.index") as index:
                    assert index.threshold.value in (1, 2)
            time.sleep(kill / 100)
            writer.kill()
        with Index.open("photos.index") as index:
            assert index.threshold.value in (1, 2)
    index_images(Halves(threshold=3), photos, "photos.index").close()
    with Index.open("photos.index") as index:
        assert index.threshold.value == 3
    assert sum(path.is_dir() for path in Path("photos.index/model").iterdir()) == 1


def test_an_index_is_not_replaced_unless_told(photos):
    Index.build(Halves(), photos, "photos.index").close()
    with pytest.raises(StoreError, match="photos.index"):
        Index.build(Halves(), ["photos/loose.png"], "photos.index")
    with Index.build(Halves(), ["photos/loose.png"], "photos.index", overwrite=True) as index:
        assert len(index) == 1
    with pytest.raises(StoreError, match="nowhere"):
        Index.open("nowhere")


# --- a kill

WRITER = """
import sys
sys.path.insert(0, {tests!r})
from halves import Halves
from twinset.data import cache
from twinset.search.indexing import index_images

cache.CHUNK = cache.BATCH = 4
index_images(
    Halves(), "many", "many.index",
    progress=lambda now: print(now.done, flush=True),
)
"""


def test_what_a_kill_interrupts_goes_on(tmp_path):
    for i in range(60):
        write(f"many/{i}.png", i / 60, 0.5)
    script = WRITER.format(tests=str(Path(__file__).parents[1]))
    for after in (1, 3, 5):
        with subprocess.Popen(
            [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
        ) as run:
            told = [run.stdout.readline() for _ in range(after)]
            os.kill(run.pid, signal.SIGKILL)
        with Index.open("many.index", Halves()) as index:
            assert len(index) >= int(told[-1])
            assert len(index) % 4 == 0
            for own, vector in zip(*_held(index), strict=True):
                assert vector[0] == pytest.approx(int(Path(own).stem) / 60, abs=0.003)
    model = Halves()
    before = len(Index.open("many.index", model))
    with index_images(model, "many", "many.index") as index:
        assert len(index) == 60
        assert index.changes == Changes(added=60 - before, unchanged=before)
        assert model.embedded == 60 - before


def _held(index):
    held = index.get([own for own, _ in index.items()])
    return held.ids, held.vectors


# --- the public name


def test_the_public_name():
    assert twinset.Index is Index
    assert textwrap.dedent(Index.__doc__)


@pytest.mark.parametrize(
    ("least", "sizes"), [(1, [2, 3, 1, 4]), (4, [5, 5]), (6, [6, 4]), (99, [10])]
)
def test_batches_are_joined_for_stores_that_want_large_ones(least, sizes):
    cuts = np.split(np.arange(10), [2, 5, 6])
    batches = [Embedded(each, np.float32(each)[:, None]) for each in cuts]
    joined = list(gathered(batches, least))
    assert [len(each.positions) for each in joined] == sizes
    for name in ("positions", "vectors"):
        every = np.concatenate([getattr(each, name) for each in joined])
        np.testing.assert_array_equal(every.ravel(), np.arange(10))


def test_batches_that_come_slowly_are_not_waited_for(monkeypatch):
    monkeypatch.setattr("twinset.search.index_changes.PATIENCE", 0.0)
    batches = [Embedded(np.arange(2), np.zeros((2, 1), np.float32))] * 3
    assert len(list(gathered(batches, 99))) == 3
    assert list(gathered([], 99)) == []
