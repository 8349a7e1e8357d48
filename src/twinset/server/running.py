"""`serve`: a model and an index on a port, until it is told to stop; signals and slow clients."""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import signal
import socket
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, ClassVar

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from twinset.errors import TwinsetError
from twinset.server.app import LOCAL, create_app
from twinset.server.kept import kept
from twinset.server.limits import Limits
from twinset.server.opening import Current, open_service
from twinset.server.problems import Problem
from twinset.server.routes.map import map_of
from twinset.server.service import Service

if TYPE_CHECKING:
    from twinset.models.embedder import Embedder
    from twinset.search.index import Index


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


_BACKLOG = 2048  # connections that wait to be accepted
_OWN_FILES = 512  # that are open beside connections
# uvloop lets one connection in by each door in a turn of its loop, where Python's own lets in all
# who wait; and a turn of a busy server takes long. Of 640 clients who came at once some were heard
# after eight seconds.
_DOORS = 32
_ALONE = 0.3  # seconds after the start in which whoever waited for it is answered alone


def serve(
    model: Embedder | str | os.PathLike[str],
    index: Index | str | os.PathLike[str] | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    hosts: Collection[str] = LOCAL,
    limits: Limits | None = None,
    uploads: str | os.PathLike[str] | None = None,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve a model, and an index, over HTTP, until the process is told to stop.

    Args:
        model: a model with a graph, or its folder; on ONNX Runtime, never on Keras.
        index: an index that this model made, or its place. Defaults to none.
        host: address to listen at. Defaults to this machine alone.
        port: to listen at; 0 takes a free one. Defaults to 8000.
        token: that writes must bring. Defaults to none: nobody may write.
        hosts: names by which the server is reached, beside addresses; "*" for any. Defaults to
            localhost.
        limits: what is taken from clients. Defaults to `Limits()`.
        uploads: folder for the images of added items. Defaults to one in that of the index.
        ready: is told the address once requests are answered. Defaults to nobody.

    Raises:
        ModelError: no graph there.
        StoreError: no index there, or one of another model that keeps no copy of it.
        TwinsetError: the port is taken; an event loop runs already, as in a notebook.

    Example:
        >>> import signal, tempfile
        >>> import numpy as np, twinset
        >>> pixels = np.stack([np.full((4, 4), 85 * i, np.uint8) for i in range(4)])
        >>> grays = twinset.LabelledImages(pixels, [0, 0, 1, 1], ("dark", "light"), "grays")
        >>> def stop(url):
        ...     print(url.rpartition(":")[0])
        ...     signal.raise_signal(signal.SIGINT)  # as Ctrl-C does
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     twinset.fit(grays, epochs=1, encoder={"units": [8]}).save(folder)
        ...     _ = twinset.export(folder)
        ...     twinset.serve(folder, port=0, ready=stop)
        http://127.0.0.1
    """
    with suppress(RuntimeError):
        asyncio.get_running_loop()
        raise TwinsetError(
            "Expected a thread without an event loop. Received one that runs one, as notebooks do: "
            "`await asyncio.to_thread(twinset.serve, …)`, or `twinset serve` in a terminal."
        )
    # first, so that a port that is taken is told before a model is loaded
    with _listening(host, port) as listening:
        service = open_service(
            *(model, index),
            limits=limits,
            token=token,
            uploads=None if uploads is None else Path(uploads),
        )
        _allow_files(service.limits.connections)
        server = Server(service, hosts=hosts, ready=ready)
        try:
            server.run([listening])
        finally:
            server.close()


@contextmanager
def in_background(service: Service, *, hosts: Collection[str] = LOCAL) -> Iterator[str]:
    """Serve in a thread of this process at a free port; gives the address, and stops at the end."""
    started: queue.Queue[str] = queue.Queue()
    server = Server(service, hosts=hosts, ready=started.put)
    listening = _listening("127.0.0.1", 0)
    thread = threading.Thread(target=server.run, args=([listening],), name="twinset-server")
    thread.start()
    try:
        yield started.get(timeout=30)
    finally:
        server.should_exit = True
        thread.join()
        server.close()


def _allow_files(count: int) -> None:
    """Let the process have so many connections open, where the system lets it."""
    with suppress(ImportError, ValueError, OSError):  # Windows has no such limit
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != resource.RLIM_INFINITY and soft < count + _OWN_FILES:
            most = count + _OWN_FILES
            resource.setrlimit(
                resource.RLIMIT_NOFILE,
                (most if hard == resource.RLIM_INFINITY else min(most, hard), hard),
            )


def _listening(host: str, port: int) -> socket.socket:
    if not 0 <= port < 2**16:
        raise TwinsetError(f"Expected a port from 0 to 65535. Received {port}.")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except OSError as error:
        raise TwinsetError(
            f"Expected to listen at {host}, port {port}. {error.strerror}: "
            "choose another --port, or an address of this machine as --host."
        ) from None


class Server(uvicorn.Server):
    """A server of uvicorn for one service: tells when it is ready, and renews it by SIGHUP."""

    def __init__(
        self, service: Service, *, hosts: Collection[str], ready: Callable[[str], None] | None
    ) -> None:
        self.app = create_app(service, hosts=hosts)
        limits = service.limits
        super().__init__(
            uvicorn.Config(
                self.app,
                http=type("Connection", (Connection,), {"limits": limits}),
                ws="none",
                lifespan="off",
                log_config=None,
                log_level=logging.ERROR,  # nor a line for each client that speaks no HTTP
                access_log=False,  # a path and a query may tell whom somebody asked for
                server_header=False,
                timeout_keep_alive=max(1, round(limits.idle_seconds)),
                timeout_graceful_shutdown=max(1, round(limits.seconds)),
            )
        )
        self._ready = ready
        self._tasks: set[asyncio.Future[Any]] = set()

    async def startup(self, sockets: Any = None) -> None:
        """Listen, and tell where."""
        if type(asyncio.get_running_loop()).__module__.startswith("uvloop"):
            sockets = [*sockets, *(sockets[0].dup() for _ in range(_DOORS - 1))]
        await super().startup(sockets)
        hangup = getattr(signal, "SIGHUP", None)  # Windows has none
        if hangup is not None and threading.current_thread() is threading.main_thread():
            asyncio.get_running_loop().add_signal_handler(hangup, self.renew)
        if self._ready is not None:
            host, port = sockets[0].getsockname()[:2]
            self._ready(f"http://{f'[{host}]' if ':' in host else host}:{port}")
        self._hold(asyncio.ensure_future(self._ahead(self.app.state.current.service)))

    async def _ahead(self, service: Service) -> None:
        if service.index is not None:
            await asyncio.sleep(_ALONE)
            await service.call(map_of(service, service.index).ahead)

    def renew(self) -> None:
        """Open model and index anew, and answer by them; to be called on the event loop."""
        current: Current = self.app.state.current
        self._hold(asyncio.ensure_future(current.renew(current.service)))  # its error is in the log

    def _hold(self, task: asyncio.Future[Any]) -> None:
        self._tasks.add(task)  # or nothing would
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        task.add_done_callback(self._tasks.discard)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Finish what was accepted; uvicorn would end by the same signal again after that."""
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        kept(self.app.state.current.service).stopping = True  # who waits for it is answered
        self.should_exit = True

    def close(self) -> None:
        """Let go of model and index."""
        self.app.state.current.service.close()
