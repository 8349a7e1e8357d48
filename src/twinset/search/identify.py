"""Who is this, or nobody known: an index's items as references of identities."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from twinset.decision import check_prior
from twinset.errors import StoreError
from twinset.search.answer import Changes
from twinset.search.checked import checked_k, checked_text
from twinset.search.identification import Identification, Identity, IdentitySettings, and_more
from twinset.search.index_sources import Many, One, embed_queries
from twinset.search.items import Items, Neighbour
from twinset.search.thresholds import Judging
from twinset.search.where import Condition, Where, conditions

if TYPE_CHECKING:
    from twinset.search.gallery import Gallery, Ranking

RECORD, MORE = "identities", "identities_more"  # kinds of records
# What a second model, and several images of one query, change in the settings.
_FITTED = (
    *("rule", "reason", "threshold", "threshold_rule", "slope", "intercept", "fpir", "fnir"),
    *("other", "other_rule", "share", "together"),
)
# A share of the references by which a gallery grows or shrinks before it is judged anew.
MUCH = 0.1


class Identifying(Judging):
    """The part of `Index` that is about identities."""

    # as they were read last: of a column, and under which conditions
    _galleries: tuple[tuple[tuple[str, tuple[Condition, ...]], Gallery], ...] = ()
    _put = 0  # items that were put in since references were counted
    _unkept: tuple[IdentitySettings, ...] = ()  # what was fitted and could not be recorded

    @property
    def identities(self) -> IdentitySettings | None:
        """How identities are told apart, as `identify_by` chose it; None where it was not asked."""
        records = self.store.records(RECORD)
        return IdentitySettings.of(records[-1]) if records else None

    def put(self, items: Items) -> None:
        """Put in embeddings of this model, without looking through what else is there.

        Args:
            items: with ids that are new.

        Raises:
            StoreError: an id is there already, or another size; nothing is put in then.
        """
        with self._turn:
            self.store.add(items)
            self._put += len(items)
            settings = self.identities
            # To count all references takes a while: not for each item that is put in.
            if settings is not None and self._put > MUCH / 10 * settings.references:
                self._identities_after(Changes(added=self._put))
                self._put = 0

    def identify_by(self, column: str, *, strangers: float | None = None) -> IdentitySettings:
        """Let items with equal values in a column be references of one identity.

        Chosen and remembered with the index: how distances to the references of an identity are
        joined, by cross-validation over identities, and the threshold and the probabilities of
        joined distances, in a gallery of this size, from items left out in turn. `update` chooses
        anew when the number of references has changed by a tenth, and `identify` after a switch to
        another model.

        Args:
            column: of the metadata, such as "label". Items without a value are nobody's.
            strangers: share of unknown queries that may be taken for somebody, in (0, 1): the
                false positive identification rate of the threshold, on items left out in turn.
                Defaults to what the rule of the model's threshold gives.

        Returns:
            What was chosen, and why.

        Raises:
            StoreError: no item has a value there, the share is out of range, or the store keeps no
                records.
        """
        from twinset.search.gallery import choose_settings

        checked_text(column, "the column of identities")
        if strangers is not None and not 0 < strangers < 1:
            raise StoreError(
                "Expected the share of strangers that may be taken for somebody between 0 and 1. "
                f"Received {strangers!r}: take 0.01 for one of a hundred."
            )
        with self._turn:
            gallery = self._gallery(column, ())
            chosen = choose_settings([gallery], column, [self.model], strangers=strangers)
            self.store.record(RECORD, [chosen.to_dict()])
        return chosen

    def identify(
        self,
        images: One | Many | NDArray[Any],
        *,
        k: int = 5,
        together: bool = False,
        where: Where = (),
        prior: float = 0.5,
        other: Identifying | None = None,
        point: str | None = None,
    ) -> Any:
        """Tell whom an image shows, or that it is nobody known: identities, nearest first.

        Exact, whatever the store: distances to all references are bounded, and those of the
        identities that may be among the nearest are measured. The embeddings of all references are
        read when first asked for, and kept in memory; of a folder, only what has changed is read
        again.

        Args:
            images: one image or many, or embeddings, as for `search`.
            k: at most so many identities. Defaults to 5.
            together: all images show one and the same: they are one query. Rule, threshold and
                probability are those of queries of so many images, or as many as can be left out
                of half the identities; fitted when first asked for, and remembered. Defaults to
                False.
            where: conditions on the references, as for `search`. Defaults to none.
            prior: share of queries that show somebody known, in (0, 1), for the probabilities.
                Defaults to 0.5.
            other: an index of the same items that another model made. References are known to a
                model by their embeddings only, so a second model needs an index, too. Both joined
                distances are added, each with the share that makes own identities likeliest on
                items left out in turn; that is fitted when first asked for, and remembered.
                Defaults to none.
            point: name of an operating point, whose threshold takes the place of the one that was
                chosen for identities. Defaults to none.

        Returns:
            An `Identification`, or a list of them for many images that are not together.

        Raises:
            ImageFileError: a file cannot be read.
            StoreError: no column of identities was chosen, k is below 1, no image was given, or
                the other index has other items, or the same model.
            DataError: the prior is out of range.

        Example:
            >>> import numpy as np, twinset
            >>> pixels = np.stack([np.full((4, 4), 85 * i, np.uint8) for i in range(4)])
            >>> grays = twinset.LabelledImages(pixels, [0, 0, 1, 1], ("dark", "light"))
            >>> model = twinset.fit(grays, epochs=1, encoder={"units": [8]})
            >>> with twinset.Index.build(model, grays) as index:
            ...     _ = index.identify_by("label")
            ...     answer = index.identify(pixels[2:3], together=True)
            >>> answer.identities[0].name, answer.identities[0].references
            ('light', 2)
        """
        from twinset.search.gallery import View, rank

        settings = self.identities
        if settings is None:
            raise StoreError(
                f"{self.url} has no identities. Name the column that tells whom an item shows: "
                "`twinset index … --identity COLUMN`, or `index.identify_by(column)`."
            )
        if settings.model != self.store.signature.model:  # the index was switched to another one
            settings = self.identify_by(settings.column, strangers=settings.strangers)
        count, _ = checked_k(k, None)
        check_prior(prior)
        at = None if point is None else self.threshold_at(point)
        images = list(images) if isinstance(images, Iterator) else images
        vectors, names, single = embed_queries(self.model, images)
        if not len(vectors):
            raise StoreError("Expected an image to identify. Received none.")
        if together:
            names = [names[0] + and_more(len(names))]
        asked = settings.column, conditions(where)
        gallery = self._gallery(*asked)
        if not gallery.names:
            return _one_or_all([Identification(n, (), settings) for n in names], single or together)
        settings = self._fitted(settings, other, len(vectors) if together else 1)
        if at is not None:
            settings = replace(settings, threshold=at.value, threshold_rule=at.rule)
            settings = replace(settings, fpir=None, fnir=None)  # those of the other threshold
        views = [View(gallery, settings.rule, vectors, settings.share)]
        if other is not None:
            seen, again = embed_queries(other.model, images)[0], other._gallery(*asked)
            again = again.like(gallery)
            views.append(View(again, settings.other_rule, seen, 1 - settings.share))
        ranked = rank(views, count or 1, together=together)
        size = len(vectors) if together else 1
        try:
            answers = [
                self._answer(name, each, settings, gallery, size, prior)
                for name, each in zip(names, ranked, strict=True)
            ]
        except StoreError:
            version = self.store.version()
            if not version or any(read.version == version for _, read in self._galleries):
                raise
            # a reference that is to be told of was removed since all were read
            asking: dict[str, Any] = {"where": where, "prior": prior, "other": other}
            asking["point"] = point
            return self.identify(images, k=k, together=together, **asking)
        return _one_or_all(answers, single or together)

    def _answer(
        self,
        name: str,
        found: Ranking,
        settings: IdentitySettings,
        gallery: Gallery,
        images: int,
        prior: float,
    ) -> Identification:
        from twinset.metrics.fusion import posterior

        m = len(gallery.names)
        shares, nobody = None, None
        if settings.weight is not None:
            per = settings.identities / m
            shares, nobody = posterior(found.all, settings.weight, prior=prior, per_known=per)
        ids = [gallery.ids[row] for row in found.references]
        held = self.store.get(ids).metadata
        told = []
        for at, code in enumerate(found.identities.tolist()):
            joined = float(found.distances[at])
            told.append(
                Identity(
                    gallery.names[code],
                    joined,
                    joined <= settings.threshold,
                    None if shares is None else float(shares[code]),
                    Neighbour(ids[at], float(found.nearest[at]), held[at]),
                    int(gallery.sizes[code]),
                )
            )
        return Identification(name, tuple(told), settings, images, nobody, prior)

    def _fitted(
        self, own: IdentitySettings, other: Identifying | None, images: int
    ) -> IdentitySettings:
        if other is None and images == 1:
            return own
        digest = "" if other is None else other.store.signature.model
        if other is not None and digest == own.model:
            raise StoreError(
                f"Expected an index that another model made. Received {other.url}, which the same "
                "model made: it would say everything twice."
            )
        gallery = self._gallery(own.column, ())
        # so many that half of the identities have as many left
        together = min(images, max(sorted(gallery.sizes.tolist())[len(gallery.names) // 2] // 2, 1))
        if other is None and together == 1:
            return own
        kept = [IdentitySettings.of(record) for record in self.store.records(MORE)]
        for known in reversed([*kept, *self._unkept]):
            again = replace(own, **{name: getattr(known, name) for name in _FITTED})
            if (known.other, known.together) == (digest, together) and again == known:
                return known
        from twinset.search.gallery import choose_settings

        views = [gallery]
        models = [self.model]
        if other is not None:
            views.append(other._gallery(own.column, ()).like(gallery))
            models.append(other.model)
        found = choose_settings(views, own.column, models, together, own.strangers)
        found = replace(own, **{name: getattr(found, name) for name in _FITTED})
        try:
            self.store.record(MORE, [found.to_dict()])
        except StoreError:  # who may only read gets an answer as well
            self._unkept = (*self._unkept, found)
        return found

    def _gallery(self, column: str, where: tuple[Condition, ...]) -> Gallery:
        from twinset.search.gallery import Gallery

        asked = column, where
        version = self.store.version()
        with self._keeping:  # of many that ask at once, one reads
            before = next((read for about, read in self._galleries if about == asked), None)
            if before is None or not version:
                gallery = Gallery.read(self.store, *asked)
            elif before.version == version:
                return before
            else:
                gallery = before.follow(self.store, *asked)
            # whole, and under the conditions asked for last
            kept = [each for each in self._galleries if bool(each[0][1]) != bool(where)]
            self._galleries = (*kept, (asked, gallery))
            return gallery

    def _identities_after(self, changes: Changes) -> None:
        # Choose anew how identities are told apart, where many items have changed.
        settings = self.identities
        touched = changes.added + changes.changed + changes.relabelled + changes.removed
        if settings is None or not touched:
            return
        gallery = self._gallery(settings.column, ())
        if not gallery.names:  # nobody is known any more, and nothing could be chosen by
            return
        moved = max(
            touched / settings.references,
            abs(len(gallery.codes) / settings.references - 1),
            abs(len(gallery.names) / settings.identities - 1),
        )
        if moved > MUCH or settings.model != self.store.signature.model:
            self.identify_by(settings.column, strangers=settings.strangers)


def _one_or_all(answers: list[Identification], single: bool) -> Any:
    return answers[0] if single else answers
