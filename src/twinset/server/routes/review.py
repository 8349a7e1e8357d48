"""What people decide: questions worth asking, decisions, groups of duplicates, a plan for files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from twinset.search.cut import weakest
from twinset.search.decisions import Decided
from twinset.search.duplicates import PICTURE, THING, DuplicateGroup, Duplicates, duplicates
from twinset.search.index import Index
from twinset.search.keep import RULES, keep_plan
from twinset.server.kept import kept
from twinset.server.problems import Problem
from twinset.server.schemas import (
    FIRST,
    SECOND,
    DecidedOut,
    DecisionIn,
    DuplicatesOut,
    PairIn,
    ReviewOut,
)
from twinset.server.service import Service, TheIndex, TheService, TheWriter, the_writer
from twinset.server.telling import PATH, answer, shown, threshold_told
from twinset.server.uploads import body_of, takes_json

router = APIRouter(tags=["review"])
# Members of a group beyond which it is a class rather than one thing that was put in so often.
LARGE = 30
_LARGE = (
    "{large} of these groups have more than 30 items: they are classes rather than duplicates. Ask "
    "with a smaller `within`, such as {stricter:g}"
)
KINDS = {"thing": THING, "picture": PICTURE}
_EXAMPLE = {"left": FIRST, "right": SECOND}
Who = Annotated[str, Query(max_length=200, description="Who decided.")]
Within = Annotated[
    float | None, Query(ge=0, allow_inf_nan=False, description="In place of the threshold.")
]


@router.get("/review", response_model=ReviewOut, summary="The pairs most worth a decision")
async def review(
    service: TheService,
    index: TheIndex,
    count: Annotated[int, Query(ge=1, le=500)] = 50,
    column: str | None = None,
) -> Response:
    """Ask about pairs, those first that set most right; what is decided is not asked again."""
    if column is not None and (column == PATH or column.startswith("_")):
        raise Problem(422, f"Expected a column of GET /index. Received {column!r}.")
    # Asked anew when half of the questions were answered; until then those that are left serve.
    turn = 2 * len((await service.call(lambda: index.settled)).decisions) // count
    key = "review", await _version(service, index), count, column, turn
    asked = kept(service).get(
        key,
        lambda tell: index.review(count, column=column, progress=tell),
        "The pairs worth a decision",
    )
    found = await asked
    settled = await service.call(lambda: index.settled)  # as it is after the wait
    left = [one for one in found.questions if settled.says(one.left, one.right) is None]
    told = replace(found, questions=tuple(left))
    ends = {end for one in left for end in (one.left, one.right)}
    items = {own: shown(known) for own, known in found.known.items() if own in ends}
    return answer(told.to_dict() | {"items": items, "sentence": told.sentence()})


@router.get("/decisions", summary="What people decided")
async def decisions(
    service: TheService,
    index: TheIndex,
    all: bool = False,  # noqa: A002 - as in Python and on the command line
    offset: Annotated[int, Query(ge=0, le=2**40)] = 0,
    limit: Annotated[int, Query(ge=0, le=1000)] = 100,
) -> Response:
    """List decisions, the latest first: those that stand, or all with what was taken back."""
    log = (await service.call(index.decisions, all=all))[::-1]
    page = [asdict(one) | {"sentence": one.sentence()} for one in log[offset : offset + limit]]
    return answer({"total": len(log), "offset": offset, "decisions": page})


@router.post(
    "/decisions",
    response_model=DecidedOut,
    summary="Decide about pairs of items",
    openapi_extra=takes_json(list[DecisionIn], [_EXAMPLE | {"same": True, "why": ""}]),
)
async def decide(request: Request, service: TheWriter, index: TheIndex, who: Who = "") -> Response:
    """Record decisions, all or none; they count from now on, and are on disk then."""
    given = await body_of(request, service.limits, list[DecisionIn])
    rows = [(one.left, one.right, one.same, one.why) for one in given]
    return answer(await service.call(_decide, index, rows, who, undo=False))


@router.post(
    "/decisions/undo",
    response_model=DecidedOut,
    summary="Take decisions back",
    openapi_extra=takes_json(list[PairIn] | None, [_EXAMPLE]),
)
async def undo(request: Request, service: TheWriter, index: TheIndex, who: Who = "") -> Response:
    """Take back the latest decision on each of these pairs; without a body the latest of all."""
    given = await body_of(request, service.limits, list[PairIn] | None)  # type: ignore[arg-type]
    if given is None:
        last = (await service.call(index.decisions))[-1:]
        given = [PairIn(left=one.left, right=one.right) for one in last]
    rows = [(one.left, one.right, True, "") for one in given]
    told = await service.call(_decide, index, rows, who, undo=True)
    return answer(told | {"pairs": [one.model_dump() for one in given]})


def _decide(index: Index, rows: Sequence[Any], who: str, *, undo: bool) -> dict[str, Any]:
    ends = list(dict.fromkeys(end for row in rows for end in row[:2]))
    before = {one.pair: one.same for one in index.settled.decisions}
    # ids alone: a path would tell whether there is such a file; of an item that is gone a decision
    # can still be taken back
    known = {end for pair in before for end in pair} if undo else set()
    index.get([end for end in ends if end not in known])
    found = index.decide(rows, who=who, undo=undo) if rows else Decided()
    now = index.settled.decisions
    after = {
        "replaced": sum(before.get(one.pair, one.same) != one.same for one in now),
        "value": index.threshold.value,
        "decisions": len(now),
    }
    return found.to_dict() | {"sentence": found.sentence()} | after


@router.get("/duplicates", response_model=DuplicatesOut, summary="Groups of duplicates")
async def groups(
    service: TheService,
    index: TheIndex,
    kind: Literal["thing", "picture"] = "thing",
    within: Within = None,
    point: str | None = None,
    offset: Annotated[int, Query(ge=0, le=2**40)] = 0,
    limit: Annotated[int, Query(ge=0, le=200)] = 50,
) -> Response:
    """List groups of the same thing or picture, the tightest first.

    Without `within` and `point`, within the strictest threshold that the model knows.

    Each of three or more is told with its weakest link, without which it would be two groups.
    """
    found = await _found(service, index, within, point)
    of_kind = [group for group in found.groups if group.kind == KINDS[kind]]
    page = of_kind[offset : offset + limit]
    told = await service.call(lambda: [_group(index, each) for each in page])
    about = {
        "items": found.items,
        "threshold": threshold_told(found.threshold),
        "kind": kind,
        "total": len(of_kind),
        "totals": {
            name: sum(group.kind == each for group in found.groups) for name, each in KINDS.items()
        },
        "offset": offset,
        "links": [asdict(link) for link in found.links[:limit]],
        "sentences": found.sentences(),
        "large": sum(len(group) > LARGE for group in of_kind),
        "stricter": None,
    }
    if kind == "thing" and about["large"]:
        about["stricter"] = float(f"{found.threshold.value / 2:.2g}")
        about["sentences"] = [*found.sentences(), _LARGE.format(**about)]
    return answer(about | {"groups": told})


@router.get(
    "/duplicates/plan.csv",
    response_class=Response,
    responses={200: {"content": {"text/csv": {}}, "description": "keep, aside, kind, rule"}},
    summary="Which file of each group would stay",
)
async def plan(
    request: Request,
    service: TheService,
    index: TheIndex,
    rule: Annotated[str, Query(description=f"What stays: {', '.join(RULES)}.")] = "largest",
    things: bool = False,
    paths: bool = False,
    within: Within = None,
    point: str | None = None,
) -> Response:
    """Plan which file of each group of copies to keep; no file is touched.

    By ids; with `paths` and the token by the paths of the files on the host.
    """
    if paths:
        await the_writer(request)
    found = await _found(service, index, within, point)
    made = await service.call(keep_plan, found, rule, things=things)
    if not paths:
        ids = {one.metadata.get(PATH): one.id for group in found.groups for one in group.members}
        steps = [
            replace(step, keep=ids[step.keep], aside=ids[step.aside])
            for step in made.steps
            if step.keep in ids and step.aside in ids
        ]
        made = replace(made, steps=tuple(steps))
    headers = {"Content-Disposition": 'attachment; filename="plan.csv"'}
    return Response(made.to_csv(), media_type="text/csv; charset=utf-8", headers=headers)


async def _found(
    service: Service, index: Index, within: float | None, point: str | None
) -> Duplicates:
    if within is not None and point is not None:
        raise Problem(422, "Expected `within` or `point`. Received both.")
    limit = await service.call(index.threshold_at, point)
    if point is None:
        # Things of a class are no duplicates: the strictest threshold that is known comes first.
        known = (each for each in index.model.alternatives if each.value > 0)
        limit = min([limit, *known], key=lambda one: one.value)
    most = limit.value if within is None else within
    settled = await service.call(lambda: index.settled)
    decided = hash(tuple((one.pair, one.same) for one in settled.decisions))
    key = "duplicates", await _version(service, index), most, decided
    found = await kept(service).get(
        key, lambda tell: duplicates(index, most, progress=tell), "The groups"
    )
    return found if within is not None else replace(found, threshold=limit)


def _group(index: Index, group: DuplicateGroup) -> dict[str, Any]:
    members = [
        {"id": one.id, "distance": one.distance, "metadata": shown(one.metadata)}
        for one in group.members
    ]
    told = {"kind": group.kind, "size": len(group), "diameter": group.diameter, "members": members}
    weak = None
    if len(group) > 2:
        ids = [one.id for one in group.members]
        link = weakest(index.get(ids).vectors)
        weak = {"left": ids[link.left], "right": ids[link.right], "distance": link.distance}
    return told | {"weakest": weak}


async def _version(service: Service, index: Index) -> str:
    version = await service.call(index.store.version)
    return version or str(len(index))
