"""Conditions in SQL, over jsonb: what `where.holds` says, to the letter."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from twinset.search.checked import Metadata, Scalar, kind
from twinset.search.where import Condition

if TYPE_CHECKING:
    from psycopg.sql import Composed


def sql_of(condition: Condition) -> tuple[Composed, list[Any]]:
    """Write a condition as SQL.

    Names and values travel as parameters, never as text of the statement. jsonb keeps the kinds
    apart and compares numbers exactly. It orders texts by the database's collation, though, so
    they are compared as texts, by code points.
    """
    from psycopg import sql

    value = sql.SQL("(metadata -> %s)")
    if condition.operator == "!=":  # holds for an item that lacks the name as well
        return value + sql.SQL(" IS DISTINCT FROM %s::jsonb"), [
            condition.name,
            scalar_json(condition.value),
        ]
    if condition.operator == "=":
        # through the whole object, as an index on it can serve (GIN, jsonb_path_ops)
        return sql.SQL("metadata @> %s::jsonb").format(), [
            mapping_json({condition.name: condition.value})
        ]
    symbol = sql.SQL(condition.operator)
    if kind(condition.value) == "text":
        text = sql.SQL(
            "(jsonb_typeof({value}) = 'string' AND (metadata ->> %s) COLLATE \"C\" {} %s)"
        )
        return text.format(symbol, value=value), [condition.name, condition.name, condition.value]
    number = sql.SQL("(jsonb_typeof({value}) = 'number' AND {value} {} %s::jsonb)")
    return number.format(symbol, value=value), [
        condition.name,
        condition.name,
        scalar_json(condition.value),
    ]


def mapping_json(metadata: Metadata) -> str:
    """Write metadata as JSON that comes back from jsonb as it was."""
    pairs = (f"{json.dumps(name)}: {scalar_json(value)}" for name, value in metadata.items())
    return "{" + ", ".join(pairs) + "}"


def scalar_json(value: Scalar) -> str:
    """Write one value as JSON.

    jsonb keeps the decimal digits of a number, and how many. So a whole float keeps its ".0", and
    is written with all its digits, so that it equals the integer that Python says it equals.
    """
    if isinstance(value, float) and value.is_integer():
        return f"{int(value)}.0"
    return json.dumps(value)
