"""What takes long to compute: once for each state of the index, one after another, in the back."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from twinset.progress import Progress, Report
from twinset.server.problems import Computing
from twinset.server.service import Service

Made = TypeVar("Made")

MOST = 8  # results that are kept
AT_ONCE = 2  # that are computed
PATIENCE = 3.0  # seconds that a request waits for one before it is told how far it is
_SLICE = 0.25  # seconds after which a request looks whether the server stops


@dataclass(eq=False)
class _Work:
    """What is computed, and how far it is."""

    future: Future[Any] = field(default_factory=Future)
    began: float = field(default_factory=time.monotonic)
    far: Progress | None = None  # None until its turn comes, and where it does not tell

    def tell(self, far: Progress) -> None:
        self.far = far


class Kept:
    """Results by kind and state; of many that ask for one, one computes it."""

    def __init__(self, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._works: OrderedDict[Hashable, _Work] = OrderedDict()
        self._lock = threading.Lock()
        self._turn = threading.Semaphore(AT_ONCE)
        self.stopping = False  # then nobody waits any longer

    def start(self, key: Hashable, make: Callable[[Report], Made]) -> Future[Made]:
        """Begin to compute, unless it is there or under way."""
        return self._begun(key, make).future

    def _begun(self, key: Hashable, make: Callable[[Report], Any]) -> _Work:
        with self._lock:
            found = self._works.get(key)
            if found is not None and (not found.future.done() or _done(found.future)):
                self._works.move_to_end(key)
                return found
            work = self._works[key] = _Work()
            while len(self._works) > MOST:
                self._works.popitem(last=False)

        def run() -> None:
            with self._turn:
                with self._lock:
                    # so much was asked for since that nobody can wait for this
                    if self._works.get(key) is not work:
                        work.future.cancel()
                        return
                try:
                    _import_scipy()
                    work.future.set_result(make(work.tell))
                except BaseException as error:  # noqa: BLE001 - told to who asks
                    work.future.set_exception(error)

        # a daemon: a server that is told to stop does not wait for what nobody will see
        threading.Thread(target=run, name="twinset-kept", daemon=True).start()
        return work

    def latest(self, kind: str) -> Any:
        """Give the newest result of a kind, of whatever state; None where there is none."""
        with self._lock:
            for key, work in reversed(self._works.items()):
                if isinstance(key, tuple) and key[0] == kind and _done(work.future):
                    return work.future.result()
        return None

    def busy(self, kind: str) -> bool:
        """Tell whether something of a kind is under way."""
        with self._lock:
            return any(
                isinstance(key, tuple) and key[0] == kind and not work.future.done()
                for key, work in self._works.items()
            )

    async def get(self, key: Hashable, make: Callable[[Report], Made], what: str) -> Made:
        """Give what is computed, or say that it is still under way."""
        work = self._begun(key, make)
        future = asyncio.wrap_future(work.future)
        end = time.monotonic() + self._patience
        while not work.future.done() and not self.stopping and time.monotonic() < end:
            await asyncio.wait([future], timeout=_SLICE)
        if not work.future.done() or work.future.cancelled():
            raise Computing(what, time.monotonic() - work.began, work.far)
        found: Made = await future
        return found


# Two threads that import parts of SciPy at once may wait for each other: Python then lets one go on
# with half a module, and its work fails.
_importing = threading.Lock()


def _import_scipy() -> None:
    with _importing:
        import scipy.cluster.hierarchy
        import scipy.sparse.csgraph
        import scipy.spatial.distance  # noqa: F401 - for the work


def _done(future: Future[Any]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


def kept(service: Service) -> Kept:
    """Give what is kept for a service."""
    found: Kept = service.caches.setdefault("kept", Kept())
    return found
