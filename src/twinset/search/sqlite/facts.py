"""Metadata as a table that SQLite can ask: one row for each name of each item.

Not its JSON functions: their paths cannot name a name that holds a quote, and they round numbers.
Here names and values are bound parameters, of the very bits that came in.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from twinset.search.metadata import Metadata, Scalar, kind
from twinset.search.where import Condition

SCHEMA = """
CREATE TABLE facts (
    name TEXT NOT NULL, kind TEXT NOT NULL, value NOT NULL, position INTEGER NOT NULL,
    PRIMARY KEY (name, kind, value, position)
) WITHOUT ROWID
"""
_FOUND_BY = {"=": "=", "!=": "="} | {sign: sign for sign in ("<", "<=", ">", ">=")}

_Row = tuple[str, str, Scalar, int]


def insert(db: sqlite3.Connection, items: Iterable[tuple[int, Metadata]]) -> None:
    """Write down what is known of items.

    Args:
        db: in a transaction.
        items: position and metadata of each.
    """
    # in the order of the table, which writes each of its pages once
    rows = sorted(
        _rows(items), key=lambda row: (row[0], row[1], isinstance(row[2], str), row[2], row[3])
    )
    db.executemany("INSERT INTO facts VALUES (?, ?, ?, ?)", rows)


def delete(db: sqlite3.Connection, items: Iterable[tuple[int, Metadata]]) -> None:
    """Forget what is known of items.

    Args:
        db: in a transaction.
        items: position and metadata of each, as they were written.
    """
    db.executemany(
        "DELETE FROM facts WHERE name = ? AND kind = ? AND value = ? AND position = ?",
        _rows(items),
    )


def positions(
    db: sqlite3.Connection, conditions: Sequence[Condition], rows: int
) -> NDArray[np.int64]:
    """Find the items for which all conditions hold.

    Args:
        db: in a transaction.
        conditions: one or more.
        rows: number of positions, of which some may be of removed items.

    Returns:
        Ascending positions; among them may be those of removed items.
    """
    keep = np.ones(rows, bool)
    for condition in conditions:
        sign = _FOUND_BY[condition.operator]
        found = db.execute(
            f"SELECT position FROM facts WHERE name = ? AND kind = ? AND value {sign} ?",
            (condition.name, kind(condition.value), _stored(condition.value)),
        )
        holds = np.zeros(rows, bool)
        holds[np.fromiter((position for (position,) in found), np.int64)] = True
        keep &= ~holds if condition.operator == "!=" else holds
    return np.flatnonzero(keep)


def _rows(items: Iterable[tuple[int, Metadata]]) -> Iterable[_Row]:
    return (
        (name, kind(value), _stored(value), position)
        for position, known in items
        for name, value in known.items()
    )


def _stored(value: Scalar) -> str | int | float:
    return 0 if value is None else value
