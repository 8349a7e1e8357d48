"""Rows of a table that name images, judged: which can be used, and as what."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset.data.skipped import Skipped
from twinset.data.sources.listing import ImageSource, Listing
from twinset.data.sources.names import PART_SPELLINGS, class_name, in_order, part_of, shown
from twinset.data.sources.texts import Texts
from twinset.errors import DataError


@dataclass(frozen=True, eq=False)
class Rows:
    """Holds what n rows of a table say of images.

    Args:
        sources: where each image comes from.
        labels: as the table has them.
        bad: row → why it cannot be used, as far as that is known.
        where: tells people which row one is: "line 17".
        groups: likewise; an image without a group is a group by itself. Defaults to none.
        splits: likewise, in any of the usual spellings; empty for no part. Defaults to none.
        files: what file each image is in, where rows could name one twice. Defaults to none.
        class_names: the order of the classes. Defaults to the natural one of those that occur.
        others: reads every column but that of the images: name → values. Defaults to none.
    """

    sources: Sequence[ImageSource]
    labels: Texts
    bad: dict[int, str]
    where: Callable[[int], str]
    groups: Texts | None = None
    splits: Texts | None = None
    files: Sequence[Hashable] | None = None
    class_names: tuple[str, ...] | None = None
    others: Callable[[], Mapping[str, Sequence[Any]]] = dict

    def listing(self, name: str, place: str, others: Sequence[Skipped] = ()) -> Listing:
        """Judge the rows.

        A row is skipped if its image is known to be missing, it has no label, an earlier row
        says the same of the same file, or another row says something else of it: then both are,
        since one is wrong and nobody knows which.

        Args:
            name: of the listing.
            place: how errors call the table.
            others: what was skipped already.

        Raises:
            DataError: an unknown split, or no row that can be used.
        """
        labels = self.labels.mapped(lambda text: class_name(text.strip()))
        parts = None if self.splits is None else self._parts(self.splits, place)
        groups = None if self.groups is None else self.groups.mapped(str.strip).mapped(shown)
        bad = dict(self.bad)
        for row in np.flatnonzero(labels.codes < 0).tolist():
            bad.setdefault(row, "no label")
        if self.files is not None:
            bad |= self._repeated(
                self.files, bad, {"label": labels, "group": groups, "split": parts}
            )
        good = np.ones(len(self.sources), bool)
        good[list(bad)] = False
        kept = np.flatnonzero(good)
        skipped = [
            Skipped(self.sources[row].name, f"{self.where(row)}: {bad[row]}") for row in sorted(bad)
        ]
        if not kept.size:
            first = f"{skipped[0].name!r}: {skipped[0].reason}" if skipped else ""
            raise DataError(
                f"{place}: expected rows with an image and a label. Received "
                + (f"{len(bad)} rows, none of use. The first is {first}." if bad else "no rows.")
            )
        class_names = self.class_names or in_order(
            labels.values[code] for code in np.unique(labels.codes[kept])
        )
        number = {class_name: label for label, class_name in enumerate(class_names)}
        numbers = np.array([number.get(value, -1) for value in labels.values], np.int64)
        return Listing(
            tuple(self.sources[row] for row in kept.tolist()),
            numbers[labels.codes[kept]],
            class_names,
            name,
            None if groups is None else self._groups(groups, kept),
            None if parts is None else np.array([*parts.values, ""])[parts.codes[kept]],
            (*others, *skipped),
        )

    def _parts(self, splits: Texts, place: str) -> Texts:
        for code, value in enumerate(splits.values):
            if value.strip() and part_of(value) is None:
                row = int(np.argmax(splits.codes == code))
                raise DataError(
                    f"{place}, {self.where(row)}: expected a split out of "
                    f"{', '.join(PART_SPELLINGS)}, or nothing. Received {value!r}."
                )
        return splits.mapped(part_of)

    def _groups(self, groups: Texts, kept: NDArray[np.int64]) -> NDArray[np.str_]:
        each = groups.each
        return np.array([each[row] or self.sources[row].name for row in kept.tolist()])

    def _repeated(
        self, files: Sequence[Hashable], bad: dict[int, str], said: dict[str, Texts | None]
    ) -> dict[int, str]:
        """Find the rows that name a file again."""
        first: dict[Hashable, int] = {}
        again: dict[int, list[int]] = {}  # the first row of a file → the later ones
        for row, file in enumerate(files):
            earlier = first.setdefault(file, row) if row not in bad else row
            if earlier != row:
                again.setdefault(earlier, []).append(row)
        found: dict[int, str] = {}
        for row, others in again.items():
            every = [row, *others]
            conflict = next((c for c in said.items() if c[1] and _differ(c[1], every)), None)
            if conflict is None:
                same = f"the same file as {self.where(row)}, which says the same"
                found |= dict.fromkeys(others, same)
                continue
            what, column = conflict
            assert column is not None
            for one in every:
                other = next(r for r in every if column.codes[r] != column.codes[one])
                found[one] = (
                    f"{what} {column.each[one]!r}, but {self.where(other)} gives the same file "
                    f"{what} {column.each[other]!r}"
                )
        return found


def _differ(column: Texts, rows: Sequence[int]) -> bool:
    return len(set(column.codes[rows].tolist())) > 1
