"""A proxy between a client and a server that delays what passes, and cuts connections."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress


class Proxy:
    """Listens on a port of this machine, and passes each connection on.

    Args:
        connect: makes a socket that is connected to the server.
    """

    def __init__(self, connect: Callable[[], socket.socket]) -> None:
        self._connect = connect
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self.delay = 0.0  # seconds by which each piece comes later
        self.budget: int | None = None  # bytes of clients that pass until all is cut
        # Cut once where a client says this: before the server hears it, or before its answer comes.
        self.before: bytes | None = None
        self.after: bytes | None = None
        self.cuts = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Cut all connections that are there."""
        self.cuts += 1
        for pair in list(self._pairs):
            for end in pair:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let nobody in any more, and cut all connections."""
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = self._connect()
                except OSError:  # the server is not there: the client is told by an end
                    client.close()
                    continue
                pair = client, server
                self._pairs.add(pair)
                for way in (pair, pair[::-1]):
                    threading.Thread(target=self._pump, args=(pair, *way), daemon=True).start()

    def _pump(
        self,
        pair: tuple[socket.socket, socket.socket],
        source: socket.socket,
        target: socket.socket,
    ) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                time.sleep(self.delay)
                if source is pair[0] and not self._passes(data, *pair):
                    break
                target.sendall(data)
        self._pairs.discard(pair)
        for end in pair:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _passes(self, data: bytes, client: socket.socket, server: socket.socket) -> bool:
        if self.before is not None and self.before in data:
            self.before = None
            self.cuts += 1
            return False
        if self.after is not None and self.after in data:
            self.after = None
            self.cuts += 1
            client.shutdown(socket.SHUT_RDWR)  # nobody will hear the answer
            server.sendall(data)
            time.sleep(0.1)
            return False
        if self.budget is not None:
            self.budget -= len(data)
            if self.budget < 0:
                self.budget = None
                self.cuts += 1
                server.sendall(data[: len(data) // 2])  # half of a message
                return False
        return True
