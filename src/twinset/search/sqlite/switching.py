"""A folder's switch to another model and back: tables renamed, all in one transaction.

SQLite promises one moment for one file only, so what was embedded beside is copied into the tables
of the index, and not left in a database of its own. Records are not touched.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from twinset.search.sqlite import database, vector_file
from twinset.search.sqlite.database import TABLES, State, before
from twinset.search.switchable import none_before

_ROWS = 65_536


@contextmanager
def attached(db: sqlite3.Connection, place: Path) -> Iterator[None]:
    """Have the store beside as `side`; not within a transaction, as SQLite wants it."""
    db.execute("ATTACH ? AS side", (str(place / database.NAME),))
    try:
        yield
    finally:
        db.execute("DETACH side")


def take(db: sqlite3.Connection, folder: Path, place: Path) -> State:
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
    database.write(db, state)
    return state


def go_back(db: sqlite3.Connection, folder: Path) -> State:
    """Exchange the items for those of the model before."""
    if not database.has_before(db):
        raise none_before(folder)
    for table in TABLES:
        for old, new in ((table, "away"), (before(table), table), ("away", before(table))):
            db.execute(f"ALTER TABLE {old} RENAME TO {new}")
    return database.read(db)


def alive(db: sqlite3.Connection) -> set[int]:
    """List the files of vectors in use, outside of a transaction."""
    return database.generations(db)
