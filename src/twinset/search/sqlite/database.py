"""The SQLite file of a folder store: its format, transactions and errors, and how it is made."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, replace
from pathlib import Path

from twinset.errors import StoreError
from twinset.search.items import Signature
from twinset.search.sqlite import vector_file
from twinset.search.sqlite.vector_file import DamagedError
from twinset.search.store import missing, other_format, taken

NAME = "items.sqlite"
FORMAT = 3
# Tells our files from those of others: "twin" in ASCII, where SQLite keeps a program's mark.
MARK = 0x7477696E
# What stays when an index is switched to another model.
KEPT = {
    "records": "CREATE TABLE records "
    "(number INTEGER PRIMARY KEY, kind TEXT NOT NULL, entry TEXT NOT NULL)",
    "changes": """CREATE TABLE changes (
        generation INTEGER NOT NULL, change INTEGER NOT NULL, first INTEGER NOT NULL, touched TEXT,
        PRIMARY KEY (generation, change)
    ) WITHOUT ROWID""",
}
# What is at one moment of one model; `state` has one row. A switch to another model renames them.
TABLES = {
    "state": """CREATE TABLE state (
        identity TEXT NOT NULL, model TEXT NOT NULL, dim INTEGER NOT NULL,
        generation INTEGER NOT NULL, rows INTEGER NOT NULL, dead INTEGER NOT NULL,
        change INTEGER NOT NULL
    )""",
    "items": "CREATE TABLE items "
    "(position INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, metadata TEXT)",
    "dead": "CREATE TABLE dead (position INTEGER PRIMARY KEY)",
    "facts": """CREATE TABLE facts (
        name TEXT NOT NULL, kind TEXT NOT NULL, value NOT NULL, position INTEGER NOT NULL,
        PRIMARY KEY (name, kind, value, position)
    ) WITHOUT ROWID""",
}
# Seconds that a writer waits for another.
PATIENCE = 10.0


@dataclass(frozen=True)
class State:
    """What a store is at one moment."""

    identity: str  # random; another store in its place has another
    model: str  # digest of the model
    dim: int  # size of an embedding
    generation: int  # number of the file of vectors
    rows: int  # how many of its rows are known; position p is row p
    dead: int  # how many of them are of removed items
    change: int  # number of the last change

    @property
    def version(self) -> str:
        """A text that is another one after each change."""
        return f"{self.identity}/{self.change}"

    @property
    def signature(self) -> Signature:
        """What the store is bound to."""
        return Signature(self.model, self.dim)


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


def file_at(folder: Path) -> tuple[int, int] | None:
    """Return what tells the file of a store from one that takes its place; None for no file."""
    try:
        found = (folder / NAME).stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def read(db: sqlite3.Connection) -> State:
    """Read the state; in a transaction, it and all that follows is of one moment."""
    rows = db.execute("SELECT * FROM state").fetchall()
    if len(rows) != 1:
        raise sqlite3.DatabaseError("no state, or more than one")
    return State(*rows[0])


def write(db: sqlite3.Connection, state: State) -> None:
    """Write the state."""
    db.execute(
        "UPDATE state SET identity = ?, model = ?, dim = ?, generation = ?, "
        "rows = ?, dead = ?, change = ?",
        astuple(state),
    )


def before(table: str) -> str:
    """Name the table of the model before, which a switch has left."""
    return f"before_{table}"


def has_before(db: sqlite3.Connection) -> bool:
    """Tell whether there is a model before, to which one can go back."""
    found = db.execute("SELECT 1 FROM sqlite_master WHERE name = 'before_state'").fetchone()
    return found is not None


def generations(db: sqlite3.Connection) -> set[int]:
    """List the files of vectors that are in use: of this model, and of the one before."""
    tables = ["state", *(["before_state"] if has_before(db) else [])]
    return {db.execute(f"SELECT generation FROM {each}").fetchone()[0] for each in tables}


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
    except PermissionError as error:
        raise _not_writable(folder, error.strerror) from error
    except OSError as error:
        raise StoreError(
            f"{folder}: the index could not be read or written: {error.strerror or error}. "
            "Nothing in it was changed."
        ) from error


def _not_writable(folder: Path, reason: object) -> StoreError:
    return StoreError(
        f"{folder}: the index may not be opened or written: {reason}. To change it takes the right "
        "to write to its folder and to all that is in it; to search, the right to read."
    )


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
        return _not_writable(folder, error)
    return DamagedError(
        f"{folder}: the index is damaged ({error}). Restore it from a copy, or make it again."
    )


def _mode(folder: Path) -> str:
    if os.access(folder, os.W_OK):
        return "mode=rw"
    # SQLite would make files beside it; where nobody can write, it need not watch for writers
    return "mode=ro" if (folder / f"{NAME}-wal").exists() else "mode=ro&immutable=1"


# --- A new store's folder, there whole or not at all.


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
        _write_new(draft / NAME, _first(signature))
        vector_file.sync_folder(draft)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return draft


def _write_new(path: Path, state: State) -> None:
    db = sqlite3.connect(path, isolation_level=None)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("BEGIN IMMEDIATE")
        db.execute(f"PRAGMA application_id = {MARK}")
        db.execute(f"PRAGMA user_version = {FORMAT}")
        for schema in (*KEPT.values(), *TABLES.values()):
            db.execute(schema)
        db.execute("INSERT INTO state VALUES (?, ?, ?, ?, ?, ?, ?)", astuple(state))
        db.execute("COMMIT")
    finally:
        db.close()


def _first(signature: Signature, generation: int = 0) -> State:
    return State(os.urandom(16).hex(), signature.model, signature.dim, generation, 0, 0, 0)


def _remains(folder: Path) -> bool:
    return (folder / NAME).exists() or bool(vector_file.generations(folder))


def _reset(folder: Path, signature: Signature) -> None:
    # Empty a store in one transaction.
    # Those who have it open see another identity at their next call, and say so.
    if not (folder / NAME).exists():
        raise DamagedError("vectors without a database")
    db = connect(folder)
    try:
        with writing(db) as state:
            vector_file.sweep(folder, generations(db))
            new = _first(signature, vector_file.following(folder))
            vector_file.create(vector_file.path_of(folder, new.generation))
            for table in (*KEPT, *(TABLES.keys() - {"state"})):
                db.execute(f"DELETE FROM {table}")
            for table in map(before, TABLES):
                db.execute(f"DROP TABLE IF EXISTS {table}")
            write(db, replace(new, change=state.change + 1))
            alive = generations(db)
        vector_file.sweep(folder, alive)
    finally:
        db.close()


def _replace_damaged(folder: Path, signature: Signature) -> None:
    draft = _draft(folder, signature)
    try:
        for ending in ("", "-wal", "-shm"):
            (folder / f"{NAME}{ending}").unlink(missing_ok=True)
        vector_file.sweep(folder, set())
        # the database last, as it makes the rest known
        for file in sorted(draft.iterdir(), reverse=True):
            file.replace(folder / file.name)
        vector_file.sync_folder(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
