"""`Current`: the service that new requests get; a new model or index is taken up without a loss."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress

from twinset.errors import ReplacedError, StoreError, TwinsetError
from twinset.search.index import Index
from twinset.server.problems import Problem
from twinset.server.service import Service

LOG = logging.getLogger("twinset.server")
LOOK = 2.0  # seconds between two looks whether the index was switched to another model


class Current:
    """The service that new requests get, in the place of which another can be put.

    A request keeps the service that it began with; one that no request has any more is closed.
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        self._lock = asyncio.Lock()
        self._looked = time.monotonic()
        self._tasks: set[asyncio.Task[None]] = set()

    def look(self) -> None:
        """Look now and then whether the index was replaced; whoever asks does not wait for it."""
        now, index = time.monotonic(), self.service.index
        if now - self._looked > LOOK and index is not None:
            self._looked = now
            self._keep(asyncio.create_task(self._look(self.service, index)))

    async def _look(self, service: Service, index: Index) -> None:
        # what cannot be opened is told by `renew`, and other troubles by whoever asks the index
        with suppress(TwinsetError, Problem):
            try:
                await service.call(index.store.version)
            except ReplacedError:
                await self.renew(service)

    async def renew(self, old: Service) -> Service:
        """Open model and index again, and let new requests have them.

        Args:
            old: the service that is to go; where another has its place already, nothing is done.

        Raises:
            TwinsetError: they cannot be opened; what is served stays.
        """
        async with self._lock:
            if self.service is not old:
                return self.service
            if old.reopen is None:
                raise StoreError(
                    "Expected a server that was given the places of its model and index. This one "
                    "was given open ones, so start it again."
                )
            try:
                # not in the service's own threads, which may all wait
                new = await asyncio.to_thread(old.reopen)
            except TwinsetError as error:
                LOG.error("what is served stays, as there is nothing to take up: %s", error)
                raise
            self.service = new
            new.measures.reloads += 1
            LOG.warning("took up model %s", new.model.digest[:12])
            self._keep(asyncio.create_task(_closed(old)))
            return new

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)  # a loop alone does not hold one
        task.add_done_callback(self._tasks.discard)


async def _closed(service: Service) -> None:
    while service.users:
        await asyncio.sleep(0.05)
    await asyncio.to_thread(service.close)
