"""Rows of the SQLite file: which id is where, what is known of it, what was removed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset.search.items import Items
from twinset.search.sqlite import database as facts
from twinset.search.sqlite.database import State
from twinset.search.where import Metadata

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
    facts.insert(db, zip(at, items.metadata, strict=True))
    return replace(state, rows=at.stop)


def bury(db: sqlite3.Connection, state: State, at: Sequence[int]) -> State:
    """Remove items; their vectors stay where they are."""
    facts.delete(db, ((position, metadata) for position, (_, metadata) in known(db, at).items()))
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
