"""`twinset.Client` on a real server: the objects of the library, and errors that say why."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import twinset
from twinset.errors import DataError, ServerError
from twinset.server.client import Item


@pytest.fixture
def client(server):
    with twinset.Client(server.url) as one:
        yield one


@pytest.fixture
def writer(writable):
    with twinset.Client(writable.url, token="a-token-for-the-tests") as one:
        yield one


def without_paths(answer):
    def clean(one):
        return replace(one, metadata={n: one.metadata[n] for n in ("label", "price")})

    kept = tuple(clean(one) for one in answer.neighbours)
    return replace(answer, neighbours=kept, nearest=answer.nearest and clean(answer.nearest))


def about(answer):
    """All of an answer but its name, and distances as far as two engines agree."""
    far = [round(one.distance, 5) for one in answer]
    return far, [one.id for one in answer], [one.metadata for one in answer], answer.threshold


def test_a_verdict_however_the_image_comes(client, index, home):
    left, right = (home / "photos" / f"{row:02}.png" for row in (0, 4))
    expected = index.model.compare(left, right, prior=0.2)
    pixels = np.asarray(Image.open(left))
    for given in (left, str(left), left.read_bytes(), Image.open(left), pixels, Item("items/00")):
        got = client.compare(given, right, prior=0.2)
        assert got.threshold == expected.threshold
        assert got.distance == pytest.approx(expected.distance, abs=1e-6)
        assert got.sentence() == expected.sentence()
    np.testing.assert_allclose(client.embed([left, right]), index.model.embed([left, right]), 1e-5)
    assert client.embed(pixels).shape == (1, 8)
    assert client.explain(left, right)["sentence"]
    assert client.model()["digest"] == index.model.digest


def test_answers_are_those_of_an_index(client, index, home):
    paths = [home / "photos" / f"{row:02}.png" for row in (3, 8)]
    got, expected = (
        client.search(paths, k=4, where="price>2, price<9"),
        index.search(paths, k=4, where={"price": {">": 2, "<": 9}}),
    )
    assert [about(one) for one in got] == [about(without_paths(one)) for one in expected]
    (one,) = [client.search(paths, k=3, together=True)]
    assert about(one) == about(without_paths(index.search(paths, k=3, together=True)))
    assert one.query == "03.png and 1 more"
    got, expected = client.search(Item("items/05"), k=3), index.similar("items/05", k=3)
    assert about(got) == about(without_paths(expected))
    assert got.sentence() == expected.sentence()
    none = client.search(paths[0], within=0, where={"price": {">": 30}})
    assert (len(none), none.found) == (0, False)
    assert none.nearest.metadata["price"] > 30


def test_items(client):
    assert client.index()["items"] == 48
    page = client.page(46, 5)
    assert (page.ids, page.total) == (("items/46", "items/47"), 48)
    listed = list(client.items(where=["label=red"]))
    assert len(listed) == 12
    assert listed[1] == ("items/04", {"label": "red", "price": 4})
    assert client.item("items/04")["picture"] is True
    assert client.picture("items/04").size == client.picture("items/04", size=64).size == (12, 12)


@pytest.mark.parametrize("name", ["../..", "a/../b", "new/ö ?#%", ".", "x%2Fy"])
def test_any_id_can_be_added_shown_and_removed(writer, name):
    pixels = np.full((9, 9, 3), 77, np.uint8)
    assert writer.add(pixels, id=name, metadata={"label": "gray", "price": None}) == name
    assert writer.item(name)["metadata"] == {"label": "gray", "price": None}
    assert writer.picture(name).size == (9, 9)
    writer.remove(name)
    with pytest.raises(ServerError, match="this index has no") as caught:
        writer.item(name)
    assert (caught.value.status, caught.value.type) == (404, "urn:twinset:problem:no-item")


def test_identities(writer, writable, own):
    index = writable.service.index
    index.identify_by("label")
    path = own / "photos" / "03.png"
    got, expected = writer.identify(path, k=2), index.identify(path, k=2)
    assert got.settings == expected.settings
    assert [one.name for one in got.identities] == [one.name for one in expected.identities]
    assert bool(got) is bool(expected)
    assert [one.nobody for one in writer.identify([path, path])] == pytest.approx(
        2 * [expected.nobody], abs=1e-5
    )
    assert writer.identify([path, path], together=True).images == 2


def test_decisions_and_groups(writer, writable):
    index = writable.service.index
    assert writer.review(6) == replace(index.review(6), known=writer.review(6).known)
    told = writer.decide(
        [("items/00", "items/01", False), ("items/02", "items/03", True)], who="bo"
    )
    assert (told.new, told.sentence()) == (2, "2 new")
    assert writer.decisions() == index.decisions()
    found, expected = writer.duplicates(), twinset.duplicates(index)
    assert found.sentences() == expected.sentences()
    assert [[one.id for one in group.members] for group in found.groups] == [
        [one.id for one in group.members] for group in expected.groups
    ]
    assert writer.decide([("items/00", "items/01", None)], undo=True).undone == 1
    assert len(writer.decisions(all=True)) == 3
    assert writer.error_curve() == index.model.error_curve


def test_points(writer, writable):
    made = writer.save_point("strict", 0.01, who="anna")
    assert writer.points() == {"strict": made} == writable.service.index.points()
    assert (
        writer.compare(Item("items/00"), Item("items/04"), point="strict").threshold.value == 0.01
    )
    writer.remove_point("strict")
    with pytest.raises(ServerError, match="Expected the name of an operating point"):
        writer.remove_point("strict")


def test_errors_say_why(client, server, tmp_path):
    with pytest.raises(ServerError, match="This one is read-only") as caught:
        client.save_point("a", 1.0)
    assert caught.value.status == 403
    with pytest.raises(DataError, match="none.png: expected an image file"):
        client.embed(tmp_path / "none.png")
    with pytest.raises(DataError, match="Expected an image: .* Received float"):
        client.compare(0.5, 0.5)
    with pytest.raises(ServerError, match="Expected an image|expected an image"):
        client.embed(io.BytesIO(b"no image").getvalue())
    with (
        twinset.Client("http://127.0.0.1:9", timeout=1) as nobody,
        pytest.raises(ServerError, match="expected a server of twinset.*start one with"),
    ):
        nobody.model()
