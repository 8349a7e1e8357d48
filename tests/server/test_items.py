"""Items over HTTP: listed by the page, shown, added for good, removed without a file touched."""

import io
import json

import httpx
import numpy as np
import pytest
from PIL import Image

from colours import png

NEW = np.full((20, 30, 3), (200, 40, 40), np.uint8)


def get(server, path, **query):
    return server.http.get(f"/api/v1/{path}", params=query)


def add(server, pixels=NEW, **data):
    files = {"image": ("/etc/../new.png", png(pixels), "image/png")}
    return server.http.post("/api/v1/items", files=files, data=data)


def test_what_is_served(server):
    told = get(server, "index").json()
    assert (told["items"], told["decisions"], told["points"]) == (48, 0, [])
    columns = {one["name"]: one for one in told["columns"]}
    assert columns.keys() == {"label", "price"}
    assert columns["label"]["values"] == ["blue", "gray", "green", "red"]
    assert (columns["price"]["kind"], columns["price"]["distinct"]) == ("number", 48)


def test_pages_of_items(server):
    page = get(server, "items", offset=46, limit=5).json()
    assert page["total"] == 48
    assert [one["id"] for one in page["items"]] == ["items/46", "items/47"]
    page = get(server, "items", limit=2, where=["label=red", "price>10"]).json()
    assert page["total"] == 9
    assert [one["metadata"]["price"] for one in page["items"]] == [12, 16]
    assert get(server, "items", limit=-1).status_code == 422
    assert get(server, "items", where="path>/").status_code == 422


def test_one_item(server):
    told = get(server, "items/items/05").json()
    assert told["metadata"] == {"label": "green", "price": 5}
    assert (told["picture"], told["decisions"]) == (True, [])
    assert get(server, "items/nobody").json()["type"] == "urn:twinset:problem:no-item"


def test_pictures(server):
    got = get(server, "thumbnails/items/05", size=64)
    assert got.headers["content-type"] == "image/webp"
    picture = Image.open(io.BytesIO(got.content))
    assert picture.size == (12, 12)  # never larger than it is, and then as it is
    again = server.http.get(
        "/api/v1/thumbnails/items/05?size=64", headers={"If-None-Match": got.headers["etag"]}
    )
    assert (again.status_code, again.content) == (304, b"")
    other = get(server, "thumbnails/items/05", size=96)
    assert other.headers["etag"] != got.headers["etag"]
    assert "160" in get(server, "thumbnails/items/05", size=63).json()["detail"]
    assert get(server, "images/items/05").headers["content-type"] == "image/webp"


@pytest.mark.parametrize("id_", ["/etc/passwd", "..%2f..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/run"])
def test_no_path_of_the_host_is_reachable(server, id_):
    for kind in ("items", "thumbnails", "images"):
        got = get(server, f"{kind}/{id_}")
        assert got.status_code == 404
        assert "root:" not in got.text


def test_a_file_that_is_gone_is_a_clear_problem(writable, own):
    assert add(writable, id="new").status_code == 201
    (file,) = (own / "photos.index" / "uploads").iterdir()
    file.unlink()
    got = get(writable, "images/new")
    assert (got.status_code, got.json()["type"]) == (404, "urn:twinset:problem:no-picture")
    assert str(own) not in got.text


def test_what_was_added_is_there_after_a_restart(own, start):
    with start(own, token="secret") as one:
        one.http.headers["Authorization"] = "Bearer secret"
        got = add(one, id="new/ö", metadata='{"label": "red", "price": 1.5}')
        assert (got.status_code, got.json()["id"]) == (201, "new/ö")
        unnamed = add(one, 255 - NEW).json()["id"]
        assert unnamed.startswith("uploads/")
        assert add(one, id="new/ö").status_code == 409
        (told,) = one.http.post(
            "/api/v1/search", files={"images": png(NEW)}, data={"k": "1"}
        ).json()["answers"]
        assert told["neighbours"][0]["id"] == "new/ö"
        assert told["neighbours"][0]["distance"] == pytest.approx(0, abs=1e-5)
    with start(own) as one:
        assert get(one, "index").json()["items"] == 50
        held = Image.open(io.BytesIO(get(one, "images/new/ö").content))
        assert held.size == (30, 20)
        assert get(one, "items/new/ö").json()["metadata"] == {"label": "red", "price": 1.5}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"metadata": "["}, "Expected `metadata` as a JSON object"),
        ({"metadata": "[" * 9999}, "Expected `metadata` as a JSON object"),
        ({"metadata": '{"a": [1]}'}, "Expected metadata 'a' of the new item to be a text"),
        ({"metadata": '{"path": "/etc/passwd"}'}, "without 'path'"),
        ({"metadata": '{"_row": 1}'}, "without '_row'"),
        ({"id": ""}, "at least 1 character"),
        ({"id": "a\0"}, "without a NUL character"),
    ],
)
def test_what_cannot_be_added(writable, data, words):
    got = add(writable, **data)
    assert got.status_code == 422
    assert words in got.json()["detail"]
    assert get(writable, "index").json()["items"] == 48


def test_what_is_no_image_is_not_kept(writable, own):
    got = writable.http.post("/api/v1/items", files={"image": b"no image"}, data={"id": "x"})
    assert got.status_code == 422
    assert not (own / "photos.index" / "uploads").exists()


def test_removed_items_leave_their_files(writable, own):
    assert writable.http.delete("/api/v1/items/items/05").json() == {"removed": "items/05"}
    assert (own / "photos" / "05.png").is_file()
    assert get(writable, "items/items/05").status_code == 404
    assert writable.http.delete("/api/v1/items/items/05").status_code == 404


def test_writes_want_the_token(server, writable):
    assert add(server).status_code == 403
    with httpx.Client(base_url=writable.url) as http:
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            files = {"image": png(NEW)}
            assert http.post("/api/v1/items", files=files, headers=headers).status_code == 401
            assert http.delete("/api/v1/items/items/05", headers=headers).status_code == 401
    assert len(json.loads(get(writable, "items").text)["items"]) == 48
