"""The indexes of a Postgres database: how it is reached, and which there are."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from twinset.errors import StoreError, require
from twinset.search.items import Signature
from twinset.search.layout import FLOAT16, FLOAT32, Layout, taken_from, timeout_from
from twinset.search.store import missing, none_before, other_format, replaced, taken

if TYPE_CHECKING:
    from psycopg import Connection, Cursor

# Of the tables that an index is kept in; raised when older versions could not read them.
FORMAT = 3
# Seconds that a call waits for other writers, or for a server that is gone to come back.
PATIENCE = 30
# What an index is called while it is filled for a switch, and once another has taken its place.
NEXT, BEFORE = "{} (next)", "{} (before)"
_MOVING = "{} (moving)"

_CATALOGUE = """
CREATE TABLE IF NOT EXISTS twinset_indexes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE,
    format integer NOT NULL,
    model text NOT NULL,
    dim integer NOT NULL,
    approximation jsonb,
    layout jsonb NOT NULL
)
"""

# Which writing calls are done, for those that lost their connection before they heard of it. The
# number of a transaction would not do: after a crash Postgres may give it to another. And which
# index each one changed: every change leaves other calls here, by which it is noticed.
_CALLS = """
CREATE TABLE IF NOT EXISTS twinset_calls (
    call bigint PRIMARY KEY,
    id bigint,
    at timestamptz NOT NULL DEFAULT now()
)
"""

# Of all indexes. One that is dropped takes its own along.
_RECORDS = """
CREATE TABLE IF NOT EXISTS twinset_records (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id bigint NOT NULL REFERENCES twinset_indexes ON DELETE CASCADE,
    kind text NOT NULL,
    entry text NOT NULL
)
"""


@dataclass(frozen=True)
class Address:
    """Where an index is."""

    database: str  # what libpq takes, password included: never to be shown
    index: str  # the index's name
    shown: str  # the address without its password
    layout: Layout  # what was asked for in the URL
    timeout: float  # seconds that a call waits

    @property
    def lock_timeout(self) -> str:
        """The statement by which a transaction waits for others no longer than that."""
        return f"SET LOCAL lock_timeout = {max(1, round(1000 * self.timeout))}"


class UnreachableError(StoreError):
    """A database to which there is no connection now."""


def address(url: str) -> Address:
    """Read the URL of an index."""
    try:
        parts = urlsplit(url)
        options = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError as error:
        raise StoreError(f"Expected postgresql://user@host/database?index=NAME: {error}.") from None
    names = [value for name, value in options if name == "index"]
    rest = {name: value for name, value in options if name != "index"}
    user, at, host = parts.netloc.rpartition("@")
    server = user.partition(":")[0] + at + host
    index = "".join(f"index={name}" for name in names[:1])
    shown = urlunsplit(("postgresql", server, parts.path, index, ""))
    if len(names) != 1 or not names[0] or "\0" in names[0]:
        raise StoreError(
            f"Expected the name of one index, postgresql://…/database?index=NAME. Received {shown}."
        )
    layout = taken_from(rest, (FLOAT32, FLOAT16), shown)
    timeout = timeout_from(rest, PATIENCE, shown)
    query = urlencode(rest, quote_via=quote)
    database = urlunsplit(("postgresql", parts.netloc, parts.path, query, ""))
    return Address(database, names[0], shown, layout, timeout)


def connect(place: Address) -> Connection[Any]:
    """Reach a database."""
    for package in ("psycopg", "pgvector"):  # told now, before anything is done
        require(package, "postgres", "indexes in Postgres", StoreError, place.shown)
    import psycopg

    # Else a call to a machine that is off the network hangs for hours.
    waiting: dict[str, Any] = {
        "connect_timeout": max(2, min(10, round(place.timeout))),
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": round(1000 * place.timeout),
        "application_name": "twinset",
    }
    try:
        asked = waiting | psycopg.conninfo.conninfo_to_dict(place.database)
        # A pool between us and the server may not keep what is prepared: see `at_once`.
        return psycopg.connect(**asked, autocommit=True, prepare_threshold=None)
    except psycopg.Error as error:
        raise unreachable(place, error) from None


def unreachable(place: Address, error: Exception) -> UnreachableError:
    """Make the error for a database to which there is no connection."""
    return UnreachableError(
        f"Cannot connect to {place.shown}: {one_line(error)}. Is the server running, and are "
        "user, password and database right?"
    )


def one_line(error: Exception) -> str:
    """Return what a server said, on one line."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


