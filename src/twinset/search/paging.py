"""What is known of a store's items, listed and changed without embeddings."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from twinset.errors import StoreError
from twinset.search.checked import (
    Kind,
    Metadata,
    Scalar,
    checked_ids,
    checked_metadata,
    is_whole,
    kind,
)
from twinset.search.items import Items
from twinset.search.where import Condition, Where, conditions, holds


@dataclass(frozen=True)
class Page:
    """Some of the items that meet conditions, and how many do.

    Example:
        >>> page = Page(("a",), ({"label": "shoe"},), 12)
        >>> dict(zip(page.ids, page.metadata)), page.total
        ({'a': {'label': 'shoe'}}, 12)
    """

    ids: tuple[str, ...]  # in the order in which they were put in
    metadata: tuple[Metadata, ...]  # what is known of each
    total: int  # how many meet the conditions


@dataclass(frozen=True)
class Column:
    """A name of the metadata, and what is under it."""

    name: str
    kinds: tuple[Kind, ...]  # of its values, but null; sorted
    values: tuple[Scalar, ...]  # different ones, at most so many as were asked for


class Paged:
    """The part of a `Store` that is about metadata alone."""

    @abstractmethod
    def batches(self, size: int = 10_000) -> Iterator[Items]:
        """Read all items, in the order in which they were put in, some at a time."""

    @abstractmethod
    def add(self, items: Items, *, replace: bool = False) -> None:
        """Put items in."""

    @abstractmethod
    def get(self, ids: Sequence[str]) -> Items:
        """Read items, in the order asked for."""

    def update_metadata(self, ids: Sequence[str], metadata: Sequence[Metadata]) -> None:
        """Put other metadata in the place of what is known of items; embeddings stay as they are.

        All is changed, or nothing where an id is not there. Whether the items keep their place in
        the order is up to the store.
        """
        wanted = checked_ids(ids)
        if len(metadata) != len(wanted):
            raise StoreError(
                f"Expected as many metadata as ids. Received {len(metadata)} and {len(wanted)} ids."
            )
        known = [checked_metadata(each, repr(i)) for i, each in zip(wanted, metadata, strict=True)]
        if wanted:
            self._update_metadata(wanted, known)

    def listed(self) -> Iterator[tuple[str, Metadata]]:
        """Go through ids and metadata, in the order in which the items were put in."""
        # embeddings are most of what travels: a store that can leave them out does
        for batch in self.batches():
            yield from zip(batch.ids, batch.metadata, strict=True)

    def page(self, offset: int = 0, limit: int = 100, *, where: Where = ()) -> Page:
        """List at most `limit` items after the first `offset`, in the order of their coming."""
        for name, number in (("offset", offset), ("limit", limit)):
            if not is_whole(number) or number < 0:
                raise StoreError(f"Expected the {name} as 0 or more. Received {number!r}.")
        return self._page(offset, limit, conditions(where))

    def columns(self, most: int = 1000) -> list[Column]:
        """List the names of the metadata, sorted, each with at most so many different values."""
        found: dict[str, dict[tuple[Kind, Scalar], None]] = {}
        for _, known in self.listed():
            for name, value in known.items():
                held = found.setdefault(name, {})
                if value is not None and len(held) < most:
                    held[kind(value), value] = None
        return [
            Column(name, tuple(sorted({k for k, _ in held})), tuple(v for _, v in sorted(held)))
            for name, held in sorted(found.items())
        ]

    def _update_metadata(self, ids: tuple[str, ...], metadata: Sequence[Metadata]) -> None:
        # by reading the embeddings: a store that can do better does
        self.add(Items(ids, self.get(ids).vectors, metadata), replace=True)

    def _page(self, offset: int, limit: int, where: tuple[Condition, ...]) -> Page:
        # by reading all: a store that can do better does
        return paged(self.listed(), offset, limit, where)


def paged(
    items: Iterable[tuple[str, Metadata]], offset: int, limit: int, where: tuple[Condition, ...]
) -> Page:
    """Cut a page out of all items for which conditions hold."""
    found: list[tuple[str, Metadata]] = []
    total = 0
    for own, known in items:
        if all(holds(each, known) for each in where):
            if offset <= total < offset + limit:
                found.append((own, known))
            total += 1
    return Page(tuple(own for own, _ in found), tuple(known for _, known in found), total)
