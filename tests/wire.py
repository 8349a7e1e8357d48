"""Requests as bytes on a socket: what no HTTP client would send, and what comes back."""

from __future__ import annotations

import json
import socket
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from urllib.parse import urlsplit

from twinset.server.limits import Limits
from twinset.server.running import in_background, open_service


def opened(url, timeout=10):
    """A connection to a server."""
    return socket.create_connection((urlsplit(url).hostname, urlsplit(url).port), timeout)


def post(path, body, kind, *headers):
    """The bytes of a request with a body."""
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}", *headers]
    lines += [f"Content-Type: {kind}"] if kind else []
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def answers(connection, most=1):
    """Read answers until so many have come or the server hangs up."""
    got, found = b"", []
    while len(found) < most:
        try:
            part = connection.recv(1 << 16)
        except ConnectionError:
            break
        got += part
        while (one := _first(got, not part)) is not None and len(found) < most:
            found.append(one)
            got = got[one.size :]
        if not part:
            break
    return found


def _first(got, ended):
    head, whole, rest = got.partition(b"\r\n\r\n")
    if not whole:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    length = int(headers.get("content-length", len(rest) if ended else 1 << 40))
    if len(rest) < length:
        return None
    return SimpleNamespace(
        status=int(first.split()[1]),
        headers=headers,
        body=rest[:length],
        size=len(head) + 4 + length,
        json=lambda: json.loads(rest[:length]),
    )


def ask(url, raw, timeout=10):
    """Send bytes on a connection of their own; return the answer, or None for a hang-up."""
    with opened(url, timeout) as one:
        with suppress(ConnectionError):  # it may answer and hang up before all is sent
            one.sendall(raw)
        return next(iter(answers(one)), None)


@contextmanager
def limited(home, **limits):
    """A server of the model in `home` with limits of its own."""
    with in_background(open_service(home / "run", limits=Limits(**limits))) as url:
        yield url
