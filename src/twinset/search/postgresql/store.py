"""An index in a Postgres database: a table of its own, searched by pgvector."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Self

from twinset.search.connections import Connections
from twinset.search.items import Approximation, Items, Neighbour, Signature
from twinset.search.postgresql import hnsw, switching
from twinset.search.postgresql.catalogue import (
    PATIENCE,
    Address,
    address,
    connect,
    find,
    ready,
    record,
    records,
    register,
    told,
)
from twinset.search.postgresql.table import COLUMNS, Table, mapping_json, value
from twinset.search.store import Request, Store, known_ids, replaced, unknown_ids

if TYPE_CHECKING:
    from psycopg import Connection, Cursor


class PostgresStore(Store):
    """Items in a table of a Postgres database, changed in transactions, searched by pgvector.

    Exact search reads the whole table; `build_approximate` adds an HNSW index, which the server
    keeps up to date. Writers of one index wait for each other; readers wait for nobody. Threads
    may share a store.
    """

    largest_dim = 16_000, "pgvector"

    def __init__(
        self, place: Address, number: int, signature: Signature, connection: Connection[Any]
    ) -> None:
        self.signature = signature
        self._place = place
        self._table = Table(number, signature.dim)
        self._connections = Connections(self._connect, connection)

    @classmethod
    def open(cls, url: str) -> Self:
        """Open a store that is there; see `open_store`."""
        place = address(url)
        with ExitStack() as undo:
            connection = connect(place)
            undo.callback(connection.close)
            with told(place):
                number, signature = find(connection, place)
                register(connection)
            undo.pop_all()
        return cls(place, number, signature, connection)

    @classmethod
    def create(cls, url: str, signature: Signature, *, overwrite: bool = False) -> Self:
        """Make a new, empty store; see `create_store`."""
        place = address(url)
        with ExitStack() as undo:
            connection = connect(place)
            undo.callback(connection.close)
            with told(place):
                with connection.transaction(), connection.cursor() as cursor:
                    number = ready(cursor, place, signature, overwrite)
                    Table(number, signature.dim).create(cursor, place.index)
                register(connection)
            undo.pop_all()
        return cls(place, number, signature, connection)

    def __len__(self) -> int:
        with self._reading() as cursor:
            cursor.execute(self._table.sql("SELECT count(*) FROM {table}"))
            return int(value(cursor))

    def version(self) -> str:
        """Return a text that is another one after each change of the items."""
        # no column counts changes, but each row bears the number of the transaction that put it in
        with self._reading() as cursor:
            return self._version(cursor)

    def _version(self, cursor: Cursor[Any]) -> str:
        rows = "count(*), sum(hashtextextended(xmin::text, position))"
        cursor.execute(self._table.sql(f"SELECT concat_ws('/', {rows}) FROM {{table}}"))
        return f"{self._table.number}/{value(cursor)}"

    def beside(self) -> str:
        """Return the URL of the index that the next model fills."""
        return switching.beside(self._place)

    def switch(self, version: str) -> bool:
        """Take the name and the records of this index for the one beside, in one transaction."""
        with self._writing() as cursor:
            if self._version(cursor) != version:
                return False
            new = switching.take(cursor, self._place, self._table.number)
        self._follow(*new)
        return True

    def roll_back(self) -> None:
        """Exchange names with the index before, in one transaction."""
        with self._writing() as cursor:
            new = switching.go_back(cursor, self._place, self._table.number)
        self._follow(*new)

    def _follow(self, number: int, signature: Signature) -> None:
        self._table, self.signature = Table(number, signature.dim), signature

    def close(self) -> None:
        """Let go of the connection; twice does no harm."""
        self._connections.close()

    @property
    def approximation(self) -> Approximation | None:
        """The HNSW index that answers searches where it may; None if all are exact."""
        with self._reading() as cursor:
            built = hnsw.read(cursor, self._table)
        return None if built is None else built[0]

    def _build_approximate(self, recall: float) -> Approximation:
        # writers wait until it is built, readers do not
        with self._writing() as cursor:
            return hnsw.build(cursor, self._table, recall)

    def _add(self, items: Items, replace: bool) -> None:
        from pgvector import Vector
        from psycopg.types.json import Jsonb

        table = self._table
        with self._writing() as cursor:
            if replace:
                deletion = table.sql("DELETE FROM {table} WHERE id = ANY(%s)")
                cursor.execute(deletion, [list(items.ids)])
            elif there := table.known(cursor, items.ids):
                raise known_ids([id_ for id_ in items.ids if id_ in there])
            cursor.execute(table.sql("SELECT coalesce(max(position) + 1, 0) FROM {table}"))
            first = int(value(cursor))
            copying = table.sql(f"COPY {{table}} ({COLUMNS}) FROM STDIN (FORMAT BINARY)")
            with cursor.copy(copying) as copy:
                copy.set_types(["int8", "text", "vector", "jsonb"])
                rows = zip(items.ids, items.vectors, items.metadata, strict=True)
                for position, (id_, vector, known) in enumerate(rows, first):
                    copy.write_row((position, id_, Vector(vector), Jsonb(known, mapping_json)))

    def _remove(self, ids: tuple[str, ...]) -> None:
        with self._writing() as cursor:
            deletion = self._table.sql("DELETE FROM {table} WHERE id = ANY(%s) RETURNING id")
            cursor.execute(deletion, [list(ids)])
            gone = {id_ for (id_,) in cursor}
            if len(gone) < len(ids):  # within the transaction, which the error undoes
                raise unknown_ids([id_ for id_ in ids if id_ not in gone], "remove")

    def _get(self, ids: tuple[str, ...]) -> Items:
        with self._reading() as cursor:
            wanted = self._table.sql(f"SELECT {COLUMNS} FROM {{table}} WHERE id = ANY(%s)")
            cursor.execute(wanted, [list(ids)])
            return self._table.candidates(cursor.fetchall()).named(ids)

    def _search(self, request: Request) -> list[list[Neighbour]]:
        table = self._table
        with self._reading() as cursor:
            built = None if request.exact or request.k is None else hnsw.read(cursor, table)
            answers = []
            for query in request.queries:
                hits = built and hnsw.search(cursor, table, query, request, built[1])
                answers.append(table.exact(cursor, query, request) if hits is None else hits)
            return answers

    def _batches(self, size: int) -> Iterator[Items]:
        with ExitStack() as stack:
            connection = stack.enter_context(self._connection())
            with told(self._place):
                stack.enter_context(_snapshot(connection))
                _check(connection, self._place, self._table)
                cursor = stack.enter_context(connection.cursor("items", binary=True))
                everything = f"SELECT {COLUMNS} FROM {{table}} ORDER BY position"
                cursor.execute(self._table.sql(everything))
            while True:
                with told(self._place):
                    rows = cursor.fetchmany(size)
                if not rows:
                    return
                yield self._table.candidates(rows).items()

    def _record(self, kind: str, texts: tuple[str, ...]) -> None:
        with self._writing() as cursor:
            record(cursor, self._table.number, kind, texts)

    def _records(self, kind: str) -> list[str]:
        with self._reading() as cursor:
            return records(cursor, self._table.number, kind)

    @contextmanager
    def _reading(self) -> Iterator[Cursor[Any]]:
        # One state of the index, however many statements ask for it.
        with (
            self._connection() as connection,
            told(self._place),
            _snapshot(connection),
            connection.cursor(binary=True) as cursor,
        ):
            _check(connection, self._place, self._table)
            yield cursor

    @contextmanager
    def _writing(self) -> Iterator[Cursor[Any]]:
        # A transaction that no other writer of this index shares.
        with (
            self._connection() as connection,
            told(self._place),
            connection.transaction(),
            connection.cursor(binary=True) as cursor,
        ):
            connection.execute(f"SET LOCAL lock_timeout = '{PATIENCE}'".encode())
            _check(connection, self._place, self._table, " FOR UPDATE")
            yield cursor

    def _connection(self) -> AbstractContextManager[Connection[Any]]:
        # one that was lost, as the call before has told, is not used again
        return self._connections.borrow(lambda one: not one.closed)

    def _connect(self) -> Connection[Any]:
        connection = connect(self._place)
        with told(self._place):
            register(connection)
        return connection


@contextmanager
def _snapshot(connection: Connection[Any]) -> Iterator[None]:
    with connection.transaction():
        # All statements see what the first one saw.
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        yield


def _check(connection: Connection[Any], place: Address, table: Table, lock: str = "") -> None:
    # See that the index is still there; a writer locks its row, and so every other writer out.
    # By name, too: one that was switched to another model is kept under another.
    found = connection.execute(
        f"SELECT 1 FROM twinset_indexes WHERE id = %s AND name = %s{lock}".encode(),
        [table.number, place.index],
    ).fetchone()
    if found is None:
        raise replaced(place.shown)
