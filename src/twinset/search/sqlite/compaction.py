"""Items moved together where most rows are of removed ones."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np

from twinset.search.sqlite import vector_file
from twinset.search.sqlite.database import State

_ROWS = 8192


def compact(db: sqlite3.Connection, folder: Path, state: State) -> State:
    """Write the vectors of the items that are there into a new file, and number them anew.

    The old file stays for readers who have it mapped; it may be deleted after the transaction.

    Args:
        db: in a transaction.
        folder: of the store.
        state: before.

    Returns:
        The state afterwards.
    """
    found = db.execute("SELECT position FROM items ORDER BY position")
    live = np.fromiter((position for (position,) in found), np.int64)
    old = vector_file.mapped(vector_file.path_of(folder, state.generation), state.rows, state.dim)
    parts = (old[live[start : start + _ROWS]] for start in range(0, len(live), _ROWS))
    new = replace(state, generation=state.generation + 1, rows=len(live), dead=0)
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
