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
