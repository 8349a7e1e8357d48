"""Connections to a database: one for each call that is under way, kept for the next."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from twinset.search.store import closed

Connection = TypeVar("Connection", bound=Any)  # anything with `close()`

SPARE = 8


class Connections(Generic[Connection]):
    """The connections of a store that threads share: each transaction has one of its own."""

    def __init__(self, connect: Callable[[], Connection], first: Connection) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._idle: list[Connection] | None = [first]  # None once closed

    @contextmanager
    def borrow(self, usable: Callable[[Connection], bool] = lambda _: True) -> Iterator[Connection]:
        """Lend a connection for the length of a call, a new one where none is idle and usable."""
        with self._lock:
            if self._idle is None:
                raise closed()
            one = self._idle.pop() if self._idle else None
        if one is None or not usable(one):
            one = self._connect()
        try:
            yield one
        finally:
            with self._lock:
                keep = self._idle is not None and len(self._idle) < SPARE
                if self._idle is not None and keep:
                    self._idle.append(one)
            if not keep:
                one.close()

    def close(self) -> None:
        """Close what is idle, and lend no more; what is lent is closed when it comes back."""
        with self._lock:
            idle, self._idle = self._idle, None
        for one in idle or ():
            one.close()
