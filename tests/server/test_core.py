"""The core of the API on a real server: the same verdicts and embeddings as in Python."""

from __future__ import annotations

import numpy as np
import pytest

import twinset


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
