"""What comes in and what goes out, for the OpenAPI."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class EmbedOptions(BaseModel):
    """Options of `embed`: none yet."""


class CompareOptions(BaseModel):
    """Options of `compare`."""

    left_item: str | None = Field(None, description="Id of an item, in place of an image.")
    right_item: str | None = Field(None, description="Likewise.")
    prior: float = Field(
        0.5, gt=0, lt=1, description="Share of same pairs that you expect, for the probability."
    )
    point: str | None = Field(
        None, description="Operating point of the index, in the place of its threshold."
    )


# Answers are written by `to_dict()` of the library's own objects. These describe them, and let more
# through: a field that is new there needs no change here.


class ThresholdOut(BaseModel):
    """The largest distance that counts as a match, and whence it comes."""

    model_config = ConfigDict(extra="allow")
    value: float
    rule: str
    fmr: float | None = Field(None, description="Promised false match rate, in [0, 1].")
    fnmr: float | None = Field(None, description="Promised false non-match rate, in [0, 1].")


class VerdictOut(BaseModel):
    """Same or different."""

    model_config = ConfigDict(extra="allow")
    same: bool = Field(description="Whether distance <= threshold.")
    distance: float
    threshold: ThresholdOut
    probability: float | None = Field(description="Of same, at the prior; null if uncalibrated.")
    prior: float
    calibrated: bool
    note: str = Field(description="Why threshold and probability disagree; empty if they do not.")
    sentence: str


class ExplanationOut(BaseModel):
    """Where two images agree and differ."""

    model_config = ConfigDict(extra="allow")
    distance: float
    verdict: dict[str, Any]
    left: list[list[float]] = Field(
        description="How far each covered patch of the left image moves the distance: above 0 the "
        "images agree there, below 0 they differ. Cells of step x step pixels of the model's input."
    )
    right: list[list[float]]
    largest: float
    telling: bool = Field(description="Whether one patch moves it by 1% or more.")
    patch: int
    step: int
    fill: str
    about: str
    sentence: str


class Embeddings(BaseModel):
    """Embeddings, in the order of the images."""

    model: str = Field(description="Digest of the model: only its own embeddings compare.")
    embeddings: list[list[float]]


class ModelCard(BaseModel):
    """What model answers."""

    model_config = ConfigDict(extra="allow")
    name: str
    digest: str
    distance: str
    dim: int
    input: dict[str, Any]
    threshold: ThresholdOut
    alternatives: list[ThresholdOut]
    calibrated: bool
    calibrator: dict[str, Any] | None
    prior: float
    has_index: bool
    has_report: bool
    writable: bool
    limits: dict[str, float]


class ProblemOut(BaseModel):
    """Problem details (RFC 9457)."""

    model_config = ConfigDict(extra="allow")
    type: str
    title: str
    status: int
    detail: str


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
