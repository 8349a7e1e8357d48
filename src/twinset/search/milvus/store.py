"""An index in Milvus: a collection of its own, and a state that says what of it counts."""

from __future__ import annotations

import itertools
import math
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from twinset.errors import StoreError
from twinset.search.candidates import Candidates
from twinset.search.checked import Metadata
from twinset.search.items import Approximation, Items, Neighbour, Signature
from twinset.search.milvus import approximate, catalogue, records
from twinset.search.milvus.address import Address, address, connect, disconnect, told
from twinset.search.milvus.catalogue import LEAP, State
from twinset.search.milvus.lease import Lease, writing
from twinset.search.milvus.reading import RowsMissingError, answers, listing, pages
from twinset.search.milvus.rows import KnownKeys, Rows, check, keys_of
from twinset.search.paging import Page, paged
from twinset.search.store import (
    Request,
    Store,
    closed,
    known_ids,
    missing,
    none_before,
    replaced,
    taken,
    unknown_ids,
)
from twinset.search.where import Condition

# How often a reader begins again because a writer has taken items out meanwhile.
ATTEMPTS = 20

Answer = TypeVar("Answer")


class MilvusStore(Store):
    """Items in a collection of Milvus, or of a file of Milvus Lite, with exact search by default.

    Who writes waits for others that do, in this process and elsewhere: see `lease`. A call that
    writes is done whole or not at all, though Milvus has no transactions, and readers see the
    old state or the new one: see `catalogue`. What was written is seen by
    every read that begins after the call; where a server keeps several replicas in memory,
    `consistency=strong` in the URL is needed for that.
    """

    largest_dim = 32_768, "Milvus"

    def __init__(self, place: Address, client: Any, state: State) -> None:
        self.signature = state.signature
        self._place = place
        self._client = client  # None once closed
        self._state = state
        self._known = KnownKeys()
        # 64 MB of embeddings, as a call takes a second, whatever it brings
        self.best_batch = max(1, min(100_000, 2**24 // state.signature.dim))

    @classmethod
    def open(cls, url: str) -> Self:
        """Open a store that is there; see `open_store`."""
        place = address(url)
        with ExitStack() as undo:
            client = connect(place, create=False)
            undo.callback(disconnect, place, client)
            with told(place):
                if not catalogue.load(client, place, catalogue.CATALOGUE):
                    raise missing(place.shown, "none of this name")
                state, _ = catalogue.read(client, place, place.consistency)
                place.layout.check_kept(state.layout, place.shown)
                catalogue.load(client, place, state.collection)
            undo.pop_all()
        return cls(place, client, state)

    @classmethod
    def create(cls, url: str, signature: Signature, *, overwrite: bool = False) -> Self:
        """Make a new, empty store; see `create_store`."""
        place = address(url)
        with ExitStack() as undo:
            client = connect(place, create=True)
            undo.callback(disconnect, place, client)
            with told(place):
                catalogue.create_catalogue(client, place)
                with writing(client, place):
                    state = _create(client, place, signature, overwrite)
            undo.pop_all()
        return cls(place, client, state)

    def __len__(self) -> int:
        self._check_open()
        with told(self._place):
            self._refresh(self._place.consistency)
        return self._state.count

    def version(self) -> str:
        """Return a text that is another one after each change of the items."""
        self._check_open()
        with told(self._place):
            state = self._refresh(self._place.consistency)
        return f"{state.collection}/{state.version}"

    def beside(self) -> str:
        """Return the URL of the index that the next model fills."""
        self._check_open()
        with self._writing():
            state = self._refresh("Strong")
            catalogue.let_go(self._client, self._place, state)
        return self._place.beside.made_as(state.layout).url

    def switch(self, version: str) -> bool:
        """Take the name and the records of this index for what is beside, by one new state."""
        self._check_open()
        with self._writing() as lease:
            state = self._refresh("Strong")
            if f"{state.collection}/{state.version}" != version:
                return False
            with type(self).open(self._place.beside.url) as side:
                other = side._begin(lease)  # tidied, as a state before another names no dead rows
            new = catalogue.exchange(self._client, self._place, self._begin(lease), other)
            if new is not None:
                self._follow(new)
        return new is not None

    def roll_back(self) -> None:
        """Exchange the items for those before, by one new state."""
        self._check_open()
        with self._writing() as lease:
            new = None
            while new is None:  # else another process has written meanwhile
                state = self._begin(lease)
                if state.before is None:
                    raise none_before(self._place.shown)
                new = catalogue.exchange(self._client, self._place, state, state.before)
            self._follow(new)

    def _follow(self, new: State) -> None:
        self._state, self.signature = new, new.signature
        catalogue.let_go(self._client, self._place, new)

    @property
    def approximation(self) -> Approximation | None:
        """The approximate index that answers searches where it may; None if all are exact."""
        self._check_open()
        with told(self._place):
            return approximate.read(self._refresh(self._place.consistency))

    def _build_approximate(self, recall: float) -> Approximation:
        # searches wait until it is built, as the server lets the collection go for that
        with self._writing() as lease:
            rows = self._rows_of(self._begin(lease))
            write = partial(catalogue.write, self._client, self._place)
            self._state, made = approximate.build(rows, recall, lease, write)
        return made

    def close(self) -> None:
        """Let go of the server, or of the file; twice does no harm."""
        if self._client is not None:
            disconnect(self._place, self._client)
        self._client = None

    def _add(self, items: Items, replace: bool) -> None:
        self._check_open()
        check(items)
        with self._writing() as lease:
            state = self._begin(lease)
            keys = keys_of(items.ids)
            asked = self._known.maybe(items.ids, keys, state)
            there = self._rows.at(asked, state.visible(), "Strong")
            if there and not replace:
                raise known_ids([id_ for id_ in items.ids if id_ in there])
            self._put(items, keys, state, lease)
            self._commit(state.changed(added=len(items), dead=there.values()), lease)
            self._known.grown(keys, state, self._state)

    def _remove(self, ids: tuple[str, ...]) -> None:
        self._check_open()
        with self._writing() as lease:
            state = self._begin(lease)
            there = self._rows.at(ids, state.visible(), "Strong")
            if len(there) < len(ids):
                raise unknown_ids([id_ for id_ in ids if id_ not in there], "remove")
            self._commit(state.changed(added=0, dead=there.values()), lease)

    def _get(self, ids: tuple[str, ...]) -> Items:
        level = self._place.consistency
        found = self._read(lambda state: self._rows_of(state).named(ids, state.visible(), level))
        return found.named(ids)

    def _search(self, request: Request) -> list[list[Neighbour]]:
        return self._read(lambda state: answers(self._rows_of(state), request))

    def _batches(self, size: int) -> Iterator[Items]:
        waiting = self._rows.candidates([])
        for page in self._pages():
            waiting = waiting.joined(page)
            while len(waiting) >= size:
                yield waiting.take(np.arange(size)).items()
                waiting = waiting.take(np.arange(size, len(waiting)))
        if len(waiting):
            yield waiting.items()

    def listed(self) -> Iterator[tuple[str, Metadata]]:
        """Go through ids and metadata, without embeddings."""
        for page in self._pages(known=True):
            yield from zip(page.ids, page.metadata, strict=True)

    def _page(self, offset: int, limit: int, where: tuple[Condition, ...]) -> Page:
        def look(state: State) -> Page:
            rows = self._rows_of(state)
            if found := listing(rows, offset, limit, where):
                return Page(tuple(found[0].ids), tuple(found[0].metadata), found[1])
            every = pages(rows, rows.filter(where), known=True)
            pairs = (zip(page.ids, page.metadata, strict=True) for page in every)
            return paged(itertools.chain.from_iterable(pairs), offset, limit, where)

        return self._read(look)

    def _pages(self, *, known: bool = False) -> Iterator[Candidates]:
        self._check_open()
        began = time.time()
        with told(self._place):
            state = self._refresh(self._place.consistency)
        try:
            for page in pages(self._rows_of(state), known=known):
                # Milvus keeps no old states: what was taken out meanwhile may be missing here.
                with told(self._place):
                    after = self._refresh(self._place.consistency, state, began)
                    if after.removed != state.removed:
                        raise StoreError(
                            f"Items of {self._place.shown} were removed or replaced while all were "
                            "read, and Milvus keeps no old states. Begin again."
                        )
                yield page
        except RowsMissingError:
            raise StoreError(
                f"Milvus returned fewer items than the {state.count:,} of {self._place.shown}, as "
                "it may while others write or it starts. Begin again."
            ) from None

    def _record(self, kind: str, texts: tuple[str, ...]) -> None:
        self._check_open()
        with told(self._place):
            state = self._refresh("Strong")  # tells if the index was replaced
            records.record(self._client, self._place, state.records, kind, texts)

    def _records(self, kind: str) -> list[str]:
        self._check_open()
        with told(self._place):
            state = self._refresh(self._place.consistency)
            return records.records(self._client, self._place, state.records, kind)

    # --- reading

    def _read(self, answer: Callable[[State], Answer]) -> Answer:
        # Answer from one state, although Milvus has none to hold on to.
        # The state that was seen last is tried first. The answer counts if that still is the state
        # afterwards; or if it was read within this call, and nothing has been taken out since.
        self._check_open()
        level, began = self._place.consistency, time.time()
        before = first = self._state
        with told(self._place):
            for attempt in range(ATTEMPTS):
                try:
                    found = answer(before)
                except StoreError:
                    raise
                except RowsMissingError:
                    before = self._refresh(level, first, began)
                    continue
                except Exception:
                    self._refresh(level, first, began)  # tells if its collection is gone
                    raise
                after = self._refresh(level, first, began)
                unharmed = attempt and after.removed == before.removed
                if after.version == before.version or unharmed:
                    return found
                before = after
        raise StoreError(
            f"Items of {self._place.shown} were removed or replaced during each of {ATTEMPTS} "
            "attempts to read it. Try again."
        )

    # --- the state

    @property
    def _rows(self) -> Rows:
        return self._rows_of(self._state)

    def _rows_of(self, state: State) -> Rows:
        return Rows(self._client, self._place, state)

    def _refresh(
        self, consistency: str, held: State | None = None, began: float = math.inf
    ) -> State:
        # Read the state; of what a call reads that began before a switch, where it has not ended.
        held = held or self._state
        state, _ = catalogue.read(self._client, self._place, consistency)
        if state.collection == held.collection:
            if self._state.collection == held.collection:  # else another thread has switched
                self._state = state
            return state
        old = state.before
        if old is not None and old.collection == held.collection and began < state.since:
            return old
        raise replaced(self._place.shown)

    @contextmanager
    def _writing(self) -> Iterator[Lease]:
        self._check_open()
        with told(self._place), writing(self._client, self._place) as lease:
            yield lease

    def _begin(self, lease: Lease) -> State:
        # Read the state to change, and remove what a writer that was killed has left.
        # whoever took the lease has waited for all that was written before
        state = self._refresh(self._place.consistency)
        start = state.next
        if dead := lease.dead:
            # tickets are of both: whoever held one may have written to the other
            main, beside = self._place.main, self._place.beside
            catalogue.fence(self._client, beside if self._place.index == main.index else main)
            start = catalogue.fence(self._client, self._place)
            state = self._refresh("Strong")
        if state.dead:
            state = self._purge(state, lease)
        # else `_put` sees what is left, as to look for it would wait for the server
        if dead or self._place.local:
            if left := self._rows.positions(f"position >= {start}", 0):
                self._rows.delete(left, lease.renew)
            if dead:
                lease.drop(*dead)
                lease.dead = ()
        return state

    def _put(self, items: Items, keys: NDArray[np.int64], state: State, lease: Lease) -> None:
        # Put items in where no reader looks, and wait until all of them can be seen.
        rows = self._rows_of(state)
        rows.insert(items, keys, state.next, renew=lease.renew)
        here = f"position >= {state.next} and position < {state.next + catalogue.GAP}"
        if self._place.local:  # which may return a row twice
            came = len(rows.positions(here, len(items)))
        elif (came := rows.count(here, "Strong")) > len(items):
            # Beside what a writer has left that broke off; one that has taken our place writes
            # beyond the gap.
            rows.delete(rows.positions(here, 0), lease.renew)
            rows.insert(items, keys, state.next, renew=lease.renew)
            came = rows.count(here, "Strong")
        if came != len(items):
            raise catalogue.overtaken(self._place)

    def _commit(self, state: State, lease: Lease) -> None:
        if self._place.local:  # to the disk, before the state names it
            self._client.flush(state.collection)
        catalogue.write(self._client, self._place, state)
        self._state = state
        if state.dead:
            self._purge(state, lease)

    def _purge(self, state: State, lease: Lease) -> State:
        self._rows.delete(state.dead_positions(), lease.renew)
        if self._place.local:
            self._client.flush(state.collection)
        purged = state.purged()
        catalogue.write(self._client, self._place, purged)
        self._state = purged
        return purged

    def _check_open(self) -> None:
        if self._client is None:
            raise closed()


def _create(client: Any, place: Address, signature: Signature, overwrite: bool) -> State:
    old = catalogue.version(client, place)
    if old and not overwrite:
        raise taken(place.shown, "name")
    name = place.prefix + secrets.token_hex(4)
    state = State(old + LEAP, name, signature, layout=place.layout.filled())
    Rows(client, place, state).create()
    catalogue.write(client, place, state)
    if old:
        if place.index == place.main.index:
            catalogue.withdraw(client, place.beside)
        catalogue.sweep(client, place)
    return state
