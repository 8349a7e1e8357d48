"""An index in a Postgres database: a table of its own, searched by pgvector."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

from twinset.search.checked import Metadata
from twinset.search.items import Approximation, Items, Neighbour, Signature
from twinset.search.layout import Layout
from twinset.search.paging import Column, Page
from twinset.search.postgresql import catalogue, hnsw
from twinset.search.postgresql.catalogue import (
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
from twinset.search.postgresql.table import Table, value
from twinset.search.postgresql.transactions import Transactions
from twinset.search.store import Request, Store, known_ids, unknown_ids
from twinset.search.where import Condition

if TYPE_CHECKING:
    from psycopg import Connection, Cursor

# Items whose metadata are read at a time.
_LISTED = 10_000


class PostgresStore(Store):
    """Items in a table of a Postgres database, changed in transactions, searched by pgvector.

    Exact search reads the whole table; `build_approximate` adds an HNSW index, which the server
    keeps up to date. Writers who put in new items do so side by side, others take turns; readers
    wait for nobody. Threads may share a store. A call whose connection is lost is repeated, and
    never done twice.
    """

    largest_dim = 16_000, "pgvector"

    def __init__(
        self,
        place: Address,
        found: tuple[int, Signature, Layout],
        connection: Connection[Any],
    ) -> None:
        self._place = place
        self._transactions = Transactions(place, found[0], connection)
        self._effort = 0  # of HNSW, as the last search found it; what the next one begins with
        self._follow(*found)

    @classmethod
    def open(cls, url: str) -> Self:
        """Open a store that is there; see `open_store`."""
        place = address(url)
        with ExitStack() as undo:
            connection = connect(place)
            undo.callback(connection.close)
            with told(place):
                found = find(connection, place)
                register(connection)
            undo.pop_all()
        return cls(place, found, connection)

    @classmethod
    def create(cls, url: str, signature: Signature, *, overwrite: bool = False) -> Self:
        """Make a new, empty store; see `create_store`."""
        place = address(url)
        layout = place.layout.filled()
        with ExitStack() as undo:
            connection = connect(place)
            undo.callback(connection.close)
            with told(place):
                with connection.transaction(), connection.cursor() as cursor:
                    number = ready(cursor, place, signature, overwrite)
                    Table(number, signature.dim, layout).create(cursor, place.index)
                register(connection)
            undo.pop_all()
        return cls(place, (number, signature, layout), connection)

    def __len__(self) -> int:
        def count(cursor: Cursor[Any], _: Any) -> int:
            cursor.execute(self._table.sql("SELECT count(*) FROM {table}"))
            return int(value(cursor))

        return self._transactions.read(count)

    def version(self) -> str:
        """Return a text that is another one after each change of the items."""
        return self._transactions.read(lambda cursor, _: self._version(cursor))

    def _version(self, cursor: Cursor[Any]) -> str:
        number = self._table.number
        cursor.execute("SELECT sum(call)::text FROM twinset_calls WHERE id = %s", [number])
        return f"{number}/{value(cursor) or 0}"

    def beside(self) -> str:
        """Return the URL of the index that the next model fills."""
        return catalogue.beside(self._place, self._table.layout)

    def switch(self, version: str) -> bool:
        """Take the name and the records of this index for the one beside, in one transaction."""

        def take(cursor: Cursor[Any]) -> tuple[int, Signature, Layout] | None:
            if self._version(cursor) != version:
                return None
            return catalogue.take(cursor, self._place, self._table.number)

        new = self._transactions.write(take, items=False)
        if new is not None:
            self._follow(*new)
        return new is not None

    def roll_back(self) -> None:
        """Exchange names with the index before, in one transaction."""
        number = self._table.number
        new = self._transactions.write(
            lambda cursor: catalogue.go_back(cursor, self._place, number), items=False
        )
        self._follow(*new)

    def _follow(self, number: int, signature: Signature, layout: Layout) -> None:
        self._table, self.signature = Table(number, signature.dim, layout), signature
        self._transactions.number = number

    def close(self) -> None:
        """Let go of the connections; twice does no harm."""
        self._transactions.close()

    @property
    def approximation(self) -> Approximation | None:
        """The HNSW index that answers searches where it may; None if all are exact."""
        return self._transactions.read(lambda _, built: hnsw.told(built))

    def _build_approximate(self, recall: float) -> Approximation:
        # writers wait until it is built, readers do not
        return self._transactions.write(
            lambda cursor: hnsw.build(cursor, self._table, recall), items=False
        )

    def _add(self, items: Items, replace: bool) -> None:
        from psycopg import errors

        table = self._table
        table.check(items)

        def there(cursor: Cursor[Any], _: Any = None) -> set[str]:
            return table.known(cursor, items.ids)

        # Postgres itself keeps ids apart, but where rows are parted by something else than these;
        # and what replaces nothing is new.
        parted = table.layout.partition_by is not None
        alone = parted or (replace and bool(self._transactions.read(there)))

        def put(cursor: Cursor[Any]) -> None:
            if replace and alone:
                deletion = table.sql("DELETE FROM {table} WHERE id = ANY(%s)")
                cursor.execute(deletion, [list(items.ids)])
            elif alone and there(cursor):
                raise _TakenError
            try:
                table.put(cursor, items)
            except errors.UniqueViolation:
                raise _TakenError from None

        while True:
            try:
                return self._transactions.write(put, alone=alone)
            except _TakenError:
                found = self._transactions.read(there)
            if found and not replace:  # else another writer has just removed it again
                raise known_ids([id_ for id_ in items.ids if id_ in found])
            alone = parted or replace

    def _remove(self, ids: tuple[str, ...]) -> None:
        def take_out(cursor: Cursor[Any]) -> None:
            deletion = self._table.sql("DELETE FROM {table} WHERE id = ANY(%s) RETURNING id")
            cursor.execute(deletion, [list(ids)])
            _all_there(ids, {id_ for (id_,) in cursor}, "remove")

        self._transactions.write(take_out)

    def _update_metadata(self, ids: tuple[str, ...], metadata: Sequence[Metadata]) -> None:
        def change(cursor: Cursor[Any]) -> None:
            _all_there(ids, self._table.update_metadata(cursor, ids, metadata), "change")

        self._transactions.write(change)

    def _get(self, ids: tuple[str, ...]) -> Items:
        def read(cursor: Cursor[Any], _: Any) -> Items:
            wanted = self._table.sql(
                f"SELECT {self._table.columns} FROM {{table}} WHERE id = ANY(%s)"
            )
            cursor.execute(wanted, [list(ids)])
            return self._table.candidates(cursor.fetchall()).named(ids)

        return self._transactions.read(read)

    def _search(self, request: Request) -> list[list[Neighbour]]:
        k = None if request.exact else request.k
        tried = None if k is None else self._at_once(request, k)
        if tried is not None:
            answers = [hits for hits in tried if hits is not None]
            if len(answers) == len(tried):
                return answers
        table = self._table

        def answer(cursor: Cursor[Any], built: Any) -> list[list[Neighbour]]:
            self._effort = 0 if built is None else built["effort"]
            found, ready = [], False
            for at, query in enumerate(request.queries):
                hits = None
                # one that has iterated and found too few does not find more now
                again = tried is None or tried[at] is not None or not hnsw.iterates(request)
                if k is not None and self._effort and again:
                    if not ready:
                        settings = hnsw.settings(k, self._effort, iterative=True)
                        cursor.connection.execute(f"SELECT {settings}".encode())
                    came = hnsw.look(cursor, table, query, request)
                    hits = hnsw.neighbours(came, query, request)
                ready = hits is not None  # else what follows turns the index off
                if hits is None:
                    hits = table.exact(cursor, query, request, among=built is not None)
                found.append(hits)
            return found

        return self._transactions.read(answer)

    def _at_once(self, request: Request, k: int) -> list[list[Neighbour] | None] | None:
        # By the index, as the last search found it, on one way to the server and back; None where
        # it is another one now, and None for a query of which it finds so few that it may err.
        effort, table, iterative = self._effort, self._table, hnsw.iterates(request)
        if not effort:
            return None
        statements = [hnsw.statement(table, query, request) for query in request.queries]
        # with conditions the best plan depends on their values
        kept, found = self._transactions.ask(
            hnsw.settings(k, effort, iterative=iterative), statements, prepare=not request.where
        )
        if kept != effort:
            return None
        return [
            hnsw.neighbours(table.candidates(rows), query, request)
            for rows, query in zip(found, request.queries, strict=True)
        ]

    def _page(self, offset: int, limit: int, where: tuple[Condition, ...]) -> Page:
        return self._transactions.read(
            lambda cursor, _: self._table.page(cursor, offset, limit, where)
        )

    def columns(self, most: int = 1000) -> list[Column]:
        """List the names of the metadata, sorted, each with at most so many different values."""
        return self._transactions.read(lambda cursor, _: self._table.names(cursor, most))

    def listed(self) -> Iterator[tuple[str, Metadata]]:
        """Go through ids and metadata, in the order in which the items were put in."""
        for rows in self._read_all("id, metadata", _LISTED):
            yield from rows

    def _batches(self, size: int) -> Iterator[Items]:
        table = self._table
        for rows in self._read_all(table.columns, size):
            yield table.candidates(rows).items()

    def _read_all(self, columns: str, size: int) -> Iterator[list[Any]]:
        with ExitStack() as stack:
            connection = stack.enter_context(self._transactions.connection())
            with told(self._place):
                stack.enter_context(self._transactions.snapshot(connection))
                cursor = stack.enter_context(connection.cursor("items", binary=True))
                everything = f"SELECT {columns} FROM {{table}} ORDER BY position"
                cursor.execute(self._table.sql(everything))
            while True:
                with told(self._place):
                    rows = cursor.fetchmany(size)
                if not rows:
                    return
                yield rows

    def _record(self, kind: str, texts: tuple[str, ...]) -> None:
        number = self._table.number
        self._transactions.write(
            lambda cursor: record(cursor, number, kind, texts), alone=False, items=False
        )

    def _records(self, kind: str) -> list[str]:
        return self._transactions.read(lambda cursor, _: records(cursor, self._table.number, kind))


class _TakenError(Exception):
    """An id that is there already."""


def _all_there(ids: Sequence[str], found: set[str], action: str) -> None:
    # within the transaction, which the error undoes
    if len(found) < len(ids):
        raise unknown_ids([id_ for id_ in ids if id_ not in found], action)
