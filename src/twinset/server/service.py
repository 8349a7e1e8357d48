"""`Service`: what one server answers with: a model, an index, and the queue before the model."""

from __future__ import annotations

import asyncio
import hmac
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import numpy as np
from fastapi import Depends, Request
from numpy.typing import NDArray
from pydantic import BaseModel

from twinset.cores import cores
from twinset.data.decoding.image_file import EncodedImage
from twinset.data.labelled import VectorInput
from twinset.decision import Verdict, check_prior, judge
from twinset.models.embedder import Embedder, batch_size_for
from twinset.search.answer import Answer
from twinset.search.index import Index
from twinset.server import uploads
from twinset.server.batching import Batcher, Searches, late, tell
from twinset.server.limits import Limits
from twinset.server.measures import Measures
from twinset.server.problems import Problem
from twinset.server.uploads import ASKED

Given = ParamSpec("Given")
Made = TypeVar("Made")
Options = TypeVar("Options", bound=BaseModel)

_PATIENCE = 0.05  # seconds of waiting after which it is asked whether the client is still there


# Of a run's folder, the one that tells more first.
REPORTS = ("evaluation.html", "report.html")


class Service:
    """One model, perhaps one index, and the queue before them; a reload makes another.

    A request keeps the service that it began with, so model and index are of one moment.
    """

    def __init__(
        self,
        model: Embedder,
        index: Index | None = None,
        *,
        limits: Limits | None = None,
        token: str | None = None,
        folder: Path | None = None,
        # opens both anew; where there is none, they are somebody else's to close
        reopen: Callable[[], Service] | None = None,
        measures: Measures | None = None,
        uploads: Path | None = None,
    ) -> None:
        self.model = model
        self.index = index
        self.folder = folder
        self.reopen = reopen
        self.uploads = uploads
        self.users = 0  # requests that have it
        self.limits = limits or Limits()
        self.token = token
        self.measures = measures or Measures()
        # what routes compute once for this model and index, by a name of their own
        self.caches: dict[str, Any] = {}
        shape = () if isinstance(model.preprocessing, VectorInput) else model.preprocessing.shape
        self.most = min(self.limits.batch, batch_size_for(shape)) if shape else self.limits.batch
        self.batcher = Batcher(
            model.encode,
            most=self.most,
            images=self.limits.queue_images,
            room=self.limits.queue_bytes,
            measures=self.measures,
        )
        self._decoding, self._counting = 0, threading.Lock()
        self._searches = Searches(self.call, self.limits.batch)
        # decoding, and all that waits for a store: the loop itself must never wait
        # What takes long holds two threads at most, or it would hold up all who only search.
        self.rarely = asyncio.Semaphore(2)
        self._threads = ThreadPoolExecutor(max(4, cores() + 2), "twinset-work")

    @property
    def name(self) -> str:
        """What the model is called: by its folder, else by what it was trained on."""
        return self.folder.resolve().name if self.folder else self.model.trained_on.name

    @property
    def report(self) -> Path | None:
        """The page of the run's evaluation; None where there is none."""
        pages = [self.folder / name for name in REPORTS] if self.folder else []
        return next((page for page in pages if page.is_file()), None)

    def index_or_problem(self) -> Index:
        """Give the index."""
        if self.index is None:
            raise Problem(
                404,
                "Expected a server with an index. This one has a model alone: start it with "
                "`twinset serve RUN --index INDEX`.",
                name="no-index",
            )
        return self.index

    async def judging(self, prior: float, point: str | None = None) -> Callable[[float], Verdict]:
        """Give what turns a distance into a verdict.

        By the threshold of the index, which decisions may have moved, or of one of its operating
        points; by the model's where there is no index.
        """
        check_prior(prior)
        if self.index is None and point is None:
            return partial(self.model.judge, prior=prior)
        index = self.index_or_problem()
        threshold = await self.call(index.threshold_at, point) if point else index.threshold
        return lambda distance: judge(distance, threshold, index.calibrator, prior)

    def vectors_of(self, ids: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Read the embeddings of items; in a thread, by `call`."""
        items = self.index_or_problem().get(ids)
        return dict(zip(items.ids, items.vectors, strict=True))

    async def call(
        self, function: Callable[Given, Made], *args: Given.args, **kwargs: Given.kwargs
    ) -> Made:
        """Call what takes time, such as an index's search, in a thread."""
        loop = asyncio.get_running_loop()
        work = partial(function, *args, **kwargs)
        end = self._deadline()

        def in_time() -> Made:
            if time.monotonic() > end:
                raise late()
            return work()

        return await loop.run_in_executor(self._threads, in_time)

    async def read(
        self, request: Request, kind: type[Options], field: str = "images"
    ) -> tuple[Options, uploads.Form]:
        """Read a request: its options, checked, and its form with the images as they came."""
        if request.headers.get("content-type", "").startswith("image/"):
            self._admit(1)  # what is refused anyway need not be read
        form = await uploads.read_form(request, self.limits, field)
        return uploads.options_of(form, kind), form

    async def pixels(self, images: Sequence[EncodedImage]) -> NDArray[np.uint8]:
        """Decode images to the model's own size: uint8 of shape (n, *shape)."""
        return await self.call(self._decoded, images)

    def _decoded(self, images: Sequence[EncodedImage]) -> NDArray[np.uint8]:
        preprocessing = self.model.preprocessing
        if isinstance(preprocessing, VectorInput):
            raise Problem(
                422, "Expected a model of images. This server's model takes vectors: ask by item."
            )
        return uploads.decoded(images, preprocessing, self.limits.image_pixels)

    async def embed(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed pixels of the model's own size, together with what others ask meanwhile."""
        end = self._deadline()
        # Cut, not refused: two parts at a time, so that others come in between.
        parts = [pixels[at : at + self.most] for at in range(0, len(pixels), self.most)]
        waiting: list[asyncio.Future[NDArray[np.float32]]] = []
        found: list[NDArray[np.float32]] = []
        try:
            for part in parts:
                if len(waiting) == 2:
                    found.append(await _answer(waiting[0], end))
                    waiting.pop(0)
                waiting.append(await self._put(part, end, bool(found)))
            found += [await _answer(one, end) for one in waiting]
        finally:
            for one in waiting:
                self.batcher.leave(one)
        if not found:
            return np.zeros((0, self.model.dim), np.float32)
        return found[0] if len(found) == 1 else np.concatenate(found)

    async def _put(
        self, part: NDArray[np.uint8], end: float, begun: bool
    ) -> asyncio.Future[NDArray[np.float32]]:
        answer = asyncio.get_running_loop().create_future()
        while True:
            try:
                self.batcher.put(part, end, answer)
            except Problem:
                # what was begun is worth more than what comes new
                if not begun or time.monotonic() > end:
                    raise
                await asyncio.sleep(_PATIENCE)
            else:
                return answer

    def _deadline(self) -> float:
        asked = ASKED.get()  # none where a program calls a service itself
        return time.monotonic() + self.limits.seconds if asked is None else asked.deadline

    async def search(
        self, index: Index, vectors: NDArray[np.float32], **asked: Any
    ) -> list[Answer]:
        """Search an index, together with what others look for in the same way meanwhile."""
        one = self._searches.put(index, vectors, asked)
        try:
            return await _answer(one.answer, self._deadline())
        finally:
            one.answer.cancel()

    async def embed_images(self, images: Sequence[EncodedImage]) -> NDArray[np.float32]:
        """Decode and embed images; see `embed`."""
        if not 1 <= len(images) <= self.most:
            return await self.embed(await self.pixels(images))
        end = self._deadline()
        # before the decoding, or who is refused would have waited for a thread behind all others
        self._admit(len(images))
        answer = asyncio.get_running_loop().create_future()
        self._decode(len(images))
        self._threads.submit(self._decode_and_put, images, end, answer)
        try:
            return await _answer(answer, end)
        finally:
            self.batcher.leave(answer)

    def _admit(self, images: int) -> None:
        """Refuse what will find no room in the queue."""
        coming = self._decoding  # which will wait as well
        ahead = self.batcher.waiting_images + coming
        if ahead and ahead + images > self.limits.queue_images:
            raise self.batcher.full(coming)

    def _decode_and_put(
        self,
        images: Sequence[EncodedImage],
        end: float,
        answer: asyncio.Future[NDArray[np.float32]],
    ) -> None:
        # Straight from the thread that decoded into the queue: the loop is woken once for a
        # request, not twice.
        try:
            try:
                if time.monotonic() > end:
                    raise late()
                if answer.done():
                    return
                pixels = self._decoded(images)
            finally:
                self._decode(-len(images))
            self.batcher.put(pixels, end, answer)
        except Exception as error:  # noqa: BLE001 - whoever waits is told
            tell([answer], [error])

    def _decode(self, count: int) -> None:
        with self._counting:
            self._decoding += count

    def close(self) -> None:
        """Finish what was accepted, and let go of the index."""
        self.batcher.close()
        self._threads.shutdown()
        if self.index is not None and self.reopen is not None:
            self.index.close()


async def _answer(answer: asyncio.Future[Made], end: float) -> Made:
    """Wait for an answer; who hangs up, or must not wait any longer, costs no inference."""
    asked = ASKED.get()
    await asyncio.wait((answer,), timeout=min(_PATIENCE, max(0.0, end - time.monotonic())))
    if not answer.done():  # else a task for each request would cost more than a small model
        leaving: set[asyncio.Future[Any]] = set()
        if asked is not None:
            leaving = {asyncio.ensure_future(asked.left())}
        rest, first = max(0.0, end - time.monotonic()), asyncio.FIRST_COMPLETED
        done, _ = await asyncio.wait({answer, *leaving}, timeout=rest, return_when=first)
        for each in leaving:
            each.cancel()
        if not answer.done():
            raise Problem(400, "The client hung up.", name="hung-up") if done else late()
    return answer.result()


# Asynchronous, though they wait for nothing: FastAPI calls others in a thread, which takes longer
# than all else that it does.


async def the_service(request: Request) -> Service:
    """Give a request the service that it began with; for `Depends`."""
    service: Service = request.scope["twinset.service"]
    return service


async def the_index(request: Request) -> Index:
    """Give a request the index; for `Depends`."""
    return (await the_service(request)).index_or_problem()


async def the_writer(request: Request) -> Service:
    """Give a request that may write the service; for `Depends`."""
    service = await the_service(request)
    if service.token is None:
        raise Problem(
            403,
            "Expected a server that takes changes. This one is read-only: start it with "
            "--token-file FILE or TWINSET_TOKEN.",
            name="read-only",
        )
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    right = hmac.compare_digest(given.strip().encode(), service.token.encode())
    if scheme.lower() != "bearer" or not right:
        raise Problem(
            401,
            "Expected the header `Authorization: Bearer TOKEN` with the server's token.",
            name="wrong-token",
            headers={"WWW-Authenticate": "Bearer"},
        )
    return service


# What handlers declare: `async def search(request: Request, index: TheIndex) -> Response`.
TheService = Annotated[Service, Depends(the_service)]
TheIndex = Annotated[Index, Depends(the_index)]
TheWriter = Annotated[Service, Depends(the_writer)]
