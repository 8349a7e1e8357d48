"""A new model or index, and the end: nobody who asks meanwhile is turned away."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

import twinset
from twinset.server.opening import Current, open_service

ITEMS = {"left_item": "items/00", "right_item": "items/04"}


def digest(one):
    return one.http.get("/api/v1/model").json()["digest"]


@pytest.fixture
def asking(writable):
    """Threads that ask the server without a pause; gives the statuses that they got."""
    done, statuses = threading.Event(), []
    photo = next((writable.home / "photos").iterdir()).read_bytes()

    def ask(**asked):
        with httpx.Client(base_url=writable.url, timeout=20) as http:
            while not done.is_set():
                statuses.append(http.post("/api/v1/compare", **asked).status_code)

    with ThreadPoolExecutor(4) as threads:
        for asked in ({"data": ITEMS}, {"files": {"left": photo, "right": photo}}) * 2:
            threads.submit(ask, **asked)
        yield statuses
        done.set()
    assert set(statuses) == {200}


def until(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)


def test_a_switched_index_is_taken_up(writable, asking):
    second = twinset.load_model(writable.home / "second")
    before = digest(writable)
    with twinset.Index.open(writable.home / "photos.index") as index:
        index.switch(second)
    until(lambda: digest(writable) == second.digest)
    count = len(asking)
    until(lambda: len(asking) > count + 20)
    with twinset.Index.open(writable.home / "photos.index") as index:
        index.roll_back()
    until(lambda: digest(writable) == before)


def test_what_cannot_be_taken_up_changes_nothing(own):
    service = open_service(own / "run")
    current = Current(service)
    shutil.move(own / "run", own / "away")
    with pytest.raises(twinset.TwinsetError, match="There is no such folder"):
        asyncio.run(current.renew(service))
    assert current.service is service
    service.close()


@pytest.mark.skipif(os.name != "posix", reason="needs signals of POSIX")
def test_signals(own):
    """SIGHUP takes up another model, and SIGTERM ends the process in peace."""
    command = [sys.executable, "-m", "twinset", "serve", str(own / "run"), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        url = re.fullmatch(r"serve: (http://127\.0\.0\.1:\d+)\n", process.stderr.readline())[1]
        with httpx.Client(base_url=url, timeout=20) as http:
            before = http.get("/api/v1/model").json()["digest"]
            shutil.rmtree(own / "run")
            shutil.move(own / "second", own / "run")
            process.send_signal(signal.SIGHUP)
            assert process.stderr.readline().startswith("took up model ")
            assert http.get("/api/v1/model").json()["digest"] != before
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
