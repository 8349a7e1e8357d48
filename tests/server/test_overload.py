"""More than the server can take: refused at once, forgotten at once; with a model that waits."""

from __future__ import annotations

import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import twinset
from hostile_uploads import EDGE, form, part, picture
from twinset.data.decoding.decode import Preprocessing
from twinset.server.limits import Limits
from twinset.server.running import in_background
from twinset.server.service import Service
from wire import ask, limited, opened, post

EMBED = "/api/v1/embed"


class Gated:
    """A model that computes when it is let, and remembers the sizes of its batches."""

    def __init__(self, model):
        self._model = model
        self.open, self.inside = threading.Event(), threading.Semaphore(0)
        self.batches = []

    def __getattr__(self, name):
        return getattr(self._model, name)

    def encode(self, pixels):
        self.inside.release()
        assert self.open.wait(20)
        self.batches.append(len(pixels))
        if (pixels == 77).all(axis=(1, 2, 3)).any():
            raise ValueError("a secret of the engine")
        return self._model.encode(pixels)


@pytest.fixture(scope="module")
def model(home):
    return twinset.load_model(home / "run", engine="onnx")


@contextmanager
def gated(model, preprocessing=None, **limits):
    """A server whose model holds one image already, and waits."""
    one = Gated(model)
    if preprocessing is not None:
        one.preprocessing = preprocessing
    with (
        in_background(Service(one, limits=Limits(**limits))) as url,
        ThreadPoolExecutor(80) as threads,
    ):

        def send(raw=None):
            return threads.submit(ask, url, raw or embed(0), 20)

        try:
            first = send()
            assert one.inside.acquire(timeout=10)
            yield SimpleNamespace(url=url, model=one, send=send, first=first)
        finally:
            one.open.set()


def embed(*rows):
    """A request for the embeddings of pictures."""
    if len(rows) == 1:
        return post(EMBED, picture("PNG", rows[0]), "image/png")
    body = form([part(picture("PNG", row)) for row in rows])
    return post(EMBED, body, f"multipart/form-data; boundary={EDGE}")


def until(condition, seconds=5):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.005)


def waiting(url):
    return ask(url, b"GET /health/ready HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").json().get("waiting")


def test_what_waits_goes_together(model):
    with gated(model, batch=16) as one:
        sent = [one.send(embed(row)) for row in range(20)]
        until(lambda: waiting(one.url) == 20)
        one.model.open.set()
        expected = model.embed([to_pixels(row) for row in range(20)])
        for row, each in enumerate(sent):
            np.testing.assert_allclose(
                each.result().json()["embeddings"][0], expected[row], atol=1e-5
            )
    assert one.model.batches == [1, 16, 4]


def to_pixels(row):
    return np.asarray(Image.open(io.BytesIO(picture("PNG", row))))


def test_a_request_of_many_is_cut(model):
    with gated(model, batch=16) as one:
        sent = one.send(embed(*range(40)))
        until(lambda: waiting(one.url) > 0)
        one.model.open.set()
        got = sent.result().json()["embeddings"]
    assert sum(one.model.batches) == 41
    assert max(one.model.batches) <= 16
    np.testing.assert_allclose(got, model.embed([to_pixels(row) for row in range(40)]), atol=1e-5)


def test_a_full_queue_refuses_at_once_and_recovers(model):
    with gated(model, queue_images=8) as one:
        sent = [one.send(embed(row)) for row in range(80)]
        until(lambda: sum(each.done() for each in sent) == 72)
        refused = [each.result() for each in sent if each.done()]
        assert {got.status for got in refused} == {503}
        assert all(int(got.headers["retry-after"]) >= 1 for got in refused)
        assert "8 images wait already" in refused[0].json()["detail"]
        started = time.monotonic()
        assert ask(one.url, embed(0)).status == 503
        assert time.monotonic() - started < 1
        one.model.open.set()
        assert [each.result().status for each in sent].count(200) == 8
        assert ask(one.url, embed(0)).status == 200
        assert waiting(one.url) == 0
    # what was refused was never computed
    assert sum(one.model.batches) == 10


