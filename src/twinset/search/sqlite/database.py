"""The SQLite file of a folder store: its format, its transactions, its rows, its errors."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset.errors import StoreError
from twinset.search.items import Items, Signature
from twinset.search.sqlite.vector_file import DamagedError
from twinset.search.store import missing, other_format
from twinset.search.where import Condition, Metadata, Scalar, kind

NAME = "items.sqlite"
FORMAT = 2
# Tells our files from those of others: "twin" in ASCII, where SQLite keeps a program's mark.
MARK = 0x7477696E
# Seconds that a writer waits for another.
PATIENCE = 10.0

_METADATA = """
CREATE TABLE facts (
    name TEXT NOT NULL, kind TEXT NOT NULL, value NOT NULL, position INTEGER NOT NULL,
    PRIMARY KEY (name, kind, value, position)
) WITHOUT ROWID
"""
_SCHEMA = (
    f"PRAGMA application_id = {MARK}",
    f"PRAGMA user_version = {FORMAT}",
    """CREATE TABLE state (
        identity TEXT NOT NULL, model TEXT NOT NULL, dim INTEGER NOT NULL, distance TEXT NOT NULL,
        generation INTEGER NOT NULL, rows INTEGER NOT NULL, dead INTEGER NOT NULL,
        change INTEGER NOT NULL
    )""",
    "CREATE TABLE items (position INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, metadata TEXT)",
    "CREATE TABLE dead (position INTEGER PRIMARY KEY)",
    _METADATA,
)


@dataclass(frozen=True)
class State:
    """What a store is at one moment."""

    identity: str  # random; another store in its place has another
    model: str  # digest of the model
    dim: int  # size of an embedding
    distance: str  # name of the distance
    generation: int  # number of the file of vectors
    rows: int  # how many of its rows are known; position p is row p
    dead: int  # how many of them are of removed items
    change: int  # number of the last change

    @property
    def signature(self) -> Signature:
        """What the store is bound to."""
        return Signature(self.model, self.dim, self.distance)


def make(path: Path, state: State) -> None:
    """Make a new file."""
    with told(path.parent):
        db = sqlite3.connect(path, isolation_level=None)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("BEGIN IMMEDIATE")
            for statement in _SCHEMA:
                db.execute(statement)
            db.execute("INSERT INTO state VALUES (?, ?, ?, ?, ?, ?, ?, ?)", astuple(state))
            db.execute("COMMIT")
        finally:
            db.close()


def connect(folder: Path) -> sqlite3.Connection:
    """Open the file of a store."""
    path = folder / NAME
    if not path.is_file():
        what = "no such folder" if not folder.exists() else "a folder of other things"
        raise missing(folder, "a file" if folder.is_file() else what)
    with told(folder):
        db = sqlite3.connect(
            f"{path.resolve().as_uri()}?{_mode(folder)}",  # drives and odd characters quoted
            uri=True,
            timeout=PATIENCE,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            mark, version = (
                db.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("application_id", "user_version")
            )
            if mark != MARK:
                raise StoreError(
                    f"There is no index at {folder}, but a database of another program."
                )
            if version != FORMAT:
                raise other_format(folder, FORMAT, version)
            for setting in ("synchronous = FULL", "cache_size = -65536", "temp_store = MEMORY"):
                db.execute(f"PRAGMA {setting}")
        except BaseException:
            db.close()
            raise
    return db


def read(db: sqlite3.Connection) -> State:
    """Read the state; in a transaction, it and all that follows is of one moment."""
    rows = db.execute("SELECT * FROM state").fetchall()
    if len(rows) != 1:
        raise sqlite3.DatabaseError("no state, or more than one")
    return State(*rows[0])


def write(db: sqlite3.Connection, state: State) -> None:
    """Write the state."""
    db.execute(
        "UPDATE state SET identity = ?, model = ?, dim = ?, distance = ?, generation = ?, "
        "rows = ?, dead = ?, change = ?",
        astuple(state),
    )


@contextmanager
def writing(db: sqlite3.Connection) -> Iterator[State]:
    """Do what is within whole or not at all, and nobody else meanwhile."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield read(db)
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


@contextmanager
def told(folder: Path) -> Iterator[None]:
    """Say in plain words what SQLite or the system could not do."""
    try:
        yield
    except sqlite3.Error as error:
        raise _in_words(folder, error) from error
    except OSError as error:
        raise StoreError(
            f"{folder}: the index could not be read or written: {error.strerror or error}. "
            "Nothing in it was changed."
        ) from error


def _in_words(folder: Path, error: sqlite3.Error) -> StoreError:
    # an extended code's name begins with that of its kind; errors of the module have none
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return StoreError(
            f"{folder}: another process has been writing to this index for {PATIENCE:.0f} s. "
            "Nothing was changed: try again when it is done."
        )
    if name.startswith(("SQLITE_FULL", "SQLITE_IOERR")):
        return StoreError(
            f"{folder}: the index could not be read or written: {error}. Nothing in it was changed."
        )
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return StoreError(f"{folder}: the index may not be opened or written: {error}.")
    return DamagedError(
        f"{folder}: the index is damaged ({error}). Restore it from a copy, or make it again."
    )


def _mode(folder: Path) -> str:
    if os.access(folder, os.W_OK):
        return "mode=rw"
    # SQLite would make files beside it; where nobody can write, it need not watch for writers
    return "mode=ro" if (folder / f"{NAME}-wal").exists() else "mode=ro&immutable=1"


# --- Rows: which id is where, what is known of it, what was removed.

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
