"""The core of the API on a real server: the same verdicts and embeddings as in Python."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

import twinset
from serving import running
from twinset.server.app import create_app
from twinset.server.guard import Guard
from twinset.server.opening import Current, open_service

ITEMS = {"left_item": "items/00", "right_item": "items/01"}


@pytest.fixture(scope="module")
def model(home):
    return twinset.load_model(home / "run")


@pytest.fixture(scope="module")
def photos(home):
    return [path.read_bytes() for path in sorted((home / "photos").iterdir())]


def test_health(server):
    assert server.http.get("/health/live").json() == {"status": "alive"}
    assert server.http.get("/health/ready").json() == {"status": "ready", "waiting": 0}


def test_the_card(server, model):
    card = server.http.get("/api/v1/model").json()
    assert (card["name"], card["digest"], card["dim"]) == ("run", model.digest, 8)
    assert card["threshold"]["value"] == model.threshold.value
    assert card["input"]["shape"] == [12, 12, 3]
    assert card["has_index"] is card["has_report"] is True
    assert card["writable"] is False


def test_the_verdict_is_that_of_python(server, model, home, photos):
    for left, right in ((0, 4), (0, 1)):
        files = {"left": photos[left], "right": photos[right]}
        got = server.http.post("/api/v1/compare", files=files, data={"prior": "0.2"}).json()
        paths = [home / "photos" / f"{row:02}.png" for row in (left, right)]
        verdict = model.compare(*paths, prior=0.2)
        assert got["sentence"] == verdict.sentence()
        assert got["same"] is verdict.same
        assert got["probability"] == pytest.approx(verdict.probability, abs=1e-6)
        items = {"left_item": f"items/{left:02}", "right_item": f"items/{right:02}"}
        of_items = server.http.post("/api/v1/compare", data=items).json()
        assert of_items["distance"] == pytest.approx(verdict.distance, abs=1e-6)


def test_embeddings_in_the_order_of_the_images(server, model, home, photos):
    files = [("images", data) for data in photos[:5]]
    got = server.http.post("/api/v1/embed", files=files).json()
    assert got["model"] == model.digest
    expected = model.embed([home / "photos" / f"{row:02}.png" for row in range(5)])
    np.testing.assert_allclose(got["embeddings"], expected, atol=1e-6)
    raw = server.http.post(
        "/api/v1/embed", content=photos[3], headers={"content-type": "image/png"}
    ).json()
    np.testing.assert_allclose(raw["embeddings"], expected[3:4], atol=1e-6)


def test_why(server, model, home, photos):
    """The patches of the page are those of Python, of an upload as of an item."""
    files = {"left": photos[0], "right": photos[1]}
    got = server.http.post("/api/v1/explain", files=files).json()
    expected = model.explain(home / "photos" / "00.png", home / "photos" / "01.png")
    np.testing.assert_allclose(got["left"], expected.left, atol=1e-5)
    np.testing.assert_allclose(got["right"], expected.right, atol=1e-5)
    assert got["sentence"].split(chr(10))[0] == expected.sentence().split(chr(10))[0]
    items = {"left_item": "items/00", "right_item": "items/01"}
    of_items = server.http.post("/api/v1/explain", data=items).json()
    np.testing.assert_allclose(of_items["left"], got["left"], atol=1e-6)


def test_the_report_runs_nothing(server):
    got = server.http.get("/api/v1/report")
    assert got.text.startswith("<!doctype html>")
    policy = got.headers["content-security-policy"]
    assert policy.endswith("sandbox")
    assert "script" not in policy
    assert got.headers["x-frame-options"] == "SAMEORIGIN"


def test_counts_for_prometheus(server, photos):
    server.http.post("/api/v1/embed", files=[("images", data) for data in photos[:3]])
    text = server.http.get("/metrics").text
    found = dict(line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("twinset_"))
    assert float(found["twinset_queue_images"]) == 0
    assert float(found["twinset_batch_images_sum"]) >= 3
    assert float(found['twinset_requests_total{route="/embed",status="200"}']) >= 1


@pytest.mark.parametrize(
    ("path", "asked", "status", "words"),
    [
        ("compare", {"data": {"left_item": "items/00"}}, 422, "Expected one image in the field"),
        ("compare", {"data": {"left_item": "no", "right_item": "items/01"}}, 404, "has no 'no'"),
        ("compare", {"data": ITEMS | {"point": "no"}}, 422, "name of an operating point"),
        ("compare", {"data": {"prior": "2"}}, 422, "less than 1"),
        ("embed", {"files": {"images": b"no image"}}, 422, "Received something else"),
        ("embed", {"files": {"other": b"x"}}, 422, "files in the field `images`"),
        ("embed", {"json": {}}, 415, "Received application/json"),
        ("explain", {"data": {"left_item": "items/00", "right_item": "-"}}, 404, "has no '-'"),
    ],
)
def test_a_problem_says_what_to_do(server, path, asked, status, words):
    got = server.http.post(f"/api/v1/{path}", **asked)
    assert got.status_code == status
    assert got.headers["content-type"] == "application/problem+json"
    told = got.json()
    assert words in told["detail"]
    assert told["status"] == status
    assert told["type"].startswith("urn:twinset:problem:")


def test_a_verdict_by_an_operating_point(own):
    with twinset.Index.open(own / "photos.index") as index:
        index.save_point("all", 1e6)
    with running(own) as one:
        by = [
            one.http.post("/api/v1/compare", data=ITEMS | point).json()
            for point in ({}, {"point": "all"})
        ]
    assert [each["same"] for each in by] == [False, True]
    assert by[1]["threshold"]["value"] == 1e6


def test_without_an_index(home):
    with running(home, index=False) as one:
        got = one.http.post("/api/v1/compare", data={"left_item": "a", "right_item": "b"})
        assert got.status_code == 404
        assert "--index" in got.json()["detail"]


def test_neither_keras_nor_what_draws_is_loaded(home):
    """A real process answers; then it tells what it has loaded."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED, home / "run", home / "photos.index"],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(done.stdout.split())
    assert {"onnxruntime", "fastapi", "uvicorn"} <= loaded
    assert not loaded & {"keras", "jax", "matplotlib", "scipy", "sklearn", "pandas", "torch"}


