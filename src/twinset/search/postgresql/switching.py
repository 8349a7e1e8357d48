"""An index of a database switched to another model: rows of the catalogue exchange their names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from twinset.search.items import Signature
from twinset.search.layout import Layout
from twinset.search.postgresql.catalogue import BEFORE, NEXT, Address, drop, named
from twinset.search.store import none_before

if TYPE_CHECKING:
    from psycopg import Cursor

_MOVING = "{} (moving)"


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
    cursor.execute("SELECT to_regclass('twinset_records')::text")
    if cursor.fetchone() != (None,):
        cursor.execute("UPDATE twinset_records SET id = %s WHERE id = %s", [found[0], number])
    return found
