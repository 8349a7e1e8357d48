"""Statements on one way to the server and back, prepared where that lasts."""

from __future__ import annotations

import functools
import hashlib
import itertools
import re
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.abc import Transformer

Statement: TypeAlias = tuple[bytes, Sequence[Any]]

# How many statements a connection keeps.
_MOST = 100


class Prepared:
    """What each connection has prepared; None of one whose statements another server may get.

    That is so behind some pools. A statement's name is made of its text, so that a name which
    another program has left on a server can mean nothing else.
    """

    def __init__(self) -> None:
        self._names = WeakKeyDictionary[Any, set[bytes] | None]()

    def answers(
        self, connection: Connection[Any], statements: Sequence[Statement], *, prepare: bool
    ) -> list[list[Any]]:
        """Send statements at once; give the rows of each."""
        from psycopg import errors

        names = self._names.setdefault(connection, set()) if prepare else None
        try:
            return _answers(connection, statements, names)
        except (errors.InvalidSqlStatementName, errors.DuplicatePreparedStatement):
            self._names[connection] = None
            return _answers(connection, statements, None)


def _answers(
    connection: Connection[Any], statements: Sequence[Statement], names: set[bytes] | None
) -> list[list[Any]]:
    # By libpq itself: a cursor and a pipeline of psycopg take as long as the server does.
    from psycopg import errors, pq
    from psycopg.adapt import Transformer

    pgconn, adapted = connection.pgconn, Transformer(connection)
    sent: list[bytes | None] = []  # the name that is prepared, or None for a statement
    pgconn.enter_pipeline_mode()
    try:
        for statement in statements:
            sent += _send(pgconn, adapted, *statement, names)
        pgconn.pipeline_sync()
        results = connection.wait(_received(pgconn))
    except BaseException:
        connection.close()  # what still comes would be taken for the answer to another question
        raise
    pgconn.exit_pipeline_mode()
    wrong = [result for result in results if result.status == pq.ExecStatus.FATAL_ERROR]
    if wrong:
        if names is not None:
            names.difference_update(
                name
                for name, result in itertools.zip_longest(sent, results)
                if name and (result is None or result.status != pq.ExecStatus.COMMAND_OK)
            )
        connection.rollback()
        raise errors.error_from_result(wrong[0])
    return [
        _rows(adapted, result) for name, result in zip(sent, results, strict=True) if name is None
    ]


def _rows(adapted: Transformer, result: Any) -> list[Any]:
    adapted.set_pgresult(result)
    return adapted.load_rows(0, result.ntuples, tuple)


def _send(
    pgconn: Any,
    adapted: Transformer,
    text: bytes,
    parameters: Sequence[Any],
    names: set[bytes] | None,
) -> list[bytes | None]:
    from psycopg.adapt import PyFormat

    values = adapted.dump_sequence(parameters, [PyFormat.AUTO] * len(parameters))
    types, formats = adapted.types, adapted.formats
    text, name = _numbered(text, types)
    if names is None or (name not in names and len(names) >= _MOST):
        pgconn.send_query_params(text, values, types, formats, 1)
        return [None]
    new = name not in names
    if new:
        names.add(name)
        pgconn.send_prepare(name, text, types)
    pgconn.send_query_prepared(name, values, formats, 1)
    return [name, None] if new else [None]


@functools.lru_cache(1000)
def _numbered(text: bytes, types: tuple[int, ...] | None) -> tuple[bytes, bytes]:
    # as the server wants a statement, and what to call it
    places = itertools.count(1)
    text = re.sub(b"%s", lambda _: b"$%d" % next(places), text)
    digest = hashlib.blake2b(text + repr(types).encode(), digest_size=16)
    return text, b"twinset_" + digest.hexdigest().encode()


def _received(pgconn: Any) -> Generator[Any, Any, list[Any]]:
    # all results of a pipeline, up to its end
    from psycopg import pq
    from psycopg.waiting import Ready, Wait

    while pgconn.flush():
        if (yield Wait.RW) & Ready.R:
            pgconn.consume_input()
    found: list[Any] = []
    while True:
        while pgconn.is_busy():
            yield Wait.R
            pgconn.consume_input()
        result = pgconn.get_result()
        if result is None:
            if pgconn.status == pq.ConnStatus.BAD:
                return found
        elif result.status == pq.ExecStatus.PIPELINE_SYNC:
            return found
        else:
            found.append(result)
