"""What comes in and what goes out, for the OpenAPI."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

# Stand in examples for ids and a column of whatever index is served.
FIRST, SECOND, COLUMN = "items/00", "items/04", "label"
POINT = "strict"


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


class _Open(BaseModel):
    # Answers are written by `to_dict()` of the library's own objects. These describe them, and let
    # more through: a field that is new there needs no change here.
    model_config = ConfigDict(extra="allow")


class ThresholdOut(_Open):
    """The largest distance that counts as a match, and whence it comes."""

    value: float
    rule: str
    fmr: float | None = Field(None, description="Promised false match rate, in [0, 1].")
    fnmr: float | None = Field(None, description="Promised false non-match rate, in [0, 1].")


class VerdictOut(_Open):
    """Same or different."""

    same: bool = Field(description="Whether distance <= threshold.")
    distance: float
    threshold: ThresholdOut
    probability: float | None = Field(description="Of same, at the prior; null if uncalibrated.")
    prior: float
    calibrated: bool
    note: str = Field(description="Why threshold and probability disagree; empty if they do not.")
    sentence: str


class ExplanationOut(_Open):
    """Where two images agree and differ."""

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


class ModelCard(_Open):
    """What model answers."""

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


class ProblemOut(_Open):
    """Problem details (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str


# FastAPI reads these for the document alone: what goes out is written as it is (`telling.answer`),
# and what comes in by form or query is checked by `uploads.options_of`.
Scalar = str | float | bool | None


class _Queries(BaseModel):
    where: list[str] = Field([], description='Conditions on the metadata: "label=red, price<10".')
    together: bool = Field(False, description="All images show one thing: they are one query.")
    point: str | None = Field(
        None, description="Name of an operating point, whose threshold is used."
    )


class SearchOptions(_Queries):
    """Options of `search`."""

    item: str | None = Field(None, description="Id of an item, in place of images.")
    # not "all": an answer of 60,000 hits helps nobody, and holds up the others
    k: int = Field(10, ge=1, le=1000, description="At most so many neighbours.")
    within: str | None = Field(
        None, description='Largest distance: a number, or "threshold"; without it any.'
    )
    prior: float = Field(0.5, gt=0, lt=1, description="Share of same pairs that you expect.")


class IdentifyOptions(_Queries):
    """Options of `identify`."""

    k: int = Field(5, ge=1, le=1000, description="At most so many identities.")
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


class Added(_Open):
    """An item that is on disk."""

    id: str
    metadata: dict[str, Scalar]


class Removed(BaseModel):
    """An item that was taken out; its file stays."""

    removed: str


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


class PairIn(BaseModel):
    """Two items."""

    left: str = Field(min_length=1, max_length=2000)
    right: str = Field(min_length=1, max_length=2000)


class DecisionIn(PairIn):
    """What somebody decided about two items."""

    same: bool | None = Field(None, description="null: still open, and not recorded.")
    # of those asked about near the threshold, and of no others, the threshold learns
    why: str = Field("", max_length=500, description="The `why` of the question, as it came.")


class DecidedOut(BaseModel):
    """What became of decisions."""

    new: int
    known: int
    open: int
    undone: int
    replaced: int = Field(description="New ones that are contrary to an earlier one of the pair.")
    contradictions: list[str]
    threshold: str = Field(description="What the decisions make of the threshold; empty: nothing.")
    sentence: str
    value: float = Field(description="The threshold from now on.")
    decisions: int = Field(description="How many stand.")


class ReviewOut(_Open):
    """Questions, those first that set most right."""

    claims: str = Field(description="What was doubted: a column, or groups.")
    questions: list[dict[str, Any]]
    items: dict[str, dict[str, Any]] = Field(description="What is known of each item, by id.")
    sentence: str


class DuplicatesOut(_Open):
    """Groups, the tightest first."""

    items: int
    total: int = Field(description="Groups of this kind.")
    groups: list[dict[str, Any]]
    sentences: list[str]
    large: int = Field(description="Groups of more than 30: classes rather than duplicates.")
    stricter: float | None = Field(description="A `within` to try where some are large.")
