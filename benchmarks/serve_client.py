"""A load client that is a process of its own, and no bottleneck: prepared bytes, sockets, epoll.

It reads one JSON object from stdin (`Plan`, in base64 what is bytes) and writes one to stdout: what
came back, and how long each took. A client of a library costs a request as much as the server does.
"""

from __future__ import annotations

import base64
import collections
import contextlib
import json
import random
import selectors
import socket
import statistics
import subprocess
import sys
import time


def request(method, path, body=b"", kind="", headers=()):
    """Write an HTTP/1.1 request as bytes."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *headers]
    if body or method in ("POST", "PUT"):
        lines += [f"Content-Length: {len(body)}"]
    if kind:
        lines += [f"Content-Type: {kind}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def multipart(files, fields=()):
    """Write a form of files (name, content) and texts as its body and its content type."""
    edge = "twinsetboundary7d3f"
    parts = [
        f'--{edge}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'.encode()
        for name, text in fields
    ]
    parts += [
        f'--{edge}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}.png"\r\n'
        f"Content-Type: image/png\r\n\r\n".encode()
        + content
        + b"\r\n"
        for name, content in files
    ]
    return b"".join(parts) + f"--{edge}--\r\n".encode(), f"multipart/form-data; boundary={edge}"


class Connection:
    """One connection that sends a request, waits for the answer, and sends the next."""

    def __init__(self, address, requests, rng):
        self.address, self.requests, self.rng = address, requests, rng
        self.socket = None
        self.events = selectors.EVENT_READ

    def open(self, selector):
        """Connect."""
        self.socket = socket.create_connection(self.address, timeout=30)
        self.head = b""
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        selector.register(self.socket, selectors.EVENT_READ, self)
        self.events = selectors.EVENT_READ

    def close(self, selector):
        """Hang up."""
        if self.socket is not None:
            selector.unregister(self.socket)
            self.socket.close()
            self.socket = None

    def begin(self, selector):
        """Send one of the requests, whichever."""
        if self.socket is None:
            self.open(selector)
        self.kind = self.rng.randrange(len(self.requests))
        self.left = memoryview(self.requests[self.kind])
        self.got = bytearray()
        self.length = None
        self.started = time.perf_counter()
        self.send(selector)

    def send(self, selector):
        """Send what the system takes of what is left."""
        with contextlib.suppress(BlockingIOError):
            self.left = self.left[self.socket.send(self.left) :]
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self.left else 0)
        if events != self.events:
            selector.modify(self.socket, events, self)
            self.events = events

    def receive(self):
        """Take in what came; return the status once the answer is whole, 0 at a hang-up."""
        try:
            part = self.socket.recv(1 << 18)
        except BlockingIOError:
            return None
        except OSError:
            return 0
        self.got += part
        if self.length is None:
            end = self.got.find(b"\r\n\r\n")
            if end >= 0:
                self.head = bytes(self.got[:end]).lower()
                at = self.head.find(b"content-length:")
                # an answer without a length ends with the connection
                self.length = (
                    end + 4 + int(self.head[at + 15 :].split(b"\r\n", 1)[0])
                    if at >= 0
                    else float("inf")
                )
        if self.length is not None and len(self.got) >= self.length:
            return int(self.head[9:12])
        if not part:
            return int(self.head[9:12]) if self.length == float("inf") else 0
        return None

    def hangs_up(self):
        """Tell whether the server closes after this answer."""
        return b"connection: close" in self.head


class Drive:
    """Keeps connections busy for a time, or sends so many requests per second over them."""

    def __init__(self, plan):
        self.plan = plan
        requests = [base64.b64decode(each) for each in plan["requests"]]
        rng = random.Random(plan["seed"])
        address = (plan["host"], plan["port"])
        self.idle = collections.deque(
            Connection(address, requests, random.Random(rng.random()))
            for _ in range(plan["connections"])
        )
        self.busy = set()
        self.selector = selectors.DefaultSelector()
        self.took, self.refused = [], []
        self.statuses, self.texts = collections.Counter(), {}
        self.sent = 0

    def run(self):
        """Drive, and tell what came back."""
        started, cpu = time.perf_counter(), time.process_time()
        until = started + self.plan["seconds"]
        rate = self.plan["rate"]
        while True:
            now = time.perf_counter()
            if now < until:
                # what is due by now; without a rate, whatever is free
                due = len(self.idle) if rate is None else int((now - started) * rate) - self.sent
                for _ in range(min(due, len(self.idle))):
                    self.begin(self.idle.popleft())
            elif not self.busy or now > until + self.plan["grace"]:
                break
            for key, events in self.selector.select(1.0 if rate is None else 0.002):
                self.go_on(key.data, events)
        seconds = time.perf_counter() - started
        return {
            "seconds": seconds,
            "statuses": dict(self.statuses),
            "unanswered": len(self.busy),
            "offered": self.sent / self.plan["seconds"],
            "latencies": summary(self.took),
            "refused": summary(self.refused),
            # what is answered after the end was asked before it, as at the beginning
            "rate": len(self.took) / max(self.plan["seconds"], 1e-9),
            "client cpu": (time.process_time() - cpu) / seconds,
            "texts": self.texts,
        }

    def begin(self, connection):
        """Let a connection ask."""
        self.sent += 1
        try:
            connection.begin(self.selector)
        except OSError as error:
            self.statuses[0] += 1
            self.texts[0] = str(error)
            connection.close(self.selector)
            self.idle.append(connection)
        else:
            self.busy.add(connection)

    def go_on(self, connection, events):
        """Read what came; count it if it is an answer."""
        if events & selectors.EVENT_WRITE and connection.left:
            connection.send(self.selector)
        if not events & selectors.EVENT_READ:
            return
        status = connection.receive()
        if status is None:
            return
        seconds = time.perf_counter() - connection.started
        self.statuses[status] += 1
        if 200 <= status < 300:
            self.took.append(seconds)
        else:
            self.refused.append(seconds)
            self.texts.setdefault(status, connection.got[-400:].decode("latin-1"))
        if status == 0 or connection.hangs_up():
            connection.close(self.selector)
        self.busy.discard(connection)
        self.idle.append(connection)


def summary(times):
    """p50, p95, p99 and the largest, in ms; with the number."""
    if not times:
        return {"n": 0}
    times = sorted(times)
    at = lambda share: 1000 * times[min(len(times) - 1, int(share * len(times)))]  # noqa: E731
    return {
        "n": len(times),
        "p50": 1000 * statistics.median(times),
        "p95": at(0.95),
        "p99": at(0.99),
        "max": 1000 * times[-1],
    }


def load(port, requests, *, connections, seconds, rate=None, seed=0, grace=30):
    """Run this file as a second process; return what it found.

    A rate is of requests per second, sent whether the others were answered or not, as far as there
    are connections; without one each connection sends as soon as it has its answer.
    """
    plan = {
        "host": "127.0.0.1",
        "port": port,
        "requests": [base64.b64encode(each).decode() for each in requests],
        "connections": connections,
        "seconds": seconds,
        "rate": rate,
        "seed": seed,
        "grace": grace,
    }
    done = subprocess.run(
        [sys.executable, __file__],
        input=json.dumps(plan),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


if __name__ == "__main__":
    json.dump(Drive(json.load(sys.stdin)).run(), sys.stdout)
