"""`SqliteStore`: embeddings in a folder; nothing to install, nothing to start."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace as changed
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from twinset.errors import StoreError
from twinset.nearest import Hits, Matrix
from twinset.search.sqlite import database, making, rows, vector_file
from twinset.search.sqlite.cache import Cache
from twinset.search.sqlite.database import State, told
from twinset.search.sqlite.making import compact
from twinset.search.store import (
    Approximation,
    Items,
    Neighbour,
    Request,
    Signature,
    Store,
    known_ids,
    unknown_ids,
)
from twinset.search.where import Condition

# Times that a reader looks for the vectors of the state that it reads.
_ATTEMPTS = 5


class SqliteStore(Store):
    """A store in a folder, `photos.index/` say: search is exact, over vectors mapped into memory.

    `items.sqlite` holds ids, metadata and how many rows of `vectors-<generation>.f32` are known.
    A writer puts vectors behind these, sees them onto the disk, and makes them known in the same
    transaction as their ids. So whoever is killed, and whenever, leaves the old state or the new
    one; what lies behind the known rows is overwritten by the next.

    Removed rows stay until they are more than half of all; then the others move to a new file.
    Opening reads neither vectors nor ids. Threads may share a store, and take turns.

    Args:
        folder: its folder; see `open` and `create`.

    Raises:
        StoreError: there is none, or it is damaged.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with SqliteStore.create(f"{folder}/photos.index", Signature("digest", 2)) as store:
        ...         store.add(Items(["a", "b"], [[0, 0], [3, 4]], [{"label": "shoe"}, {}]))
        ...         near = store.search([[0, 1]], where=["label=shoe"])
        ...         far = store.search([[9, 9]], within=2)
        >>> near, far
        ([[Neighbour(id='a', distance=1.0, metadata={'label': 'shoe'})]], [[]])
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)
        self._lock = threading.RLock()
        self._db: sqlite3.Connection | None = database.connect(self._folder)
        self._mapped: tuple[State, NDArray[np.float32]] | None = None
        self._searched: tuple[State, Matrix] | None = None
        self._chosen: tuple[State, tuple[Condition, ...], NDArray[np.int64]] | None = None
        self._cache = Cache(self._folder)
        self._identity = ""
        try:
            with self._reading() as (_, state, _):
                self._identity = state.identity
                self.signature = state.signature
        except BaseException:
            self.close()
            raise

    @classmethod
    def open(cls, url: str) -> Self:
        """Open a store that is there.

        Args:
            url: the path of its folder.

        Raises:
            StoreError: there is none, or it is damaged.
        """
        return cls(url)

    @classmethod
    def create(cls, url: str, signature: Signature, *, overwrite: bool = False) -> Self:
        """Make a new, empty store.

        Args:
            url: the path of its folder, which may be there and empty.
            signature: what it is bound to.
            overwrite: empty the store that is there; other files in its folder stay. Defaults to
                False.

        Raises:
            StoreError: there is one and not `overwrite`, or something that is no store.
        """
        making.make(Path(url), signature, overwrite=overwrite)
        return cls(url)

    def __len__(self) -> int:
        with self._reading() as (_, state, _):
            return state.rows - state.dead

    def close(self) -> None:
        """Let go of the files."""
        with self._lock:
            self._mapped = self._searched = self._chosen = None
            if self._db is not None:
                self._db.close()
                self._db = None

    # --- what a store does

    def _add(self, items: Items, replace: bool) -> None:
        def put(db: sqlite3.Connection, state: State) -> State:
            old = rows.positions(db, items.ids)
            if old and not replace:
                raise known_ids([id_ for id_ in items.ids if id_ in old])
            state = rows.bury(db, state, list(old.values()))
            path = vector_file.path_of(self._folder, state.generation)
            vector_file.append(path, state.rows, items.vectors)
            return rows.insert(db, state, items)

        self._write(put)

    def _remove(self, ids: tuple[str, ...]) -> None:
        def take(db: sqlite3.Connection, state: State) -> State:
            found = rows.positions(db, ids)
            if len(found) < len(ids):
                raise unknown_ids([id_ for id_ in ids if id_ not in found], "remove")
            return rows.bury(db, state, list(found.values()))

        self._write(take)

    def _get(self, ids: tuple[str, ...]) -> Items:
        with self._reading() as (db, _, vectors):
            found = rows.positions(db, ids)
            if len(found) < len(ids):
                raise unknown_ids([id_ for id_ in ids if id_ not in found], "read")
            at = [found[id_] for id_ in ids]
            known = rows.known(db, at)
            return Items(ids, vectors[at], [known[position][1] for position in at])

    @property
    def approximation(self) -> Approximation | None:
        """The approximate index that answers; None if none was built, or not of these items."""
        with self._reading() as (_, state, _):
            made = self._cache.find(state)
        return None if made is None else made.told

    def build_approximate(self, *, recall: float = 0.95) -> Approximation:
        """Build an approximate index over what is there now, as a file in the folder.

        It pays from about a million items on; below, exact search takes milliseconds. It then
        answers all searches for k nearest without conditions. Items that come later are searched
        exactly, and those that go are left out; when most of the items it was built over are
        removed it is not used any more, and search is exact until it is built anew.

        Args:
            recall: the share of the true 10 nearest that it must find, in (0, 1). Defaults to
                0.95.

        Returns:
            What was built, with its recall, measured on a sample of the items.

        Raises:
            StoreError: there are no items, or faiss is not installed: pip install 'twinset[ann]'.
        """
        with self._reading() as (db, state, vectors):
            matrix = self._matrix(db, state, vectors)
        # readers and writers may go on: it is of this moment, whatever comes after
        with told(self._folder):
            return self._cache.build(state, matrix, recall).told

    def _search(self, request: Request) -> list[list[Neighbour]]:
        with self._reading() as (db, state, vectors):
            hits = self._hits(request, self._matrix(db, state, vectors), db, state)
            known = rows.known(db, hits.positions.tolist())
        answers = []
        for query in range(len(hits)):
            found = zip(*(part.tolist() for part in hits.of(query)), strict=True)
            answers.append([Neighbour(known[at][0], far, dict(known[at][1])) for at, far in found])
        return answers

    def _batches(self, size: int) -> Iterator[Items]:
        with self._lock:
            self._opened()
        # A connection of its own: its transaction stays open between batches, so that all are of
        # one moment, whatever is written meanwhile.
        db = database.connect(self._folder)
        try:
            with told(self._folder), self._snapshot(db) as (_, vectors):
                last = -1
                while found := rows.after(db, last, size):
                    last = found[-1][0]
                    at = [position for position, _, _ in found]
                    yield Items(
                        [id_ for _, id_, _ in found], vectors[at], [known for _, _, known in found]
                    )
        finally:
            db.close()

    def _hits(self, request: Request, matrix: Matrix, db: sqlite3.Connection, state: State) -> Hits:
        queries, k, within = request.queries, request.k, request.within
        # Under conditions an approximate search loses its way: few of what it looks at hold.
        if k is not None and not (request.exact or request.where):
            made = self._cache.find(state)
            if made is not None:
                return made.search(matrix, queries, k, within)
        among = self._among(db, state, request.where)
        return matrix.search(queries, k=k, within=within, rows=among)

    # --- what it searches in, kept from call to call

    def _matrix(self, db: sqlite3.Connection, state: State, vectors: NDArray[np.float32]) -> Matrix:
        if self._searched is None or self._searched[0] != state:
            dead = rows.dead(db)
            before = self._searched
            if before is not None and before[0].generation == state.generation:
                matrix = before[1].follow(vectors, dead)
            else:
                matrix = Matrix(vectors, dead)
            self._searched = state, matrix
        return self._searched[1]

    def _among(
        self, db: sqlite3.Connection, state: State, where: tuple[Condition, ...]
    ) -> NDArray[np.int64] | None:
        if not where:
            return None
        # many searches in turn often ask for the same
        if self._chosen is None or self._chosen[:2] != (state, where):
            self._chosen = state, where, database.positions(db, where, state.rows)
        return self._chosen[2]

    def _vectors(self, state: State) -> NDArray[np.float32]:
        if self._mapped is None or self._mapped[0] != state:
            path = vector_file.path_of(self._folder, state.generation)
            self._mapped = state, vector_file.mapped(path, state.rows, state.dim)
        return self._mapped[1]

    # --- transactions

    @contextmanager
    def _reading(self) -> Iterator[tuple[sqlite3.Connection, State, NDArray[np.float32]]]:
        with self._lock, told(self._folder):
            db = self._opened()
            with self._snapshot(db) as (state, vectors):
                yield db, state, vectors

    @contextmanager
    def _snapshot(self, db: sqlite3.Connection) -> Iterator[tuple[State, NDArray[np.float32]]]:
        """Hold on to one moment: the state, and the vectors that it knows."""
        for attempt in range(_ATTEMPTS):
            with database.transaction(db, "DEFERRED") as state:
                self._check(state)
                try:
                    vectors = self._vectors(state)
                except FileNotFoundError:
                    # a writer has moved on to another file since this state was read
                    if attempt + 1 < _ATTEMPTS:
                        continue
                    path = vector_file.path_of(self._folder, state.generation)
                    raise vector_file.damaged(path, state.rows * state.dim * 4) from None
                yield state, vectors
                return

    def _write(self, job: Callable[[sqlite3.Connection, State], State]) -> None:
        with self._lock, told(self._folder):
            db = self._opened()
            with database.transaction(db, "IMMEDIATE") as state:
                self._check(state)
                vector_file.sweep(self._folder, state.generation)
                new = job(db, state)
                if 2 * new.dead > new.rows:
                    new = compact(db, self._folder, new)
                database.write(db, changed(new, change=state.change + 1))
            if new.generation != state.generation:
                with suppress(OSError):  # the next writer will
                    vector_file.path_of(self._folder, state.generation).unlink()

    def _check(self, state: State) -> None:
        if self._identity not in ("", state.identity):
            raise StoreError(
                f"{self._folder}: the index was replaced by another since it was opened. "
                "Open it again."
            )

    def _opened(self) -> sqlite3.Connection:
        if self._db is None:
            raise StoreError("Expected an open index. Received a closed one: open it again.")
        return self._db
