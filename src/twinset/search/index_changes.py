"""What of a listing is new, changed or gone, and how an index follows it, a batch at a time.

Each batch is on disk before the next is begun: who kills this and calls it again goes on.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from twinset.data.image_sources import Skipped
from twinset.data.listing import Listing
from twinset.errors import DataError
from twinset.models.bulk import BATCH, Embedded, embed
from twinset.progress import Progress, Wanted, reporting
from twinset.search.answer import Changes
from twinset.search.items import Items
from twinset.search.store import Store

if TYPE_CHECKING:
    from twinset.models.embedder import Embedder

# Seconds of work that a kill may cost.
PATIENCE = 10.0
STAMP, SOURCE, PATH = "_stamp", "_source", "path"


@dataclass(eq=False)
class Plan:
    """What is to be done with n entries, by position."""

    stamps: dict[int, str] = field(default_factory=dict)  # of what can be used, by position
    new: list[int] = field(default_factory=list)  # positions
    changed: list[int] = field(default_factory=list)  # positions
    relabelled: list[int] = field(default_factory=list)  # positions
    unchanged: int = 0  # how many
    missing: list[str] = field(default_factory=list)  # ids that the same source had before
    skipped: list[Skipped] = field(default_factory=list)  # what cannot be used


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
        raise listing.all_failed(made.skipped[-1], len(place))
    known: set[int] = set()
    for own, metadata in store.listed() if store is not None else ():
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
    pending = np.array(sorted([*made.new, *made.changed]), np.int64)
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
        raise listing.all_failed(made.skipped[-1], len(pending))


def carry_out(
    listing: Listing, made: Plan, batches: Iterable[Embedded], store: Store, *, remove: bool
) -> Changes:
    """Put into an index what was planned, a batch at a time."""
    changed = set(made.changed)
    added = replaced = 0
    for batch in gathered(batches, store.best_batch):
        positions = batch.positions.tolist()
        ids, known = _known(listing, made, positions)
        store.add(Items(ids, batch.vectors, known), replace=True)
        again = sum(position in changed for position in positions)
        replaced, added = replaced + again, added + len(positions) - again
    for start in range(0, len(made.relabelled), BATCH):
        part = made.relabelled[start : start + BATCH]
        store.update_metadata(*_known(listing, made, part))
    gone = made.missing if remove else []
    for start in range(0, len(gone), BATCH):
        store.remove(gone[start : start + BATCH])
    counts = added, replaced, len(made.relabelled), made.unchanged, len(gone)
    return Changes(*counts, tuple(made.skipped))


def gathered(batches: Iterable[Embedded], least: int) -> Iterator[Embedded]:
    """Join batches until they hold so many items, or as many as came within some seconds."""
    held: list[Embedded] = []
    until = 0.0
    for batch in itertools.chain(batches, [None]):
        if batch is not None:
            until = until if held else time.monotonic() + PATIENCE
            held.append(batch)
            few = sum(len(each.positions) for each in held) < least
            if few and time.monotonic() < until:
                continue
        if held:
            positions = np.concatenate([each.positions for each in held])
            yield Embedded(positions, np.concatenate([each.vectors for each in held]))
        held = []


def _known(
    listing: Listing, made: Plan, positions: list[int]
) -> tuple[list[str], list[dict[str, Any]]]:
    known = [dict(listing.metadata(at)) | {STAMP: made.stamps[at]} for at in positions]
    return [listing.ids[at] for at in positions], known
