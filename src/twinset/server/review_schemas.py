"""What thresholds, reviews and duplicates take and answer, for the OpenAPI; bodies of JSON."""

from __future__ import annotations

from typing import Any, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from twinset.server.schemas import ThresholdOut
from twinset.server.service import Service
from twinset.server.uploads import read_body

Given = TypeVar("Given")


async def body_of(request: Request, service: Service, kind: type[Given]) -> Given:
    """Read a body of JSON within the limits of the server, and check it."""
    # not by FastAPI's own way, which reads a body of any size, for as long as it takes
    body = await read_body(request, service.limits)
    try:
        return TypeAdapter(kind).validate_json(body or b"null")
    except ValidationError as error:
        raise RequestValidationError(
            [each | {"loc": ("body", *each["loc"])} for each in error.errors()]
        ) from None


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


class PointIn(BaseModel):
    """A threshold to name."""

    name: str = Field(min_length=1, max_length=60)
    threshold: float = Field(ge=0, allow_inf_nan=False)
    who: str = Field("", max_length=200)


class PointOut(BaseModel):
    """An operating point."""

    name: str
    threshold: float
    who: str
    when: str = Field(description="UTC, ISO 8601.")
    model: str


class ThresholdCosts(BaseModel):
    """What each threshold costs."""

    threshold: ThresholdOut
    alternatives: list[ThresholdOut]
    curve: dict[str, Any] | None = Field(
        description="distance, fmr, fmr_low, fmr_high, fnmr, fnmr_low, fnmr_high: lists of one "
        "length; over: what is new where the rates hold, image or class."
    )
    reason: str = Field(description="Why there is no curve; empty where there is one.")
    densities: dict[str, list[float]] | None = Field(
        description="edges, and one number less of same and different: shares by unit of distance."
    )
    calibrator: dict[str, Any] | None
    points: list[PointOut]
    index: dict[str, Any] | None = Field(
        description="distance, matches, groups: lists; groups are chains of steps, which "
        "`/duplicates` cuts; null without an index, or while computing."
    )
    computing: bool


class DecisionIn(BaseModel):
    """What somebody decided about two items."""

    left: str = Field(min_length=1, max_length=2000)
    right: str = Field(min_length=1, max_length=2000)
    same: bool | None = Field(None, description="null: still open, and not recorded.")
    # of those asked about near the threshold, and of no others, the threshold learns
    why: str = Field("", max_length=500, description="The `why` of the question, as it came.")


class PairIn(BaseModel):
    """Two items."""

    left: str = Field(min_length=1, max_length=2000)
    right: str = Field(min_length=1, max_length=2000)


class DecidedOut(BaseModel):
    """What became of decisions."""

    new: int
    known: int
    open: int
    undone: int
    contradictions: list[str]
    threshold: str = Field(description="What the decisions make of the threshold; empty: nothing.")
    sentence: str
    value: float = Field(description="The threshold from now on.")
    decisions: int = Field(description="How many stand.")


class ReviewOut(BaseModel):
    """Questions, those first that set most right."""

    model_config = ConfigDict(extra="allow")
    claims: str = Field(description="What was doubted: a column, or groups.")
    questions: list[dict[str, Any]]
    items: dict[str, dict[str, Any]] = Field(description="What is known of each item, by id.")
    sentence: str


class DuplicatesOut(BaseModel):
    """Groups, the tightest first."""

    model_config = ConfigDict(extra="allow")
    items: int
    total: int = Field(description="Groups of this kind.")
    groups: list[dict[str, Any]]
    sentences: list[str]
    large: int = Field(description="Groups of more than 30: classes rather than duplicates.")
    stricter: float | None = Field(description="A `within` to try where some are large.")