@contextmanager
def told(place: Address) -> Iterator[None]:
    """Turn what a server refuses into errors that say what to do."""
    import psycopg
    from psycopg import errors

    try:
        yield
    except (errors.UndefinedTable, errors.UndefinedColumn):
        raise replaced(place.shown) from None
    except errors.LockNotAvailable:
        raise StoreError(
            f"Others have held {place.shown} for {place.timeout:g} s. Nothing was changed: try "
            "again when they are done, or wait longer with timeout=SECONDS in the URL."
        ) from None
    except errors.InsufficientPrivilege as error:
        raise StoreError(
            f"The database refuses access to {place.shown}: {one_line(error)}. Ask whoever runs it "
            "for the privilege."
        ) from None
    except psycopg.OperationalError as error:
        raise StoreError(
            f"No answer from {place.shown}: {one_line(error)}. Try again, as the next call "
            "connects anew. What was being written is there whole or not at all."
        ) from None
    except psycopg.Error as error:
        raise StoreError(f"{place.shown}: the database refused: {one_line(error)}.") from None


def ready(cursor: Cursor[Any], place: Address, signature: Signature, overwrite: bool) -> int:
    """Put an index into the catalogue, having made what is missing: pgvector, the catalogue."""
    cursor.execute(place.lock_timeout.encode())
    # Two that create at once would both find nothing, and one would fail on the other's.
    cursor.execute("SELECT pg_advisory_xact_lock(hashtext('twinset_indexes'))")
    _make_extension(cursor, place)
    for table in (_CATALOGUE, _CALLS, _RECORDS):
        cursor.execute(table)
    # each writer takes its own away but for the last
    cursor.execute("DELETE FROM twinset_calls WHERE id IS NULL AND at < now() - interval '1 day'")
    if drop(cursor, place.index) and not overwrite:
        raise taken(place.shown, "name")  # the transaction, and so the deletion, is undone
    for other in (NEXT, BEFORE):  # they are of what was here
        drop(cursor, other.format(place.index))
    cursor.execute(
        "INSERT INTO twinset_indexes (name, format, model, dim, layout) "
        "VALUES (%s, %s, %s, %s, %s::jsonb) RETURNING id",
        [
            *(place.index, FORMAT, signature.model, signature.dim),
            json.dumps(place.layout.filled().parameters()),
        ],
    )
    row = cursor.fetchone()
    assert row is not None
    return int(row[0])


def drop(cursor: Cursor[Any], name: str) -> bool:
    """Drop an index, if there is one of this name, and tell so; within a transaction."""
    cursor.execute("DELETE FROM twinset_indexes WHERE name = %s RETURNING id", [name])
    if (old := cursor.fetchone()) is None:
        return False
    cursor.execute("DELETE FROM twinset_calls WHERE id = %s", [old[0]])
    cursor.execute(f"DROP TABLE {table_name(old[0])}".encode())
    return True


def find(connection: Connection[Any], place: Address) -> tuple[int, Signature, Layout]:
    """Look an index up."""
    known: list[str] = []
    if connection.execute("SELECT to_regclass('twinset_indexes')").fetchone() != (None,):
        found = named(connection.cursor(), place)
        if found is not None:
            place.layout.check_kept(found[2], place.shown)
            return found
        # without those that a switch fills and keeps
        rows = connection.execute(
            "SELECT name FROM twinset_indexes WHERE name !~ ' [(](next|before)[)]$' "
            "ORDER BY name LIMIT 10"
        )
        known = [repr(name) for (name,) in rows]
    raise missing(place.shown, f"this database has {', '.join(known) or 'none'}")


