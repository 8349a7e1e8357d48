"""Search and identify over HTTP: the same answers as in Python, and no path of the host."""

import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest


def photo(home, row):
    return (home / "photos" / f"{row:02}.png").read_bytes()


def ask(server, path, rows=(), home=None, **data):
    files = [("images", (f"{row}.png", photo(home, row), "image/png")) for row in rows]
    return server.http.post(f"/api/v1/{path}", files=files or None, data=data)


def same_hits(told, answer):
    assert [one["id"] for one in told["neighbours"]] == [one.id for one in answer]
    far = [one["distance"] for one in told["neighbours"]]
    assert far == pytest.approx([one.distance for one in answer], abs=1e-6)
    assert [one["match"] for one in told["neighbours"]] == [answer.is_match(one) for one in answer]


def test_answers_are_those_of_python(server, home, index):
    got = ask(server, "search", (3, 8), home, k="5", where=["label!=red", "price<40"])
    paths = [home / "photos" / f"{row:02}.png" for row in (3, 8)]
    found = index.search(paths, k=5, where=["label!=red", "price<40"])
    for told, answer, name in zip(got.json()["answers"], found, ("3.png", "8.png"), strict=True):
        same_hits(told, answer)
        assert told["query"] == name
        assert told["sentence"].removeprefix(name) == answer.sentence().removeprefix(answer.query)
        assert told["threshold"]["value"] == index.threshold.value
        for one in told["neighbours"]:
            assert one["metadata"].keys() == {"label", "price"}
            expected = index.calibrator.probability(one["distance"], 0.5)
            assert one["probability"] == pytest.approx(float(expected))


def test_one_image_as_the_body_and_options_in_the_query(server, home, index):
    got = server.http.post(
        "/api/v1/search?k=2&within=threshold&prior=0.2",
        content=photo(home, 5),
        headers={"content-type": "image/png"},
    )
    (told,) = got.json()["answers"]
    assert told["within"] == index.threshold.value
    assert told["prior"] == 0.2
    assert told["neighbours"][0]["id"] == "items/05"


def test_several_images_are_one_query(server, home, index):
    got = ask(server, "search", (1, 2, 7), home, k="6", together="true")
    (told,) = got.json()["answers"]
    paths = [home / "photos" / f"{row:02}.png" for row in (1, 2, 7)]
    same_hits(told, index.search(paths, k=6, together=True))
    assert told["query"] == "1.png and 2 more"


def test_by_an_item(server, home, index):
    (told,) = ask(server, "search", item="items/07", k="4").json()["answers"]
    same_hits(told, index.similar("items/07", k=4))
    (told,) = ask(server, "search", item="items/07", within="0").json()["answers"]
    assert (told["neighbours"], told["found"]) == ([], False)
    assert told["nearest"]["id"] == index.similar("items/07", k=1)[0].id


def test_nothing_similar_enough_is_an_answer(server, home):
    (told,) = ask(server, "search", (5,), home, within="0", where="price>30").json()["answers"]
    assert (told["found"], told["neighbours"]) == (False, [])
    assert "nothing similar enough" in told["sentence"]
    assert told["nearest"]["metadata"]["price"] > 30


@pytest.mark.parametrize(
    ("data", "status", "words"),
    [
        ({}, 422, "or the id of an item in `item`. Received 0 images and no id"),
        ({"item": "items/99"}, 404, "this index has no 'items/99'"),
        ({"item": "items/01", "k": "0"}, 422, "greater than or equal to 1"),
        ({"item": "items/01", "within": "near"}, 422, "Expected `within` as a distance"),
        ({"item": "items/01", "within": "nan"}, 422, "Expected `within` as a distance"),
        ({"item": "items/01", "where": "price"}, 422, "Expected conditions such as price<10"),
        ({"item": "items/01", "where": "path<z"}, 422, "Expected a condition on a column"),
        ({"item": "items/01", "where": "_stamp>0"}, 422, "Expected a condition on a column"),
        ({"item": "items/01", "point": "strict"}, 422, "none yet.*Received 'strict'"),
    ],
)
def test_problems_say_what_to_do(server, data, status, words):
    got = ask(server, "search", **data)
    assert got.status_code == status
    assert got.headers["content-type"] == "application/problem+json"
    assert re.search(words, got.json()["detail"])


def test_without_an_index(home, start):
    with start(home, index=False) as one:
        got = one.http.post("/api/v1/search", data={"item": "a"})
        assert (got.status_code, got.json()["type"]) == (404, "urn:twinset:problem:no-index")


def test_identities_are_those_of_python(writable, own):
    got = ask(writable, "identify", (3,), own)
    assert "has no identities. Name the column" in got.json()["detail"]
    assert str(own) not in got.text
    index = writable.service.index
    index.identify_by("label")
    got = ask(writable, "identify", (3, 8), own, k="2", prior="0.3").json()["answers"]
    paths = [own / "photos" / f"{row:02}.png" for row in (3, 8)]
    for told, found in zip(got, index.identify(paths, k=2, prior=0.3), strict=True):
        assert told["identity"] == (found.best.name if found else None)
        assert [one["name"] for one in told["identities"]] == [o.name for o in found.identities]
        assert told["nobody"] == pytest.approx(found.nobody, abs=1e-6)
        assert told["settings"]["column"] == "label"
        assert told["identities"][0]["nearest"]["metadata"].keys() == {"label", "price"}
    index.save_point("none", 0.0)
    (told,) = ask(writable, "identify", (3, 7), own, together="true", point="none").json()[
        "answers"
    ]
    assert (told["images"], told["settings"]["threshold"]) == (2, 0)
    assert told["threshold"]["rule"] == "operating point none"


def test_many_ask_at_once(server, home, index):
    paths = [home / "photos" / f"{row:02}.png" for row in range(48)]
    expected = index.search(paths, k=3)
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda row: ask(server, "search", (row,), home, k="3"), range(48)))
    for one, answer in zip(got, expected, strict=True):
        far = [hit["distance"] for hit in one.json()["answers"][0]["neighbours"]]
        np.testing.assert_allclose(far, [hit.distance for hit in answer], atol=1e-5)
