"""What searching takes and answers, for the OpenAPI."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from twinset.server.schemas import ThresholdOut

# FastAPI reads these for the document alone: what goes out is written as it is (`answers.answer`),
# and what comes in by form or query is checked by `uploads.options_of`.
_Where: Any = Field([], description='Conditions on the metadata: "label=red", "price<10".')
_Point: Any = Field(None, description="Name of an operating point, whose threshold is used.")
_Prior: Any = Field(0.5, gt=0, lt=1, description="Share of same pairs that you expect.")
Scalar = str | float | bool | None


class SearchOptions(BaseModel):
    """Options of `search`."""

    item: str | None = Field(None, description="Id of an item, in place of images.")
    # not "all": an answer of 60,000 hits helps nobody, and holds up the others
    k: int = Field(10, ge=1, le=1000, description="At most so many neighbours.")
    within: str | None = Field(
        None, description='Largest distance: a number, or "threshold"; without it any.'
    )
    where: list[str] = _Where
    together: bool = Field(False, description="All images show one thing: they are one query.")
    point: str | None = _Point
    prior: float = _Prior


class IdentifyOptions(BaseModel):
    """Options of `identify`."""

    k: int = Field(5, ge=1, le=1000, description="At most so many identities.")
    where: list[str] = _Where
    together: bool = Field(False, description="All images show one thing: they are one query.")
    point: str | None = _Point
    prior: float = Field(
        0.5, gt=0, lt=1, description="Share of queries that you expect to show somebody known."
    )


class HitOut(BaseModel):
    """An item, and how far it is."""

    id: str
    distance: float
    match: bool = Field(description="Whether distance <= threshold, or people decided so.")
    probability: float | None = Field(description="Of same, at the prior; null if uncalibrated.")
    metadata: dict[str, Scalar]


class AnswerOut(BaseModel):
    """The answer to one query."""

    query: str
    found: bool = Field(description="Whether anything is similar enough.")
    known: bool = Field(description="Whether the nearest is a match.")
    within: float | None
    prior: float
    threshold: ThresholdOut
    nearest: HitOut | None = Field(description="However far; null where nothing was asked.")
    neighbours: list[HitOut] = Field(description="Nearest first; none: nothing similar enough.")
    decided: list[str] = Field(description="Ids that people decided to be the same as the query.")
    sentence: str


class Answers(BaseModel):
    """One answer for each query."""

    answers: list[AnswerOut]


class IdentityOut(BaseModel):
    """One identity."""

    name: Scalar
    distance: float
    match: bool
    probability: float | None
    nearest: dict[str, Any] = Field(description="The reference that is nearest to the query.")
    references: int


class IdentificationOut(BaseModel):
    """Who is shown, or that it is nobody known."""

    query: str
    images: int
    known: bool
    identity: Scalar = Field(description="Who it is; null for nobody known.")
    nobody: float | None = Field(description="Probability of nobody known.")
    prior: float
    rule: str
    threshold: dict[str, Any]
    identities: list[IdentityOut]
    settings: dict[str, Any]
    sentence: str


class Identifications(BaseModel):
    """One answer for each query."""

    answers: list[IdentificationOut]


class ItemOut(BaseModel):
    """An item of the index."""

    id: str
    metadata: dict[str, Scalar]
    picture: bool = Field(description="Whether it names a file or row with its picture.")


class ItemsOut(BaseModel):
    """A page of items."""

    total: int = Field(description="How many meet the conditions.")
    offset: int
    items: list[ItemOut]


class ColumnOut(BaseModel):
    """A column of the metadata."""

    name: str
    kind: str = Field(description="text, number, boolean, or mixed.")
    distinct: int = Field(description="Different values, counted up to 1,000.")
    values: list[Scalar] = Field(description="All of them where they are at most 100.")


class IndexOut(BaseModel):
    """What is served."""

    items: int
    model: str
    columns: list[ColumnOut]
    identities: dict[str, Any] | None
    threshold: ThresholdOut
    decisions: int
    points: list[dict[str, Any]]
    writable: bool


class AddOptions(BaseModel):
    """What comes with an image that is to be an item."""

    # longer ones would not fit into a path of a request
    id: str | None = Field(None, min_length=1, max_length=500, description="Of the item.")
    metadata: str = Field("{}", description='JSON: {"label": "red", "price": 3}.')


class Added(BaseModel):
    """An item that is on disk."""

    model_config = ConfigDict(extra="allow")
    id: str
    metadata: dict[str, Scalar]


class Removed(BaseModel):
    """An item that was taken out; its file stays."""

    removed: str
