"""`Searches`: what several requests look for, in one pass over the index."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset.search.answer import Answer
from twinset.search.index import Index


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

    Args:
        call: calls a function in a thread.
        most: queries that go together.
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
