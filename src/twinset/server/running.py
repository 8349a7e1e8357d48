"""`serve`: a model and an index on a port, until it is told to stop; signals and slow clients."""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from twinset.errors import ModelError
from twinset.models.card import CARD
from twinset.server.app import LOCAL, create_app
from twinset.server.limits import Limits
from twinset.server.service import Service

if TYPE_CHECKING:
    from twinset.models.embedder import Embedder
    from twinset.search.index import Index

LOG = logging.getLogger("twinset.server")


def open_service(
    model: Embedder | str | os.PathLike[str],
    index: Index | str | os.PathLike[str] | None = None,
    *,
    limits: Limits | None = None,
    token: str | None = None,
) -> Service:
    """Load a model and an index, on ONNX Runtime alone.

    Raises:
        ModelError: the folder holds no graph.
    """
    from twinset.models.load import load_model
    from twinset.search.index import Index

    folder = Path(model) if isinstance(model, str | os.PathLike) else None
    if folder is not None:
        try:
            loaded: Any = load_model(folder, engine="onnx")
        except ModelError as error:
            if (folder / CARD).is_file():
                raise ModelError(
                    f"{error} A server runs without Keras: write the graph with "
                    f"`twinset export {folder}` first."
                ) from None
            raise
    else:
        loaded = model
    opened = Index.open(index, loaded) if isinstance(index, str | os.PathLike) else index
    return Service(loaded, opened, limits=limits, token=token, folder=folder)


def serve(
    model: Embedder | str | os.PathLike[str],
    index: Index | str | os.PathLike[str] | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    hosts: Collection[str] = LOCAL,
    limits: Limits | None = None,
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
        ready: is told the address once requests are answered. Defaults to nobody.

    Raises:
        ModelError: no graph there.
        StoreError: no index there, or one that another model made.
    """
    service = open_service(model, index, limits=limits, token=token)
    server = Server(service, host=host, port=port, hosts=hosts, ready=ready)
    try:
        server.run()
    finally:
        server.app.state.service.close()


@contextmanager
def in_background(service: Service, *, hosts: Collection[str] = LOCAL) -> Iterator[str]:
    """Serve in a thread of this process at a free port; gives the address, and stops at the end."""
    started: queue.Queue[str] = queue.Queue()
    server = Server(service, host="127.0.0.1", port=0, hosts=hosts, ready=started.put)
    thread = threading.Thread(target=server.run, name="twinset-server")
    thread.start()
    try:
        yield started.get(timeout=30)
    finally:
        server.should_exit = True
        thread.join()
        server.app.state.service.close()


class Server(uvicorn.Server):
    """A server of uvicorn for one application, which tells when it is ready."""

    def __init__(
        self,
        service: Service,
        *,
        host: str,
        port: int,
        hosts: Collection[str],
        ready: Callable[[str], None] | None,
    ) -> None:
        self.app = create_app(service, hosts=hosts)
        super().__init__(
            uvicorn.Config(
                self.app,
                host=host,
                port=port,
                http=Connection,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=max(1, round(service.limits.idle_seconds)),
                timeout_graceful_shutdown=max(1, round(service.limits.seconds)),
            )
        )
        self._ready = ready

    async def startup(self, sockets: Any = None) -> None:
        """Listen, and tell where."""
        await super().startup(sockets)
        if self.started and self._ready is not None:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            self._ready(f"http://{f'[{host}]' if ':' in host else host}:{port}")


class Connection(HttpToolsProtocol):
    """A connection of one client, which must send its headers soon, and not too many bytes."""
