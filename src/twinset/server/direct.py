"""`Direct`: straight to the handlers of fixed paths, past what a router does for each request."""

from __future__ import annotations

from collections.abc import Iterable
from inspect import signature
from typing import Any, get_args, get_type_hints

from fastapi.params import Depends
from fastapi.routing import APIRoute, APIRouter
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send


class Direct:
    """An ASGI application before a router.

    FastAPI compares paths one by one, resolves what a handler takes anew for each request, and
    enters a dozen layers: half of what the verdict on two small images costs. A handler whose path
    is fixed, and which takes the request and what `Depends` gives alone, needs none of it. It is
    still FastAPI that describes it.

    Args:
        app: that answers all other requests.
        routers: with the handlers.
        prefix: of their paths.
    """

    def __init__(self, app: ASGIApp, routers: Iterable[APIRouter], prefix: str) -> None:
        self._app = app
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
            await self._app(scope, receive, send)
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
