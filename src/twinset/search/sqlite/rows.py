"""Rows of the SQLite file: which id is where, what is known of it, what was removed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset.search.items import Items
from twinset.search.sqlite.database import State
from twinset.search.where import Condition, Metadata, Scalar, kind

# Texts or positions that one statement asks for.
_MANY = 10_000


def positions(db: sqlite3.Connection, ids: Sequence[str]) -> dict[str, int]:
    """Find the positions of those ids that are there."""
    statement = (
        "SELECT id, position FROM items WHERE id IN (SELECT value FROM json_each(?)) "
        "ORDER BY position"
    )
    return dict(row for part in _parts(ids) for row in db.execute(statement, (part,)))


def known(db: sqlite3.Connection, at: Sequence[int]) -> dict[int, tuple[str, Metadata]]:
    """Read id and metadata of positions."""
    statement = (
        "SELECT position, id, metadata FROM items "
        "WHERE position IN (SELECT value FROM json_each(?))"
    )
    found = {
        position: (id_, json.loads(text))
        for part in _parts(sorted(set(at)))
        for position, id_, text in db.execute(statement, (part,))
    }
    if missing := set(at) - found.keys():
        raise sqlite3.DatabaseError(f"row {min(missing)} has no item")
    return found


def after(db: sqlite3.Connection, last: int, count: int) -> list[tuple[int, str, Metadata]]:
    """Read position, id and metadata of the next items."""
    rows = db.execute(
        "SELECT position, id, metadata FROM items WHERE position > ? ORDER BY position LIMIT ?",
        (last, count),
    )
    return [(position, id_, json.loads(text)) for position, id_, text in rows]


def insert(db: sqlite3.Connection, state: State, items: Items) -> State:
    """Make items known, whose vectors are behind all others."""
    at = range(state.rows, state.rows + len(items))
    texts = (json.dumps(dict(one), ensure_ascii=False) for one in items.metadata)
    db.executemany("INSERT INTO items VALUES (?, ?, ?)", zip(at, items.ids, texts, strict=True))
    _insert_facts(db, zip(at, items.metadata, strict=True))
    return replace(state, rows=at.stop)


def bury(db: sqlite3.Connection, state: State, at: Sequence[int]) -> State:
    """Remove items; their vectors stay where they are."""
    facts = ((position, metadata) for position, (_, metadata) in known(db, at).items())
    db.executemany(
        "DELETE FROM facts WHERE name = ? AND kind = ? AND value = ? AND position = ?",
        _facts(facts),
    )
    which = [(position,) for position in at]
    db.executemany("DELETE FROM items WHERE position = ?", which)
    db.executemany("INSERT INTO dead VALUES (?)", which)
    return replace(state, dead=state.dead + len(at))


def dead(db: sqlite3.Connection) -> NDArray[np.int64]:
    """List the positions of removed items, ascending."""
    found = db.execute("SELECT position FROM dead ORDER BY position")
    return np.fromiter((position for (position,) in found), np.int64)


def _parts(values: Sequence[Any]) -> Iterator[str]:
    for start in range(0, len(values), _MANY):
        yield json.dumps(values[start : start + _MANY], ensure_ascii=False)


# --- Metadata as a table that SQLite can ask: one row for each name of each item.

_Row = tuple[str, str, Scalar, int]


def _insert_facts(db: sqlite3.Connection, items: Iterable[tuple[int, Metadata]]) -> None:
    # in the order of the table, which writes each of its pages once
    rows = sorted(
        _facts(items), key=lambda row: (row[0], row[1], isinstance(row[2], str), row[2], row[3])
    )
    db.executemany("INSERT INTO facts VALUES (?, ?, ?, ?)", rows)


def chosen(db: sqlite3.Connection, conditions: Sequence[Condition], rows: int) -> NDArray[np.int64]:
    """Find the items for which all conditions hold."""
    keep = np.ones(rows, bool)
    for condition in conditions:
        symbol = "=" if condition.operator == "!=" else condition.operator
        found = db.execute(
            f"SELECT position FROM facts WHERE name = ? AND kind = ? AND value {symbol} ?",
            (condition.name, kind(condition.value), _stored(condition.value)),
        )
        holds = np.zeros(rows, bool)
        holds[np.fromiter((position for (position,) in found), np.int64)] = True
        keep &= ~holds if condition.operator == "!=" else holds
    return np.flatnonzero(keep)


def _facts(items: Iterable[tuple[int, Metadata]]) -> Iterable[_Row]:
    return (
        (name, kind(value), _stored(value), position)
        for position, known in items
        for name, value in known.items()
    )


def _stored(value: Scalar) -> str | int | float:
    return 0 if value is None else value
