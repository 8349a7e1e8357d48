"""What travels into and out of an index: items, neighbours, answers, and what it is bound to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset.decision import Threshold
from twinset.distance import DISTANCES
from twinset.errors import StoreError
from twinset.search.where import Metadata, checked_metadata, checked_text

# Squared distances of longer vectors leave float32's range.
LARGEST_COORDINATE = 1e15


@dataclass(frozen=True)
class Signature:
    """What an index is bound to: embeddings of another model cannot be compared with its own.

    Args:
        model: digest of the model that made the embeddings.
        dim: size d of an embedding, 1 or more.
        distance: name of the distance, from `twinset.distance`. Defaults to "euclidean".

    Raises:
        StoreError: the model is no text, d is no such number, or there is no such distance.
    """

    model: str
    dim: int
    distance: str = "euclidean"

    def __post_init__(self) -> None:
        checked_text(self.model, "the digest of an index's model")
        if not _is_whole(self.dim) or self.dim < 1:
            raise StoreError(
                f"Expected the size of an embedding as 1 or more. Received {self.dim!r}."
            )
        object.__setattr__(self, "dim", int(self.dim))
        if self.distance not in DISTANCES:
            raise StoreError(
                f"Expected a distance out of {sorted(DISTANCES)}. Received {self.distance!r}."
            )


@dataclass(frozen=True, eq=False)
class Items:
    """What an index holds: ids, embeddings, and what is known of each.

    Args:
        ids: n different texts, none empty.
        vectors: finite numbers of shape (n, d), none beyond ±10¹⁵; kept as read-only float32.
        metadata: n mappings from names to texts, numbers, booleans or None; () for nothing known,
            kept as n empty mappings.

    Raises:
        StoreError: numbers that differ, ids that are there twice, NaN or infinity, a value that is
            no scalar.

    Example:
        >>> import numpy as np
        >>> items = Items(["a", "b"], np.eye(2), [{"label": "shoe"}, {}])
        >>> items.ids, items.vectors.dtype, items.metadata[0]["label"]
        (('a', 'b'), dtype('float32'), 'shoe')
    """

    ids: Sequence[str]
    vectors: NDArray[np.float32]
    metadata: Sequence[Metadata] = ()

    def __post_init__(self) -> None:
        ids = checked_ids(self.ids)
        vectors = checked_vectors(self.vectors, "vectors")
        metadata = self.metadata if len(self.metadata) else ({},) * len(ids)
        for name, other in (("vectors", vectors), ("metadata", metadata)):
            if len(other) != len(ids):
                raise StoreError(
                    f"Expected as many {name} as ids. Received {len(other)} and {len(ids)} ids."
                )
        known = tuple(
            checked_metadata(one, repr(id_)) for one, id_ in zip(metadata, ids, strict=True)
        )
        for field, value in (("ids", ids), ("vectors", vectors), ("metadata", known)):
            object.__setattr__(self, field, value)

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Neighbour:
    """One answer of a search: an item, and how far it is from what was asked for.

    Args:
        id: of the item.
        distance: to the query, 0 or more; exactly 0 for equal embeddings.
        metadata: what is known of the item.
    """

    id: str
    distance: float
    metadata: Metadata


@dataclass(frozen=True)
class Approximation:
    """An approximate index beside the exact one, and how good it was found to be.

    Args:
        kind: what it is, and how it is set, such as "faiss IVF4096,SQ8, nprobe 16".
        items: how many it was built over.
        recall: share of the true 10 nearest that it found for a sample of queries, in [0, 1];
            NaN where it was not measured.
        queries: size of that sample.
    """

    kind: str
    items: int
    recall: float
    queries: int


def checked_ids(ids: Any) -> tuple[str, ...]:
    """Return ids as a tuple."""
    if isinstance(ids, str):
        raise StoreError(f"Expected a list of ids. Received the text {ids!r}: write [{ids!r}].")
    texts = tuple(checked_text(id_, "an id") for id_ in ids)
    if len(set(texts)) < len(texts):
        again, _ = Counter(texts).most_common(1)[0]
        raise StoreError(
            f"Expected each id once. Received {again!r} more often: ids tell items apart."
        )
    return texts


def checked_vectors(vectors: Any, what: str, dim: int | None = None) -> NDArray[np.float32]:
    """Return vectors as contiguous, read-only float32, without a copy where they are that."""
    try:
        array = np.asarray(vectors)
    except ValueError:  # rows of different lengths
        raise StoreError(f"Expected {what} of one size. Received rows that differ.") from None
    if array.ndim != 2 or array.shape[1] < 1 or array.dtype.kind not in "fiu":
        raise StoreError(
            f"Expected {what} as numbers of shape (n, d). "
            f"Received {array.dtype} of shape {array.shape}."
        )
    if dim is not None and array.shape[1] != dim:
        raise StoreError(
            f"Expected {what} of size {dim}, as in this index. Received {array.shape[1]}: "
            "they come from another model."
        )
    with np.errstate(over="ignore"):  # beyond float32 becomes infinity, and is told below
        found = np.ascontiguousarray(array, np.float32).view()
    for start in range(0, len(found), 8192):  # no second array of the size of all
        part = found[start : start + 8192]
        bad = np.flatnonzero(~(np.abs(part) <= LARGEST_COORDINATE).all(axis=1))
        if bad.size:
            raise StoreError(
                f"Expected {what} of finite numbers within ±{LARGEST_COORDINATE:g}. Received "
                f"NaN, infinity or more in row {start + int(bad[0])}."
            )
    found.flags.writeable = False
    return found


def checked_k(k: Any, within: Any) -> tuple[int | None, float | None]:
    """Return how many neighbours are wanted, and how far they may be."""
    if k is not None and (not _is_whole(k) or k < 1):
        raise StoreError(f"Expected k as 1 or more, or None for all within. Received {k!r}.")
    if within is not None and not (
        isinstance(within, (int, float, np.number)) and not isinstance(within, bool) and within >= 0
    ):
        raise StoreError(f"Expected `within` as a distance of 0 or more. Received {within!r}.")
    if k is None and within is None:
        raise StoreError("Expected k, or `within`, or both. Received neither: all would answer.")
    return (None if k is None else int(k)), (None if within is None else float(within))


def _is_whole(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


# --- What an index says to one query, for people and for programs.


@dataclass(frozen=True)
class Answer:
    """The answer of an index to one query: neighbours, nearest first; iterates over them.

    Empty, and so false, says that nothing is similar enough.

    Args:
        query: what was asked for: the path of a file, "image 3", "vector 3".
        neighbours: within the limit, nearest first.
        threshold: the model's: at most this distance is a match.
        within: the largest distance that was asked for; None for any.
        nearest: the nearest item, however far; None where no item meets the conditions.
    """

    query: str
    neighbours: tuple[Neighbour, ...]
    threshold: Threshold
    within: float | None = None
    nearest: Neighbour | None = None

    def __iter__(self) -> Iterator[Neighbour]:
        return iter(self.neighbours)

    def __len__(self) -> int:
        return len(self.neighbours)

    def __getitem__(self, place: int) -> Neighbour:
        return self.neighbours[place]

    @property
    def matches(self) -> tuple[Neighbour, ...]:
        """Those that the model takes for the same: distance <= threshold."""
        return tuple(one for one in self.neighbours if self.is_match(one))

    @property
    def known(self) -> bool:
        """Whether the model takes anything in the index for the same as the query."""
        return self.nearest is not None and self.is_match(self.nearest)

    @property
    def found(self) -> bool:
        """Whether anything is similar enough: by the limit asked for, else by the threshold."""
        return self.known if self.within is None else bool(self.neighbours)

    def is_match(self, neighbour: Neighbour) -> bool:
        """Tell whether the model takes an item for the same.

        Args:
            neighbour: of this answer.
        """
        return neighbour.distance <= self.threshold.value

    def sentence(self) -> str:
        """Say it in one line.

        Example:
            >>> limit, far = Threshold(0.5, "fixed by hand"), Neighbour("b.png", 0.8, {})
            >>> print(Answer("q.png", (), limit, 0.5, far).sentence())
            q.png: nothing similar enough: the nearest, b.png, is at 0.8000 > 0.5000
            >>> print(Answer("q.png", (far,), limit, None, far).sentence())
            q.png: 1 nearest, 0 of them matches (distance <= 0.5000, fixed by hand)
        """
        if self.nearest is None:
            return f"{self.query}: nothing to compare with: no item, or none that is asked for"
        if not self.neighbours:
            return (
                f"{self.query}: nothing similar enough: the nearest, {self.nearest.id}, is at "
                f"{self.nearest.distance:.4f} > {self.within:.4f}"
            )
        return (
            f"{self.query}: {len(self):,} nearest, {len(self.matches):,} of them matches "
            f"(distance <= {self.threshold.value:.4f}, {self.threshold.origin})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return {
            "query": self.query,
            "found": self.found,
            "known": self.known,
            "within": self.within,
            "threshold": {"value": self.threshold.value, "rule": self.threshold.rule},
            "nearest": None if self.nearest is None else self._told(self.nearest),
            "neighbours": [self._told(one) for one in self.neighbours],
        }

    def _told(self, one: Neighbour) -> dict[str, Any]:
        return {
            "id": one.id,
            "distance": one.distance,
            "match": self.is_match(one),
            "metadata": for_people(one.metadata),
        }


def for_people(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what programs keep for themselves: names with a "_" in front.

    Example:
        >>> for_people({"label": "cat", "_stamp": "17-3"})
        {'label': 'cat'}
    """
    return {name: value for name, value in metadata.items() if not name.startswith("_")}
