"""`create_app`: the application of one service: its routes, its guard, its page."""

from __future__ import annotations

from collections.abc import Collection
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from twinset.server import problems
from twinset.server.direct import Direct
from twinset.server.examples import add_openapi
from twinset.server.guard import Guard
from twinset.server.renewing import Current
from twinset.server.routes import compare, health, items, model, review, search, threshold
from twinset.server.routes.map import router as map_router
from twinset.server.schemas import ProblemOut
from twinset.server.service import Service

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
VIEWS = ("compare", "search", "threshold", "review", "duplicates", "map", "report")
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
    app.include_router(health.router, responses=PROBLEMS)
    add_openapi(app)
    _serve_page(app)
    app.add_middleware(Direct, routers=ROUTERS, prefix=PREFIX)
    app.add_middleware(Guard, current=app.state.current, hosts=hosts)
    return app


def _serve_page(app: FastAPI) -> None:
    async def page() -> FileResponse:
        return FileResponse(PAGE / "index.html", headers={"Cache-Control": "no-cache"})

    for path in ("/", *(f"/{view}" for view in VIEWS)):
        app.add_api_route(path, page, include_in_schema=False, methods=["GET"])
    app.mount("/", _Page(directory=PAGE))


class _Page(StaticFiles):
    """The files of the page; a browser asks whether they have changed."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        try:
            return await super().get_response(path, scope)
        except HTTPException as error:
            # People who mistype a path get the page, which says so; programs get a problem, as does
            # who asks deeper down, where the page would not find its own files.
            wanted = Headers(scope=scope).get("accept", "")
            if error.status_code != 404 or "text/html" not in wanted or Path(path).name != path:
                raise
            headers = {"Cache-Control": "no-cache"}
            return FileResponse(PAGE / "index.html", status_code=404, headers=headers)

    def file_response(self, *args: Any, **kwargs: Any) -> Any:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response
