"""`/openapi.json`: what FastAPI writes, with examples that work on the index that is served."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from starlette.responses import Response

from twinset.search.answer import for_people
from twinset.server.service import Service, TheService
from twinset.server.telling import PATH, answer

# Stand in examples for ids and a column of whatever index is served.
FIRST, SECOND, COLUMN = "items/00", "items/04", "label"
POINT = "strict"
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
