"""Stand-ins for the outside world: a mirror that can misbehave, and an apt that is a script."""

import json
import sys
import tarfile
import textwrap
import threading
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

import pytest

from twinset.data.sources import download


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
    monkeypatch.setattr(urllib.request, "_opener", None)  # it remembers the proxies of before
    monkeypatch.setattr(download, "_STALL_SECONDS", 0.3)
    monkeypatch.setattr(download, "_PAUSES_SECONDS", (0.01, 0.01))
    with serving(Mirror()) as server:
        yield server


_APT_GET = """
import json, os, pathlib, shutil, sys

here = pathlib.Path(__file__).parent
with open(here / "calls.jsonl", "a") as log:
    call = {"argv": sys.argv[1:], "cwd": os.getcwd(), "locale": os.environ["LC_ALL"]}
    log.write(json.dumps(call) + "\\n")
lists = [word.partition("=")[2] for word in sys.argv if word.startswith("Dir::State::lists=")]
folder = pathlib.Path(lists[0] if lists else here / "system-lists")
if "update" in sys.argv:
    if (here / "offline").exists():
        print("W: Download is performed unsandboxed as root", file=sys.stderr)
        sys.exit("W: Failed to fetch http://mirror/InRelease  Temporary failure" if lists else 1)
    if not (folder / "partial").is_dir():
        sys.exit("E: List directory partial is missing.")
    (folder / "Packages").touch()
elif not (folder / "Packages").exists():
    print("E: Unable to locate package", sys.argv[-1], file=sys.stderr)
    sys.exit(100)
else:
    shutil.copy(here / "package.tar", f"{sys.argv[-1]}_1_all.deb")
"""

_DPKG_DEB = """
import sys, tarfile

assert sys.argv[1] == "-x"
try:
    with tarfile.open(sys.argv[2]) as package:
        package.extractall(sys.argv[3])
except tarfile.TarError as error:
    sys.exit(f"dpkg-deb: error: '{sys.argv[2]}' is not a Debian format archive")
"""


class Apt:
    """A folder for PATH with an `apt-get` and a `dpkg-deb` of few lines."""

    def __init__(self, folder):
        self.folder = folder
        for name, script in (("apt-get", _APT_GET), ("dpkg-deb", _DPKG_DEB)):
            path = folder / name
            path.write_text(f"#!{sys.executable} -IS\n{textwrap.dedent(script)}")
            path.chmod(0o755)
        (folder / "system-lists").mkdir()
        self.has_lists(True)

    def has_lists(self, there):
        packages = self.folder / "system-lists" / "Packages"
        if there:
            packages.touch()
        else:
            packages.unlink()

    def goes_offline(self):
        (self.folder / "offline").touch()

    def packs(self, files):
        with tarfile.open(self.folder / "package.tar", "w") as package:
            for path, raw in files.items():
                member = tarfile.TarInfo(path)
                member.size = len(raw)
                package.addfile(member, BytesIO(raw))

    @property
    def calls(self):
        log = self.folder / "calls.jsonl"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


@pytest.fixture
def apt(tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return Apt(folder)
