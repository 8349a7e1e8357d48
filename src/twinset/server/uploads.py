"""A request, and its bytes as checked pixels: no path of the host is ever taken from it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, get_origin

import numpy as np
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from numpy.typing import NDArray
from pydantic import BaseModel, TypeAdapter, ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.types import Message, Receive

from twinset.data.decoding.decode import Preprocessing
from twinset.data.decoding.image_file import EncodedImage
from twinset.server.limits import Limits
from twinset.server.problems import Problem


@dataclass(eq=False)
class Asked:
    """A request that is being answered."""

    deadline: float  # by time.monotonic
    receive: Receive
    body: bytes | None = None  # once it was read whole

    async def left(self) -> None:
        """Wait until the client hangs up; for ever while a body may come instead."""
        if self.body is None:
            await asyncio.get_running_loop().create_future()
        while (await self.receive())["type"] != "http.disconnect":
            pass

    def again(self) -> Receive:
        """Give what brings the body that was read once more."""
        given = False

        async def received() -> Message:
            nonlocal given
            if given or self.body is None:
                return await self.receive()
            given = True
            return {"type": "http.request", "body": self.body, "more_body": False}

        return received


# A request's own task sets it, so that what is called for it need not hand it on.
ASKED: ContextVar[Asked | None] = ContextVar("twinset-asked", default=None)


Options = TypeVar("Options", bound=BaseModel)
Given = TypeVar("Given")

_MAX_PARTS = 10_000
_MAX_FIELD = 64 * 1024


@dataclass(frozen=True, eq=False)
class Upload:
    """An image as it came, and in which field."""

    name: str  # of the field
    image: EncodedImage


@dataclass(eq=False)
class Form:
    """What a request brought: images in order, and fields."""

    uploads: list[Upload] = field(default_factory=list)
    fields: dict[str, list[str]] = field(default_factory=dict)

    def images(self, name: str) -> list[EncodedImage]:
        """List the images of a field."""
        return [each.image for each in self.uploads if each.name == name]

    def image(self, name: str) -> EncodedImage:
        """Give the one image of a field."""
        found = self.images(name)
        if len(found) != 1:
            raise Problem(422, f"Expected one image in the field `{name}`. Received {len(found)}.")
        return found[0]


async def read_body(request: Request, limits: Limits) -> bytes:
    """Read a request's body whole, within its limits of size and time."""
    told = request.headers.get("content-length", "")
    if told.isdigit() and int(told) > limits.request_bytes:
        raise _too_large(limits)
    parts, size, end = [], 0, time.monotonic() + limits.body_seconds
    while True:
        try:
            async with asyncio.timeout(end - time.monotonic()):
                message = await request.receive()
        except TimeoutError:
            raise Problem(
                408,
                f"Expected the whole request within {limits.body_seconds:g} s.",
                headers={"Connection": "close"},
            ) from None
        if message["type"] != "http.request":
            raise Problem(400, "The client hung up.", name="hung-up")
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limits.request_bytes:
            raise _too_large(limits)
        parts.append(chunk)
        if not message.get("more_body"):
            body = b"".join(parts)
            # a client may take its time to send; from here on it waits for the server
            if asked := ASKED.get():
                asked.body, asked.deadline = body, time.monotonic() + limits.seconds
            return body


def _too_large(limits: Limits) -> Problem:
    return Problem(
        413,
        f"Expected a request of at most {limits.request_bytes:,} bytes: send fewer or smaller "
        "images.",
        headers={"Connection": "close"},
    )


