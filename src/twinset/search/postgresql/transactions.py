"""Transactions of one index: each call has a connection, and is repeated where one was lost."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from twinset.search.connections import Connections
from twinset.search.postgresql.at_once import Prepared, Statement
from twinset.search.postgresql.catalogue import (
    Address,
    UnreachableError,
    connect,
    register,
    told,
    unreachable,
)
from twinset.search.store import replaced

if TYPE_CHECKING:
    from psycopg import Connection, Cursor

Answer = TypeVar("Answer")

# Seconds between two attempts to reach a server that is gone.
_PAUSE = 0.1
# All statements see what the first one saw.
_OPENING = b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
# Whoever holds the lock of a call.
_END_OF_CALL = """
SELECT pg_terminate_backend(pid) FROM pg_locks
WHERE locktype = 'advisory' AND objsubid = 1 AND classid::bigint = %s AND objid::bigint = %s
"""


class Transactions:
    """The transactions of a store."""

    def __init__(self, place: Address, number: int, first: Connection[Any]) -> None:
        self.number = number  # the index's; another one after a switch
        self._place = place
        # Calls that are done and need not be remembered; those that changed items go when the next
        # of these comes, as without any the index would look as if it were new.
        self._heard: dict[bool, list[int]] = {True: [], False: []}
        self._connections = Connections(self._connect, first)
        self._prepared = Prepared()

    def close(self) -> None:
        """Let go of the connections."""
        self._connections.close()

    def read(self, action: Callable[[Cursor[Any], Any], Answer]) -> Answer:
        """Read one state of the index, however many statements ask for it.

        The action is given a cursor, and what the catalogue has of the approximate index.
        """

        def attempt(connection: Connection[Any]) -> Answer:
            with (
                self.snapshot(connection) as built,
                connection.cursor(binary=True) as cursor,
            ):
                return action(cursor, built)

        return self._repeated(attempt)

    def ask(
        self, settings: str, statements: Sequence[Statement], *, prepare: bool
    ) -> tuple[int | None, list[list[Any]]]:
        """Read one state by statements, all on one way to the server and back.

        Gives the effort that the catalogue has of the approximate index, and each statement's rows.
        """
        catalogue = (
            f"SELECT name, (approximation ->> 'effort')::int, {settings} "
            f"FROM twinset_indexes WHERE id = {self.number}"
        )
        asked: list[Statement] = [(catalogue.encode(), ()), *statements]
        several = len(statements) > 1  # one statement sees one state without our asking
        if several:
            asked = [(_OPENING, ()), *asked, (b"COMMIT", ())]

        def attempt(connection: Connection[Any]) -> tuple[int | None, list[list[Any]]]:
            found = self._prepared.answers(connection, asked, prepare=prepare)
            kept, *found = found[1:-1] if several else found
            return self._checked(kept[0] if kept else None), found

        return self._repeated(attempt)

    def write(
        self, action: Callable[[Cursor[Any]], Answer], *, alone: bool = True, items: bool = True
    ) -> Answer:
        """Write in one transaction; `alone` keeps other writers out, `items` says what changes."""
        call = secrets.randbits(62)
        heard, self._heard[items] = self._heard[items], []
        tried = False
        answers: list[Answer] = []

        def attempt(connection: Connection[Any]) -> Answer:
            nonlocal tried
            if tried:
                # where the server has not noticed yet that nobody is there
                connection.execute(_END_OF_CALL.encode(), [call >> 32, call & 0xFFFF_FFFF])
            with connection.transaction(), connection.cursor(binary=True) as cursor:
                connection.execute(self._place.lock_timeout.encode())
                # Not a lock of the table: autovacuum would be kept out by it, and keep it waiting.
                lock = "pg_advisory_xact_lock" + ("" if alone else "_shared")
                cursor.execute(
                    "SELECT pg_advisory_xact_lock(%s::bigint), "
                    f"{lock}(hashtext('twinset_items'), %s::int)".encode(),
                    [call, self.number],
                )
                if tried:
                    cursor.execute("SELECT 1 FROM twinset_calls WHERE call = %s", [call])
                    if cursor.fetchone() is not None:
                        return answers[-1]  # all was done but hearing of it
                tried = True
                cursor.execute(
                    "SELECT name, NULL FROM twinset_indexes WHERE id = %s", [self.number]
                )
                self._checked(cursor.fetchone())
                cursor.execute(
                    "WITH heard AS (DELETE FROM twinset_calls WHERE call = ANY(%s::bigint[])) "
                    "INSERT INTO twinset_calls (call, id) VALUES (%s, %s)",
                    [heard, call, self.number if items else None],
                )
                answers.append(action(cursor))
            return answers[-1]

        answer = self._repeated(attempt)
        self._heard[items].append(call)
        return answer

    @contextmanager
    def connection(self) -> Iterator[Connection[Any]]:
        """Lend a connection that has just answered."""
        self.read(lambda *_: None)
        with self._borrow() as connection:
            yield connection

    @contextmanager
    def snapshot(self, connection: Connection[Any]) -> Iterator[Any]:
        """Let all statements see what the first one saw; give what `read` gives as well."""
        import psycopg

        # one text, as each statement is a way to the server and back
        catalogue = f"SELECT name, approximation FROM twinset_indexes WHERE id = {self.number}"
        try:
            answer = connection.execute(_OPENING + b"; " + catalogue.encode())
            answer.nextset()
            yield self._checked(answer.fetchone())
        except BaseException:
            with suppress(psycopg.Error):
                connection.rollback()
            raise
        connection.commit()

    def _repeated(self, attempt: Callable[[Connection[Any]], Answer]) -> Answer:
        # Until it ends by something else than a lost connection, or the time does.
        import psycopg
        from psycopg import errors

        again = errors.DeadlockDetected, errors.SerializationFailure
        failing: float | None = None  # since when
        while True:
            try:
                with self._borrow() as connection, told(self._place):
                    try:
                        return attempt(connection)
                    except psycopg.OperationalError as error:
                        lost = connection.closed or isinstance(error, again)
                        if not lost or self._late(failing):
                            raise
            except UnreachableError:
                if self._late(failing):
                    raise
            failing = failing or time.monotonic()
            time.sleep(_PAUSE)

    def _late(self, failing: float | None) -> bool:
        return failing is not None and time.monotonic() > failing + self._place.timeout

    def _borrow(self) -> AbstractContextManager[Connection[Any]]:
        # not one that was found lost by the call before
        return self._connections.borrow(lambda one: not one.closed)

    def _checked(self, row: Any) -> Any:
        # See that the index is still there; by name, too, as one that was switched to another model
        # is kept under another.
        if row is None or row[0] != self._place.index:
            raise replaced(self._place.shown)
        return row[1]

    def _connect(self) -> Connection[Any]:
        import psycopg

        connection = connect(self._place)
        try:
            with told(self._place):
                try:
                    register(connection)
                except psycopg.OperationalError as error:
                    raise unreachable(self._place, error) from None
        except BaseException:
            connection.close()
            raise
        return connection
