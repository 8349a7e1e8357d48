"""The collection of one index: rows in and out, within what Milvus takes at once."""

from __future__ import annotations

import hashlib
import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from twinset.errors import StoreError
from twinset.search.candidates import Candidates
from twinset.search.checked import Metadata, kind
from twinset.search.items import Items
from twinset.search.milvus.address import Address
from twinset.search.milvus.catalogue import State, make_collection
from twinset.search.where import Condition

# Milvus' own limits.
LONGEST_ID, LONGEST_METADATA = 65_535, 65_536
MOST_HITS = 16_384
# What travels in one message; gRPC takes 64 MB.
_BYTES = 16 * 2**20
# How many items are named in one expression.
_NAMED = 5_000
# How many requests of one call are under way at once.
_SIDE_BY_SIDE = 4
# Of so many items keys are kept, 8 bytes each.
_MOST = 10_000_000

Given = TypeVar("Given")
Answer = TypeVar("Answer")

_KNOWN = ("position", "item", "metadata")
_FIELDS = (*_KNOWN, "embedding")


@dataclass(frozen=True)
class Rows:
    """The collection of a state."""

    client: Any  # of the server
    place: Address
    state: State

    @property
    def collection(self) -> str:
        """Its name."""
        return self.state.collection

    @property
    def dim(self) -> int:
        """The size of an embedding."""
        return self.state.signature.dim

    def create(self) -> None:
        """Make the collection."""
        from pymilvus import DataType

        schema = self.client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("position", DataType.INT64, is_primary=True)
        cut = self.state.layout.partitions != 1
        by_id = self.state.layout.partition_by is None
        schema.add_field("key", DataType.INT64, is_partition_key=cut and by_id)
        if not by_id:
            schema.add_field("part", DataType.INT64, is_partition_key=cut)
        schema.add_field("item", DataType.VARCHAR, max_length=LONGEST_ID)
        # Milvus takes no embeddings of size 1: a 0 behind it changes no distance.
        schema.add_field("embedding", DataType.FLOAT_VECTOR, dim=max(self.dim, 2))
        schema.add_field("metadata", DataType.JSON)
        more = {"num_partitions": self.state.layout.partitions} if cut else {}
        make_collection(self.client, self.collection, schema, **more)

    @property
    def at_once(self) -> int:
        """How many rows one message may hold."""
        return max(1, min(MOST_HITS, _BYTES // (4 * self.dim + 512)))

    def filter(self, where: Sequence[Condition]) -> str:
        """Write the expressible ones of conditions; "" where there are none."""
        return expression(where, self.state.layout.partition_by)

    def insert(
        self, items: Items, keys: NDArray[np.int64], first: int, *, renew: Callable[[], None]
    ) -> None:
        """Put items in, at positions from `first` on; what renews the lease is called meanwhile."""
        for _ in self._side_by_side(self._put, self._messages(items, keys, first)):
            renew()

    def _messages(
        self, items: Items, keys: NDArray[np.int64], first: int
    ) -> Iterator[list[dict[str, Any]]]:
        rows: list[dict[str, Any]] = []
        size = 0
        padding = np.zeros(max(0, 2 - self.dim), np.float32)
        column = self.state.layout.partition_by
        everything = zip(items.ids, keys.tolist(), items.vectors, items.metadata, strict=True)
        for position, (id_, number, vector, known) in enumerate(everything, first):
            plain = dict(known)
            row = {
                "position": position,
                "key": number,
                "item": id_,
                "embedding": np.concatenate([vector, padding]) if padding.size else vector,
                "metadata": plain,
            }
            if column is not None:
                row["part"] = part(column, known)
            rows.append(row)
            size += 4 * (self.dim + len(id_) + len(str(plain)))
            if size > _BYTES or len(rows) == 10_000:
                yield rows
                rows, size = [], 0
        if rows:
            yield rows

    def _put(self, rows: list[dict[str, Any]]) -> None:
        self.client.insert(self.collection, rows)

    def _side_by_side(
        self, ask: Callable[[Given], Answer], given: Iterable[Given]
    ) -> Iterator[Answer]:
        # A server has its waits: for its next tick, or for what a request is packed into.
        if self.place.local:
            yield from map(ask, given)
            return
        with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
            waiting: deque[Future[Answer]] = deque()
            for each in given:
                waiting.append(pool.submit(ask, each))
                if len(waiting) > _SIDE_BY_SIDE:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def positions(self, filter_: str, expected: int) -> Sequence[int]:
        """Find where rows are, having waited for all that was written before.

        Where there are as many as expected, any numbers in this number.
        """
        if self.count(filter_, "Strong") == expected:
            return range(expected)
        found = self._query(filter_, ["position"], "Strong")
        return sorted({int(row["position"]) for row in found})

    def delete(self, positions: Sequence[int], renew: Callable[[], None]) -> None:
        """Delete rows, and wait until no reader sees them."""
        for start in range(0, len(positions), _NAMED):
            some = list(positions[start : start + _NAMED])
            renew()
            self.client.delete(self.collection, ids=some)
        # They are done in this order, so that the last ones stand for all.
        if positions and self.positions(f"position in {list(positions[-_NAMED:])}", 0):
            raise StoreError(
                f"Milvus did not delete rows of {self.collection}. Is another process writing to "
                "this index?"
            )

    def at(self, ids: Sequence[str], visible: str, consistency: str) -> dict[str, int]:
        """Find where items are."""
        return {
            row["item"]: row["position"]
            for row in self._named(ids, visible, ["item", "position"], consistency)
        }

    def named(self, ids: Sequence[str], visible: str, consistency: str) -> Candidates:
        """Read items by their ids."""
        return self.candidates(list(self._named(ids, visible, list(_FIELDS), consistency)))

    def page(
        self, start: int, end: int, filter_: str, consistency: str, *, known: bool = False
    ) -> Candidates:
        """Read items at positions from `start` to before `end`; only what is known, if asked."""
        wanted = f"position >= {start} and position < {end} and {filter_}"
        found = self._query(wanted, list(_KNOWN if known else _FIELDS), consistency)
        return self.candidates(sorted(found, key=lambda row: int(row["position"])))

    def numbered(self, positions: Sequence[int]) -> Candidates:
        """Read the items at some positions."""
        filter_ = f"position in {list(positions)} and {self.state.visible()}"
        return self.candidates(self._query(filter_, list(_FIELDS), "Strong"))

    def count(self, filter_: str, consistency: str) -> int:
        """Count rows."""
        return int(self._query(filter_, ["count(*)"], consistency)[0]["count(*)"])

    def nearest(
        self, query: NDArray[np.float32], filter_: str, limit: int, consistency: str
    ) -> tuple[Candidates, bool]:
        """Let Milvus find the rows nearest to a query, and say whether these are all there are."""
        effort = (self.state.approximation or {}).get("effort", {})
        if "ef" in effort:  # Milvus wants no less
            effort = {"ef": max(effort["ef"], limit)}
        padded = np.zeros(max(self.dim, 2), np.float32)
        padded[: self.dim] = query
        # One query at a time: Milvus Lite holds q × n × d numbers at once.
        (hits,) = self.client.search(
            self.collection,
            data=[padded],
            filter=filter_,
            limit=limit,
            search_params={"metric_type": "L2", "params": effort},
            output_fields=list(_FIELDS),
            consistency_level=consistency,
        )
        return self.candidates([hit["entity"] for hit in hits]), len(hits) < limit

    def candidates(self, found: Sequence[Any]) -> Candidates:
        """Turn rows into arrays, each position once.

        Milvus Lite may return a row twice: one that was killed between writing a file and
        forgetting its log reads the log again.
        """
        rows = list({row["position"]: row for row in found}.values())
        bare = bool(rows) and "embedding" not in rows[0]
        vectors = np.empty((len(rows), 0 if bare else self.dim), np.float32)
        for at, row in enumerate(rows if not bare else ()):
            vectors[at] = row["embedding"][: self.dim]
        return Candidates(
            np.array([row["position"] for row in rows], np.int64),
            [row["item"] for row in rows],
            vectors,
            [row["metadata"] for row in rows],
        )

    def _named(
        self, ids: Sequence[str], visible: str, fields: list[str], consistency: str
    ) -> Iterator[Any]:
        step = min(_NAMED, self.at_once)

        def find(some: Sequence[str]) -> list[Any]:
            wanted = set(some)
            # By a number made of it: an id may hold what would break out of an expression.
            filter_ = f"key in {[key(id_) for id_ in some]} and {visible}"
            found = self._query(filter_, fields, consistency)
            return [row for row in found if row["item"] in wanted]

        parts = (ids[start : start + step] for start in range(0, len(ids), step))
        for found in self._side_by_side(find, parts):
            yield from found

    def _query(self, filter_: str, fields: list[str], consistency: str) -> Any:
        return self.client.query(
            self.collection,
            filter=filter_,
            output_fields=fields,
            consistency_level=consistency,
        )


def key(text: str) -> int:
    """Make a number of 64 bits of an id, or another text; two texts may have the same."""
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def keys_of(ids: Sequence[str]) -> NDArray[np.int64]:
    """Make the number of each id."""
    return np.array([key(id_) for id_ in ids], np.int64)


class KnownKeys:
    """The keys of all ids that may be in an index, for as long as nobody else writes."""

    def __init__(self) -> None:
        self._state: tuple[str, int] | None = None  # of which this is so
        self._keys = np.empty(0, np.int64)  # sorted

    def maybe(self, ids: Sequence[str], keys: NDArray[np.int64], state: State) -> Sequence[str]:
        """Tell which of some ids, with these keys, may be there: all where nothing is known."""
        if state.count == 0:
            return ()
        if self._state != _of(state):
            return ids
        at = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        return [ids[place] for place in np.flatnonzero(self._keys[at] == keys).tolist()]

    def grown(self, keys: NDArray[np.int64], before: State, after: State) -> None:
        """Note that ids with these keys were put in."""
        if before.count == 0:
            self._keys = np.unique(keys)
        elif self._state == _of(before):
            self._keys = np.union1d(self._keys, keys)
        else:
            return
        self._state = _of(after)
        if len(self._keys) > _MOST:
            self._state, self._keys = None, self._keys[:0]


def _of(state: State) -> tuple[str, int]:
    return state.collection, state.version


def part(column: str, known: Metadata) -> int:
    """Make a number of what is known of an item in a column: equal values have the same."""
    if column not in known:
        return key("missing")
    value = known[column]
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # 1.0 equals 1
    return key(f"{kind(value)} {value}")


def check(items: Items) -> None:
    """See that Milvus can hold items."""
    for id_, known in zip(items.ids, items.metadata, strict=True):
        for what, size, most in (
            ("an id", len(id_.encode()), LONGEST_ID),
            (f"metadata of {id_[:50]!r}", _size(known), LONGEST_METADATA),
        ):
            if size > most:
                raise StoreError(
                    f"Milvus takes {what} of {most:,} bytes or less, and this one has {size:,}. "
                    "Nothing was put in."
                )


def _size(known: Metadata) -> int:
    # as JSON, in bytes; most are so small that a bound will do, which is found in a third of the
    # time: a character beyond ASCII takes 12
    bound = 12 * len(str(dict(known)))
    return bound if bound <= LONGEST_METADATA else len(json.dumps(dict(known)))


# --- Conditions as Milvus can answer them: never fewer items than there are, maybe more.
# Versions differ in what they do with a name that is missing, and with values of different kinds.
# So Milvus is asked only for what it cannot leave out, and `where.holds` judges what it returns.

# Nothing here ends a text, or means anything in an expression or a path.
_PLAIN_NAME = re.compile(r"\w[\w -]*")
_PLAIN_TEXT = re.compile(r"[\w .,:;/@#+-]*")
# Larger ones are compared as floats, and so wrongly.
_EXACT = 2**53


def expressible(condition: Condition, column: str | None = None) -> bool:
    """Tell whether Milvus finds all items for which a condition holds."""
    value = condition.value
    if condition.operator == "=" and condition.name == column:  # by its number, see `part`
        return True
    if condition.operator == "!=" or not _PLAIN_NAME.fullmatch(condition.name):
        return False
    if kind(value) == "number":
        assert isinstance(value, int | float)
        return abs(value) < _EXACT
    if kind(value) == "boolean":
        return True
    return isinstance(value, str) and _PLAIN_TEXT.fullmatch(value) is not None


def expression(where: Sequence[Condition], column: str | None = None) -> str:
    """Write the expressible ones of conditions as a filter; "" where there are none.

    Those on the column by which the items are partitioned let Milvus look into one part alone.
    """
    parts = []
    for condition in where:
        value = condition.value
        if condition.operator == "=" and condition.name == column:
            parts.append(f"part == {part(column, {column: value})}")
        if not expressible(condition):
            continue
        if isinstance(value, bool):
            literal = "true" if value else "false"
        else:
            literal = f'"{value}"' if isinstance(value, str) else repr(value)
        symbol = "==" if condition.operator == "=" else condition.operator
        parts.append(f'metadata["{condition.name}"] {symbol} {literal}')
    return " and ".join(parts)
