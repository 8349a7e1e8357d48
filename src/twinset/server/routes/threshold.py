"""What a threshold costs, and thresholds with a name."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from twinset.errors import StoreError
from twinset.search.thresholds import reach
from twinset.server.kept import kept
from twinset.server.problems import Problem
from twinset.server.schemas import PointIn, PointOut, ThresholdCosts
from twinset.server.service import Service, TheIndex, TheService, TheWriter
from twinset.server.telling import answer, threshold_told
from twinset.server.uploads import body_of, takes_json

router = APIRouter(tags=["threshold"])

_NO_CURVE = (
    "This model keeps no error rates over thresholds, as nobody calibrated it. Calibrate it "
    "(`model.calibrate(images)`, `twinset train`) to see them."
)


@router.get("/threshold", response_model=ThresholdCosts, summary="What each threshold costs")
async def threshold(
    service: TheService,
    counts: Annotated[bool, Query(description="Count what each leaves of the index.")] = True,
) -> Response:
    """Tell both error rates over thresholds, densities, operating points, and what is left.

    `index` is computed in the background: null at first, and of a moment ago while computing.
    """
    model, index = service.model, service.index
    curve = model.error_curve
    own = model.threshold if index is None else await service.call(lambda: index.threshold)
    left, computing = await _left(service) if counts else (None, False)
    points = [] if index is None else [*(await service.call(index.points)).values()]
    return answer(
        {
            "threshold": threshold_told(own),
            "alternatives": [threshold_told(each) for each in model.alternatives],
            "curve": None if curve is None else asdict(curve),
            "reason": _NO_CURVE if curve is None else "",
            "densities": None if curve is None else curve.densities(),
            "calibrator": None if model.calibrator is None else asdict(model.calibrator),
            "points": [one.to_dict() for one in points],
            "index": left,
            "computing": computing,
        }
    )


async def _left(service: Service) -> tuple[dict[str, Any] | None, bool]:
    index, held = service.index, kept(service)
    if index is None:
        return None, False
    end = None if service.model.error_curve is None else service.model.error_curve.distance[-1]
    key = "reach", await service.call(index.store.version) or len(index)
    # A slider need not wait: it has what was true a moment ago, and asks again.
    ready = not held.busy("reach")
    if ready:  # one after another, however often items change
        ready = held.start(key, lambda _: reach(index.store, end)).done()
    found = held.latest("reach")
    return None if found is None else found.to_dict(), not ready


@router.get("/points", response_model=list[PointOut], summary="Operating points")
async def points(service: TheService, index: TheIndex) -> Response:
    """List the thresholds that people named."""
    found = await service.call(index.points)
    return answer([one.to_dict() for one in found.values()])


@router.post(
    "/points",
    response_model=PointOut,
    status_code=201,
    summary="Name a threshold",
    openapi_extra=takes_json(PointIn, {"name": "strict", "threshold": 0.25, "who": "anna"}),
)
async def save(request: Request, service: TheWriter, index: TheIndex) -> Response:
    """Save an operating point; one of the same name is replaced."""
    given = await body_of(request, service.limits, PointIn)
    made = await service.call(index.save_point, given.name, given.threshold, who=given.who)
    return answer(made.to_dict(), 201)


@router.delete("/points/{name}", summary="Take an operating point away")
async def remove(
    service: TheWriter, index: TheIndex, name: str, who: Annotated[str, Query(max_length=200)] = ""
) -> Response:
    """Take an operating point away; the record of who saved it stays."""
    # an unknown name in a path is a path to nothing, elsewhere it is a value that will not do
    try:
        await service.call(index.remove_point, name, who=who)
    except StoreError as error:
        if name in await service.call(index.points):
            raise
        raise Problem(404, str(error), name="no-point") from None
    return answer({"removed": name})
