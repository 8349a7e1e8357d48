"""Conditions on metadata: parsed once, asked of each store."""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args

from twinset.errors import StoreError
from twinset.search.checked import Metadata, Scalar, checked_text, checked_value, kind

Operator = Literal["=", "!=", "<", "<=", ">", ">="]

_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_QUOTED = r"(?:\"(?:[^\"\\]|\\.)*\"|'[^']*')"
# An unquoted name ends at the first character that an operator begins with, and a condition at a
# comma outside of quotes.
_CONDITION = re.compile(
    rf"\s*(?P<name>{_QUOTED}|[^\s\"'=!<>,][^=!<>,]*?)\s*(?P<operator>!=|<=|>=|==|=|<|>)"
    rf"\s*(?P<value>{_QUOTED}\s*(?![^,])|[^,]*)(?P<more>,?)",
    re.DOTALL,
)
_AND = re.compile(r"\s(and|&&?)\s.*[=<>]", re.DOTALL | re.IGNORECASE)
_WHOLE = re.compile(r"[+-]?\d{1,30}", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_WORDS: dict[str, Scalar] = {"true": True, "false": False, "null": None}


@dataclass(frozen=True)
class Condition:
    """One condition: the value of `name` stands in this relation to `value`.

    An item that lacks the name fails every condition but `!=`. Values of different kinds (text,
    number, boolean, null) are unequal, and neither is less. Texts are ordered by code points.
    """

    name: str  # of the metadata; any characters
    operator: Operator  # one of = != < <= > >=; the last four take a text or a number
    value: Scalar  # a text, a finite number, a boolean or None
    typed: str = field(default="", compare=False, repr=False)  # the value as a person wrote it

    def __post_init__(self) -> None:
        checked_text(self.name, "the name in a condition")
        if self.operator not in get_args(Operator):
            raise StoreError(
                f"Expected one of {' '.join(get_args(Operator))} in a condition on {self.name!r}. "
                f"Received {self.operator!r}."
            )
        value = checked_value(self.value, f"the value in a condition on {self.name!r}")
        object.__setattr__(self, "value", value)
        if self.operator in _ORDERS and kind(value) not in ("text", "number"):
            raise StoreError(
                f"Expected a text or a number after {self.name!r} {self.operator}. "
                f"Received {value!r}, which has no order: use = or !=."
            )

    def __str__(self) -> str:
        """Write it as `parse` reads it."""
        name, value = (json.dumps(one, ensure_ascii=False) for one in (self.name, self.value))
        return f"{name}{self.operator}{value}"


Where = Mapping[str, Any] | Iterable[Condition | str] | Condition | str


def holds(condition: Condition, metadata: Metadata) -> bool:
    """Tell whether a condition holds for an item: what every store must answer."""
    if condition.name not in metadata:
        return condition.operator == "!="
    value = metadata[condition.name]
    alike = kind(value) == kind(condition.value)
    if condition.operator in _ORDERS:
        return alike and _ORDERS[condition.operator](value, condition.value)
    return (alike and value == condition.value) == (condition.operator == "=")


def parse(text: str) -> tuple[Condition, ...]:
    """Read conditions as people write them on a command line, with commas between them.

    A value is a number, true, false or null where it looks like one, and a text otherwise.
    Quotes, "…" as in JSON or '…' as it stands, make a text of anything, and a name of anything.
    """
    found, at, more = list[Condition](), 0, True
    while more:
        match = _CONDITION.match(text, at)
        if match is None:
            raise StoreError(
                "Expected conditions such as price<10, label=shoe or size='42'. Received "
                f"{text[at:]!r}: put names and values that hold commas, quotes or = ! < > in "
                "double quotes."
            )
        symbol, value = match["operator"].replace("==", "="), match["value"].strip()
        if _AND.search(value) and value[0] not in "'\"":
            raise StoreError(
                f"Expected a comma between two conditions. Received {text[at:]!r}: if it is one, "
                "put its value in double quotes."
            )
        name = _text(match["name"])
        found.append(Condition(name, cast(Operator, symbol), _value(value), typed=value))
        at, more = match.end(), bool(match["more"])
    return tuple(found)


def conditions(where: Where) -> tuple[Condition, ...]:
    """Read conditions in any of their forms, all of which must hold."""
    if isinstance(where, Mapping):
        return tuple(_of_mapping(where))
    if isinstance(where, Condition | str):
        return _of_item(where)
    if not isinstance(where, Iterable):
        raise StoreError(f"Expected conditions as a text, a mapping or a list. Received {where!r}.")
    return tuple(one for item in where for one in _of_item(item))


def texts(where: Where) -> list[str]:
    """Write conditions in any of their forms as texts, each of one."""
    return [str(each) for each in conditions(where)]


def _of_mapping(where: Mapping[str, Any]) -> Iterable[Condition]:
    for name, wanted in where.items():
        relations: Mapping[Any, Any] = wanted if isinstance(wanted, Mapping) else {"=": wanted}
        yield from (Condition(name, symbol, value) for symbol, value in relations.items())


def _of_item(item: Condition | str) -> tuple[Condition, ...]:
    if not isinstance(item, Condition | str):
        raise StoreError(f"Expected a condition, or a text such as 'price<10'. Received {item!r}.")
    return parse(item) if isinstance(item, str) else (item,)


def _value(text: str) -> Scalar:
    if text in _WORDS:
        return _WORDS[text]
    if _WHOLE.fullmatch(text):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else _text(text)


def _text(text: str) -> str:
    if text[:1] not in ("'", '"'):
        return text
    if re.fullmatch(_QUOTED, text, re.DOTALL):
        with suppress(json.JSONDecodeError):
            return text[1:-1] if text[0] == "'" else str(json.loads(text, strict=False))
    raise StoreError(f"Expected a closing quote, and nothing after it. Received {text!r}.")
