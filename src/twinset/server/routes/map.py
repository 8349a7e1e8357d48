"""The collection in two dimensions: points, what they are, mistakes, and where a new image goes."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from twinset.search.index import Index
from twinset.server.collection_map import LEAST, Chart, CollectionMap, Work
from twinset.server.problems import Computing, Problem
from twinset.server.projection import COMPUTED
from twinset.server.service import Service, TheIndex, TheService
from twinset.server.telling import answer, answer_told
from twinset.server.uploads import takes

router = APIRouter(tags=["map"])

Method = Literal["pca", "tsne"]


class PlaceOptions(BaseModel):
    """Options of `place`."""

    k: int = Field(8, ge=1, le=100, description="Nearest items to tell.")


class Placed(BaseModel):
    """Where a new image goes, and what is nearest to it."""

    pca: list[float] = Field(description="x, y; beyond 1 where no item is as far out.")
    tsne: list[float] | None = Field(
        description="Among its nearest, weighed by 1 / distance; null while t-SNE is not ready."
    )
    sentence: str
    neighbours: list[dict[str, Any]] = Field(
        description="Nearest first: id, distance, match, metadata, and row on the map, or null."
    )


class MapInfo(BaseModel):
    """What a map shows, and how."""

    n: int = Field(description="Items drawn.")
    items: int = Field(description="Items in the index.")
    version: str = Field(description="Changes with the items.")
    methods: dict[str, dict[str, Any]] = Field(description="State, numbers, trouble of each.")
    columns: list[dict[str, Any]] = Field(description="Columns that sort items into kinds.")


@router.get("/map/info", response_model=MapInfo, summary="What the map shows, and how")
async def info(service: TheService, index: TheIndex) -> Response:
    """Tell the methods with their state, and the columns; the first to ask begins t-SNE."""
    made, chart = await _now(service, index)
    work = made.work(chart)
    methods = {
        "pca": {"state": "ready", "share": chart.axes.share, "trouble": ""},
        "tsne": {
            "state": work.state,
            "computed": min(COMPUTED, len(chart.ids)),
            "least": LEAST,
            "trouble": work.trouble,
        },
    }
    columns = [
        {"name": name, "values": len(each.names), "known": sum(each.counts)}
        for name, each in chart.columns.items()
    ]
    return answer(
        {
            "n": len(chart.ids),
            "items": chart.items,
            "version": chart.content,
            "methods": methods,
            "columns": columns,
        }
    )


@router.get(
    "/map",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}}},
    summary="The points, as float32 x, y in little-endian",
)
async def points(service: TheService, index: TheIndex, method: Method = "pca") -> Response:
    """Give the points of all items that are drawn, in the order of `/map/ids`."""
    made, chart = await _now(service, index)
    found = made.points(chart, method)
    if found is None:
        work = made.work(chart)
        if work.state == "failed":
            raise Problem(409, work.trouble, name="no-such-map")
        # the points of `pca` are there meanwhile; `/map/info` tells when these are
        raise Computing("The points of t-SNE", time.monotonic() - work.began, None)
    return Response(found.astype("<f4").tobytes(), media_type="application/octet-stream")


@router.get("/map/ids", response_model=list[str], summary="The ids of the points")
async def ids(service: TheService, index: TheIndex) -> Response:
    """Give the ids of the items that are drawn, in the order of the points."""
    _, chart = await _now(service, index)
    return answer(chart.ids)


@router.get("/map/column", summary="What each point has in a column")
async def column(
    service: TheService, index: TheIndex, name: Annotated[str, Query(max_length=1000)]
) -> Response:
    """Give the names of a column, the most frequent first, and each point's place among them."""
    _, chart = await _now(service, index)
    found = chart.columns[_known(chart, name)]
    return answer({"names": found.names, "counts": found.counts, "codes": found.codes})


@router.get("/map/mistakes", summary="What the model would get wrong, by a column")
async def mistakes(
    service: TheService, index: TheIndex, name: Annotated[str, Query(max_length=1000)]
) -> Response:
    """Give pairs of rows with their distance: items taken for another kind, and items missed.

    `mistaken`: an item whose nearest is within the threshold and of another kind, and that one.
    `missed`: an item whose nearest of its own kind is beyond the threshold, and that one.
    """
    made, chart = await _now(service, index)
    known = _known(chart, name)
    work = await service.call(made.mistakes, chart, known)
    return answer({"threshold": index.threshold.value, **_told(work)})


@router.post(
    "/map/place",
    response_model=Placed,
    summary="Where a new image goes",
    openapi_extra=takes(PlaceOptions, "image"),
)
async def place(request: Request, service: TheService, index: TheIndex) -> Response:
    """Place an image on the map, and tell what is nearest to it."""
    options, form = await service.read(request, PlaceOptions, "image")
    (vector,) = await service.embed_images([form.image("image")])
    made, chart = await _now(service, index)
    found = await service.call(index.search, vector, k=options.k)
    near = [(one.id, float(one.distance)) for one in found]
    told = answer_told(found, index, 0.5)
    rows = [{**each, "row": chart.rows.get(each["id"])} for each in told["neighbours"]]
    placed = made.place(chart, np.asarray(vector), near)
    return answer({**placed, "sentence": told["sentence"], "neighbours": rows})


def map_of(service: Service, index: Index) -> CollectionMap:
    """Give the map of a service's index."""
    made: CollectionMap = service.caches.setdefault("map", CollectionMap(index))
    return made


async def _now(service: Service, index: Index) -> tuple[CollectionMap, Chart]:
    made = map_of(service, index)
    return made, await service.call(made.now)


def _known(chart: Chart, name: str) -> str:
    if name not in chart.columns:
        there = ", ".join(chart.columns) or "none"
        raise Problem(404, f"Expected a column of the map: {there}. Received {name!r}.")
    return name


def _told(work: Work) -> dict[str, Any]:
    told: dict[str, Any] = {"state": work.state, "trouble": work.trouble}
    if work.state == "ready":
        found = work.value
        told["mistaken"] = {"rows": found.mistaken, "distances": found.mistaken_distances}
        told["missed"] = {"rows": found.missed, "distances": found.missed_distances}
    return told