def named(cursor: Cursor[Any], place: Address) -> tuple[int, Signature, Layout] | None:
    """Read what the catalogue says of the index of this name."""
    cursor.execute(
        "SELECT format, id, layout, model, dim FROM twinset_indexes WHERE name = %s",
        [place.index],
    )
    row = cursor.fetchone()
    if row is None:
        return None
    kept, number, layout, *signature = row
    if kept != FORMAT:
        raise other_format(place.shown, FORMAT, kept)
    return number, Signature(*signature), taken_from(layout, (FLOAT32, FLOAT16), place.shown)


def record(cursor: Cursor[Any], number: int, kind: str, texts: Sequence[str]) -> None:
    """Append records of an index."""
    cursor.execute(
        # in the order of the list, which unnest alone does not promise
        "INSERT INTO twinset_records (id, kind, entry) SELECT %s, %s, entry "
        "FROM unnest(%s::text[]) WITH ORDINALITY AS given (entry, place) ORDER BY place",
        [number, kind, list(texts)],
    )


def records(cursor: Cursor[Any], number: int, kind: str) -> list[str]:
    """Read records of an index."""
    cursor.execute(
        "SELECT entry FROM twinset_records WHERE id = %s AND kind = %s ORDER BY number",
        [number, kind],
    )
    return [text for (text,) in cursor]


def register(connection: Connection[Any]) -> None:
    """Let a connection know pgvector's type."""
    from pgvector.psycopg import register_vector

    register_vector(connection)


def table_name(number: int) -> str:
    """Name the table of an index: by number, as names of indexes may be long or change."""
    return f"twinset_items_{number}"


def _make_extension(cursor: Cursor[Any], place: Address) -> None:
    from psycopg import errors

    cursor.execute("SELECT 1 FROM pg_extension WHERE extname = 'vector'")
    if cursor.fetchone() is not None:
        return
    try:
        cursor.execute("CREATE EXTENSION vector")
    except errors.InsufficientPrivilege:
        raise StoreError(
            f"The database of {place.shown} lacks the extension pgvector, and this user may not "
            "make it. Let a superuser run CREATE EXTENSION vector there."
        ) from None
    except (errors.UndefinedFile, errors.FeatureNotSupported):
        raise StoreError(
            f"The server of {place.shown} has no pgvector. Install it there "
            "(https://github.com/pgvector/pgvector), then try again."
        ) from None


# --- Another model: rows of the catalogue exchange their names.


def beside(place: Address, layout: Layout) -> str:
    """Return the URL of the index that the next model fills, kept like this one."""
    parts = urlsplit(place.database)
    own = {"index": NEXT.format(place.index), "timeout": f"{place.timeout:g}"}
    name = urlencode(own | layout.parameters(), quote_via=quote)
    query = f"{parts.query}&{name}" if parts.query else name
    return urlunsplit(("postgresql", parts.netloc, parts.path, query, ""))


def take(cursor: Cursor[Any], place: Address, number: int) -> tuple[int, Signature, Layout]:
    """Give the name and the records of an index to the one beside; within one transaction."""
    before = BEFORE.format(place.index)
    drop(cursor, before)
    _rename(cursor, place.index, before)
    return _follow(cursor, place, number, NEXT.format(place.index))


def go_back(cursor: Cursor[Any], place: Address, number: int) -> tuple[int, Signature, Layout]:
    """Exchange an index and the one before it; within one transaction."""
    before, moving = BEFORE.format(place.index), _MOVING.format(place.index)
    cursor.execute("SELECT 1 FROM twinset_indexes WHERE name = %s", [before])
    if cursor.fetchone() is None:
        raise none_before(place.shown)
    _rename(cursor, place.index, moving)
    found = _follow(cursor, place, number, before)
    _rename(cursor, moving, before)
    return found


def _rename(cursor: Cursor[Any], name: str, to: str) -> None:
    cursor.execute("UPDATE twinset_indexes SET name = %s WHERE name = %s", [to, name])


def _follow(
    cursor: Cursor[Any], place: Address, number: int, other: str
) -> tuple[int, Signature, Layout]:
    _rename(cursor, other, place.index)
    found = named(cursor, place)
    assert found is not None, "made, and locked by nobody else"
    cursor.execute("UPDATE twinset_records SET id = %s WHERE id = %s", [found[0], number])
    return found
