"""`Connection`: HTTP/1.1 of one client, which must send in time, and not too many headers."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from twinset.server.limits import Limits
from twinset.server.problems import Problem

# Requests that a client may send ahead of their answers: uvicorn reads on with each answer, so that
# a client that sends small ones without end would fill the memory.
_AHEAD = 32
_GRACE = 2.0  # seconds: the application tells of a slow body before the connection is cut


class Connection(HttpToolsProtocol):
    """A connection that uvicorn serves, with what it does not limit.

    Neither the time in which headers arrive, nor their size, nor who reads an answer slowly: a
    thousand such clients hold a thousand connections, and the memory of their answers.
    """

    limits: ClassVar[Limits] = Limits()
    _stage = ""  # of the request that is arriving: "headers", "body", or "" once it is whole
    _watched = ""
    _timer: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _size = 0
    _refused: Problem | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin, or refuse where too many are open."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            self._refuse(
                Problem(
                    503,
                    "Expected fewer connections at once: ask again in 1 s.",
                    headers={"Retry-After": "1"},
                    name="full",
                )
            )
            return
        self._stage = "headers"  # who connects has something to say
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._stage = ""
        self._watch()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read, and look whether the request is whole."""
        if self._refused is not None:
            return
        super().data_received(data)
        self._watch()

    def _watch(self) -> None:
        # one timer for each stage; a request that comes whole in one packet needs none
        if self._stage == self._watched:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._watched = self._stage
        if self._stage:
            seconds = self.limits.header_seconds
            if self._stage == "body":
                seconds = self.limits.body_seconds + _GRACE
            self._timer = self.loop.call_later(seconds, self._slow)

    def _slow(self) -> None:
        if self._stage == "headers" and self._size:
            seconds = self.limits.header_seconds
            self._refuse(Problem(408, f"Expected the headers of a request within {seconds:g} s."))
        else:
            self.transport.abort()

    # --- what the parser tells

    def on_message_begin(self) -> None:
        """Note that headers come."""
        self._stage, self._size = "headers", 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Count."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count."""
        self._count(len(name) + len(value) + 4)
        super().on_header(name, value)

    def _count(self, size: int) -> None:
        self._size += size
        if self._size > self.limits.header_bytes:
            self._refused = Problem(
                431, f"Expected headers of at most {self.limits.header_bytes:,} bytes."
            )
            raise ValueError("headers")  # ends the parsing: `send_400_response` comes next

    def on_headers_complete(self) -> None:
        """Note that a body may come."""
        self._stage = "body"
        if len(self.pipeline) >= _AHEAD:
            # without an answer, which would be taken for that to the first of them
            self._refused = Problem(429, f"Expected at most {_AHEAD} requests ahead of answers.")
            self.transport.abort()
            raise ValueError("ahead")
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note that the request is whole."""
        self._stage = ""
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, as a problem."""
        self._refuse(self._refused or Problem(400, f"{msg} Expected HTTP/1.1."))

    def _refuse(self, problem: Problem) -> None:
        self._refused = problem
        self._stage = ""
        self._watch()
        if self.transport.is_closing():
            return
        response = problem.response()
        status = f"HTTP/1.1 {problem.status} {problem.title}\r\n".encode("ascii")
        headers = [*response.raw_headers, (b"connection", b"close")]
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
        self.transport.write(status + lines + b"\r\n" + bytes(response.body))
        self.transport.close()

    # --- who does not read

    def pause_writing(self) -> None:
        """Wait for the client to read, but not for ever."""
        super().pause_writing()
        self._unread = self.loop.call_later(self.limits.body_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on."""
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
        super().resume_writing()
