"""What an index does with decisions: takes and keeps them, and answers by them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from twinset import distance
from twinset.errors import StoreError, UnknownItemError
from twinset.progress import Wanted
from twinset.search import decisions
from twinset.search.answer import Answer
from twinset.search.checked import checked_k
from twinset.search.decisions import Decided, Decision, Handed, Judged, Judgements, Settled
from twinset.search.items import Items, Neighbour
from twinset.search.review import Review, review
from twinset.search.thresholds import Judging, of_whom
from twinset.search.where import Where, conditions, holds


class Deciding(Judging):
    """The part of `Index` that is about decisions."""

    # read once: what others decide meanwhile is seen when the index is opened again
    _settled: Settled | None = None

    @property
    def settled(self) -> Settled:
        """What follows from the decisions that stand."""
        held = self._settled
        if held is None:
            with self._keeping:
                self._settled = held = Settled(decisions.standing(self._log()))
        return held

    def _log(self) -> list[Decision]:
        return [decisions.of_record(row) for row in self.store.records(decisions.KIND)]

    def decisions(self, *, all: bool = False) -> list[Decision]:  # noqa: A002 - as in `--all`
        """List what people decided about pairs of items, in the order in which they did.

        Args:
            all: those that were overruled or taken back as well, and the taking back. Defaults to
                False: of each pair the one that stands.
        """
        with self._keeping:
            log = self._log()
            self._settled = held = Settled(decisions.standing(log))
        return log if all else list(held.decisions)

    def decide(self, given: Judgements, *, who: str | None = None, undo: bool = False) -> Decided:
        """Take decisions about pairs of items, and keep them with who, when and by which model.

        From then on what is different is never in one group of duplicates, in no answer of
        `similar` and in no review, and what is the same is in one group, however far apart. A
        later decision on a pair overrules the earlier one. All are recorded, or none; nothing is
        ever removed. Decisions of one pair by way of others that cannot all be right are told:
        a "same" is then left out, a "different" stands. Those on pairs that a review chose by
        their distance alone move the threshold, as soon as that predicts them better.

        Args:
            given: a table (.csv, .tsv, .parquet) with the columns left, right and same, such as
                `review` writes it; left and right are ids or paths, rows with nothing in `same`
                are open. Or rows (left, right, same).
            who: decided. Defaults to the name of the user who runs this.
            undo: take the latest decisions on these pairs back; what they overruled stands again.
                Whether they are the same does not matter then; rows of a table that nobody has
                decided are left out. Defaults to False.

        Returns:
            How many were new, and sentences on what contradicts what.

        Raises:
            DataError: no such table.
            StoreError: an item that is not there, two answers for one pair, or rows of another
                kind. What was decided about an item that has gone is taken back by its id.

        Example:
            >>> import numpy as np, twinset
            >>> pixels = np.stack([np.full((4, 4), 85 * i, np.uint8) for i in range(4)])
            >>> grays = twinset.LabelledImages(pixels, [0, 0, 1, 1], ("dark", "light"), "grays")
            >>> model = twinset.fit(grays, epochs=1, encoder={"units": [8]})
            >>> with twinset.Index.build(model, grays) as index:
            ...     [question] = index.review(1).questions
            ...     told = index.decide([("grays/0", "grays/3", True)], who="anna")
            ...     [first, *_] = index.similar("grays/0")
            ...     [one] = index.decisions()
            >>> told.sentence(), one.who, one.same, first.id
            ('1 new', 'anna', True, 'grays/3')
        """
        with self._turn:
            return self._decide(given, who, undo)

    def _decide(self, given: Judgements, who: str | None, undo: bool) -> Decided:
        name, digest = of_whom(who), self.store.signature.model
        when = datetime.now(UTC).isoformat(timespec="seconds")
        handed: Handed
        if isinstance(given, str | os.PathLike):
            handed = given
        else:
            handed = [decisions.row_of(each) for each in given]
        now = {one.pair: one for one in self.decisions()}
        ids = self._names(handed)
        if undo:  # an item may be gone, and what was decided about it still counts
            ids |= {end: end for pair in now for end in pair}
        rows, still_open = decisions.read_judgements(handed, ids, undo=undo)
        before = [now.get(one.pair) for one in rows]
        if undo:
            new = [replace(old, who=name, when=when, undone=True) for old in before if old]
        else:  # what is decided so already is not recorded again
            each = zip(rows, before, strict=True)
            here = [one for one, old in each if old is None or old.same != one.same]
            new = [
                Decision(left, right, same, name, when, digest, far, why)
                for (left, right, same, why), far in zip(here, self._distances(here), strict=True)
            ]
        self.store.record(decisions.KIND, [asdict(one) for one in new])
        with self._keeping:  # who read the records before this has kept them by now
            self._settled = None
        moved = self._recalibrate(self.settled.decisions) if new else ""
        return Decided(
            new=0 if undo else len(new),
            known=0 if undo else len(rows) - len(new),
            open=still_open,
            undone=len(new) if undo else 0,
            contradictions=self.settled.contradictions(),
            threshold=moved,
        )

    def _names(self, given: Handed) -> dict[str, str]:
        if isinstance(given, list):
            # a single decision need not wait until all items are read
            with suppress(StoreError):
                named = list({end: end for row in given for end in row[:2]})
                return {own: own for own in self.store.get(named).ids}
        # the id of each path and of each id, which comes before a path
        known = list(self.store.listed())
        paths = {str(each["path"]): own for own, each in known if "path" in each}
        return paths | {own: own for own, _ in known}

    def _distances(self, pairs: Sequence[Judged]) -> list[float]:
        names = sorted({end for one in pairs for end in one.pair})
        if not names:
            return []
        place = {own: row for row, own in enumerate(names)}
        left = np.array([place[one.left] for one in pairs])
        right = np.array([place[one.right] for one in pairs])
        found: list[float] = distance.of_pairs(self.store.get(names).vectors, left, right).tolist()
        return found

    def similar(
        self,
        item: str,
        *,
        k: int = 10,
        where: Where = (),
        exact: bool = False,
        point: str | None = None,
    ) -> Answer:
        """Find what is most like an item of the index, as it was decided.

        What is decided to be the same comes first and is a match, however far; what is different
        is left out.

        Args:
            item: its id.
            k: at most so many, 1 or more. Defaults to 10.
            where: conditions on the metadata, as for `search`. Defaults to none.
            exact: as for `search`. Defaults to False.
            point: likewise. Defaults to none.

        Raises:
            StoreError: no such item or point, or k below 1.
        """
        out, same = self.settled.differs_from(item), sorted(self.settled.same_as(item))
        query = self.store.get([item]).vectors
        checked_k(k, None)
        most = k + len(out) + len(same) + 1
        (found,) = self.store.search(query, k=most, where=where, exact=exact)
        others = [one for one in found if one.id not in {item, *out, *same}]
        asked = conditions(where)
        held = self._of(same)
        far = distance.euclidean(held.vectors, query).tolist()
        agreed = [
            Neighbour(*each)
            for each in zip(held.ids, far, held.metadata, strict=True)
            if all(holds(one, each[2]) for one in asked)
        ]
        agreed.sort(key=lambda one: one.distance)
        told = (*agreed, *others)[:k]
        first = told[0] if told else None
        return Answer(
            item, told, self.threshold_at(point), None, first, frozenset(one.id for one in agreed)
        )

    def _of(self, ids: Sequence[str]) -> Items:
        # those that are there still; in most cases all are, and one look finds them
        try:
            return self.store.get(ids)
        except UnknownItemError:
            found: list[str] = []
            for own in ids:
                with suppress(UnknownItemError):
                    found += self.store.get([own]).ids
            return self.store.get(found)

    def review(
        self, count: int = 100, *, column: str | None = None, progress: Wanted = False
    ) -> Review:
        """Choose the pairs that are worth asking a person about, those first that set most right.

        Seven in ten doubt groups: those that `column` claims, else those that `duplicates` finds.
        A group is joined by average linkage, and the question is about the middles of the two
        parts that are joined; its gain is (1 - P(same | mean distance of the parts)) times the
        root of the smaller part's size. Three in twenty are about items that look the same and are
        recorded as different, or about groups that one step would join: P(same) times the root of
        the smaller side's size. As many are about the neighbours whose distance is nearest to the
        threshold, chosen by nothing else, as only such pairs can recalibrate it; of a model without
        a calibration, which they could not move, groups take their share. What one kind cannot use
        goes to the others. An item is in two questions at most, and what is decided, or follows
        from decisions, is not asked.

        Args:
            count: number of questions, 1 or more; fewer where there is less to ask. Defaults to
                100.
            column: of the metadata, that claims which items are the same. Defaults to the column
                of the identities, else "label", else none.
            progress: as for `build`.

        Returns:
            The questions; `to_csv` writes the table that `decide` takes back, and
            `twinset.write_review` a page.

        Raises:
            StoreError: no such column, or a count below 1.
        """
        threshold = self.threshold.value
        told: dict[str, Any] = {"count": count, "column": column, "progress": progress}
        return review(self.store, threshold, self.calibrator, self.settled, **told)
