"""What is like an image, and who is shown: neighbours and identities, each with a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from twinset.data.decoding.image_file import EncodedImage
from twinset.search.answer import Answer
from twinset.search.index import Index
from twinset.server.problems import Problem
from twinset.server.schemas import FIRST, Answers, Identifications, IdentifyOptions, SearchOptions
from twinset.server.service import TheIndex, TheService
from twinset.server.telling import answer, answer_told, checked_where, identification_told
from twinset.server.uploads import takes

router = APIRouter(tags=["search"])


@router.post(
    "/search",
    response_model=Answers,
    summary="What is like these images, or this item?",
    openapi_extra=takes(SearchOptions, "images", many=True, example={"item": FIRST, "k": 5}),
)
async def search(request: Request, service: TheService, index: TheIndex) -> Response:
    """Find the items nearest to each image, or to an item, as it was decided.

    What people decided to be the same as an item comes first, what is different is left out.
    """
    options, form = await service.read(request, SearchOptions)
    images = form.images("images")
    if bool(images) == (options.item is not None):
        raise Problem(
            422,
            "Expected files in the field `images`, or the id of an item in `item`. Received "
            f"{len(images)} images and {'an' if options.item else 'no'} id.",
        )
    asked: dict[str, Any] = {"where": checked_where(options.where), "point": options.point}
    if options.item is not None:
        found = [await service.call(_similar, index, options, asked)]
    else:
        within = _within(options.within)
        vectors = await service.embed_images(images)
        asked |= {"k": options.k, "within": within}
        if options.together:
            answers: Any = await service.call(lambda: index.search(vectors, together=True, **asked))
        else:
            answers = await service.search(index, vectors, **asked)
        found = named(answers, images, together=options.together)
    # in a thread as well: the first look at the calibration reads the store
    told = await service.call(lambda: [answer_told(each, index, options.prior) for each in found])
    return answer({"answers": told})


def _similar(index: Index, options: SearchOptions, asked: dict[str, Any]) -> Answer:
    found = index.similar(str(options.item), k=options.k, **asked)
    limit = _within(options.within)
    limit = found.threshold.value if limit == "threshold" else limit
    if limit is None:
        return found
    # what is decided to be the same stays, however far
    kept = [one for one in found if one.distance <= limit or one.id in found.decided]
    return replace(found, neighbours=tuple(kept), within=limit)


@router.post(
    "/identify",
    response_model=Identifications,
    summary="Who is this, or nobody known?",
    openapi_extra=takes(IdentifyOptions, "images", many=True),
)
async def identify(request: Request, service: TheService, index: TheIndex) -> Response:
    """Tell whom each image shows: identities, nearest first, or nobody known."""
    options, form = await service.read(request, IdentifyOptions)
    images = form.images("images")
    if not images:
        raise Problem(422, "Expected one or more files in the field `images`. Received none.")
    asked = options.model_dump() | {"where": checked_where(options.where)}
    vectors = await service.embed_images(images)
    answers = await service.call(index.identify, vectors, **asked)
    found = named(answers, images, together=options.together)
    return answer({"answers": [identification_told(each) for each in found]})


def named(answers: Any, images: Sequence[EncodedImage], *, together: bool) -> list[Any]:
    """Call each answer by its image, as embeddings have no names."""
    if together:
        more = f" and {len(images) - 1:,} more" if len(images) > 1 else ""
        return [replace(answers, query=images[0].name + more)]
    return [replace(each, query=one.name) for each, one in zip(answers, images, strict=True)]


def _within(text: str | None) -> Any:
    if text in (None, "", "any"):
        return None
    if text == "threshold":
        return text
    try:
        value = float(str(text))
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise Problem(
            422, f'Expected `within` as a distance of 0 or more, or "threshold". Received {text!r}.'
        )
    return value
