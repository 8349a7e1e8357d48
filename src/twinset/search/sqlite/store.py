"""`SqliteStore`: embeddings in a folder; nothing to install, nothing to start."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import replace as changed
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from twinset.nearest import Hits, Matrix
from twinset.search import approximate
from twinset.search.checked import Metadata
from twinset.search.connections import Connections
from twinset.search.items import Approximation, Items, Neighbour, Signature, Since
from twinset.search.paging import Column, Page
from twinset.search.sqlite import database, rows, vector_file
from twinset.search.sqlite.database import State, told
from twinset.search.store import Request, Store, known_ids, replaced, unknown_ids
from twinset.search.where import Condition

# A new state, and the positions of items that were removed or changed.
Written = tuple[State, Sequence[int]]
# Times that a reader looks for the vectors of the state that it reads.
_ATTEMPTS = 5
# Items whose metadata are read at a time.
_LISTED = 10_000
APPROXIMATE = "approximate.faiss"


@dataclass(frozen=True, eq=False)
class _Moment:
    """What a store is at one moment, whatever is written meanwhile."""

    db: sqlite3.Connection  # in a transaction
    state: State
    vectors: NDArray[np.float32]


class SqliteStore(Store):
    """A store in a folder, `photos.index/` say: search is exact, over vectors mapped into memory.

    `items.sqlite` holds ids, metadata and how many rows of `vectors-<generation>.f32` are known.
    A writer puts vectors behind these, sees them onto the disk, and makes them known in the same
    transaction as their ids. So whoever is killed, and whenever, leaves the old state or the new
    one; what lies behind the known rows is overwritten by the next.

    Removed rows stay until they are more than half of all; then the others move to a new file.
    Opening reads neither vectors nor ids. Threads may share a store: each call reads the moment at
    which it began, side by side with others, and those that write take turns.

    `build_approximate` writes a file of faiss into the folder, which pays from about a million
    items on. It answers searches for k nearest without conditions; items that come later are
    searched exactly. When most of those it was built over are removed it is used no more.
    """

    def __init__(self, folder: str | Path) -> None:
        self._shown = Path(folder)
        self._folder = self._shown.absolute()  # wherever this process goes meanwhile
        self._turn = threading.Lock()  # of threads that write
        first = database.connect(self._shown)
        self._file = database.file_at(self._folder)
        self._connections = Connections(lambda: database.connect(self._folder), first)
        # Guards what follows, never for longer than it takes to read a state: not for a search.
        self._lock = threading.Lock()
        self._mapped: tuple[State, NDArray[np.float32]] | None = None
        self._searched: tuple[State, Matrix] | None = None
        self._chosen: tuple[State, tuple[Condition, ...], NDArray[np.int64]] | None = None
        self._approximate: tuple[object, approximate.Approximate | None] = None, None
        self._identity = ""
        try:
            with self._reading() as now:
                self._identity = now.state.identity
                self.signature = now.state.signature
        except BaseException:
            self.close()
            raise

    @classmethod
    def open(cls, url: str) -> Self:
        """Open a store that is there; see `open_store`."""
        return cls(url)

    @classmethod
    def create(cls, url: str, signature: Signature, *, overwrite: bool = False) -> Self:
        """Make a new, empty store; see `create_store`. Other files in its folder stay."""
        database.make(Path(url), signature, overwrite=overwrite)
        return cls(url)

    def __len__(self) -> int:
        with self._reading() as now:
            return now.state.rows - now.state.dead

    def version(self) -> str:
        """Return a text that is another one after each change of the items."""
        with self._reading() as now:
            return now.state.version

    def since(self, version: str) -> Since:
        """Read what became of the items after a version."""
        with self._reading() as now:
            found = rows.changed(now.db, now.state, version)
            if found is None:
                return Since(now.state.version, None, 0, self._placed(10_000))
            first, touched = found
            at = rows.there(now.db, first, touched)
            known = rows.known(now.db, at)
            items = [known[position] for position in at]
            ids, metadata = [own for own, _ in items], [each for _, each in items]
            told = at, Items(ids, now.vectors[at], metadata)
        return Since(now.state.version, touched, first, iter([told]))

    def close(self) -> None:
        """Let go of the files; a call that is under way still ends."""
        self._connections.close()
        with self._lock:
            self._mapped = self._searched = self._chosen = None

    # --- what a store does

    def _add(self, items: Items, replace: bool) -> None:
        def put(db: sqlite3.Connection, state: State) -> Written:
            old = rows.positions(db, items.ids)
            if old and not replace:
                raise known_ids([id_ for id_ in items.ids if id_ in old])
            touched = list(old.values())
            state = rows.bury(db, state, touched)
            path = vector_file.path_of(self._folder, state.generation)
            vector_file.append(path, state.rows, items.vectors)
            return rows.insert(db, state, items), touched

        self._write(put)

    def _remove(self, ids: tuple[str, ...]) -> None:
        def take(db: sqlite3.Connection, state: State) -> Written:
            at = _places(db, ids, "remove")
            return rows.bury(db, state, at), at

        self._write(take)

    def _update_metadata(self, ids: tuple[str, ...], metadata: Sequence[Metadata]) -> None:
        def describe(db: sqlite3.Connection, state: State) -> Written:
            at = _places(db, ids, "change")
            rows.describe(db, at, metadata)
            return state, at

        self._write(describe)

    def _get(self, ids: tuple[str, ...]) -> Items:
        with self._reading() as now:
            at = _places(now.db, ids, "read")
            known = rows.known(now.db, at)
            return Items(ids, now.vectors[at], [known[position][1] for position in at])

    @property
    def approximation(self) -> Approximation | None:
        """The approximate index that answers; None if none was built, or not of these items."""
        with self._reading() as now:
            made = self._found_approximate(now.state)
        return None if made is None else made.told

    def _build_approximate(self, recall: float) -> Approximation:
        with self._reading() as now:
            matrix = self._matrix(now)
        # readers and writers may go on: it is of this moment, whatever comes after
        with told(self._shown):
            made = approximate.build(matrix, recall)
            approximate.save(self._folder / APPROXIMATE, made, _stamp(now.state))
        return made.told

    def _search(self, request: Request) -> list[list[Neighbour]]:
        with self._reading() as now:
            hits = self._hits(request, now)
            known = rows.known(now.db, hits.positions.tolist())
        answers = []
        for query in range(len(hits)):
            found = zip(*(part.tolist() for part in hits.of(query)), strict=True)
            answers.append([Neighbour(known[at][0], far, dict(known[at][1])) for at, far in found])
        return answers

    def _batches(self, size: int) -> Iterator[Items]:
        return (items for _, items in self._placed(size))

    def _placed(self, size: int) -> Iterator[tuple[list[int], Items]]:
        with self._reading() as now:
            last = -1
            while found := rows.after(now.db, last, size):
                last = found[-1][0]
                at = [position for position, _, _ in found]
                ids, known = [id_ for _, id_, _ in found], [each for _, _, each in found]
                yield at, Items(ids, now.vectors[at], known)

    def listed(self) -> Iterator[tuple[str, Metadata]]:
        """Go through ids and metadata, in the order in which the items were put in."""
        with self._reading() as now:
            last = -1
            while found := rows.after(now.db, last, _LISTED):
                last = found[-1][0]
                yield from ((own, known) for _, own, known in found)

    def _record(self, kind: str, texts: tuple[str, ...]) -> None:
        # the state stays: what readers keep of the items is still true
        with self._turn, told(self._shown), self._connection() as db, database.writing(db) as now:
            self._check(now)
            rows.record(db, kind, texts)

    def _records(self, kind: str) -> list[str]:
        with self._reading() as now:
            return rows.records(now.db, kind)

    def columns(self, most: int = 1000) -> list[Column]:
        """List the names of the metadata, sorted, each with at most so many different values."""
        with self._reading() as now:
            return rows.columns(now.db, most)

    def _page(self, offset: int, limit: int, where: tuple[Condition, ...]) -> Page:
        with self._reading() as now:
            among = self._among(now, where)
            if among is None:
                found = rows.page(now.db, offset, limit)
                total = now.state.rows - now.state.dead
            else:
                at = among[offset : offset + limit].tolist()
                known = rows.known(now.db, at)
                found, total = [known[position] for position in at], len(among)
        return Page(tuple(own for own, _ in found), tuple(each for _, each in found), total)

    def _hits(self, request: Request, now: _Moment) -> Hits:
        queries, k, within = request.queries, request.k, request.within
        matrix = self._matrix(now)
        # Under conditions an approximate search loses its way: few of what it looks at hold.
        if k is not None and not (request.exact or request.where):
            made = self._found_approximate(now.state)
            if made is not None:
                return made.search(matrix, queries, k, within)
        return matrix.search(queries, k=k, within=within, rows=self._among(now, request.where))

    # --- what it searches in, kept from call to call

    def _matrix(self, now: _Moment) -> Matrix:
        with self._lock:
            before = self._searched
        if before is not None and before[0] == now.state:
            return before[1]
        dead = rows.dead(now.db)
        follows = (
            before is not None
            and before[0].generation == now.state.generation
            and before[0].change < now.state.change
        )
        if before is not None and follows:
            matrix = before[1].follow(now.vectors, dead)
        else:
            matrix = Matrix(now.vectors, dead)
        with self._lock:
            # one that began earlier and comes later keeps its own to itself
            if self._searched is None or self._searched[0].change < now.state.change:
                self._searched = now.state, matrix
        return matrix

    def _among(self, now: _Moment, where: tuple[Condition, ...]) -> NDArray[np.int64] | None:
        if not where:
            return None
        # many searches in turn often ask for the same
        kept = self._chosen
        if kept is None or kept[:2] != (now.state, where):
            kept = now.state, where, rows.chosen(now.db, where, now.state.rows)
            self._chosen = kept
        return kept[2]

    def _found_approximate(self, state: State) -> approximate.Approximate | None:
        path = self._folder / APPROXIMATE
        try:
            file = path.stat()
        except OSError:
            return None
        key = (file.st_ino, file.st_mtime_ns, file.st_size, state.identity, state.generation)
        with self._lock:
            if key != self._approximate[0]:
                self._approximate = key, approximate.load(path, _stamp(state))
            made = self._approximate[1]
        # built by another process after this moment, it would find what is not there yet
        return made if made is not None and made.rows <= state.rows else None

    # --- another model

    def beside(self) -> str:
        """Return the place of the embeddings of the next model."""
        return str(self._folder / "next")

    def switch(self, version: str) -> bool:
        """Take what is in the place beside for one's own, in one transaction."""
        place = Path(self.beside())
        with self._turn, told(self._shown), self._connection() as db:
            with rows.attached(db, place), database.writing(db) as state:
                self._check(state)
                if state.version != version:
                    return False
                vector_file.sweep(self._folder, database.generations(db))
                new = rows.take_over(db, self._folder, place)
            self._follow(new)
            vector_file.sweep(self._folder, database.generations(db))
        shutil.rmtree(place, ignore_errors=True)
        return True

    def roll_back(self) -> None:
        """Go back to the model before, in one transaction."""
        with self._turn, told(self._shown), self._connection() as db:
            with database.writing(db) as state:
                self._check(state)
                new = rows.go_back(db, self._folder)
            self._follow(new)

    def _follow(self, state: State) -> None:
        with self._lock:
            self._mapped = self._searched = self._chosen = None
            self._identity, self.signature = state.identity, state.signature

    # --- transactions

    @contextmanager
    def _reading(self) -> Iterator[_Moment]:
        with told(self._shown), self._connection() as db:
            with self._lock:
                now = self._now(db)
            yield now

    def _now(self, db: sqlite3.Connection) -> _Moment:
        for _ in range(_ATTEMPTS):
            db.execute("BEGIN DEFERRED")
            state = database.read(db)
            self._check(state)
            path = vector_file.path_of(self._folder, state.generation)
            if self._mapped is not None and self._mapped[0] == state:
                return _Moment(db, state, self._mapped[1])
            try:
                self._mapped = state, vector_file.mapped(path, state.rows, state.dim)
            except FileNotFoundError:
                # a writer has moved on to another file since this state was read
                db.execute("ROLLBACK")
            else:
                return _Moment(db, state, self._mapped[1])
        raise vector_file.damaged(path, state.rows * state.dim * 4)

    def _write(self, job: Callable[[sqlite3.Connection, State], Written]) -> None:
        with self._turn, told(self._shown), self._connection() as db:
            with database.writing(db) as state:
                self._check(state)
                vector_file.sweep(self._folder, database.generations(db))
                new, touched = job(db, state)
                rows.log(db, state, touched)
                if 2 * new.dead > new.rows:
                    new = rows.compact(db, self._folder, new)
                database.write(db, changed(new, change=state.change + 1))
            if new.generation != state.generation:
                vector_file.discard(self._folder, state.generation)

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with self._connections.borrow() as db:
            try:
                yield db
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")

    def _check(self, state: State) -> None:
        # A connection goes on with the file that it opened; vectors are found by path, in whatever
        # folder lies there by now.
        moved = self._file != database.file_at(self._folder)
        if moved or self._identity not in ("", state.identity):
            raise replaced(self._shown)


def _places(db: sqlite3.Connection, ids: Sequence[str], action: str) -> list[int]:
    found = rows.positions(db, ids)
    if missing := [id_ for id_ in ids if id_ not in found]:
        raise unknown_ids(missing, action)
    return [found[id_] for id_ in ids]


def _stamp(state: State) -> dict[str, str | int]:
    # vectors of one generation never change: the first so many rows are those that it was built of
    return {"identity": state.identity, "generation": state.generation}
