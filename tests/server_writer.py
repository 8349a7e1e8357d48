"""Writers over HTTP against a server that is killed: what it acknowledged must be there after.

For tests and benchmark. The server is `twinset serve` in a process of its own.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from urllib.parse import quote

from hostile_uploads import EDGE, form, part, picture
from wire import ask, post

TOKEN = "a-token-of-the-writers"
BEARER = f"Authorization: Bearer {TOKEN}"


def start(folder):
    """Start the server; return the process and its address once it is ready."""
    command = [sys.executable, "-m", "twinset", "serve", str(folder / "run"), "--port", "0"]
    command += ["--index", str(folder / "photos.index"), "--rate", "100000"]
    server = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, "TWINSET_TOKEN": TOKEN}
    )
    for line in server.stderr:
        if line.startswith("serve: http"):
            return server, line.split()[1]
    raise RuntimeError(f"the server ended with {server.wait()}")


class Writer(threading.Thread):
    """Adds and removes items, and decides about pairs, until the server is gone."""

    def __init__(self, url, number, steps):
        super().__init__()
        self.url, self.number, self.steps = url, number, steps
        self.items, self.removed, self.decided = {}, set(), {}
        self.doubtful = set()  # in hand when the server went: there or not
        self.start()

    def run(self):
        try:
            for step in self.steps:
                self._step(step)
        except (ConnectionError, TimeoutError):
            pass

    def _step(self, step):
        name = f"new/{self.number}-{step}"
        about = json.dumps({"label": "red", "price": step})
        parts = [
            part(picture("PNG", step), "image"),
            (b'Content-Disposition: form-data; name="id"', name.encode()),
            (b'Content-Disposition: form-data; name="metadata"', about.encode()),
        ]
        self.doubtful = {name}
        if self._did(
            post("/api/v1/items", form(parts), f"multipart/form-data; boundary={EDGE}", BEARER)
        ):
            self.items[name] = step
        pair = (f"items/{step % 47:02}", f"items/{step % 47 + 1:02}")
        rows = [{"left": name, "right": pair[step % 2], "same": bool(step % 2)}]
        self.doubtful = {(name, pair[step % 2])}
        if self._did(
            post("/api/v1/decisions", json.dumps(rows).encode(), "application/json", BEARER)
        ):
            self.decided[name, pair[step % 2]] = bool(step % 2)
        if step % 3 == 2:
            self.doubtful = {name}
            path = f"/api/v1/items/{quote(name)}"
            if self._did(post(path, b"", "", BEARER).replace(b"POST", b"DELETE", 1)):
                self.items.pop(name)
                self.removed.add(name)
        self.doubtful = set()

    def _did(self, raw):
        got = ask(self.url, raw)
        if got is None:
            raise ConnectionError
        assert got.status in {200, 201, 204, 503}, got.body
        return got.status < 300


def kill_many(folder, times, seed=0, writers=2):
    """Start, write, kill at a random moment, start again, look; so many times. Count."""
    rng = random.Random(seed)
    steps = itertools.count()
    counts = {"kills": 0, "items": 0, "decisions": 0, "removed": 0}
    server, url = start(folder)
    items, removed, decided = {}, set(), {}
    for _ in range(times):
        running = [Writer(url, number, steps) for number in range(writers)]
        time.sleep(0.1 + rng.random() * 0.5)
        os.kill(server.pid, signal.SIGKILL)
        server.wait()
        for each in running:
            each.join()
        server.stderr.close()
        server, url = start(folder)
        doubtful = set().union(*(each.doubtful for each in running))
        for each in running:
            items |= each.items
            removed |= each.removed
            decided |= each.decided
        for name in removed:
            items.pop(name, None)
        check(url, items, removed, decided, doubtful)
        for name in doubtful:  # and stays so: it may have been removed, though nobody was told
            items.pop(name, None)
        counts["kills"] += 1
    server.terminate()
    server.wait(30)
    server.stderr.close()
    return counts | {"items": len(items), "removed": len(removed), "decisions": len(decided)}


def check(url, items, removed, decided, doubtful):
    """Compare what the server tells with what it acknowledged."""
    there = {one["id"]: one for one in pages(url, "/api/v1/items", "items")}
    for name, step in items.items():
        if name not in doubtful:
            assert there[name]["metadata"]["price"] == step, name
    assert not (removed - doubtful) & set(there)
    told = {
        (one["left"], one["right"]): one["same"]
        for one in pages(url, "/api/v1/decisions", "decisions")
    }
    for pair, same in decided.items():
        assert told[pair] is same, pair


def pages(url, path, key):
    """Read a listing to its end."""
    found = []
    while True:
        raw = f"GET {path}?offset={len(found)}&limit=500 HTTP/1.1\r\nHost: localhost\r\n\r\n"
        got = ask(url, raw.encode()).json()
        found += got[key]
        if len(found) >= got.get("total", 0) or not got[key]:
            return found