async def read_form(request: Request, limits: Limits, field_name: str) -> Form:
    """Read images and fields: of a form (multipart/form-data), or one image as the body.

    Options may be in the query as well; a form's own come first.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind == b"multipart/form-data":
        form = _parsed(await read_body(request, limits), options.get(b"boundary", b""), limits)
    elif kind.startswith(b"image/") or kind == b"application/octet-stream":
        body = await read_body(request, limits)
        form = Form([Upload(field_name, EncodedImage(body, "the image"))])
    elif kind == b"application/x-www-form-urlencoded" or not kind:
        body = await read_body(request, limits)
        if body and not kind:
            raise _unsupported(kind)
        form = Form(fields=_urlencoded(body))
    else:
        raise _unsupported(kind)
    for name, value in request.query_params.multi_items():
        form.fields.setdefault(name, []).append(value)
    for each in form.uploads:
        if len(each.image.data) > limits.image_bytes:
            raise Problem(
                413,
                f"{each.image.name}: expected an image of at most {limits.image_bytes:,} bytes. "
                f"Received {len(each.image.data):,}: scale it down first.",
            )
    return form


def _urlencoded(body: bytes) -> dict[str, list[str]]:
    from urllib.parse import parse_qs

    try:
        return parse_qs(body.decode("utf-8"), keep_blank_values=True, max_num_fields=_MAX_PARTS)
    except ValueError:
        raise Problem(400, "Expected form fields in UTF-8.") from None


def _unsupported(kind: bytes) -> Problem:
    shown = kind.decode("latin-1") or "a body without a type"
    return Problem(
        415,
        "Expected multipart/form-data, or an image as the body with Content-Type: image/png or "
        f"the like. Received {shown}.",
    )


class _Parts:
    """What a multipart parser tells, gathered."""

    def __init__(self) -> None:
        self.form = Form()
        self.ended = False
        self._field = self._value = b""
        self._headers: dict[bytes, bytes] = {}
        self._data: list[bytes] = []
        self._count = 0

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_part_data": lambda data, start, end: self._data.append(data[start:end]),
            "on_part_end": self._end,
            "on_header_field": self._on_field,
            "on_header_value": self._on_value,
            "on_header_end": self._on_header,
            "on_end": self._on_end,
        }

    def _begin(self) -> None:
        self._headers, self._data = {}, []
        self._count += 1
        if self._count > _MAX_PARTS:
            raise Problem(413, f"Expected at most {_MAX_PARTS:,} parts in a form.")

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header(self) -> None:
        self._headers[self._field.lower()] = self._value
        self._field = self._value = b""

    def _on_end(self) -> None:
        self.ended = True

    def _end(self) -> None:
        _, about = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = about.get(b"name", b"").decode("utf-8", "replace")
        if not name:
            raise Problem(400, "Expected a name for each part of the form.")
        data = b"".join(self._data)
        # some clients name no file, and tell the type of an image alone
        kind = self._headers.get(b"content-type", b"")
        if b"filename" in about or kind.startswith(b"image/"):
            # for messages alone
            shown = about.get(b"filename", b"").decode("utf-8", "replace")
            shown = shown.replace("\\", "/").rsplit("/", 1)[-1][:100]
            title = shown if shown.isprintable() and shown else f"{name} {self._count}"
            self.form.uploads.append(Upload(name, EncodedImage(data, title)))
        elif len(data) > _MAX_FIELD:
            raise Problem(413, f"{name}: expected a field of at most {_MAX_FIELD:,} bytes.")
        else:
            text = data.decode("utf-8", "replace")
            self.form.fields.setdefault(name, []).append(text)


def _parsed(body: bytes, boundary: bytes, limits: Limits) -> Form:
    parts = _Parts()
    try:
        # in memory: Starlette's parser writes larger files to disk, by a thread for each chunk
        parser = MultipartParser(boundary, parts.callbacks())
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise Problem(400, f"Expected a whole form (multipart/form-data). {error}.") from None
    if not parts.ended:
        raise Problem(400, "Expected a whole form (multipart/form-data). Received a part of one.")
    return parts.form


def options_of(form: Form, kind: type[Options]) -> Options:
    """Check a request's options: fields of the form or of the query."""
    values: dict[str, Any] = {}
    for name, about in kind.model_fields.items():
        if name in form.fields:
            given = form.fields[name]
            values[name] = given if get_origin(about.annotation) is list else given[0]
    try:
        return kind(**values)
    except ValidationError as error:
        raise RequestValidationError(
            [each | {"loc": ("options", *each["loc"])} for each in error.errors()]
        ) from None


async def body_of(request: Request, limits: Limits, kind: type[Given]) -> Given:
    """Read a body of JSON within the limits of the server, and check it."""
    # not by FastAPI's own way, which reads a body of any size, for as long as it takes
    body = await read_body(request, limits)
    try:
        return TypeAdapter(kind).validate_json(body or b"null")
    except ValidationError as error:
        raise RequestValidationError(
            [each | {"loc": ("body", *each["loc"])} for each in error.errors()]
        ) from None


def decoded(
    images: Sequence[EncodedImage], preprocessing: Preprocessing, most: int
) -> NDArray[np.uint8]:
    """Decode images to the model's own size; the pixels of each are counted before."""
    found = np.empty((len(images), *preprocessing.shape), np.uint8)
    for row, image in enumerate(images):
        found[row] = preprocessing.pixels(replace(image, most=most))
    return found


def takes(
    options: type[BaseModel], *fields: str, many: bool = False, example: Any = None
) -> dict[str, Any]:
    """Describe a request that brings images in these fields and options, for `openapi_extra`.

    Images come as a form; where there is one field, a single image may be the whole body, with the
    options in the query.
    """
    # by hand, as FastAPI would parse the form before it knew what may be in it
    schema = options.model_json_schema()
    file: dict[str, Any] = {"type": "string", "format": "binary"}
    one = {"type": "array", "items": file, "minItems": 1} if many else file
    properties = {**dict.fromkeys(fields, one), **schema.get("properties", {})}
    form = {"type": "object", "properties": properties}
    content: dict[str, Any] = {"multipart/form-data": {"schema": form}}
    if example is not None:
        content["multipart/form-data"]["example"] = example
    if len(fields) == 1:
        content["image/*"] = {"schema": file}
    return {"requestBody": {"required": True, "content": content}}


def takes_json(kind: Any, example: Any) -> dict[str, Any]:
    """Describe a body of JSON, for `openapi_extra`."""
    schema = TypeAdapter(kind).json_schema(ref_template="#/$defs/{model}")
    content = {"application/json": {"schema": _inlined(schema), "example": example}}
    return {"requestBody": {"required": True, "content": content}}


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    # a definition beside a body has no place in an OpenAPI document
    known = schema.pop("$defs", {})

    def walk(value: Any) -> Any:
        if isinstance(value, dict):
            if "$ref" in value:
                return walk(known[value["$ref"].rsplit("/", 1)[-1]])
            return {name: walk(each) for name, each in value.items()}
        return [walk(each) for each in value] if isinstance(value, list) else value

    found: dict[str, Any] = walk(schema)
    return found
