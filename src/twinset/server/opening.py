"""Open what a server answers with: a model on ONNX Runtime, and an index, by their places."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from twinset.errors import ModelError, ReplacedError, StoreError, TwinsetError
from twinset.models.card import CARD
from twinset.models.embedder import Embedder
from twinset.models.hub import local_folder
from twinset.models.onnx_model import load_model
from twinset.search import index_model
from twinset.search.index import Index
from twinset.server.limits import Limits
from twinset.server.measures import Measures
from twinset.server.problems import Problem
from twinset.server.service import Service

LOG = logging.getLogger("twinset.server")
Place = str | os.PathLike[str]


def open_service(
    model: Embedder | Place,
    index: Index | Place | None = None,
    *,
    limits: Limits | None = None,
    token: str | None = None,
    measures: Measures | None = None,
    uploads: Path | None = None,
) -> Service:
    """Load a model and an index, on ONNX Runtime alone.

    Where an index was switched to another model, it decides: it is served by the copy of that one
    which it keeps, as the folder of the run is that of the model before.

    Raises:
        ModelError: the folder holds no graph.
        StoreError: no index there, or one that another model made and that keeps no copy of it.
    """
    folder: Path | None = None
    if isinstance(model, Embedder):
        loaded = model
    else:
        folder = local_folder(model)
        loaded = _loaded(folder)
    opened = index if isinstance(index, Index) else None
    if index is not None and not isinstance(index, Index):
        # without a model at first, which would be refused where the index was switched
        opened = Index.open(index)
        try:
            if opened.store.signature.model != loaded.digest and (kept := _kept(opened)):
                _tell(opened.url, folder, kept, loaded)
                loaded, folder = kept, None
            opened = Index(opened.store, loaded, opened.url)
        except BaseException:
            opened.close()
            raise
    settings: dict[str, Any] = {
        "limits": limits,
        "token": token,
        "measures": measures or Measures(),
        "uploads": uploads,
    }
    # what a program has opened itself it alone closes, and nobody can open it again
    held = isinstance(index, Index) or (index is None and isinstance(model, Embedder))
    return Service(
        *(loaded, opened),
        folder=folder,
        reopen=None if held else partial(open_service, model, index, **settings),
        **settings,
    )


def _kept(index: Index) -> Embedder | None:
    return index_model.kept(index.url, index.store.signature.model)


def _tell(place: str, folder: Path | None, kept: Embedder, given: Embedder) -> None:
    LOG.warning(
        "%s was made by the model %s, and that of %s is %s: serving by the copy of its model that "
        "the index keeps",
        *(place, kept.digest[:12], folder or "the program", given.digest[:12]),
    )


def _loaded(folder: Path) -> Embedder:
    # never "auto": it would load Keras, of seconds and hundreds of megabytes, without a word
    try:
        return load_model(folder, engine="onnx")
    except ModelError as error:
        if not (folder / CARD).is_file():
            raise
        raise ModelError(
            f"{error} A server runs without Keras, on the graph that `twinset export {folder}` "
            "writes."
        ) from None


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
        """Open model and index again, and let new requests have them."""
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
