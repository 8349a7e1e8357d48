"""What a server answered, as the objects of the library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from twinset.decision import Threshold, Verdict
from twinset.search.answer import Answer
from twinset.search.identification import Identification, Identity, IdentitySettings
from twinset.search.items import Neighbour

Made = TypeVar("Made")


def made(kind: type[Made], values: Mapping[str, Any]) -> Made:
    """Make a dataclass of what it has in common with an answer; lists become tuples."""
    # a newer server may tell more than this version knows
    known = {each.name for each in fields(kind)}  # type: ignore[arg-type]
    return kind(
        **{
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
            if name in known
        }
    )


def threshold(values: Mapping[str, Any]) -> Threshold:
    """Make a threshold."""
    return made(Threshold, values)


def verdict(values: Mapping[str, Any]) -> Verdict:
    """Make a verdict."""
    return made(Verdict, {**values, "threshold": threshold(values["threshold"])})


def answer(values: Mapping[str, Any]) -> Answer:
    """Make the answer to a search."""
    # match and probability are told for programs in other languages: an `Answer` knows the rule
    nearest = values["nearest"]
    return Answer(
        values["query"],
        tuple(made(Neighbour, one) for one in values["neighbours"]),
        threshold(values["threshold"]),
        values["within"],
        None if nearest is None else made(Neighbour, nearest),
        frozenset(values["decided"]),
    )


def identification(values: Mapping[str, Any]) -> Identification:
    """Make an identification."""
    identities = tuple(
        made(Identity, {**one, "nearest": made(Neighbour, one["nearest"])})
        for one in values["identities"]
    )
    settings = IdentitySettings.of(values["settings"])
    told = (values["images"], values["nobody"], values["prior"])
    return Identification(values["query"], identities, settings, *told)
