"""What can be put into an index, and what of it is new, changed or gone; a batch at a time.

Each batch is on disk before the next is begun: who kills this and calls it again goes on.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from twinset.data.image_sources import Skipped
from twinset.data.listing import Listing
from twinset.errors import DataError
from twinset.progress import Progress, Wanted, reporting
from twinset.search.store import Items, Store

if TYPE_CHECKING:
    from twinset.models.embedder import Embedder

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from twinset.data.cache import decode_batches
from twinset.data.image_sources import HeldSource
from twinset.data.labelled import LabelledFeatures, LabelledImages, VectorInput
from twinset.data.sources import list_files, read_listing
from twinset.errors import StoreError

STAMP, SOURCE, PATH = "_stamp", "_source", "path"
BATCH = 1024


@dataclass(frozen=True)
class Changes:
    """The numbers of entries by what became of them.

    Args:
        added: with an id that was new.
        changed: in the place of another image or embedding with the same id.
        relabelled: only what is known of them is new: a label, a path.
        unchanged: that were there already.
        removed: that were there and are gone.
        skipped: what could not be used, with the reasons; an item that was there stays.
    """

    added: int = 0
    changed: int = 0
    relabelled: int = 0
    unchanged: int = 0
    removed: int = 0
    skipped: tuple[Skipped, ...] = ()

    def sentence(self) -> str:
        """Say it in one line.

        Example:
            >>> Changes(added=1200, unchanged=3).sentence()
            '1,200 added, 3 unchanged'
        """
        told = [
            f"{getattr(self, name):,} {name}"
            for name in ("added", "changed", "relabelled", "unchanged", "removed")
            if getattr(self, name)
        ]
        if self.skipped:
            told.append(f"{len(self.skipped):,} could not be used")
        return ", ".join(told) or "nothing to do"

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return asdict(self)


@dataclass(eq=False)
class Plan:
    """What is to be done with n entries, by position."""

    # of each entry that can be used, position → stamp
    stamps: dict[int, str] = field(default_factory=dict)
    new: list[int] = field(default_factory=list)  # positions
    changed: list[int] = field(default_factory=list)  # positions
    relabelled: list[int] = field(default_factory=list)  # positions
    unchanged: int = 0  # how many
    # ids of items that came from the same source, and are there no longer
    missing: list[str] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)  # what cannot be used

    @property
    def pending(self) -> NDArray[np.int64]:
        """The positions that must be embedded, in order."""
        return np.array(sorted([*self.new, *self.changed]), np.int64)


def plan(listing: Listing, store: Store | None) -> Plan:
    """Compare entries with what an index holds.

    An item is the same if its id is; it has changed if its stamp has. Where the path of an id is
    another than before and the old file is still there, two different files bear one id: the new
    one is skipped.
    """
    made = Plan(skipped=list(listing.skipped))
    place: dict[str, int] = {}
    for position, own in enumerate(listing.ids):
        if own in place:
            made.skipped.append(Skipped(own, "the id is taken by an earlier one"))
            continue
        try:
            made.stamps[position] = listing.stamp(position)
        except DataError as error:
            made.skipped.append(Skipped(own, str(error)))
        place[own] = position
    if place and not made.stamps:
        raise _all_failed(listing, made, len(place))
    known: set[int] = set()
    for items in store.batches() if store is not None else ():
        for own, metadata in zip(items.ids, items.metadata, strict=True):
            at = place.get(own)
            if at is None:
                if listing.place and metadata.get(SOURCE) == listing.place:
                    made.missing.append(own)
                continue
            known.add(at)
            if at in made.stamps:
                _judge(made, listing, at, dict(metadata))
    made.new = [position for position in made.stamps if position not in known]
    return made


def _judge(made: Plan, listing: Listing, at: int, before: dict[str, Any]) -> None:
    now = listing.metadata(at)
    old_path = before.get(PATH)
    moved = old_path != now.get(PATH)
    if before.pop(STAMP, None) == made.stamps[at]:
        if now == before:
            made.unchanged += 1
        else:
            made.relabelled.append(at)
    elif moved and isinstance(old_path, str) and os.path.exists(old_path):  # noqa: PTH110
        reason = f"the id is taken by {old_path}: give ids of their own in a table"
        made.skipped.append(Skipped(listing.ids[at], reason))
    else:
        made.changed.append(at)


def embedded(listing: Listing, made: Plan, model: Embedder, progress: Wanted) -> Iterator[Embedded]:
    """Embed what must be, a batch at a time; nothing is read before the first is asked for."""
    pending = made.pending
    done, good = 0, 0
    with reporting(progress) as tell:
        for batch in embed(listing, pending, model):
            made.skipped += batch.skipped
            done += len(batch.positions) + len(batch.skipped)
            good += len(batch.positions)
            if len(batch.positions):
                yield batch
            # told when the batch is on disk, as whoever asks for the next has put it there
            tell(Progress("embed", done, len(pending), "items"))
    if len(pending) and not (good or made.unchanged or made.relabelled):
        raise _all_failed(listing, made, len(pending))


def _all_failed(listing: Listing, made: Plan, count: int) -> DataError:
    last = made.skipped[-1]
    return DataError(
        f"{listing.place or 'the images'}: expected images that can be read. All {count:,} "
        f"failed, the last: {last.name}: {last.reason}"
    )


def carry_out(
    listing: Listing, made: Plan, batches: Iterable[Embedded], store: Store, *, remove: bool
) -> Changes:
    """Put into an index what was planned, a batch at a time."""
    changed = set(made.changed)
    added = replaced = 0
    for batch in batches:
        positions = batch.positions.tolist()
        store.add(_items(listing, made, positions, batch.vectors), replace=True)
        again = sum(position in changed for position in positions)
        replaced, added = replaced + again, added + len(positions) - again
    for start in range(0, len(made.relabelled), BATCH):
        part = made.relabelled[start : start + BATCH]
        held = store.get([listing.ids[position] for position in part])
        store.add(_items(listing, made, part, held.vectors), replace=True)
    gone = made.missing if remove else []
    for start in range(0, len(gone), BATCH):
        store.remove(gone[start : start + BATCH])
    return Changes(
        added,
        replaced,
        len(made.relabelled),
        made.unchanged,
        len(gone),
        tuple(made.skipped),
    )


def _items(
    listing: Listing, made: Plan, positions: list[int], vectors: NDArray[np.float32]
) -> Items:
    return Items(
        tuple(listing.ids[position] for position in positions),
        vectors,
        tuple(listing.metadata(at) | {STAMP: made.stamps[at]} for at in positions),
    )


# --- What can be put in: files of images, images in memory, embeddings made before.


PathLike: TypeAlias = str | os.PathLike[str]
Source: TypeAlias = (
    PathLike | Sequence[PathLike] | Items | LabelledImages | LabelledFeatures | Listing
)


@dataclass(frozen=True, eq=False)
class Embedded:
    """Embeddings of some images of a listing, and what could not be embedded."""

    positions: NDArray[np.int64]  # of the images, (m,)
    vectors: NDArray[np.float32]  # their embeddings, (m, d)
    skipped: tuple[Skipped, ...] = ()  # what failed, with the reasons


def listing_of(source: Source) -> Listing:
    """List what is to be put into an index."""
    if isinstance(source, Listing):
        return source
    if isinstance(source, LabelledImages | LabelledFeatures):
        return _of_labelled(source)
    if isinstance(source, Items):
        return _of_items(source)
    if isinstance(source, str | os.PathLike):
        return read_listing(source, labelled=False)
    paths = list(source)
    if not all(isinstance(path, str | os.PathLike) for path in paths):
        raise DataError(
            "Expected a folder, a table, paths of image files, LabelledImages, LabelledFeatures "
            f"or Items. Received a list with {next(type(p).__name__ for p in paths)} in it."
        )
    return list_files(paths)


def _of_labelled(data: LabelledImages | LabelledFeatures) -> Listing:
    names = [""] * len(data) if data.names is None else data.names.tolist()
    return Listing(
        [HeldSource(data.rows, row, name) for row, name in enumerate(names)],
        data.name,
        data.labels,
        data.class_names,
        columns={} if data.groups is None else {"group": data.groups.tolist()},
        place=data.name,
        rows=data.rows,
        skipped=data.skipped,
    )


def _of_items(items: Items) -> Listing:
    return _ItemsListing(
        [HeldSource(items.vectors, row, own) for row, own in enumerate(items.ids)],
        "items",
        columns={"metadata": items.metadata},
        rows=items.vectors,
    )


class _ItemsListing(Listing):
    """A listing of items, of which is known what was given, labels, paths and nulls included."""

    def metadata(self, position: int) -> dict[str, Any]:
        return dict(self.columns["metadata"][position])


def embed(listing: Listing, positions: NDArray[np.int64], model: Embedder) -> Iterator[Embedded]:
    """Embed images of a listing, a batch at a time; the next is decoded meanwhile."""
    rows: Any = listing.rows
    if rows is None:
        chosen = [listing.sources[position] for position in positions.tolist()]
        for batch in decode_batches(chosen, model.preprocessing):
            vectors = model.embed(batch.pixels)
            yield Embedded(positions[batch.positions], vectors, tuple(batch.skipped.values()))
        return
    # vectors are embeddings already, unless the model was trained on such as a file holds
    made = rows.dtype != np.uint8 and not (
        listing.place and isinstance(model.preprocessing, VectorInput)
    )
    if made and rows.shape[1] != model.dim:
        raise StoreError(
            f"Expected embeddings of size {model.dim}, as the index's model makes them. "
            f"Received {rows.shape[1]}: they come from another model."
        )
    for start in range(0, len(positions), BATCH):
        part = positions[start : start + BATCH]
        yield Embedded(part, rows[part] if made else model.embed(rows[part]))
