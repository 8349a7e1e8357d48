"""`Store`: what every place that holds embeddings must be able to do; and how one is opened.

A store of one's own is a class that fills in the methods with an underscore, and an entry point of
the group `twinset.stores`, named by the scheme of its URLs:

    [project.entry-points."twinset.stores"]
    mystore = "my_package:MyStore"
"""

from __future__ import annotations

import json
import os
import pkgutil
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twinset.errors import ReplacedError, StoreError, TakenError, UnknownItemError
from twinset.registry import Registry
from twinset.search.checked import checked_ids, checked_k, checked_metadata, checked_vectors
from twinset.search.items import Approximation, Items, Neighbour, Signature, Since
from twinset.search.paging import Paged
from twinset.search.where import Condition, Where, conditions

__all__ = [
    "Approximation",
    "Items",
    "Neighbour",
    "Request",
    "Signature",
    "Store",
    "create_store",
    "open_store",
]


@dataclass(frozen=True, eq=False)
class Request:
    """A search, checked."""

    queries: NDArray[np.float32]  # read-only float32 of shape (q, d), q and d 1 or more
    k: int | None  # at most so many for each; None for all that are within
    within: float | None  # the largest distance that counts; None for any. Not both are None
    where: tuple[Condition, ...]  # conditions, all of which must hold
    exact: bool  # whether an approximate index may not answer


