"""`Batcher`: one bounded queue before the model, and one worker that takes what is queued."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset.search.answer import Answer
from twinset.search.index import Index
from twinset.server.measures import Measures
from twinset.server.problems import Problem

LOG = logging.getLogger("twinset.server")
Pixels = NDArray[np.uint8]
Vectors = NDArray[np.float32]
Encode = Callable[[Pixels], Vectors]


@dataclass(eq=False, repr=False)  # a queue writes the name of what it lacks: all its pixels
class Entry:
    """Images that wait together, and who waits for them."""

    pixels: Pixels
    deadline: float  # by time.monotonic
    answer: asyncio.Future[Vectors]


class Batcher:
    """One bounded FIFO, counted in images and bytes, before a model; one worker behind it.

    There is no waiting window: the worker takes whatever is queued, up to `most` images, the moment
    it is free. So a request alone waits for nobody, and what came during a batch goes together.
    """

    def __init__(
        self, encode: Encode, *, most: int, images: int, room: int, measures: Measures | None = None
    ) -> None:
        self._encode = encode
        self._most, self._images, self._room = most, images, room
        self._measures = measures or Measures()
        self._queue: deque[Entry] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self.waiting_images = 0
        self.waiting_bytes = 0
        self.pace = 0.0  # seconds of one image, a running mean
        self._worker = threading.Thread(target=self._work, name="twinset-batcher", daemon=True)
        self._worker.start()

    def put(self, pixels: Pixels, deadline: float, answer: asyncio.Future[Vectors]) -> None:
        """Queue images, at most a batch of them; from any thread."""
        entry = Entry(pixels, deadline, answer)
        with self._changed:
            if answer.done():  # its client has left while the images were decoded
                return
            if self._closed:
                raise Problem(503, "The server is stopping: ask again.", name="stopping")
            wait = self.waiting_images * self.pace
            full = self.waiting_images + len(pixels) > self._images
            if (full and self.waiting_images) or time.monotonic() + wait > deadline:
                raise self.full()
            if self.waiting_images and self.waiting_bytes + pixels.nbytes > self._room:
                raise self.full()
            self._queue.append(entry)
            self._count(entry, 1)
            self._changed.notify()

    def leave(self, answer: asyncio.Future[Vectors]) -> None:
        """Take out what nobody waits for any more, so that it holds no place and costs no call."""
        if answer.done():
            return
        answer.cancel()  # what is on its way into the queue is not put there any more
        with self._changed:
            for entry in self._queue:
                if entry.answer is answer:
                    self._queue.remove(entry)
                    self._count(entry, -1)
                    self._measures.dropped += len(entry.pixels)
                    break  # else it is in the model already

    def full(self, coming: int = 0) -> Problem:
        """Tell that nothing more is taken, and when there will be room."""
        waiting = self.waiting_images + coming
        wait = int(waiting * self.pace) + 1
        return Problem(
            503,
            f"Expected room in the queue. {waiting:,} images wait already: ask again in {wait} s.",
            name="queue-full",
            headers={"Retry-After": str(wait)},
        )

    def close(self) -> None:
        """Finish what is queued, and take nothing more."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._worker.join()

    # --- the worker

    def _count(self, entry: Entry, sign: int) -> None:
        self.waiting_images += sign * len(entry.pixels)
        self.waiting_bytes += sign * entry.pixels.nbytes

    def _take(self) -> list[Entry] | None:
        """Wait for entries, and take as many as make a batch; None once closed and empty."""
        with self._changed:
            while not self._queue:
                if self._closed:
                    return None
                self._changed.wait()
            taken: list[Entry] = []
            room = self._most
            while self._queue and (not taken or len(self._queue[0].pixels) <= room):
                entry = self._queue.popleft()
                self._count(entry, -1)
                taken.append(entry)
                room -= len(entry.pixels)
            return taken

    def _work(self) -> None:
        while (taken := self._take()) is not None:
            now = time.monotonic()
            alive = [entry for entry in taken if entry.deadline > now]
            if len(alive) < len(taken):
                dropped = [entry for entry in taken if entry not in alive]
                with self._changed:  # the loop counts as well
                    self._measures.dropped += sum(len(entry.pixels) for entry in dropped)
                tell([entry.answer for entry in dropped], [late()] * len(dropped))
            if alive:
                tell([entry.answer for entry in alive], self._answers(alive))

    def _answers(self, taken: Sequence[Entry]) -> list[Any]:
        """Embed entries together; where that fails, one by one, so that a bad image fails alone."""
        start = time.perf_counter()
        pixels = taken[0].pixels if len(taken) == 1 else np.concatenate([e.pixels for e in taken])
        try:
            vectors = self._encode(pixels)
        except Exception as error:  # noqa: BLE001 - an engine raises classes of its own
            if len(taken) > 1:
                return [answer for entry in taken for answer in self._answers([entry])]
            self._measures.failed += len(pixels)
            return [error]
        seconds = time.perf_counter() - start
        self._measures.batch(len(pixels), seconds)
        pace = seconds / len(pixels)
        self.pace += (0.1 if self.pace else 1.0) * (pace - self.pace)
        if len(taken) == 1:
            return [vectors]
        return np.split(vectors, np.cumsum([len(entry.pixels) for entry in taken])[:-1])


