"""`Current`: the service that new requests get; a new model or index is taken up without a loss."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress

from twinset.errors import StoreError, TwinsetError
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
        self._closing: set[asyncio.Task[None]] = set()

    async def up_to_date(self) -> Service:
        """Give the service, after a look now and then whether its index was replaced."""
        now, service = time.monotonic(), self.service
        if now - self._looked > LOOK and service.index is not None:
            self._looked = now
            try:
                await service.call(service.index.store.version)
            except StoreError as error:
                LOG.warning("%s", error)
                with suppress(TwinsetError):  # told in the log; what asks the index fails
                    await self.renew(service)
        return self.service

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
            task = asyncio.create_task(_closed(old))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
            return new


async def _closed(service: Service) -> None:
    while service.users:
        await asyncio.sleep(0.05)
    await asyncio.to_thread(service.close)
