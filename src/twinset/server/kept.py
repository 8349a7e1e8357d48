"""What takes long to compute: once for each state of the index, one after another, in the back."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any, TypeVar

from twinset.server.problems import Problem
from twinset.server.service import Service

Made = TypeVar("Made")

MOST = 8  # results that are kept
AT_ONCE = 2  # that are computed
PATIENCE = 20.0  # seconds that a request waits for one before it is told to ask again


class Kept:
    """Results by kind and state; of many that ask for one, one computes it.

    Args:
        patience: seconds that a request waits for one. Defaults to 20, within `Limits.seconds`.
    """

    def __init__(self, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._futures: OrderedDict[Hashable, Future[Any]] = OrderedDict()
        self._lock = threading.Lock()
        self._turn = threading.Semaphore(AT_ONCE)

    def start(self, key: Hashable, make: Callable[[], Made]) -> Future[Made]:
        """Begin to compute, unless it is there or under way."""
        with self._lock:
            found = self._futures.get(key)
            if found is not None and (not found.done() or _done(found)):
                self._futures.move_to_end(key)
                return found
            future: Future[Made] = Future()
            self._futures[key] = future
            while len(self._futures) > MOST:
                self._futures.popitem(last=False)

        def run() -> None:
            with self._turn:
                with self._lock:
                    # so much was asked for since that nobody can wait for this
                    if self._futures.get(key) is not future:
                        future.cancel()
                        return
                try:
                    future.set_result(make())
                except BaseException as error:  # noqa: BLE001 - told to who asks
                    future.set_exception(error)

        # a daemon: a server that is told to stop does not wait for what nobody will see
        threading.Thread(target=run, name="twinset-kept", daemon=True).start()
        return future

    def latest(self, kind: str) -> Any:
        """Give the newest result of a kind, of whatever state; None where there is none."""
        with self._lock:
            for key, future in reversed(self._futures.items()):
                if isinstance(key, tuple) and key[0] == kind and _done(future):
                    return future.result()
        return None

    def busy(self, kind: str) -> bool:
        """Tell whether something of a kind is under way."""
        with self._lock:
            return any(
                isinstance(key, tuple) and key[0] == kind and not future.done()
                for key, future in self._futures.items()
            )

    async def get(self, key: Hashable, make: Callable[[], Made], what: str) -> Made:
        """Give what is computed, or say that it is still under way.

        Raises:
            Problem: 503, it takes longer than a request should wait.
        """
        future = asyncio.wrap_future(self.start(key, make))
        done, _ = await asyncio.wait([future], timeout=self._patience)
        if not done:
            raise Problem(
                503,
                f"Expected {what} to be there already. It is being computed: ask again in 3 s.",
                name="computing",
                headers={"Retry-After": "3"},
            )
        if future.cancelled():
            raise Problem(
                503,
                f"Expected {what} to be there already. Others came in between: ask again.",
                name="computing",
                headers={"Retry-After": "3"},
            )
        return future.result()


def _done(future: Future[Any]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


def kept(service: Service) -> Kept:
    """Give what is kept for a service."""
    found: Kept = service.caches.setdefault("kept", Kept())
    return found
