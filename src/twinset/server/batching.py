"""`Batcher`: one bounded queue before the model, and one worker that takes what is queued."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset.server.problems import Problem

Pixels = NDArray[np.uint8]
Vectors = NDArray[np.float32]
Encode = Callable[[Pixels], Vectors]


@dataclass(eq=False)
class Entry:
    """Images that wait together, and who waits for them."""

    pixels: Pixels
    deadline: float  # by time.monotonic
    answer: asyncio.Future[Vectors]
    loop: asyncio.AbstractEventLoop


class Batcher:
    """One bounded FIFO, counted in images and bytes, before a model; one worker behind it.

    There is no waiting window: the worker takes whatever is queued, up to `most` images, the moment
    it is free. So one request alone waits for nobody, and many go together.

    Args:
        encode: pixels (n, ...) to vectors (n, d).
        most: images of a batch.
        images: that may wait.
        bytes_: likewise, of their pixels.
        watch: is told the number of images of each batch and its seconds. Defaults to nobody.
    """

    def __init__(
        self,
        encode: Encode,
        *,
        most: int,
        images: int,
        bytes_: int,
        watch: Callable[[int, float], None] = lambda count, seconds: None,
    ) -> None:
        self._encode = encode
        self._most, self._images, self._bytes = most, images, bytes_
        self._watch = watch
        self._queue: deque[Entry] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self.waiting_images = 0
        self.waiting_bytes = 0
        # seconds of one image, a running mean, from which Retry-After comes
        self.pace = 0.005
        self._worker = threading.Thread(target=self._work, name="twinset-batcher", daemon=True)
        self._worker.start()

    def put(self, pixels: Pixels, deadline: float) -> Entry:
        """Queue images, at most a batch of them; to be called on the event loop.

        Raises:
            Problem: 503, the queue is full.
        """
        loop = asyncio.get_running_loop()
        entry = Entry(pixels, deadline, loop.create_future(), loop)
        with self._changed:
            if self._closed:
                raise Problem(503, "The server is shutting down: ask again.", name="stopping")
            full = self.waiting_images + len(pixels) > self._images
            if full or self.waiting_bytes + pixels.nbytes > self._bytes:
                raise self.full()
            self._queue.append(entry)
            self._count(entry, 1)
            self._changed.notify()
        return entry

    def leave(self, entry: Entry) -> None:
        """Take out what nobody waits for any more, so that it holds no place and costs no call."""
        with self._changed, suppress(ValueError):  # it is in the model already
            self._queue.remove(entry)
            self._count(entry, -1)

    def full(self) -> Problem:
        """Tell that nothing more is taken, and when there will be room."""
        wait = max(1, round(self.waiting_images * self.pace + 0.5))
        return Problem(
            503,
            f"Expected room in the queue. {self.waiting_images:,} images wait already: ask again "
            f"in {wait} s.",
            name="queue-full",
            headers={"Retry-After": str(wait)},
        )

    def close(self) -> None:
        """Finish what is queued, and take nothing more."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._worker.join()

    def _count(self, entry: Entry, sign: int) -> None:
        self.waiting_images += sign * len(entry.pixels)
        self.waiting_bytes += sign * entry.pixels.nbytes

    def _take(self) -> list[Entry] | None:
        with self._changed:
            while not self._queue:
                if self._closed:
                    return None
                self._changed.wait()
            taken, count, now = [], 0, time.monotonic()
            while self._queue and count + len(self._queue[0].pixels) <= max(
                self._most, len(self._queue[0].pixels)
            ):
                entry = self._queue.popleft()
                self._count(entry, -1)
                if entry.deadline <= now:
                    _tell([(entry, late())])
                    continue
                taken.append(entry)
                count += len(entry.pixels)
            return taken

    def _work(self) -> None:
        while (taken := self._take()) is not None:
            if taken:
                _tell(self._answered(taken))

    def _answered(self, taken: Sequence[Entry]) -> list[tuple[Entry, Any]]:
        start = time.perf_counter()
        pixels = taken[0].pixels if len(taken) == 1 else np.concatenate([e.pixels for e in taken])
        try:
            vectors = self._encode(pixels)
            ends = np.cumsum([len(entry.pixels) for entry in taken])[:-1]
            answers: list[Any] = np.split(vectors, ends) if len(taken) > 1 else [vectors]
        except Exception as error:  # noqa: BLE001 - the engine raises classes of its own
            # one by one, so that one bad image fails alone
            if len(taken) == 1:
                answers = [error]
            else:
                return [pair for entry in taken for pair in self._answered([entry])]
        seconds = time.perf_counter() - start
        self.pace += 0.1 * (seconds / len(pixels) - self.pace)
        self._watch(len(pixels), seconds)
        return list(zip(taken, answers, strict=True))


def late() -> Problem:
    """Tell that an answer would come too late."""
    return Problem(
        503,
        "Expected an answer in time. The server has too much to do: ask again.",
        name="late",
        headers={"Retry-After": "1"},
    )


def _tell(pairs: Sequence[tuple[Entry, Any]]) -> None:
    # once for a whole batch: each call wakes the loop
    loop = pairs[0][0].loop
    if not loop.is_closed():
        loop.call_soon_threadsafe(_resolve, pairs)


def _resolve(pairs: Sequence[tuple[Entry, Any]]) -> None:
    for entry, answer in pairs:
        if entry.answer.done():
            continue
        if isinstance(answer, Exception):
            entry.answer.set_exception(answer)
        else:
            entry.answer.set_result(answer)
