"""`create_app`: the application of one service: its routes, guard, page and description."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from importlib.metadata import version
from inspect import signature
from pathlib import Path
from typing import Any, get_args, get_type_hints

from fastapi import FastAPI
from fastapi.params import Depends
from fastapi.routing import APIRoute, APIRouter
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from twinset.search.answer import for_people
from twinset.server import problems
from twinset.server.assets import Assets
from twinset.server.guard import Guard
from twinset.server.opening import Current
from twinset.server.routes import compare, items, model, review, search, threshold
from twinset.server.routes.map import router as map_router
from twinset.server.schemas import COLUMN, FIRST, POINT, SECOND, ProblemOut
from twinset.server.service import Service, TheService
from twinset.server.telling import PATH, answer

PAGE = Path(__file__).parent / "page"
PREFIX = "/api/v1"
# One module a subject: a new one is added here.
ROUTERS = (
    model.router,
    compare.router,
    search.router,
    items.router,
    review.router,
    threshold.router,
    map_router,
)
# What any operation may answer in place of what it documents; FastAPI would tell of its own errors.
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": f"{what}: expected, received, what to do (RFC 9457).",
        "content": {problems.MEDIA: {"schema": ProblemOut.model_json_schema()}},
    }
    for status, what in (("4XX", "A problem of the request"), ("5XX", "A problem of the server"))
}
# Paths that the page gives a meaning, each with the state of a view in its query.
VIEWS = ("/", "/compare", "/search", "/threshold", "/review", "/duplicates", "/map", "/report")
LOCAL = ("localhost",)


def create_app(service: Service, *, hosts: Collection[str] = LOCAL) -> FastAPI:
    """Make the application of a service, to serve or to mount in another one.

    Args:
        service: that answers. `app.state.current` holds it, and takes up another.
        hosts: names by which the server is reached, beside addresses; "*" for any. Defaults to
            localhost.
    """
    app = FastAPI(
        title="twinset",
        version=version("twinset"),
        description="Do two images show the same? Compare, search, identify, decide.",
        # both pages load scripts from another host
        docs_url=None,
        redoc_url=None,
        openapi_url=None,  # it is served with examples of the index
        # FastAPI would tell OpenTelemetry of each request, wherever the environment says
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.current = Current(service)
    problems.add_handlers(app)
    for router in ROUTERS:
        app.include_router(router, prefix=PREFIX, responses=PROBLEMS)
    app.include_router(model.health, responses=PROBLEMS)
    add_openapi(app)
    page = Assets(PAGE, VIEWS)
    app.mount("/", page)
    app.add_middleware(Direct, routers=ROUTERS, prefix=PREFIX, page=page)
    app.add_middleware(Guard, current=app.state.current, hosts=hosts)
    return app


class Direct:
    """An ASGI application before a router.

    FastAPI compares paths one by one, resolves what a handler takes anew for each request, and
    enters a dozen layers: half of what the verdict on two small images costs. A handler whose path
    is fixed, and which takes the request and what `Depends` gives alone, needs none of it. It is
    still FastAPI that describes it.
    """

    def __init__(
        self, app: ASGIApp, routers: Iterable[APIRouter], prefix: str, page: Assets
    ) -> None:
        self._app, self._page = app, page
        self._ways: dict[tuple[str, str], tuple[APIRoute, list[tuple[str, Any]]]] = {}
        for route in (each for router in routers for each in router.routes):
            if isinstance(route, APIRoute) and "{" not in route.path:
                takes = _taken(route.endpoint)
                for method in (route.methods or ()) if takes is not None else ():
                    self._ways[method, prefix + route.path] = route, takes or []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the router."""
        way = self._ways.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if way is None:
            page = scope.get("method") == "GET" and scope["path"] in self._page
            await (self._page if page else self._app)(scope, receive, send)
            return
        route, takes = way
        scope["route"] = route
        request = Request(scope, receive)
        given = {name: await give(request) if give else request for name, give in takes}
        response = await route.endpoint(**given)
        await response(scope, receive, send)


def _taken(handler: Any) -> list[tuple[str, Any]] | None:
    """List what a handler takes, with what gives it; None where it takes something else."""
    hints = get_type_hints(handler, include_extras=True)
    found: list[tuple[str, Any]] = []
    for name in signature(handler).parameters:
        gives = [each for each in get_args(hints[name])[1:] if isinstance(each, Depends)]
        if hints[name] is not Request and not gives:
            return None
        found.append((name, gives[0].dependency if gives else None))
    return found


_OF_PARAMETERS = {("path", "item"): FIRST, ("path", "name"): POINT, ("query", "name"): COLUMN}


def add_openapi(app: FastAPI) -> None:
    """Serve the description of an application."""

    async def openapi(service: TheService) -> Response:
        if "openapi" not in service.caches:
            there = await service.call(_of_index, service)
            service.caches["openapi"] = answer(_filled(_with_parameters(app.openapi()), there))
        found: Response = service.caches["openapi"]
        return found

    app.add_api_route("/openapi.json", openapi, include_in_schema=False, methods=["GET"])


def _with_parameters(schema: dict[str, Any]) -> dict[str, Any]:
    for operations in schema["paths"].values():
        for operation in operations.values():
            for each in operation.get("parameters", ()):
                if example := _OF_PARAMETERS.get((each["in"], each["name"])):
                    each["example"] = example
    return schema


def _of_index(service: Service) -> dict[str, str]:
    """Find ids and a column of the index, each under what stands for it."""
    if service.index is None:
        return {}
    page = service.index.store.page(0, 2)
    columns = [name for each in page.metadata for name in for_people(each) if name != PATH]
    found = {FIRST: page.ids[:1], SECOND: page.ids[-1:], COLUMN: columns[:1]}
    if COLUMN in columns:
        del found[COLUMN]
    return {ours: theirs[0] for ours, theirs in found.items() if theirs}


def _filled(value: Any, there: dict[str, str], *, example: bool = False) -> Any:
    if isinstance(value, dict):
        return {
            name: _filled(each, there, example=example or name == "example")
            for name, each in value.items()
        }
    if isinstance(value, list):
        return [_filled(each, there, example=example) for each in value]
    return there.get(value, value) if example and isinstance(value, str) else value
