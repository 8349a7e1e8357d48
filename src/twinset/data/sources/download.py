"""Fetch files over HTTP(S), quick to give up where there is no way and patient where there is one.

What comes is held in memory: nothing reaches the disk before `Content.unpack` has checked it.
"""

from __future__ import annotations

import http.client
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from twinset.errors import DownloadError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


import hashlib
import os
import shutil
import subprocess
import tempfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_CONNECT_SECONDS = 5.0
_STALL_SECONDS = 10.0
_PAUSES_SECONDS = (0.5, 2.0)  # before the second and the third attempt
_CHUNK_BYTES = 1 << 18


@contextmanager
def progress_bar(show: bool | None = None) -> Iterator[Progress]:
    """Show a bar per task on standard error for as long as the context lasts.

    Args:
        show: whether to show it. Defaults to None: only in a terminal or a notebook.

    Yields:
        The bar to hand to `fetch`.
    """
    # here, so that only a first download pays for the import
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    watched = console.is_terminal or console.is_jupyter
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=watched,
        disable=not (watched if show is None else show),
    )
    with bar:
        yield bar


def fetch(url: str, limit: int, bar: Progress) -> bytes:
    """Fetch a file into memory, trying again when the connection is cut.

    Args:
        url: where the file is.
        limit: the most bytes to accept.
        bar: where to show how far it is.

    Returns:
        The bytes as they came, unchecked.

    Raises:
        DownloadError: no answer, an HTTP error, a stall, too many bytes, or cut each time.
    """
    _knock(url)
    task = bar.add_task(url.rpartition("/")[2], total=None)
    for pause in _PAUSES_SECONDS:
        try:
            return _attempt(url, limit, bar, task)
        except _CutError:
            time.sleep(pause)
    return _attempt(url, limit, bar, task)


class _CutError(DownloadError):
    """A connection that ended early: the one failure that another attempt may mend."""


def _knock(url: str) -> None:
    """Fail within seconds when no address of the host answers.

    `urlopen` waits for the addresses in turn, and behind a firewall that drops packets the
    twenty of a large host take minutes.
    """
    if urllib.request.getproxies():
        return  # a proxy reaches hosts that this machine cannot
    parts = urlsplit(url)
    port = parts.port or parts.scheme
    deadline = time.monotonic() + _CONNECT_SECONDS
    failure: OSError = TimeoutError("timed out")
    try:
        hosts = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise DownloadError(_reason(error)) from error
    for *_, address in hosts:
        left = deadline - time.monotonic()
        if left <= 0:
            break
        # not all that is left: a dead IPv6 route must leave time for IPv4
        patience = min(left, 0.4 * _CONNECT_SECONDS)
        try:
            with socket.create_connection((str(address[0]), port), timeout=patience):
                return
        except OSError as error:
            failure = error
    raise DownloadError(_reason(failure)) from failure


