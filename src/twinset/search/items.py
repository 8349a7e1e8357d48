"""What travels into and out of a store: items, neighbours, and what the store is bound to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinset.errors import StoreError
from twinset.search.checked import (
    Metadata,
    checked_ids,
    checked_metadata,
    checked_text,
    checked_vectors,
    is_whole,
)


@dataclass(frozen=True)
class Signature:
    """What an index is bound to: embeddings of another model cannot be compared with its own."""

    model: str  # digest of the model that made the embeddings
    dim: int  # size d of an embedding, 1 or more

    def __post_init__(self) -> None:
        checked_text(self.model, "the digest of an index's model")
        if not is_whole(self.dim) or self.dim < 1:
            raise StoreError(
                f"Expected the size of an embedding as 1 or more. Received {self.dim!r}."
            )
        object.__setattr__(self, "dim", int(self.dim))


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


@dataclass(frozen=True, eq=False)
class Since:
    """What became of the items of a store after a version."""

    version: str  # of what is told here
    # Places, in the order of the store, of items that were removed or changed, and from which on
    # all are new; None where this is not known, and all items are told.
    changed: Sequence[int] | None
    first: int
    batches: Iterator[tuple[Sequence[int], Items]]  # places and items that are there and not before


@dataclass(frozen=True)
class Neighbour:
    """One answer of a search: an item, and how far it is from what was asked for.

    Example:
        >>> one = Neighbour("shoes/a.png", 0.25, {"label": "shoe"})
        >>> one.id, one.distance, one.metadata["label"]
        ('shoes/a.png', 0.25, 'shoe')
    """

    id: str  # of the item
    distance: float  # to the query, 0 or more; exactly 0 for equal embeddings
    metadata: Metadata  # what is known of the item


@dataclass(frozen=True)
class Approximation:
    """An approximate index beside the exact one, and how good it was found to be."""

    kind: str  # what it is, and how it is set, such as "pgvector HNSW, ef_search 80"
    items: int  # how many it was built over
    # share of the true 10 nearest that it found for a sample of queries, in [0, 1]; NaN where it
    # was not measured
    recall: float
    queries: int  # size of that sample
