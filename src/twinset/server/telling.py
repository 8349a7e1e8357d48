"""What an index answers, as plain values for clients: no paths of the host among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic_core import to_json
from starlette.responses import Response

from twinset.decision import Threshold
from twinset.search.answer import Answer, for_people
from twinset.search.identification import Identification
from twinset.search.index import Index
from twinset.search.where import Condition, conditions
from twinset.server.problems import Problem

PATH = "path"  # where on the host an item's file is: ids tell clients enough


def shown(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out of an item's metadata what is the host's own."""
    return {name: value for name, value in for_people(metadata).items() if name != PATH}


def checked_where(where: Sequence[str]) -> tuple[Condition, ...]:
    """Read conditions, of which none may ask about what is not shown."""
    found = conditions(where)
    for each in found:
        # by < and > a client could read a hidden text letter by letter
        if each.name == PATH or each.name.startswith("_"):
            raise Problem(
                422, f"Expected a condition on a column of GET /index. Received {each.name!r}."
            )
    return found


def threshold_told(one: Threshold) -> dict[str, Any]:
    """Tell a threshold with its rule and what was promised of it."""
    return vars(one) | {"origin": one.origin, "promise": one.promise}


def answer_told(found: Answer, index: Index, prior: float) -> dict[str, Any]:
    """Tell the answer to a search, each hit with the probability that it is the same."""
    told = found.to_dict() | {"sentence": found.sentence(), "prior": prior}
    # whole, so that a client can make the same `Answer` of it
    told["threshold"] = threshold_told(found.threshold)
    told["decided"] = sorted(found.decided)
    hits = [*told["neighbours"], *filter(None, [told["nearest"]])]
    calibrator = index.calibrator
    likely: Sequence[float | None] = [None] * len(hits)
    if calibrator is not None:  # all at once, as each call costs more than a hit
        likely = calibrator.probability([hit["distance"] for hit in hits], prior).tolist()
    for hit, share in zip(hits, likely, strict=True):
        hit["metadata"] = shown(hit["metadata"])
        hit["probability"] = share
    return told


def identification_told(found: Identification) -> dict[str, Any]:
    """Tell who is shown, with the settings that it was told by."""
    told = found.to_dict() | {"sentence": found.sentence(), "settings": found.settings.to_dict()}
    for each in told["identities"]:
        each["nearest"]["metadata"] = shown(each["nearest"]["metadata"])
    return told


def answer(content: Any, status: int = 200) -> Response:
    """Write plain values, and arrays of numpy, as JSON.

    Example:
        >>> answer({"a": np.float32([0.5, np.nan])}).body
        b'{"a":[0.5,null]}'
    """
    # Not by FastAPI's own way, which checks and copies each value again: half of a small answer.
    body = to_json(content, inf_nan_mode="null", fallback=_plain)
    return Response(body, status, media_type="application/json")


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"no JSON for {type(value).__name__}")
