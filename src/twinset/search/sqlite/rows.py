"""The rows of a folder store: which id is where, what is known, what was removed or switched."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from twinset.search.checked import Kind, Metadata, Scalar, kind
from twinset.search.items import Items
from twinset.search.paging import Column
from twinset.search.sqlite import vector_file
from twinset.search.sqlite.database import NAME, TABLES, State, before, has_before, read, write
from twinset.search.store import none_before
from twinset.search.where import Condition

# Texts or positions that one statement asks for, and vectors that are moved at a time.
_MANY = 10_000
_ROWS = 8192
# Changes that are noted: who has missed more reads all.
_LOGGED = 1000
# Metadata as a table that SQLite can ask: one row for each name of each item.
_Row = tuple[str, str, Scalar, int]


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


def page(db: sqlite3.Connection, offset: int, limit: int) -> list[tuple[str, Metadata]]:
    """Read id and metadata of some items, in order."""
    rows = db.execute(
        "SELECT id, metadata FROM items ORDER BY position LIMIT ? OFFSET ?", (limit, offset)
    )
    return [(id_, json.loads(text)) for id_, text in rows]


def columns(db: sqlite3.Connection, most: int) -> list[Column]:
    """List names, each with its kinds and different values."""
    # Each next name or value is one step down the tree of the table; DISTINCT would read all of it.
    found = []
    name = ""
    ask = "SELECT MIN(name) FROM facts WHERE name > ?"
    while (name := db.execute(ask, (name,)).fetchone()[0]) is not None:
        values: dict[Kind, list[Scalar]] = {}
        for each in get_args(Kind):
            many = _values(db, name, each, most - sum(map(len, values.values())))
            if many and each != "null":
                values[each] = [bool(one) for one in many] if each == "boolean" else many
        every = tuple(one for each in sorted(values) for one in values[each])
        found.append(Column(name, tuple(sorted(values)), every))
    return found


def _values(db: sqlite3.Connection, name: str, kind: Kind, most: int) -> list[Scalar]:
    found: list[Scalar] = []
    where = "FROM facts WHERE name = ? AND kind = ?"
    value = db.execute(f"SELECT MIN(value) {where}", (name, kind)).fetchone()[0]
    while value is not None and len(found) < most:
        found.append(value)
        asked = (name, kind, value)
        value = db.execute(f"SELECT MIN(value) {where} AND value > ?", asked).fetchone()[0]
    return found


def insert(db: sqlite3.Connection, state: State, items: Items) -> State:
    """Make items known, whose vectors are behind all others."""
    at = range(state.rows, state.rows + len(items))
    texts = map(_text, items.metadata)
    db.executemany("INSERT INTO items VALUES (?, ?, ?)", zip(at, items.ids, texts, strict=True))
    _learn(db, zip(at, items.metadata, strict=True))
    return replace(state, rows=at.stop)


def describe(db: sqlite3.Connection, at: Sequence[int], metadata: Sequence[Metadata]) -> None:
    """Put other metadata in the place of what is known of items."""
    _forget(db, at)
    pairs = zip(map(_text, metadata), at, strict=True)
    db.executemany("UPDATE items SET metadata = ? WHERE position = ?", pairs)
    _learn(db, zip(at, metadata, strict=True))


def _text(metadata: Metadata) -> str:
    return json.dumps(dict(metadata), ensure_ascii=False)


def _learn(db: sqlite3.Connection, items: Iterable[tuple[int, Metadata]]) -> None:
    # in the order of the table, which writes each of its pages once
    db.executemany("INSERT INTO facts VALUES (?, ?, ?, ?)", sorted(_facts(items)))


def _forget(db: sqlite3.Connection, at: Sequence[int]) -> None:
    facts = ((position, metadata) for position, (_, metadata) in known(db, at).items())
    db.executemany(
        "DELETE FROM facts WHERE name = ? AND kind = ? AND value = ? AND position = ?",
        _facts(facts),
    )


def bury(db: sqlite3.Connection, state: State, at: Sequence[int]) -> State:
    """Remove items; their vectors stay where they are."""
    _forget(db, at)
    which = [(position,) for position in at]
    db.executemany("DELETE FROM items WHERE position = ?", which)
    db.executemany("INSERT INTO dead VALUES (?)", which)
    return replace(state, dead=state.dead + len(at))


def dead(db: sqlite3.Connection) -> NDArray[np.int64]:
    """List the positions of removed items, ascending."""
    found = db.execute("SELECT position FROM dead ORDER BY position")
    return np.fromiter((position for (position,) in found), np.int64)


# --- What has changed of late, for who keeps something of all items.


def log(db: sqlite3.Connection, before: State, touched: Sequence[int]) -> None:
    """Note which items a change removes or changes, and where what it puts in begins."""
    text = json.dumps(list(touched)) if len(touched) <= _MANY else None
    entry = before.generation, before.change + 1, before.rows, text
    db.execute("INSERT OR REPLACE INTO changes VALUES (?, ?, ?, ?)", entry)
    old = before.generation, before.change + 1 - _LOGGED
    db.execute("DELETE FROM changes WHERE generation <> ? OR change <= ?", old)


def changed(db: sqlite3.Connection, state: State, version: str) -> tuple[int, list[int]] | None:
    """Find from where on items are new since a version, and which before were touched."""
    identity, _, change = version.rpartition("/")
    if identity != state.identity:
        return None
    if int(change) == state.change:
        return state.rows, []
    found = db.execute(
        "SELECT first, touched FROM changes WHERE generation = ? AND change > ? AND change <= ?",
        (state.generation, int(change), state.change),
    ).fetchall()
    # none may be missing, as those of long ago are
    if len(found) < state.change - int(change) or any(text is None for _, text in found):
        return None
    touched = {position for _, text in found for position in json.loads(text)}
    return min(first for first, _ in found), sorted(touched)


def there(db: sqlite3.Connection, first: int, touched: Sequence[int]) -> list[int]:
    """List the positions from one on that have an item, and which of those touched do."""
    new = db.execute("SELECT position FROM items WHERE position >= ?", (first,)).fetchall()
    old = db.execute(
        "SELECT position FROM items WHERE position IN (SELECT value FROM json_each(?))",
        (json.dumps(touched),),
    ).fetchall()
    return sorted({position for (position,) in old + new})


def record(db: sqlite3.Connection, kind: str, texts: Sequence[str]) -> None:
    """Append records."""
    rows = ((kind, text) for text in texts)
    db.executemany("INSERT INTO records (kind, entry) VALUES (?, ?)", rows)


def records(db: sqlite3.Connection, kind: str) -> list[str]:
    """Read records."""
    found = db.execute("SELECT entry FROM records WHERE kind = ? ORDER BY number", (kind,))
    return [text for (text,) in found]


def _parts(values: Sequence[Any]) -> Iterator[str]:
    for start in range(0, len(values), _MANY):
        yield json.dumps(values[start : start + _MANY], ensure_ascii=False)


def chosen(db: sqlite3.Connection, conditions: Sequence[Condition], rows: int) -> NDArray[np.int64]:
    """Find the items for which all conditions hold."""
    keep = np.ones(rows, bool)
    keep[dead(db)] = False  # which != alone would keep
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


def compact(db: sqlite3.Connection, folder: Path, state: State) -> State:
    """Write the vectors of the items that are there into a new file, and number them anew.

    The old file stays for readers who have it mapped; it may be deleted after the transaction.
    """
    found = db.execute("SELECT position FROM items ORDER BY position")
    live = np.fromiter((position for (position,) in found), np.int64)
    old = vector_file.mapped(vector_file.path_of(folder, state.generation), state.rows, state.dim)
    parts = (old[live[start : start + _ROWS]] for start in range(0, len(live), _ROWS))
    new = replace(state, generation=vector_file.following(folder), rows=len(live), dead=0)
    vector_file.create(vector_file.path_of(folder, new.generation), parts)
    db.execute("CREATE TEMP TABLE moved (old INTEGER PRIMARY KEY, new INTEGER)")
    db.executemany(
        "INSERT INTO moved VALUES (?, ?)",
        ((before, now) for now, before in enumerate(live.tolist())),
    )
    for table in ("items", "facts"):
        # in two steps, by way of negative numbers: a number may be taken still
        db.execute(
            f"UPDATE {table} SET position = (SELECT -1 - new FROM moved WHERE old = position)"
        )
        db.execute(f"UPDATE {table} SET position = -1 - position")
    db.execute("DROP TABLE moved")
    db.execute("DELETE FROM dead")
    return new


# --- Another model. SQLite promises one moment for one file only, so what was embedded beside is
# copied into the tables of the index, and not left in a database of its own. Records stay.


@contextmanager
def attached(db: sqlite3.Connection, place: Path) -> Iterator[None]:
    """Have the store beside as `side`; not within a transaction, as SQLite wants it."""
    db.execute("ATTACH ? AS side", (str(place / NAME),))
    try:
        yield
    finally:
        db.execute("DETACH side")


def take_over(db: sqlite3.Connection, folder: Path, place: Path) -> State:
    """Put the items beside in the place of one's own, which become those before."""
    side = State(*db.execute("SELECT * FROM side.state").fetchone())
    state = replace(side, generation=vector_file.following(folder))
    source = vector_file.path_of(place, side.generation)
    vectors = vector_file.mapped(source, side.rows, side.dim)
    parts = (vectors[start : start + _ROWS] for start in range(0, side.rows, _ROWS))
    vector_file.create(vector_file.path_of(folder, state.generation), parts)
    del vectors, parts
    for table, schema in TABLES.items():
        db.execute(f"DROP TABLE IF EXISTS {before(table)}")
        db.execute(f"ALTER TABLE {table} RENAME TO {before(table)}")
        db.execute(schema)
        db.execute(f"INSERT INTO main.{table} SELECT * FROM side.{table}")
    write(db, state)
    return state


def go_back(db: sqlite3.Connection, folder: Path) -> State:
    """Exchange the items for those of the model before."""
    if not has_before(db):
        raise none_before(folder)
    for table in TABLES:
        for old, new in ((table, "away"), (before(table), table), ("away", before(table))):
            db.execute(f"ALTER TABLE {old} RENAME TO {new}")
    return read(db)