def _attempt(url: str, limit: int, bar: Progress, task: TaskID) -> bytes:
    raw = bytearray()
    try:
        with urllib.request.urlopen(url, timeout=_STALL_SECONDS) as response:
            total: int | None = response.length
            bar.reset(task, total=total)
            while chunk := response.read1(_CHUNK_BYTES):
                raw += chunk
                bar.advance(task, len(chunk))
                if len(raw) > limit:
                    raise DownloadError(f"more than {limit} bytes: another file")
    except urllib.error.HTTPError as error:
        error.close()
        raise DownloadError(f"HTTP {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise DownloadError(_reason(error.reason)) from error
    except TimeoutError as error:
        raise DownloadError(
            f"stalled: nothing for {_STALL_SECONDS:g} s after {len(raw)} bytes"
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise _CutError(f"cut after {len(raw)} bytes, each time ({_reason(error)})") from error
    # http.client reports a short body only to those who read it in one go
    if total is not None and len(raw) < total:
        raise _CutError(f"cut after {len(raw)} of {total} bytes, each time")
    return bytes(raw)


def _reason(error: BaseException | str) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).rstrip(".")


# --- Read files out of a Debian package without root and without installing it.

_MINUTES = 15
# a mirror that does not answer: fail in seconds, not in the two minutes of the defaults
_QUICK = (
    *("-o", "Acquire::http::Timeout=10"),
    *("-o", "Acquire::https::Timeout=10"),
    *("-o", "Acquire::Retries=1"),
)
# hooks belong to the system's lists: docker's, for one, would empty the system's cache
_NO_HOOKS = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
"""


def read_package(package: str, paths: Sequence[str]) -> list[bytes]:
    """Download a package with apt into a temporary folder and read some of its files.

    Needs `apt-get` and `dpkg-deb`, but neither root nor package lists: where the lists are
    missing or stale (a fresh container), apt fetches its own into the temporary folder.

    Args:
        package: the name of the package.
        paths: the files to read, as absolute paths without the leading slash.

    Returns:
        The bytes of each file, in the order of `paths`.

    Raises:
        DownloadError: not a Debian-like system, no way to a mirror, or no such package or file.
    """
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise DownloadError(f"no `{tool}`: not a Debian-like system")
    try:
        with tempfile.TemporaryDirectory(prefix="twinset-") as folder:
            root = _unpack(package, Path(folder))
            return [(root / path).read_bytes() for path in paths]
    except OSError as error:
        raise DownloadError(str(error)) from error


def _unpack(package: str, folder: Path) -> Path:
    download = ("download", package)
    if _complaint(folder, "apt-get", *_QUICK, *download):
        options = (*_QUICK, *_private_lists(folder))
        update = _complaint(folder, "apt-get", *options, "update")
        # an update may fail for one mirror and yet bring the list that matters
        if complaint := _complaint(folder, "apt-get", *options, *download):
            raise DownloadError("; ".join(filter(None, (complaint, update))))
    for archive in folder.glob("*.deb"):
        if complaint := _complaint(folder, "dpkg-deb", "-x", archive.name, "root"):
            raise DownloadError(complaint)
    return folder / "root"


def _private_lists(folder: Path) -> tuple[str, ...]:
    # apt makes every folder it needs but this one
    (folder / "lists" / "partial").mkdir(parents=True)
    (folder / "apt.conf").write_text(_NO_HOOKS)
    return (
        *("-c", str(folder / "apt.conf")),
        *("-o", f"Dir::State::lists={folder / 'lists'}"),
        *("-o", f"Dir::Cache={folder / 'cache'}"),
        *("-o", "Acquire::Languages=none"),
    )


def _complaint(folder: Path, *command: str) -> str:
    """Run a command in a folder and return why it failed, or "" if it did not."""
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=60 * _MINUTES,
            check=False,
            text=True,
            errors="replace",
        )
    except subprocess.TimeoutExpired:
        return f"`{command[0]}` took more than {_MINUTES} minutes"
    lines = done.stderr.splitlines()
    # offline, `apt-get update` exits with 0 and says so in a warning only
    reasons = [line for line in lines if line.startswith(("E: ", "W: Failed", "dpkg-deb: error"))]
    if reasons:
        return reasons[0]
    return f"exit code {done.returncode}" if done.returncode else ""


# --- `Content`: what a file must hold, checked whenever it is read.

_GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True)
class Content:
    """Describes what a file holds once decompressed.

    Args:
        name: the name of the file without ".gz".
        size: the number of bytes.
        sha256: the digest of the bytes, in hexadecimal.
    """

    name: str
    size: int
    sha256: str

    @property
    def limit(self) -> int:
        """The largest file worth reading: gzip adds under 0.1% to what it cannot shrink."""
        return self.size + self.size // 1000 + 1024

    def unpack(self, raw: bytes) -> bytes:
        """Decompress the bytes of a file, unless they are plain, and check them.

        Args:
            raw: what the file holds, compressed with gzip or not.

        Returns:
            The decompressed bytes, `size` of them.

        Raises:
            DownloadError: the bytes are truncated, damaged, or those of another file.
        """
        data = _inflate(raw, self.size + 1) if is_gzip(raw) else raw
        if len(data) < self.size:
            raise DownloadError(f"{len(data)} of {self.size} bytes: truncated, or another file")
        if len(data) > self.size:
            raise DownloadError(f"more than {self.size} bytes: another file")
        digest = hashlib.sha256(data).hexdigest()
        if digest != self.sha256:
            raise DownloadError(f"SHA-256 {digest}, not {self.sha256}: another file, or damaged")
        return data

    def read(self, path: Path) -> bytes:
        """Read a file, decompress it unless it is plain, and check it.

        Args:
            path: the file.

        Returns:
            The decompressed bytes, `size` of them.

        Raises:
            DownloadError: the file cannot be read, or holds something else.
        """
        try:
            with path.open("rb") as file:
                raw = file.read(self.limit + 1)
        except OSError as error:
            raise DownloadError(error.strerror or str(error)) from error
        return self.unpack(raw)


def is_gzip(raw: bytes) -> bool:
    """Tell compressed bytes from plain ones."""
    return raw.startswith(_GZIP_MAGIC)


def _inflate(raw: bytes, most: int) -> bytes:
    try:
        # the bound stops a gzip bomb: it inflates no further than "too long" can be told
        return zlib.decompressobj(wbits=31).decompress(raw, most)
    except zlib.error as error:
        raise DownloadError(f"a damaged gzip stream ({error})") from error