class Store(Paged, ABC):
    """A place that holds embeddings: one writer, many readers.

    Each call that writes is done whole or not at all, and is on disk when it returns. Readers see
    what was there when their call began, and what others wrote by their next call.

    What is asked for is checked here, once for all stores; they fill in the methods that begin
    with an underscore.
    """

    signature: Signature
    # The largest embedding that may be put in, and whose limit that is; None where there is none.
    largest_dim: ClassVar[tuple[int, str] | None] = None
    # How many items a call that writes should bring where there are as many: each takes long.
    best_batch: int = 1

    @classmethod
    @abstractmethod
    def open(cls, url: str) -> Self:
        """Open a store that is there; see `open_store`."""

    @classmethod
    @abstractmethod
    def create(cls, url: str, signature: Signature, *, overwrite: bool = False) -> Self:
        """Make a new, empty store; see `create_store`."""

    @abstractmethod
    def __len__(self) -> int:
        """Count the items."""

    def add(self, items: Items, *, replace: bool = False) -> None:
        """Put items in; `replace` those with the same ids, which then count as put in anew."""
        checked_vectors(items.vectors, "vectors", self.signature.dim)
        if len(items):
            self._add(items, replace)

    def remove(self, ids: Sequence[str]) -> None:
        """Take items out: all, or none where an id is not there."""
        wanted = checked_ids(ids)
        if wanted:
            self._remove(wanted)

    def get(self, ids: Sequence[str]) -> Items:
        """Read items, in the order asked for."""
        return self._get(checked_ids(ids))

    def search(
        self,
        queries: ArrayLike,
        *,
        k: int | None = 10,
        within: float | None = None,
        where: Where = (),
        exact: bool = False,
    ) -> list[list[Neighbour]]:
        """Find the items nearest to each query (q, d), nearest first; `Request` says the rest.

        Items at the same distance come in the order in which they were put in; an empty list says
        that nothing is similar enough.
        """
        checked = checked_vectors(queries, "queries", self.signature.dim)
        count, limit = checked_k(k, within)
        request = Request(checked, count, limit, conditions(where), exact)
        return self._search(request) if len(checked) else []

    def batches(self, size: int = 10_000) -> Iterator[Items]:
        """Read all items, in the order in which they were put in, so many at a time."""
        if size < 1:
            raise StoreError(f"Expected batches of 1 item or more. Received {size!r}.")
        return self._batches(size)

    def version(self) -> str:
        """Return a text that is another one after each change of the items; "" if not known."""
        return ""

    def since(self, version: str) -> Since:
        """Read what became of the items after a version: all of them where that is not known.

        What has changed while this is read may be told again by the next call.
        """
        return Since(self.version(), None, 0, _numbered(self.batches()))

    def record(self, kind: str, entries: Sequence[Mapping[str, Any]]) -> None:
        """Append records: what is to be remembered beside the items.

        They go with the store: another in its place has none. Their kind is a word such as
        "decisions"; values are texts, finite numbers, booleans or None.
        """
        plain = [checked_metadata(each, f"a record {_checked_kind(kind)!r}") for each in entries]
        if plain:
            self._record(kind, tuple(json.dumps(each) for each in plain))

    def records(self, kind: str) -> list[dict[str, Any]]:
        """Read all records of a kind, in the order in which they were appended."""
        return [json.loads(text) for text in self._records(_checked_kind(kind))]

    @property
    def approximation(self) -> Approximation | None:
        """The approximate index that answers searches where it may; None if all are exact."""
        return None

    def build_approximate(self, *, recall: float = 0.95) -> Approximation:
        """Build an approximate index over what is there now, which then answers where it may.

        It must find the share `recall` of the true 10 nearest.
        """
        if not 0 < recall < 1:
            raise StoreError(f"Expected a recall between 0 and 1. Received {recall!r}.")
        return self._build_approximate(recall)

    def beside(self) -> str:
        """Return the URL at which the items of the next model are gathered, in a store like this.

        Others make and fill it.
        """
        raise StoreError(
            f"{type(self).__name__} cannot be switched to another model in one step. Make a second "
            "index with `twinset index`, and let your program name that one."
        )

    def switch(self, version: str) -> bool:
        """Take what is in the place beside for one's own, at one moment for all readers.

        What was here is kept for `roll_back`, and what was kept before is let go. Records stay.
        Others who have the store open are told that it was replaced. False, and nothing done,
        where the items have changed since the version from which those beside were made.
        """
        raise NotImplementedError

    def roll_back(self) -> None:
        """Exchange the items, at one moment, for those that the last switch replaced."""
        self.beside()  # tells why there are none
        raise NotImplementedError

    @abstractmethod
    def close(self) -> None:
        """Let go of files and connections; twice does no harm."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def _add(self, items: Items, replace: bool) -> None:
        """Put in 1 item or more, of the right size."""

    @abstractmethod
    def _remove(self, ids: tuple[str, ...]) -> None:
        """Take out 1 item or more; ids differ."""

    @abstractmethod
    def _get(self, ids: tuple[str, ...]) -> Items:
        """Read items; ids differ."""

    @abstractmethod
    def _search(self, request: Request) -> list[list[Neighbour]]:
        """Answer 1 query or more."""

    @abstractmethod
    def _batches(self, size: int) -> Iterator[Items]:
        """Read all items, `size` at a time."""

    # These may be left out. Records travel as JSON texts of one line, which are not looked into.

    def _record(self, kind: str, texts: tuple[str, ...]) -> None:
        raise StoreError(
            f"{type(self).__name__} keeps no records, which identities and decisions need. "
            "Keep this index in a folder."
        )

    def _records(self, kind: str) -> Sequence[str]:
        return ()

    def _build_approximate(self, recall: float) -> Approximation:
        raise StoreError(f"{type(self).__name__} has exact search only.")


def _numbered(batches: Iterator[Items]) -> Iterator[tuple[Sequence[int], Items]]:
    count = 0
    for batch in batches:
        yield range(count, count + len(batch)), batch
        count += len(batch)


def _checked_kind(kind: str) -> str:
    # stands in names and filters of databases
    if not (isinstance(kind, str) and re.fullmatch(r"[A-Za-z0-9_]{1,60}", kind)):
        raise StoreError(
            "Expected a kind of records as up to 60 letters, digits and underscores. "
            f"Received {kind!r}."
        )
    return kind


# --- Where stores are: by the scheme of a URL, or in a folder.

# libpq takes both
_ALIASES = {"postgres": "postgresql"}


def scheme_of(url: str | os.PathLike[str]) -> str:
    """Return the scheme of a URL, in lower case; "" for the path of a folder."""
    # one letter and a colon is a drive of Windows, even before two slashes
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]+)://", os.fspath(url))
    return match[1].lower() if match else ""


def _built_in() -> dict[str, str]:
    # each package in this room is a store, its name the scheme; nothing is imported for that
    found = pkgutil.iter_modules([str(Path(__file__).parent)])
    return {each.name: f"twinset.search.{each.name}:STORE" for each in found if each.ispkg}


STORES = Registry("store", "twinset.stores", _built_in, StoreError)
FOLDER = "sqlite"  # holds what has no scheme, as no server is needed


def open_store(url: str | os.PathLike[str]) -> Store:
    """Open a store that is there.

    It is at the path of a folder; at `postgresql://user@host/database?index=NAME`; at
    `milvus://host:19530?index=NAME` or `milvus:///path/of/file.db?index=NAME`; or where a package
    with an entry point in `twinset.stores` says.
    """
    return _engine(url).open(os.fspath(url))


def create_store(
    url: str | os.PathLike[str], signature: Signature, *, overwrite: bool = False
) -> Store:
    """Make a new, empty store at a place as `open_store` takes it."""
    store = _engine(url)
    if store.largest_dim is not None and signature.dim > store.largest_dim[0]:
        most, whose = store.largest_dim
        raise StoreError(
            f"{whose} takes embeddings of size {most:,} or less, and these have "
            f"{signature.dim:,}. Keep this index in a folder."
        )
    return store.create(os.fspath(url), signature, overwrite=overwrite)


def _engine(url: str | os.PathLike[str]) -> type[Store]:
    scheme = scheme_of(url)
    name = _ALIASES.get(scheme, scheme) or FOLDER
    if name not in STORES or scheme == FOLDER:
        others = " or ".join(f"{other}://…" for other in STORES.names() if other != FOLDER)
        raise StoreError(
            f"Expected an index as the path of a folder, or a URL that begins with {others}. "
            f"Received {scheme}://…"
        )
    store: type[Store] = STORES.load(name)
    return store


# --- What all stores say in the same words.


def closed() -> StoreError:
    """Make the error for a store that is closed."""
    return StoreError("This index is closed. Open it again.")


def taken(place: object, choose: str) -> TakenError:
    """Make the error for a place that has an index already."""
    return TakenError(
        f"There is an index at {place} already. Open it, overwrite it, or choose another {choose}."
    )


def missing(place: object, instead: str) -> StoreError:
    """Make the error for a place without an index."""
    return StoreError(f"There is no index at {place}: {instead}. Make one with `twinset index`.")


def none_before(place: object) -> StoreError:
    """Make the error for an index that has no model to go back to."""
    return StoreError(f"{place} has no model before: it was not switched, or was made anew.")


def replaced(place: object) -> ReplacedError:
    """Make the error for an index that another has deleted or made anew."""
    return ReplacedError(f"{place}: the index was replaced since it was opened. Open it again.")


def other_format(place: object, expected: int, version: object) -> StoreError:
    """Make the error for an index that another version of twinset made."""
    return StoreError(
        f"The index at {place} has format {version}, and this version of twinset reads format "
        f"{expected}. Open it with the version that made it, or make it again."
    )


def unknown_ids(ids: Sequence[str], action: str) -> UnknownItemError:
    """Make the error for ids that are not there."""
    return UnknownItemError(f"Nothing to {action}: this index has no {_listed(ids)}.")


def known_ids(ids: Sequence[str]) -> StoreError:
    """Make the error for ids that are there already."""
    return StoreError(
        f"This index has {_listed(ids)} already. Pass replace=True to replace these items, or "
        "remove them first."
    )


def _listed(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - 3:,} more" if len(ids) > 3 else ""
    return ", ".join(repr(id_) for id_ in ids[:3]) + more
