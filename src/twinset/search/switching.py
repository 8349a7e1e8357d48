"""An index switched to another model: embedded anew beside it, compared, switched in one step."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from twinset.data.image_sources import Skipped, picture_of
from twinset.data.listing import Listing
from twinset.decision import Threshold
from twinset.errors import DataError, StoreError
from twinset.models.bulk import embed
from twinset.progress import Progress, Wanted, reporting
from twinset.search import index_model
from twinset.search.index_changes import STAMP
from twinset.search.index_model import Model
from twinset.search.index_sources import Source, listing_of
from twinset.search.items import Items, Signature
from twinset.search.store import Store, create_store, open_store
from twinset.search.switched import Switched, compared

if TYPE_CHECKING:
    from twinset.models.embedder import Embedder
    from twinset.search.identification import IdentitySettings

_READ = 1000  # of the items beside, at a time


class Switching:
    """The part of `Index` that is about another model; its other methods are those of `Index`."""

    store: Store
    url: str
    _embedder: Embedder | None
    _given: Any
    _calibration: dict[str, Any] | None

    @property
    @abstractmethod
    def threshold(self) -> Threshold:
        """At most this distance is a match."""

    @property
    @abstractmethod
    def identities(self) -> IdentitySettings | None:
        """How identities are told apart."""

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
                index_model.adopt(self.url, now.model)
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
    signature = Signature(model.digest, model.dim, model.distance)
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