def late() -> Problem:
    """Tell that an answer would come too late."""
    return Problem(
        503,
        "Expected an answer in time. The server has too much to do: ask again.",
        name="late",
        headers={"Retry-After": "1"},
    )


def tell(waiting: Sequence[asyncio.Future[Vectors]], answers: Sequence[Any]) -> None:
    """Give embeddings, or errors, to who waits for them on one event loop; from any thread."""
    # once for a whole batch, as each call wakes the loop
    try:
        waiting[0].get_loop().call_soon_threadsafe(_resolve, waiting, answers)
    except RuntimeError:  # the loop has ended, and whoever waited with it
        LOG.warning("%d answers came after the end", len(waiting))


def _resolve(waiting: Sequence[asyncio.Future[Vectors]], answers: Sequence[Any]) -> None:
    for one, answer in zip(waiting, answers, strict=True):
        if one.done():
            continue
        if isinstance(answer, Exception):
            one.set_exception(answer)
            one.exception()  # seen, even where nobody waits any more
        else:
            one.set_result(answer)


@dataclass(eq=False, repr=False)
class Search:
    """Queries of one request, and who waits for their answers."""

    index: Index
    vectors: NDArray[np.float32]
    asked: Mapping[str, Any]
    answer: asyncio.Future[list[Answer]]

    def __post_init__(self) -> None:
        # as text, in which 1 and true differ
        self.kind = self.index, repr(sorted(self.asked.items()))


class Searches:
    """Searches of one index at a time; what comes meanwhile goes together in the next.

    One query waits for the memory to bring all vectors; for sixteen together it brings them once,
    which takes a quarter of the time for each. As before the model, nobody waits for company.
    """

    def __init__(self, call: Callable[..., Awaitable[Any]], most: int) -> None:
        self._call, self._most = call, most
        self._waiting: list[Search] = []
        self._worker: asyncio.Task[None] | None = None

    def put(self, index: Index, vectors: NDArray[np.float32], asked: Mapping[str, Any]) -> Search:
        """Queue queries; called on the event loop that awaits the answer."""
        one = Search(index, vectors, asked, asyncio.get_running_loop().create_future())
        self._waiting.append(one)
        if self._worker is None or self._worker.done():
            # in a context of its own: it outlives the request that began it, and its deadline
            self._worker = asyncio.create_task(self._work(), context=Context())
        return one

    async def _work(self) -> None:
        while self._waiting:
            first, room = self._waiting[0], self._most
            taken: list[Search] = []
            left: list[Search] = []
            for one in self._waiting:
                fits = not taken or (one.kind == first.kind and len(one.vectors) <= room)
                (taken if fits else left).append(one)
                room -= len(one.vectors) if fits else 0
            self._waiting = left
            await self._search([one for one in taken if not one.answer.done()])

    async def _search(self, taken: Sequence[Search]) -> None:
        if not taken:
            return
        first, vectors = taken[0], np.concatenate([one.vectors for one in taken])
        try:
            answers = await self._call(partial(first.index.search, vectors, **first.asked))
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to who asked
            if len(taken) > 1:
                for one in taken:
                    await self._search([one])
            elif not first.answer.done():
                first.answer.set_exception(error)
            return
        for one in taken:
            own, answers = answers[: len(one.vectors)], answers[len(one.vectors) :]
            if not one.answer.done():  # else it has left
                one.answer.set_result(own)
