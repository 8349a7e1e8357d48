"""A stand-in for the outside world: a mirror that can misbehave."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from twinset.data.sources import fashion_mnist


class Mirror(ThreadingHTTPServer):
    """Serves `files`; `faults` says how to misbehave for some, `cuts` how often to cut."""

    daemon_threads = False  # so that closing the server waits for each request

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/"
        self.files, self.faults, self.cuts = {}, {}, 99
        self.requests = []
        self.asked, self.closing = threading.Event(), threading.Event()
        self.meeting = threading.Barrier(2)


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        name = self.path.removeprefix("/")
        self.server.requests.append(name)
        fault = self.server.faults.get(name)
        body = self.server.files.get(name)
        if body is None or fault == "500":
            self.send_error(500 if fault else 404)
            return
        if fault == "meet":
            self.server.meeting.wait(timeout=20)
        if fault == "silent":
            self.server.closing.wait()
            return
        self.send_response(200)
        if fault == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"%x\r\n%s" % (len(body), body[: len(body) // 2]))
            return
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if fault == "stall" or (fault == "cut" and self.server.cuts > 0):
            self.server.cuts -= 1
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            self.server.asked.set()
            if fault == "stall":
                self.server.closing.wait()
            return
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@contextmanager
def serving(server):
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def mirror(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(fashion_mnist, "TIMEOUT", 0.5)
    with serving(Mirror()) as server:
        yield server
