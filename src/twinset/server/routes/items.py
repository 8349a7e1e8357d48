"""The index and its items: what there is, one of it, its picture; adding and removing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request
from numpy.typing import NDArray
from starlette.responses import Response

from twinset.data.decoding.image_file import EncodedImage
from twinset.data.image_sources import FileSource, picture_of
from twinset.errors import StoreError, UnknownItemError
from twinset.files import write_bytes
from twinset.search.checked import checked_metadata
from twinset.search.index import Index
from twinset.search.index_changes import STAMP
from twinset.search.items import Items
from twinset.search.store import scheme_of
from twinset.server.problems import Problem
from twinset.server.schemas import Added, AddOptions, IndexOut, ItemOut, ItemsOut, Removed
from twinset.server.service import Service, TheIndex, TheService, TheWriter
from twinset.server.telling import PATH, answer, checked_where, shown, threshold_told
from twinset.server.thumbnails import MEDIA, SIZES, WHOLE, pictures, tag_of
from twinset.server.uploads import takes

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
    metadata = known_of(options.metadata)
    folder = folder_of(index, service.uploads)
    [vector] = await service.embed_images([given])
    new = given, vector, options.id, metadata
    own, held = await service.call(lambda: put(index, folder, *new))
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


UPLOADS = "uploads"  # in the folder of an index
_SUFFIXES = {b"\xff\xd8": "jpg", b"\x89PNG": "png", b"GIF": "gif", b"BM": "bmp", b"RIFF": "webp"}


def folder_of(index: Index, given: Path | None = None) -> Path:
    """Tell where uploaded images are kept: in the index's own folder, unless told otherwise."""
    if given is not None:
        return given.absolute()
    if scheme_of(index.url):
        raise Problem(
            409,
            "Expected a folder for uploaded images. This index is in a database, which keeps none: "
            "start the server with --uploads FOLDER.",
            name="no-uploads",
        )
    return Path(index.url).absolute() / UPLOADS


def known_of(text: str) -> dict[str, Any]:
    """Read what is to be known of an item."""
    try:
        known = json.loads(text)
    except (ValueError, RecursionError):
        known = None
    if not isinstance(known, Mapping):
        raise Problem(422, 'Expected `metadata` as a JSON object, such as {"label": "red"}.')
    checked = checked_metadata(known, "the new item")
    for name in checked:
        # whoever could name a path could have any image of the host shown
        if name == PATH or name.startswith("_"):
            raise Problem(
                422, f"Expected `metadata` without {name!r}: the index keeps this name for itself."
            )
    return checked


def put(
    index: Index,
    folder: Path,
    image: EncodedImage,
    vector: NDArray[np.float32],
    id_: str | None,
    known: Mapping[str, Any],
) -> tuple[str, dict[str, Any]]:
    """Write an image that was decoded already, and make it an item; both are on disk then."""
    digest = hashlib.sha256(image.data).hexdigest()[:32]
    own = id_ if id_ is not None else f"{UPLOADS}/{digest}"
    path = folder / f"{digest}.{_suffix(image.data)}"
    _refuse(index, own)
    if not path.is_file():
        write_bytes(path, image.data)
    stamp = FileSource(str(path), path.name).stamp()
    metadata = {**known, PATH: str(path), STAMP: stamp}
    try:
        index.put(Items([own], vector[None], [metadata]))
    except StoreError:
        _refuse(index, own)  # another put it in meanwhile
        raise
    return own, metadata


def _suffix(data: bytes) -> str:
    # for people who look into the folder: whoever reads a file goes by its first bytes
    return next((name for mark, name in _SUFFIXES.items() if data.startswith(mark)), "image")


def _refuse(index: Index, own: str) -> None:
    try:
        index.get([own])
    except UnknownItemError:
        return
    raise Problem(
        409,
        f"Expected the id of a new item. Received {own!r}, which is there already: remove it "
        "first, or choose another id.",
        name="known-id",
    )
