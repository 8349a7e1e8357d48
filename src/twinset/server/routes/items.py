"""The index and its items: what there is, one of it, its picture; adding and removing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from twinset.data.image_sources import picture_of
from twinset.search.index import Index
from twinset.server import adding
from twinset.server.answers import answer
from twinset.server.problems import Problem
from twinset.server.schemas import takes
from twinset.server.search_schemas import Added, AddOptions, IndexOut, ItemOut, ItemsOut, Removed
from twinset.server.service import Service, TheIndex, TheService, TheWriter
from twinset.server.telling import PATH, checked_where, shown, threshold_told
from twinset.server.thumbnails import MEDIA, SIZES, WHOLE, pictures, tag_of

router = APIRouter(tags=["items"])
LISTED, COUNTED = 100, 1000  # values of a column that are listed, and counted
_PICTURE: Any = {200: {"content": {MEDIA: {}}, "description": "The picture."}}


@router.get("/index", response_model=IndexOut, summary="What is served")
async def about(service: TheService, index: TheIndex) -> Response:
    """Tell how many items there are, their columns, identities, decisions and operating points."""
    return answer(await service.call(_about, service, index))


def _about(service: Service, index: Index) -> dict[str, Any]:
    identities = index.identities
    return {
        "items": len(index),
        "columns": _columns(index),
        "model": index.store.signature.model,
        "identities": None if identities is None else identities.to_dict(),
        "threshold": threshold_told(index.threshold),
        "decisions": len(index.settled.decisions),
        "points": [one.to_dict() for one in index.points().values()],
        "writable": service.token is not None,
    }


def _columns(index: Index) -> list[dict[str, Any]]:
    return [
        {
            "name": one.name,
            "kind": one.kinds[0] if len(one.kinds) == 1 else "mixed" if one.kinds else "text",
            "distinct": len(one.values),
            "values": one.values if len(one.values) <= LISTED else [],
        }
        for one in index.store.columns(COUNTED)
        if one.name != PATH and not one.name.startswith("_")
    ]


@router.get("/items", response_model=ItemsOut, summary="A page of items")
async def items(
    service: TheService,
    index: TheIndex,
    offset: Annotated[int, Query(ge=0, le=2**40)] = 0,
    limit: Annotated[int, Query(ge=0, le=1000)] = 100,
    where: Annotated[list[str] | None, Query()] = None,
) -> Response:
    """List items in the order in which they were put in, those that meet the conditions."""
    # one page is read and no more, however many items there are
    asked = checked_where(where or [])
    page = await service.call(index.store.page, offset, limit, where=asked)
    listed = [_told(*each) for each in zip(page.ids, page.metadata, strict=True)]
    return answer({"total": page.total, "offset": offset, "items": listed})


@router.get("/items/{item:path}", response_model=ItemOut, summary="One item")
async def one(service: TheService, index: TheIndex, item: str) -> Response:
    """Tell what is known of an item, and what people decided about it."""
    held = await service.call(index.get, [item])
    settled = await service.call(lambda: index.settled)
    decided = [each for each in settled.decisions if item in each.pair]
    told = [asdict(each) | {"sentence": each.sentence()} for each in decided]
    return answer(_told(item, held.metadata[0]) | {"decisions": told})


def _told(own: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
    picture = picture_of(metadata) is not None
    return {"id": own, "metadata": shown(metadata), "picture": picture}


@router.post(
    "/items",
    response_model=Added,
    status_code=201,
    summary="Add an image",
    openapi_extra=takes(AddOptions, "image"),
)
async def add(request: Request, service: TheWriter, index: TheIndex) -> Response:
    """Make an image an item. What is answered with 201 is on disk, image and all."""
    options, form = await service.read(request, AddOptions, "image")
    given = form.image("image")
    # all that can be refused is refused before the image costs an inference
    metadata = adding.known_of(options.metadata)
    folder = adding.folder_of(index, service.uploads)
    [vector] = await service.embed_images([given])
    new = given, vector, options.id, metadata
    own, held = await service.call(lambda: adding.put(index, folder, *new))
    return answer(_told(own, held), 201)


@router.delete("/items/{item:path}", response_model=Removed, summary="Take an item out")
async def remove(service: TheWriter, index: TheIndex, item: str) -> Response:
    """Take an item out of the index; no file is deleted."""
    await service.call(index.remove, [item])
    return answer({"removed": item})


@router.get(
    "/thumbnails/{item:path}",
    responses=_PICTURE,
    response_class=Response,
    summary="A small picture of an item",
)
async def thumbnail(
    request: Request,
    service: TheService,
    index: TheIndex,
    item: str,
    size: Annotated[int, Query(description=f"Longest side in pixels: one of {SIZES}.")] = 160,
) -> Response:
    """Give the picture of an item, encoded anew; small images keep their size."""
    if size not in SIZES:
        sizes = ", ".join(map(str, SIZES))
        raise Problem(422, f"Expected a size out of {sizes}. Received {size}.")
    return await _picture(request, service, index, item, size)


@router.get(
    "/images/{item:path}",
    responses=_PICTURE,
    response_class=Response,
    summary=f"The picture of an item, at most {WHOLE} pixels long",
)
async def image(request: Request, service: TheService, index: TheIndex, item: str) -> Response:
    """Give the picture of an item, encoded anew; never its file as it is."""
    return await _picture(request, service, index, item, WHOLE)


async def _picture(
    request: Request, service: Service, index: Index, item: str, size: int
) -> Response:
    held = await service.call(index.get, [item])
    tag = tag_of(item, held.metadata[0], size)
    headers = {"ETag": f'"{tag}"', "Cache-Control": "private, max-age=300"}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    # a browser that has it already was told so above, without a pixel read
    data = await service.call(pictures(service).get, tag, held.metadata[0], size)
    return Response(data, media_type=MEDIA, headers=headers)
