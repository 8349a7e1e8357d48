"""Two images: same or different, and why; and the embeddings of images."""

from __future__ import annotations

from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from numpy.typing import NDArray
from starlette.responses import Response

from twinset import distance as distances
from twinset.data.decoding.image_file import EncodedImage
from twinset.decision import check_prior
from twinset.server.answers import answer
from twinset.server.problems import Problem
from twinset.server.schemas import (
    CompareOptions,
    Embeddings,
    EmbedOptions,
    VerdictOut,
    takes,
)
from twinset.server.service import Service, TheService
from twinset.server.uploads import Form

router = APIRouter(tags=["compare"])
SIDES = ("left", "right")


@router.post(
    "/compare",
    response_model=VerdictOut,
    summary="Do two images show the same?",
    openapi_extra=takes(CompareOptions, *SIDES),
)
async def compare(request: Request, service: TheService) -> Response:
    """Give the verdict on two images, or items of the index: distance, threshold, probability."""
    options, form = await service.read(request, CompareOptions, "left")
    check_prior(options.prior)
    left, right = await _two(service, options, form)
    measured = float(distances.by_name(service.model.distance)(left, right))
    verdict = service.model.judge(measured, prior=options.prior)
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


async def _two(service: Service, options: CompareOptions, form: Form) -> list[NDArray[np.float32]]:
    given = [_given(service, options, form, side) for side in SIDES]
    images = [one for one in given if isinstance(one, EncodedImage)]
    vectors = iter(await service.embed_images(images) if images else ())
    ids = [one for one in given if isinstance(one, str)]
    held: Any = {}
    if ids:
        held = await service.call(service.vectors_of, list(dict.fromkeys(ids)))
    return [next(vectors) if isinstance(one, EncodedImage) else held[one] for one in given]


def _given(service: Service, options: CompareOptions, form: Form, side: str) -> EncodedImage | str:
    images, item = form.images(side), getattr(options, f"{side}_item")
    if len(images) + (item is not None) != 1:
        raise Problem(
            422,
            f"Expected one image in the field `{side}`, or the id of an item in `{side}_item`. "
            f"Received {len(images)} images and {'an' if item else 'no'} id.",
        )
    return images[0] if images else item