def test_a_full_server_is_watched(model):
    def get(path):
        return ask(one.url, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())

    with gated(model, requests=3) as one:
        for _ in range(2):
            one.send()
        until(lambda: waiting(one.url) == 2)
        refused = get("/api/v1/model")
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        told = get("/metrics").body.decode()
        assert 'twinset_shed_total{reason="full"} 1.0' in told
        assert "twinset_queue_images 2.0" in told


def test_the_queue_counts_bytes(model):
    with gated(model, queue_bytes=3 * 12 * 12 * 3) as one:
        sent = [one.send(embed(row)) for row in range(5)]
        until(lambda: sum(each.done() for each in sent) == 2)
        one.model.open.set()
        assert sorted(each.result().status for each in sent) == [200] * 3 + [503] * 2


def test_what_is_too_late_costs_no_inference(model):
    with gated(model, seconds=0.3) as one:
        sent = [one.send(embed(row)) for row in range(5)]
        for each in (*sent, one.first):
            assert each.result().status == 503
            assert "ask again" in each.result().json()["detail"]
        one.model.open.set()
        assert ask(one.url, embed(0)).status == 200
    assert sum(one.model.batches) <= 2


def test_a_client_that_hangs_up_costs_no_inference(model):
    with gated(model) as one:
        with opened(one.url) as leaving:
            leaving.sendall(embed(1))
            until(lambda: waiting(one.url) == 1)
        until(lambda: waiting(one.url) == 0)
        one.model.open.set()
        assert one.first.result().status == 200
    assert one.model.batches == [1]


def test_a_batch_that_fails_is_tried_one_by_one(model):
    file = io.BytesIO()
    Image.fromarray(np.full((12, 12, 3), 77, np.uint8)).save(file, "PNG")
    with gated(model) as one:
        sent = [one.send(embed(row)) for row in range(7)]
        bad = one.send(post(EMBED, file.getvalue(), "image/png"))
        until(lambda: waiting(one.url) == 8)
        one.model.open.set()
        assert [each.result().status for each in sent] == [200] * 7
        assert bad.result().status == 500
        # nobody foresaw it, so its words stay in the log
        assert "secret" not in bad.result().body.decode()
        assert "Report the id" in bad.result().json()["detail"]


def test_a_client_that_asks_too_often(home):
    with limited(home, rate=5) as url:
        found = [ask(url, embed(0)) for _ in range(30)]
        shed = [got for got in found if got.status == 429]
        assert 15 <= len(shed) <= 20
        assert shed[0].headers["retry-after"] == "1"
        time.sleep(0.5)
        assert ask(url, embed(0)).status == 200


def test_what_was_accepted_is_finished(model):
    one = Gated(model)
    with ThreadPoolExecutor(12) as threads:
        with in_background(Service(one, limits=Limits())) as url:
            sent = [threads.submit(ask, url, embed(0), 20)]
            assert one.inside.acquire(timeout=10)  # alone, so that all others wait
            sent += [threads.submit(ask, url, embed(row), 20) for row in range(1, 12)]
            until(lambda: waiting(url) == 11)
            threading.Timer(0.2, one.open.set).start()
        assert [each.result().status for each in sent] == [200] * 12


class Waiting(Preprocessing):
    """Decodes as many images as it is let."""

    let = threading.Semaphore(0)

    def pixels(self, image):
        assert self.let.acquire(timeout=20)
        return super().pixels(image)


def test_who_is_refused_does_not_wait_for_a_thread(model):
    # large photos are decoded for long: what waits for a thread counts as what waits for the model
    Waiting.let.release()
    with gated(model, Waiting((12, 12, 3)), queue_images=4) as one:
        sent = [one.send(embed(row)) for row in range(20)]
        until(lambda: sum(each.done() for each in sent) == 16)
        assert {each.result().status for each in sent if each.done()} == {503}
        Waiting.let.release(4)
        one.model.open.set()
        assert [each.result().status for each in sent].count(200) == 4
