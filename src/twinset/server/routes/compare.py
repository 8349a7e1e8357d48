"""Two images: same or different, and why; and the embeddings of images."""

from __future__ import annotations

import asyncio
from contextvars import copy_context

import numpy as np
from fastapi import APIRouter, Request
from numpy.typing import NDArray
from starlette.responses import Response

from twinset import distance as distances
from twinset.data.decoding.image_file import EncodedImage
from twinset.models.explanation import explain_pixels
from twinset.server.problems import Problem
from twinset.server.schemas import (
    FIRST,
    SECOND,
    CompareOptions,
    Embeddings,
    EmbedOptions,
    ExplanationOut,
    VerdictOut,
)
from twinset.server.service import Service, TheService
from twinset.server.telling import answer
from twinset.server.thumbnails import pictures_of
from twinset.server.uploads import Form, takes

router = APIRouter(tags=["compare"])
SIDES = ("left", "right")
TWO = {"left_item": FIRST, "right_item": SECOND, "prior": 0.2}


@router.post(
    "/compare",
    response_model=VerdictOut,
    summary="Do two images show the same?",
    openapi_extra=takes(CompareOptions, *SIDES, example=TWO),
)
async def compare(request: Request, service: TheService) -> Response:
    """Give the verdict on two images, or items of the index: distance, threshold, probability."""
    options, form = await service.read(request, CompareOptions, "left")
    judged = await service.judging(options.prior, options.point)
    left, right = await _two(service, options, form)
    measured = float(distances.euclidean(left, right))
    verdict = judged(measured)
    return answer(verdict.to_dict() | {"sentence": verdict.sentence()})


@router.post(
    "/embed",
    response_model=Embeddings,
    summary="The embeddings of images",
    openapi_extra=takes(EmbedOptions, "images", many=True),
)
async def embed(request: Request, service: TheService) -> Response:
    """Embed images, in the order in which they came."""
    _, form = await service.read(request, EmbedOptions, "images")
    images = form.images("images")
    if not images:
        raise Problem(422, "Expected one or more files in the field `images`. Received none.")
    vectors = await service.embed_images(images)
    return answer({"model": service.model.digest, "embeddings": vectors})


@router.post(
    "/explain",
    response_model=ExplanationOut,
    summary="Where two images agree and differ",
    openapi_extra=takes(CompareOptions, *SIDES, example=TWO),
)
async def explain(request: Request, service: TheService) -> Response:
    """Cover a patch of an image at a time, and tell how far each moves the distance.

    `left` and `right` are grids over the images as the model sees them: above 0 they agree there.
    """
    options, form = await service.read(request, CompareOptions, "left")
    judged = await service.judging(options.prior, options.point)
    given = _two_given(options, form)
    ids = list(dict.fromkeys(one for one in given if isinstance(one, str)))
    held: dict[str, EncodedImage] = {}
    if ids:
        index = service.index_or_problem()
        held = dict(zip(ids, await service.call(pictures_of, index, ids), strict=True))
    pixels = await service.pixels([held[one] if isinstance(one, str) else one for one in given])
    loop = asyncio.get_running_loop()
    context = copy_context()  # of the request, with its deadline

    def encode(covered: NDArray[np.uint8]) -> NDArray[np.float32]:
        # its hundreds of patches wait as others do, and let others in between
        return context.run(asyncio.run_coroutine_threadsafe, service.embed(covered), loop).result()

    async with service.rarely:
        found = await service.call(
            explain_pixels,
            (pixels[0], pixels[1]),
            encode,
            judged,
            batch=service.most,
            patch=None,
        )
    return answer(found.to_dict() | {"sentence": found.sentence()})


async def _two(service: Service, options: CompareOptions, form: Form) -> list[NDArray[np.float32]]:
    given = _two_given(options, form)
    images = [one for one in given if isinstance(one, EncodedImage)]
    ids = [one for one in given if isinstance(one, str)]
    held: dict[str, NDArray[np.float32]] = {}
    if ids:  # first, as an id that is not there costs no inference then
        held = await service.call(service.vectors_of, list(dict.fromkeys(ids)))
    vectors = iter(await service.embed_images(images) if images else ())
    return [held[one] if isinstance(one, str) else next(vectors) for one in given]


def _two_given(options: CompareOptions, form: Form) -> list[EncodedImage | str]:
    return [_given(options, form, side) for side in SIDES]


def _given(options: CompareOptions, form: Form, side: str) -> EncodedImage | str:
    images, item = form.images(side), getattr(options, f"{side}_item")
    if len(images) + (item is not None) != 1:
        raise Problem(
            422,
            f"Expected one image in the field `{side}`, or the id of an item in `{side}_item`. "
            f"Received {len(images)} images and {'an' if item else 'no'} id.",
        )
    return images[0] if images else item
