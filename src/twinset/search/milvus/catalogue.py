"""Which state of an index counts: rows that name it, put in with one request and so all at once.

Milvus has no transactions. So a writer first puts items where no reader looks, at positions from
`next` on, then makes the new state known with one insertion, and only then deletes what it no
longer names. One that is killed leaves the old state or the new one, and rubbish that no reader
sees and the next writer removes.
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from twinset.errors import StoreError
from twinset.search.items import Signature
from twinset.search.layout import Layout, taken_from
from twinset.search.milvus.address import LAYOUTS, Address
from twinset.search.store import missing, other_format, replaced

CATALOGUE = "twinset_indexes"
FORMAT = 4
# By how much the version grows with a switch, or once a writer was taken for dead: a writer that
# had begun before and knows nothing of it ends at a version in between, which counts no more.
LEAP = 1000
# How many positions are given up with a writer that was taken for dead; one call writes fewer.
GAP = 2**30
# Of positions to delete, in one row: a JSON field holds 65,536 bytes.
_RANGES = 1000


@dataclass(frozen=True)
class State:
    """What an index consists of."""

    version: int  # grows with each change
    collection: str  # where the items are
    signature: Signature  # what the index is bound to
    count: int = 0  # how many items there are
    next: int = 0  # they are at positions below this one
    # how many were ever taken out: a reader that sees this grow may have missed some
    removed: int = 0
    # ranges of positions, end excluded, that hold items no more, though rows may be there
    dead: tuple[tuple[int, int], ...] = ()
    # ranges of positions where rows of a writer that was taken for dead may still arrive
    gaps: tuple[tuple[int, int], ...] = ()
    layout: Layout = field(default_factory=Layout().filled)  # how the items are kept
    approximation: Mapping[str, Any] | None = None  # the approximate index; None where all is exact
    # Of an index that was switched: by what its records are found, which a switch does not touch;
    # what was replaced; and when, in seconds since 1970 by the clock of who did it.
    keeper: str = ""
    before: State | None = None
    since: float = 0.0

    @property
    def records(self) -> str:
        """By what the records of the index are found."""
        return self.keeper or self.collection

    def dead_positions(self) -> list[int]:
        """List the positions that hold items no more."""
        return [position for start, end in self.dead for position in range(start, end)]

    def visible(self) -> str:
        """Write the filter for rows that are items."""
        dead = self.dead_positions()
        return (
            f"position < {self.next}"
            + (f" and position not in {dead}" if dead else "")
            + "".join(f" and not (position >= {a} and position < {b})" for a, b in self.gaps)
        )

    def spans(self, step: int) -> Iterator[tuple[int, int]]:
        """Cut the positions where items may be into ranges of at most `step`."""
        ends = [0, *(end for gap in self.gaps for end in gap), self.next]
        for start, stop in zip(ends[::2], ends[1::2], strict=True):
            for first in range(start, stop, step):
                yield first, min(first + step, stop)

    def changed(self, *, added: int, dead: Iterable[int]) -> State:
        """Return the state after a change."""
        gone = sorted(dead)
        return dataclasses.replace(
            self,
            version=self.version + 1,
            count=self.count + added - len(gone),
            next=self.next + added,
            removed=self.removed + len(gone),
            dead=_ranges(gone),
        )

    def fenced(self) -> State:
        """Return the state that counts whatever a writer still does that was taken for dead."""
        gaps = [*self.gaps, (self.next, self.next + GAP)]
        if len(gaps) > 1 and gaps[-2][1] == self.next:  # nobody has written since the one before
            gaps[-2:] = [(gaps[-2][0], gaps[-1][1])]
        return dataclasses.replace(
            self, version=self.version + LEAP, next=self.next + GAP, gaps=tuple(gaps)
        )

    def purged(self) -> State:
        """Return the state once the rows of what was taken out are gone."""
        return dataclasses.replace(self, version=self.version + 1, dead=())


def create_catalogue(client: Any, place: Address) -> None:
    """Make the catalogue where there is none."""
    from pymilvus import DataType

    if load(client, place, CATALOGUE):
        return
    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("key", DataType.VARCHAR, max_length=200, is_primary=True)
    schema.add_field("name", DataType.VARCHAR, max_length=200)
    schema.add_field("content", DataType.JSON)
    schema.add_field("embedding", DataType.FLOAT_VECTOR, dim=2)  # each collection must have one
    make_collection(client, CATALOGUE, schema)


def make_collection(client: Any, name: str, schema: Any, **more: Any) -> None:
    """Make a collection with an exact index, and load it."""
    # One shard: an insertion is seen whole or not at all within one.
    client.create_collection(name, schema=schema, num_shards=1, consistency_level="Bounded", **more)
    make_index(client, name)
    client.load_collection(name)


def load(client: Any, place: Address, name: str) -> bool:
    """Let a collection be searched, which Milvus Lite forgets when it ends; tell if it is there."""
    from pymilvus.exceptions import MilvusException

    if not client.has_collection(name):
        return False
    if client.get_load_state(name)["state"].name == "Loaded":
        return True
    if not client.list_indexes(name):  # one that made it was killed before it had done so
        make_index(client, name)
    try:
        client.load_collection(name)
    except MilvusException:
        if not place.local:
            raise
        # Milvus Lite does not write index files in one step: one that was killed may have left
        # half of one. It is made of the vectors, which are safe.
        client.drop_index(name, "embedding")
        make_index(client, name)
        client.load_collection(name)
    return True


def make_index(client: Any, name: str, kind: str = "FLAT", made: Any = None) -> None:
    """Let a collection be searched, exactly by default."""
    index = client.prepare_index_params()
    # Named, as the default may be approximate, or none at all until rows are sealed.
    index.add_index("embedding", index_type=kind, metric_type="L2", params=made or {})
    client.create_index(name, index, sync=False)


def read(client: Any, place: Address, consistency: str) -> tuple[State, list[str]]:
    """Read the newest state of an index, and the keys of the rows of older ones."""
    newest, old = _newest(client, place, consistency)
    if not newest:
        raise missing(place.shown, "none of this name")
    one = newest[0]
    if one["format"] != FORMAT:
        raise other_format(place.shown, FORMAT, one["format"])
    dead = tuple(sorted((start, end) for part in newest for start, end in part["dead"]))
    return dataclasses.replace(_state(one), dead=dead), old


def version(client: Any, place: Address) -> int:
    """Read the version of an index of whatever format; 0 if there is none."""
    newest, _ = _newest(client, place, "Strong")
    return int(newest[0]["version"]) if newest else 0


def write(client: Any, place: Address, state: State) -> None:
    """Make a state known; it counts from the moment this is seen."""
    insert(client, place, state)
    # Waits until the server's readers see it: from here on, any read by anyone does.
    newest, old = read(client, place, "Strong")
    if newest.collection != state.collection:  # switched or made anew meanwhile
        raise replaced(place.shown)
    if newest.version != state.version:
        raise overtaken(place)
    tidy(client, place, state, old)


def overtaken(place: Address) -> StoreError:
    """Make the error for a writer that was taken for dead."""
    return StoreError(
        f"{place.shown}: another writer took the place of this one, which had said nothing for "
        f"{place.timeout:g} seconds. Nothing was changed: try again."
    )


def supersede(client: Any, place: Address, state: State, new: State) -> State | None:
    """Make a new state known that leaps over another; None if that one was written on meanwhile."""
    insert(client, place, new)  # from here on it counts
    newest, old = read(client, place, "Strong")
    if newest.collection != new.collection:
        raise replaced(place.shown)
    # a writer in another process that was done after our state was read: it was told so, and
    # what it has written must not be lost
    if any(version > state.version for version in map(version_of, old)):
        withdraw(client, place, (new.version,))
        return None
    tidy(client, place, new, old)
    return new


def fence(client: Any, place: Address) -> int:
    """Let nothing count that a writer still does which was taken for dead.

    Returns from where on there may be rows that no state names; of no index 0.
    """
    while _newest(client, place, "Strong")[0]:
        state, _ = read(client, place, "Strong")
        if supersede(client, place, state, state.fenced()) is not None:
            return state.next
    return 0


def version_of(key: str) -> int:
    """Tell the version of a state by the key of one of its rows."""
    return int(key.rsplit("/", 2)[1])


def collections(client: Any, place: Address) -> set[str]:
    """Tell which collections the states of an index name, whole or not."""
    return {row["collection"] for row in _rows(client, place, "Strong").values()}


def insert(client: Any, place: Address, state: State) -> None:
    """Put in the rows of a state, at one moment."""
    chunks = [state.dead[i : i + _RANGES] for i in range(0, len(state.dead), _RANGES)] or [()]
    told = _told(state)
    rows: list[dict[str, Any]] = [
        {
            "key": f"{place.index}/{state.version}/{part}",
            "name": place.index,
            "embedding": [0.0, 0.0],
            "content": {
                "format": FORMAT,
                "parts": len(chunks),
                **told,
                "dead": [list(pair) for pair in chunk],
            },
        }
        for part, chunk in enumerate(chunks)
    ]
    client.insert(CATALOGUE, rows)


def tidy(client: Any, place: Address, state: State, old: Sequence[str]) -> None:
    """Delete the rows of older states, once a newer one counts."""
    if old:
        client.delete(CATALOGUE, ids=list(old))
    # Milvus Lite has told the system, but not yet the disk. Where rows are still to be deleted,
    # another state follows before the call returns.
    if place.local and not state.dead:
        client.flush(CATALOGUE)


def withdraw(client: Any, place: Address, versions: Iterable[int] = ()) -> None:
    """Delete the rows of some states of an index, or of all."""
    rows = _rows(client, place, "Strong")
    gone = [key for key, row in rows.items() if not versions or row["version"] in versions]
    if gone:
        client.delete(CATALOGUE, ids=gone)
        _rows(client, place, "Strong")  # waits until readers see it
        if place.local:
            client.flush(CATALOGUE)


def sweep(client: Any, place: Address) -> None:
    """Drop what no state names: of what was made anew or switched twice, and of kills."""
    there = client.list_collections()  # before the states: what comes later is not touched
    alive: set[str] = set()
    keepers: set[str] = set()
    for each in (place.main, place.beside):
        for row in _rows(client, each, "Strong").values():
            alive |= {part["collection"] for part in (row, row["before"]) if part}
            keepers.add(row["keeper"] or row["collection"])
    name = re.compile(f"{place.prefix}[0-9a-f]{{8}}")
    for other in there:
        if name.fullmatch(other) and other not in alive:
            client.drop_collection(other)
    found = client.query(
        CATALOGUE,
        filter=f'name like "{place.prefix}%"',
        output_fields=["name"],
        consistency_level="Strong",
    )
    for keeper in {row["name"].partition("/")[0] for row in found} - keepers:
        if name.fullmatch(keeper):
            client.delete(CATALOGUE, filter=f'name like "{keeper}/%"')


def _newest(client: Any, place: Address, consistency: str) -> tuple[list[Any], list[str]]:
    # Read the rows of the newest state that is there whole, and the keys of older ones.
    rows = _rows(client, place, consistency)
    parts: dict[int, list[Any]] = {}
    for content in rows.values():
        parts.setdefault(content["version"], []).append(content)
    whole = [number for number, each in parts.items() if len(each) == each[0]["parts"]]
    if not whole:
        return [], []
    newest = max(whole)
    return parts[newest], [key for key, row in rows.items() if row["version"] < newest]


def _rows(client: Any, place: Address, consistency: str) -> dict[str, Any]:
    return named(client, place.index, consistency)


def named(client: Any, name: str, consistency: str) -> dict[str, Any]:
    """Read what rows of a name hold, by their keys."""
    found = client.query(
        CATALOGUE,
        filter=f'name == "{name}"',
        output_fields=["key", "content"],
        consistency_level=consistency,
    )
    return {row["key"]: row["content"] for row in found}  # once each, see `Rows.candidates`


def _told(state: State) -> dict[str, Any]:
    before = None if state.before is None else _told(state.before)
    told = vars(state) | {"before": before, "layout": state.layout.parameters(), "dead": []}
    return told | {"signature": dataclasses.astuple(state.signature)}


def _state(told: Mapping[str, Any]) -> State:
    known = {each.name: told[each.name] for each in dataclasses.fields(State)}
    return State(
        **known
        | {
            "signature": Signature(*told["signature"]),
            "dead": (),
            "gaps": tuple(map(tuple, told["gaps"])),
            "layout": taken_from(dict(told["layout"]), LAYOUTS, "the catalogue").filled(),
            "before": told["before"] and _state(told["before"]),
        }
    )


def _ranges(positions: list[int]) -> tuple[tuple[int, int], ...]:
    found: list[tuple[int, int]] = []
    for position in positions:
        if found and found[-1][1] == position:
            found[-1] = (found[-1][0], position + 1)
        else:
            found.append((position, position + 1))
    return tuple(found)


# --- Another model: one new state that names another collection.


def exchange(client: Any, place: Address, state: State, other: State) -> State | None:
    """Put other items in the place of those of a state; None if another has written meanwhile."""
    load(client, place, other.collection)  # those before may not be, on a server
    new = dataclasses.replace(
        other,
        version=state.version + LEAP,
        keeper=state.records,
        before=dataclasses.replace(state, keeper="", before=None, since=0.0),
        since=time.time(),
    )
    return supersede(client, place, state, new)


def let_go(client: Any, place: Address, state: State) -> None:
    """Remove what no longer counts: the state beside, once its items are taken, and the rest."""
    # a switch that was killed has left it: whoever went on to fill it would change our items
    named = {each.collection for each in (state, state.before) if each is not None}
    if named & collections(client, place.beside):
        withdraw(client, place.beside)
    sweep(client, place)
