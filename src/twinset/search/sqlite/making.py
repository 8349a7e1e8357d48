"""A new store's folder, there whole or not at all."""

from __future__ import annotations

import os
import shutil
import sqlite3
from dataclasses import astuple, replace
from pathlib import Path

from twinset.errors import StoreError
from twinset.search.items import Signature
from twinset.search.sqlite import database, vector_file
from twinset.search.sqlite.database import State, told
from twinset.search.sqlite.vector_file import DamagedError
from twinset.search.store import taken

_TABLES = ("items", "dead", "facts")
_SCHEMA = (
    f"PRAGMA application_id = {database.MARK}",
    f"PRAGMA user_version = {database.FORMAT}",
    *database.TABLES.values(),
)


def make(folder: Path, signature: Signature, *, overwrite: bool) -> None:
    """Make a new, empty store."""
    with told(folder):
        if folder.is_dir() and _remains(folder):
            if not overwrite:
                raise taken(folder, "place")
            try:
                with told(folder):
                    _reset(folder, signature)
            except DamagedError:
                _replace_damaged(folder, signature)
            return
        if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
            if folder.is_dir() and _remains(folder):  # made since the look above
                raise taken(folder, "place")
            raise StoreError(f"{folder} is there and is no index. Choose another place.")
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = _draft(folder, signature)
        try:
            try:
                if folder.is_dir():  # an empty one, which Windows would not rename another to
                    folder.rmdir()
                draft.rename(folder)
            except OSError:
                if folder.is_dir() and _remains(folder):  # another process has made one meanwhile
                    raise taken(folder, "place") from None
                raise
            vector_file.sync_folder(folder.parent)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def _draft(folder: Path, signature: Signature) -> Path:
    # Make a store beside its place: a rename is atomic within one file system only.
    draft = folder.with_name(f".{folder.name}.{os.urandom(8).hex()}.tmp")
    try:
        draft.mkdir()
        vector_file.create(vector_file.path_of(draft, 0))
        _write_database(draft / database.NAME, _first(signature))
        vector_file.sync_folder(draft)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return draft


def _write_database(path: Path, state: State) -> None:
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


def _first(signature: Signature, generation: int = 0) -> State:
    return State(
        identity=os.urandom(16).hex(),
        model=signature.model,
        dim=signature.dim,
        distance=signature.distance,
        generation=generation,
        rows=0,
        dead=0,
        change=0,
    )


def _remains(folder: Path) -> bool:
    return (folder / database.NAME).exists() or bool(vector_file.generations(folder))


def _reset(folder: Path, signature: Signature) -> None:
    # Empty a store in one transaction.
    # Those who have it open see another identity at their next call, and say so.
    if not (folder / database.NAME).exists():
        raise DamagedError("vectors without a database")
    db = database.connect(folder)
    try:
        with database.writing(db) as state:
            vector_file.sweep(folder, database.generations(db))
            new = _first(signature, vector_file.following(folder))
            vector_file.create(vector_file.path_of(folder, new.generation))
            for table in _TABLES:
                db.execute(f"DELETE FROM {table}")
            for table in ("records", *map(database.before, database.TABLES)):
                db.execute(f"DROP TABLE IF EXISTS {table}")
            database.write(db, replace(new, change=state.change + 1))
            alive = database.generations(db)
        vector_file.sweep(folder, alive)
    finally:
        db.close()


def _replace_damaged(folder: Path, signature: Signature) -> None:
    draft = _draft(folder, signature)
    try:
        for ending in ("", "-wal", "-shm"):
            (folder / f"{database.NAME}{ending}").unlink(missing_ok=True)
        vector_file.sweep(folder, set())
        # the database last, as it makes the rest known
        for file in sorted(draft.iterdir(), reverse=True):
            file.replace(folder / file.name)
        vector_file.sync_folder(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