LOADED = """
import sys, urllib.request
from twinset.server.app import create_app
from twinset.server.guard import Guard
from twinset.server.opening import open_service
from twinset.server.opening import Current
from twinset.server.running import in_background

with in_background(open_service(*sys.argv[1:])) as url:
    body = b"left_item=items/00&right_item=items/01"
    for path in ("compare", "explain"):
        urllib.request.urlopen(f"{url}/api/v1/{path}", body).read()
    for path in ("api/v1/model", "metrics", "openapi.json", ""):
        urllib.request.urlopen(f"{url}/{path}").read()
print(*{name.split(".")[0] for name in sys.modules})
"""


def test_mounted_in_another_application(home, photos):
    service = open_service(home / "run")
    outer = FastAPI()
    outer.mount("/twins", create_app(service, hosts=["shop.example"]))

    async def ask():
        transport = httpx.ASGITransport(outer)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop.example") as http:
            files = {"left": photos[0], "right": photos[4]}
            return [
                await http.get("/twins/health/live"),
                await http.get("/twins/api/v1/model"),
                await http.post("/twins/api/v1/compare", files=files),
            ]

    live, card, verdict = asyncio.run(ask())
    assert live.json() == {"status": "alive"}
    assert card.json()["digest"] == service.model.digest
    assert verdict.json()["same"] is True
    service.close()


def test_the_route_of_the_page_for_contributors(home):
    page = (Path(__file__).parents[2] / "docs/contributing.md").read_text("utf-8")
    (block,) = (each for each in page.split("```python\n") if "APIRouter" in each)
    route = {}
    exec(block.split("```")[0], route)
    service = open_service(home / "run")
    app = FastAPI()
    app.include_router(route["router"])
    app.add_middleware(Guard, current=Current(service), hosts=["*"])

    async def ask():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://any") as http:
            return (await http.get("/classes")).json()

    assert asyncio.run(ask()) == {"classes": ["red", "green", "blue", "gray"]}
    service.close()


def test_a_model_without_a_graph(own):
    (own / "run" / "encoder.onnx").unlink()
    with pytest.raises(twinset.TwinsetError, match="twinset export"):
        open_service(own / "run")


def test_a_mistyped_path_is_the_page_for_a_browser_and_a_problem_for_a_program(server):
    browser = {"Accept": "text/html,*/*;q=0.8"}
    got = server.http.get("/serch", headers=browser)
    assert (got.status_code, "text/html" in got.headers["content-type"]) == (404, True)
    assert 'id="page"' in got.text
    for path, headers in (("/serch", {}), ("/api/v1/serch", browser), ("/a/b", browser)):
        got = server.http.get(path, headers=headers)
        assert (got.status_code, got.json()["title"]) == (404, "Not Found")


def test_a_browser_asks_whether_the_page_has_changed(server):
    for path in ("/map", "/main.js", "/fonts/instrument-sans.woff2"):
        got = server.http.get(path)
        assert (got.status_code, got.headers["cache-control"]) == (200, "no-cache")
        again = server.http.get(path, headers={"If-None-Match": got.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        head = server.http.head(path)
        assert (head.content, head.headers["etag"]) == (b"", got.headers["etag"])
    refused = server.http.post("/main.js")
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")
    assert server.http.get("/../app.py").status_code == 404


def test_a_server_that_has_stopped_listens_no_more(home, start):
    with start(home) as one:
        host, port = one.url.removeprefix("http://").split(":")
        many = [socket.create_connection((host, int(port))) for _ in range(100)]
        for each in many:
            each.sendall(b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert {each.recv(12) for each in many} == {b"HTTP/1.1 200"}
        for each in many:
            each.close()
    with pytest.raises(ConnectionRefusedError, match="refused"):
        socket.create_connection((host, int(port)))
