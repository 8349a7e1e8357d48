"""Errors as problem details (RFC 9457): what was expected, what came, what to do."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Scope

from twinset.errors import (
    DataError,
    ImageFileError,
    ReplacedError,
    StoreError,
    TwinsetError,
    UnknownItemError,
)
from twinset.progress import Progress

LOG = logging.getLogger("twinset.server")
MEDIA = "application/problem+json"
JSON = "application/json"
AWHILE = 9.0  # seconds: what takes longer is asked for less often


class Problem(Exception):  # noqa: N818 - what RFC 9457 calls it
    """An answer that is an error."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        name: str | None = None,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.title = HTTPStatus(status).phrase
        self.name = name or self.title.lower().replace(" ", "-")
        self.headers = dict(headers or {})
        self.content = {
            "type": f"urn:twinset:problem:{self.name}",
            "title": self.title,
            "status": status,
            "detail": detail,
            **more,
        }

    def response(self) -> Response:
        """Make the answer."""
        return Response(to_json(self.content), self.status, headers=self.headers, media_type=MEDIA)


class Computing(Problem):
    """No error: the answer is being computed, and is there when one asks again (202)."""

    def __init__(self, what: str, seconds: float, far: Progress | None) -> None:
        told = "" if far is None else f" ({far.count})"
        super().__init__(202, f"{what} are being computed{told}: ask again.", name="computing")
        self.headers = {"Retry-After": "1" if seconds < AWHILE else "3"}
        share = far.done / far.total if far is not None and far.total else None
        self.content |= {"state": "computing", "seconds": round(seconds, 1), "share": share}

    def response(self) -> Response:
        """Make the answer; it is no problem, and does not claim to be one."""
        return Response(to_json(self.content), self.status, headers=self.headers, media_type=JSON)


def problem_of(error: Exception) -> Problem:
    """Turn any error into the problem that a client is told; ours alone tell their reason."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, UnknownItemError):
        return Problem(404, str(error), name="no-item")
    if isinstance(error, ImageFileError):
        return Problem(422, str(error), name="unreadable-image")
    if isinstance(error, DataError | StoreError):
        return Problem(422, str(error))
    if isinstance(error, RequestValidationError):
        return _of_validation(error)
    if isinstance(error, HTTPException):
        return _of_http(error)
    # Nothing of an error that nobody foresaw reaches a client: it may name files of the host.
    number = secrets.token_hex(4)
    LOG.error("error %s", number, exc_info=error)
    more = "; its log tells more" if isinstance(error, TwinsetError) else ""
    return Problem(
        500,
        f"Something went wrong in the server, which is no fault of the request{more}. Report the "
        f"id {number}.",
        id=number,
    )


def respond(scope: Scope, error: Exception) -> Response:
    """Make the answer to a request that failed, and count what was refused for load."""
    problem = problem_of(error)
    service = scope.get("twinset.service")
    if service is not None and problem.status in (429, 503):
        service.measures.shed[problem.name] += 1
    if service is not None and service.index is not None:
        # errors of a store name it by its place, which is the host's own
        place = service.index.url
        for name in (str(Path(place).absolute()), place, str(Path(place))):
            problem.content["detail"] = problem.content["detail"].replace(name, "the index")
    return problem.response()


def _of_validation(error: RequestValidationError) -> Problem:
    told = [
        {"where": ".".join(map(str, each["loc"])), "expected": each["msg"]}
        for each in error.errors()
    ]
    first = told[0] if told else {"where": "request", "expected": "another one"}
    detail = f"{first['where']}: {first['expected']}. See /openapi.json."
    return Problem(422, detail, errors=told)


def _of_http(error: HTTPException) -> Problem:
    words = {
        404: "There is nothing at this path: see /openapi.json.",
        405: "This path does not take this method: see /openapi.json.",
    }
    detail = words.get(error.status_code, str(error.detail))
    return Problem(error.status_code, detail, headers=error.headers)


def add_handlers(app: FastAPI) -> None:
    """Let an application tell all errors as problems."""

    async def told(request: Request, error: Exception) -> Response:
        if isinstance(error, ReplacedError):
            raise error  # the guard asks again, with what is there now
        return respond(request.scope, error)

    for kind in (Problem, TwinsetError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, told)
