"""An index switched to another model: embedded anew beside it, compared, switched in one step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from twinset import distance
from twinset.data.image_sources import Skipped, picture_of
from twinset.data.listing import Listing
from twinset.decision import Threshold
from twinset.errors import DataError, StoreError
from twinset.metrics.intervals import Interval, share_interval, t_interval
from twinset.models.bulk import embed
from twinset.progress import Progress, Wanted, reporting
from twinset.search import index_model
from twinset.search.identify import Identifying
from twinset.search.index_changes import STAMP
from twinset.search.index_model import Model
from twinset.search.index_sources import Source, listing_of
from twinset.search.items import Items, Signature
from twinset.search.store import Store, create_store, open_store

if TYPE_CHECKING:
    from twinset.models.embedder import Embedder


NEAREST = 10  # neighbours that are compared
_LISTED = 20  # items and labels that are told


@dataclass(frozen=True)
class Switched:
    """How the answers to a sample of an index's items change with another model.

    Example:
        >>> found = Switched(9, 0, None, None, (0.5, 0.4), "label", 0, None, None, (), (), {}, ())
        >>> found.sentence(), found.to_dict()["thresholds"]
        ('9 items embedded, not switched', (0.5, 0.4))
    """

    items: int  # embedded
    sample: int  # items that were looked for in both
    # mean share of the 10 nearest that are the same, in [0, 1]; None of fewer than 2 items
    neighbours: Interval | None
    # share of pairs of an item and one of its 10 nearest by either model with the same verdict
    verdicts: float | None
    thresholds: tuple[float, float]  # before, after
    column: str  # that tells which items are the same
    labelled: int  # of the sample, with another item of the same value there
    recall_before: Interval | None  # share of these whose nearest other item has it too; or None
    recall_after: Interval | None
    gained: tuple[str, ...]  # ids for which only the new model's nearest has the same value
    lost: tuple[str, ...]  # ids for which only the old model's has
    labels: Mapping[str, tuple[int, int]]  # value → how many of its items gain, and lose
    unlike: tuple[str, ...]  # ids whose 10 nearest change the most
    dropped: tuple[Skipped, ...] = ()  # items that are left out, with the reasons
    switched: bool = False

    def sentence(self) -> str:
        """Say it in one line."""
        told = [f"{self.items:,} items embedded", f"{'' if self.switched else 'not '}switched"]
        if self.neighbours is not None and self.verdicts is not None:
            told.append(f"{self.neighbours.value:.0%} of the {NEAREST} nearest stay")
            told.append(f"{self.verdicts:.1%} of verdicts stay")
        if self.recall_before is not None and self.recall_after is not None:
            told.append(
                f"recall@1 by {self.column} {_told(self.recall_before)} before, "
                f"{_told(self.recall_after)} after: {len(self.gained):,} gain, "
                f"{len(self.lost):,} lose of {self.labelled:,}"
            )
        if self.dropped:
            told.append(f"{len(self.dropped):,} left out")
        return ", ".join(told)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return asdict(self) | {"labels": {name: list(both) for name, both in self.labels.items()}}


def _told(one: Interval) -> str:
    return f"{one.value:.3f} [{one.low:.3f}, {one.high:.3f}]"


def compared(
    old: Store,
    new: Store,
    thresholds: tuple[Threshold, Threshold],
    known: Mapping[str, Mapping[str, Any]],
    column: str,
    sample: int,
) -> Switched:
    """Look for some of the items in both stores."""
    limits = thresholds[0].value, thresholds[1].value
    names = sorted(known)
    rng = np.random.default_rng(0)
    chosen = sorted(rng.choice(len(names), min(sample, len(names)), replace=False).tolist())
    ids = [names[at] for at in chosen] if len(names) > 1 else []
    nearest = [_nearest(store, ids, known) for store in (old, new)]
    shares = [len(set(a) & set(b)) / max(len(a), len(b), 1) for a, b in zip(*nearest, strict=True)]
    verdicts = [
        _verdicts(store, ids, nearest, limit)
        for store, limit in zip((old, new), limits, strict=True)
    ]
    same = np.concatenate(verdicts[0]) == np.concatenate(verdicts[1]) if ids else np.array([])
    values = {own: known[own].get(column) for own in known}
    counts = Counter(value for value in values.values() if value is not None)
    rows = [row for row, own in enumerate(ids) if counts.get(values[own], 0) > 1]
    right = [
        np.array([_right(found[row], values, values[ids[row]]) for row in rows], bool)
        for found in nearest
    ]
    gains, losses = right[1] & ~right[0], right[0] & ~right[1]
    gained, lost = (
        tuple(ids[row] for row, is_so in zip(rows, of, strict=True) if is_so)
        for of in (gains, losses)
    )
    up, down = (Counter(str(values[own]) for own in group) for group in (gained, lost))
    order = sorted({*up, *down}, key=lambda name: (up[name] - down[name], name))
    recall = [share_interval(float(np.mean(each)), len(each)) if rows else None for each in right]
    return Switched(
        items=len(known),
        sample=len(ids),
        neighbours=t_interval(shares) if shares else None,
        verdicts=float(np.mean(same)) if len(same) else None,
        thresholds=limits,
        column=column,
        labelled=len(rows),
        recall_before=recall[0],
        recall_after=recall[1],
        gained=gained,
        lost=lost,
        labels={name: (up[name], down[name]) for name in order},
        unlike=tuple(ids[row] for row in np.argsort(shares, kind="stable")[:_LISTED].tolist()),
    )


def _nearest(store: Store, ids: list[str], known: Mapping[str, Any]) -> list[list[str]]:
    if not ids:
        return []
    # items that are left out are no neighbours before either
    spare = len(store) - len(known) if len(store) > len(known) else 0
    found = store.search(store.get(ids).vectors, k=NEAREST + 1 + spare, exact=True)
    return [
        [hit.id for hit in hits if hit.id != own and hit.id in known][:NEAREST]
        for own, hits in zip(ids, found, strict=True)
    ]


def _verdicts(
    store: Store, ids: list[str], nearest: list[list[list[str]]], limit: float
) -> list[Any]:
    # Per item: whether it and each of its neighbours by either model are a match.
    told = []
    for own, *both in zip(ids, *nearest, strict=True):
        others = sorted({*both[0], *both[1]})
        vectors = store.get([own, *others]).vectors
        right = np.arange(1, len(others) + 1)
        far = distance.of_pairs(vectors, np.zeros_like(right), right)
        told.append(far <= limit)
    return told


def _right(found: list[str], values: Mapping[str, Any], wanted: Any) -> bool:
    return bool(found) and values[found[0]] == wanted


_READ = 1000  # of the items beside, at a time


class Switching(Identifying):
    """The part of `Index` that is about another model."""

    def switch(
        self,
        model: Model,
        *,
        source: Source | None = None,
        drop_missing: bool = False,
        compare_only: bool = False,
        sample: int = 500,
        progress: Wanted = False,
    ) -> Switched:
        """Embed every item again with another model, and answer by that one from then on.

        The images are read from the files that the items came from. The index answers by its
        model until all is embedded; then embeddings, model and threshold are exchanged at one
        moment, and whoever has the index open is told to open it again. Records (decisions,
        identities) and what is known of the items stay, so that `update` embeds nothing again.
        What is embedded is kept: after a kill, call it again. `roll_back` goes back.

        Args:
            model: the other one: a model, or its folder.
            source: where items are found by id that came from no file, or whose file has moved; as
                for `update`. Defaults to none.
            drop_missing: leave out the items whose image is gone or cannot be read. Defaults to
                False: nothing is switched then, and the error names them.
            compare_only: embed and compare, but do not switch; a later call does, and embeds
                nothing again. Defaults to False.
            sample: how many items are looked for in both to tell how the answers change, 1 or
                more. Defaults to 500.
            progress: True for a bar, or a function that is told. Defaults to False.

        Returns:
            How the answers change.

        Raises:
            StoreError: the index has this model already, its store cannot be switched, images are
                gone, or no model is known for the index as it is.
        """
        if sample < 1:
            raise StoreError(f"Expected a sample of 1 item or more. Received {sample!r}.")
        embedder, threshold = index_model.loaded(model), self.threshold
        now = self.store.signature
        if embedder.digest == now.model:
            raise StoreError(
                f"{self.url} was made by this model already ({now.model[:12]}). `twinset index` "
                "takes it anew where only its threshold is another."
            )
        with _beside(self.store, embedder) as side:
            while True:
                version = self.store.version()
                listings, known, missing = _wanted(self.store, source)
                _refuse(self.url, missing, drop_missing)
                missing += _fill(side, listings, known, embedder, progress)
                _refuse(self.url, missing, drop_missing)
                settings = self.identities
                column = "label" if settings is None else settings.column
                limits = threshold, embedder.threshold
                found = compared(self.store, side, limits, known, column, sample)
                found = replace(found, dropped=tuple(missing))
                if compare_only:
                    return found
                index_model.keep(embedder, self.url)
                # else others have written meanwhile: what they did is done here as well
                if self.store.switch(version):
                    break
        index_model.forget(self.url, {now.model, embedder.digest})
        self._embedder = self._given = embedder
        self._calibration = None  # of the model before
        return replace(found, switched=True)

    def roll_back(self) -> None:
        """Go back to the model before the last switch, at one moment; again goes forth.

        Records stay. Items are those of the moment of the switch: `update` brings them up to date.

        Raises:
            StoreError: the index was not switched.
        """
        self.store.roll_back()
        self._embedder = self._given = self._calibration = None


def _beside(store: Store, model: Embedder) -> Store:
    place = store.beside()
    signature = Signature(model.digest, model.dim)
    try:
        side = open_store(place)
        if side.signature == signature:
            return side  # a kill has left it
        side.close()
    except StoreError:
        pass  # not there, or broken: it is made anew
    return create_store(place, signature, overwrite=True)


_Known = dict[str, dict[str, Any]]


def _wanted(store: Store, source: Source | None) -> tuple[list[Listing], _Known, list[Skipped]]:
    # What is to be embedded, what will be known of it, and which images are gone.
    before = {own: dict(known) for own, known in store.listed()}
    listings: list[Listing] = []
    given: set[str] = set()
    if source is not None:
        listing = listing_of(source)
        place = {own: at for at, own in reversed(list(enumerate(listing.ids))) if own in before}
        listings.append(listing.subset(sorted(place.values())))
        given = set(place)
    missing: list[Skipped] = []
    pictures = {own: picture_of(known) for own, known in before.items() if own not in given}
    for own, picture in pictures.items():
        if picture is None:
            missing.append(Skipped(own, "came from no file: name the source that has it"))
    files = {own: picture for own, picture in pictures.items() if picture is not None}
    listings.append(Listing(list(files.values()), "items", ids=list(files)))
    known: _Known = {}
    for listing in listings:
        for at, own in enumerate(listing.ids):
            try:
                known[own] = before[own] | {STAMP: listing.stamp(at)}
            except DataError as error:
                missing.append(Skipped(own, str(error)))
    return listings, {own: known[own] for own in before if own in known}, missing


def _fill(
    side: Store, listings: list[Listing], known: _Known, model: Embedder, progress: Wanted
) -> list[Skipped]:
    # Embed what is not there yet; return what cannot be read.
    done: set[str] = set()
    gone: list[str] = []
    for items in side.batches(_READ):
        for own, told in zip(items.ids, items.metadata, strict=True):
            if own in known and dict(told) == known[own]:
                done.add(own)
            elif own not in known:
                gone.append(own)
    side.remove(gone)
    skipped: list[Skipped] = []
    with reporting(progress) as tell:
        for listing in listings:
            ids = listing.ids
            pending = [at for at, own in enumerate(ids) if own in known and own not in done]
            for batch in embed(listing, np.array(pending, np.int64), model):
                put = [ids[at] for at in batch.positions.tolist()]
                if put:
                    side.add(Items(put, batch.vectors, [known[each] for each in put]), replace=True)
                skipped += batch.skipped
                done |= set(put)
                tell(Progress("embed", len(done) + len(skipped), len(known), "items"))
    for unread in set(known) - done:
        del known[unread]
    return skipped


def _refuse(url: str, missing: list[Skipped], drop: bool) -> None:
    if missing and not drop:
        some = "; ".join(f"{each.name}: {each.reason}" for each in missing[:3])
        more = f"; and {len(missing) - 3:,} more" if len(missing) > 3 else ""
        raise StoreError(
            f"{url}: {len(missing):,} items cannot be embedded again ({some}{more}). Nothing was "
            "switched. Put the images back, name the source that has them, or leave these items "
            "out with --drop-missing, drop_missing=True in Python."
        )
