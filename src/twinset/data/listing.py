"""`Listing`: which images there are and what is known of them, before a pixel is read."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twinset.data.addresses import absolute
from twinset.data.image_sources import (
    FileSource,
    HeldSource,
    ImageSource,
    Remark,
    Skipped,
    TableSource,
)
from twinset.data.names import check_parts, in_order, label_codes, shown, texts_of
from twinset.data.pairs import Pairs, taken
from twinset.errors import DataError

# what a listing itself says of an image; further columns of these names give way
OWN = ("label", "path", "_row", "_column", "_source", "_stamp")


@dataclass(frozen=True, eq=False)
class Listing:
    """n images or vectors, with what is known of each; sources of data make one.

    Raises:
        DataError: lengths, dtypes, labels or parts do not fit together.
    """

    sources: Sequence[ImageSource]  # where each comes from
    name: str  # what reports call it: the name of the folder or file
    # (n,), each an index into `class_names`, −1 where an image has none; by default none has one
    labels: NDArray[np.int64] = None  # type: ignore[assignment]  # filled in when made
    class_names: tuple[str, ...] = ()  # in the order of the labels
    # what must not be torn apart by a split (photographer, burst, patient, product), (n,); an image
    # whose group is "" is one by itself
    groups: NDArray[np.str_] | None = None
    # the part that the data's owner put each image in, (n,): "train", "tune", "calibration",
    # "test", or "" for none
    parts: NDArray[np.str_] | None = None
    # by which an index knows the images; by default the names of the sources, or "NAME/7"
    ids: Sequence[str] = None  # type: ignore[assignment]  # likewise
    # name → n texts, numbers, booleans or None, which an index keeps as metadata
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    place: str = ""  # what was read, so that it can be found again; "" for nowhere
    rows: Any = None  # pixels (n, h, w[, 3]) or vectors (n, d) where they are in memory already
    skipped: tuple[Skipped, ...] = ()  # what was found unfit for use by the reader
    remarks: tuple[Remark, ...] = ()  # what people must know of how it was read
    # position → why an image cannot be used: a missing file, a line of a table with too many cells;
    # `usable` sets these aside
    faults: Mapping[int, str] = field(default_factory=dict)
    where: Callable[[int], str] = "".format  # tells people what a position is: "line 17"
    # whether classes without an image stay, and the order of all as it is; else they come in the
    # natural order of their names
    all_classes: bool = True
    mirrors: bool = False  # whether a mirror image shows the same, as of clothes; of digits not
    # whether the parts are a published benchmark's: they are kept as they are, and not searched for
    # near duplicates
    published: bool = False
    judged: Pairs | None = None  # by people, by position; None: the labels tell
    model: str = ""  # digest of the model that made the vectors; "" for not known

    def __post_init__(self) -> None:
        sources = tuple(self.sources)
        count = len(sources)
        names = tuple(str(name) for name in self.class_names)
        labels = np.full(count, -1) if self.labels is None else self.labels
        ids = tuple(
            (source.name or f"{self.name}/{at}" for at, source in enumerate(sources))
            if self.ids is None
            else self.ids
        )
        told: dict[str, Sequence[Any]] = {"ids": ids, **self.columns}
        for what, values in told.items():
            if len(values) != count:
                raise DataError(
                    f"Expected {count} of {what!r}, one per image. Received {len(values)}."
                )
        # frozen: the checked values replace whatever sequences the caller passed
        changes: dict[str, Any] = {
            "sources": sources,
            "labels": label_codes(labels, count, len(names), none=True),
            "ids": ids,
        }
        changes |= {"class_names": names, "skipped": tuple(self.skipped)}
        for what in ("groups", "parts"):
            changes[what] = texts_of(what, getattr(self, what), count)
        for what, value in changes.items():
            object.__setattr__(self, what, value)
        check_parts(self.parts)

    def __len__(self) -> int:
        return len(self.sources)

    def __repr__(self) -> str:
        aside = f", {len(self.skipped)} skipped" if self.skipped else ""
        return f"Listing({self.name!r}, {len(self)} images, {len(self.class_names)} classes{aside})"

    @property
    def class_counts(self) -> NDArray[np.int64]:
        """The number of images of each class, in the order of `class_names`."""
        known = self.labels[self.labels >= 0]
        return np.bincount(known, minlength=len(self.class_names)).astype(np.int64)

    def stamp(self, position: int) -> str:
        """Tell cheaply whether an image has changed: if so, the stamp is another."""
        return self.sources[position].stamp()

    def metadata(self, position: int) -> dict[str, Any]:
        """Tell what an index is to keep of an image: label, columns with a value, where it is."""
        # names with a "_" in front are for programs
        known = ((name, values[position]) for name, values in self.columns.items())
        told = {name: value for name, value in known if value is not None and name not in OWN}
        label = self.labels[position]
        if label >= 0:
            told["label"] = self.class_names[label]
        source = self.sources[position]
        if isinstance(source, HeldSource) and source.picture is not None:
            source = source.picture
        if isinstance(source, FileSource | TableSource):
            told["path"] = shown(absolute(source.path))
        if isinstance(source, TableSource):
            told |= {"_row": source.row, "_column": source.column}
        return told | {"_source": self.place} if self.place else told

    def subset(self, indices: ArrayLike, name: str | None = None) -> Listing:
        """Pick images by position or mask, keeping every class name.

        What was skipped, or is at fault, stays with the whole.
        """
        chosen = np.arange(len(self))[np.asarray(indices, None if np.size(indices) else np.int64)]
        positions, where = chosen.tolist(), self.where
        return replace(
            self,
            sources=tuple(self.sources[i] for i in positions),
            name=name or self.name,
            labels=self.labels[chosen],
            groups=None if self.groups is None else self.groups[chosen],
            parts=None if self.parts is None else self.parts[chosen],
            ids=tuple(self.ids[i] for i in positions),
            columns={key: [values[i] for i in positions] for key, values in self.columns.items()},
            rows=None if self.rows is None else self.rows[chosen],
            judged=self.judged and taken(self.judged, chosen, len(self)),
            skipped=(),
            remarks=(),
            faults={},
            where=lambda position: where(positions[position]),
        )

    def all_failed(self, last: Skipped, count: int) -> DataError:
        """Make the error for images of which none can be read."""
        return DataError(
            f"{self.place or self.name}: expected images that can be read. All {count:,} failed, "
            f"the last: {last.name}: {last.reason}"
        )

    def usable(self, *, labelled: bool) -> Listing:
        """Set aside what cannot be used, and list it as skipped, with the reasons.

        For training, images without a label are set aside, and lines that name one file again: if
        these disagree, all of them, since one is wrong and nobody knows which. Else, for an index,
        those without an id, or with one that is taken.

        Raises:
            DataError: no image is left.
        """
        bad = dict(self.faults)
        if labelled:
            for position in np.flatnonzero(self.labels < 0).tolist():
                bad.setdefault(position, "no label")
            bad |= _named_again(self, bad)
        else:
            bad |= _without_own_id(self, bad)
        aside = [
            Skipped(
                self.sources[at].name or self.ids[at],
                f"{self.where(at)}: {bad[at]}".removeprefix(": "),
            )
            for at in sorted(bad)
        ]
        if len(aside) == len(self):
            received = f"{len(self)}, none of use" if aside else "none"
            first = f" The first is {aside[0].name[:200]!r}: {aside[0].reason}." if aside else ""
            raise DataError(
                f"{self.place or self.name}: expected images{' with labels' * labelled}. "
                f"Received {received}.{first}"
            )
        found = self.subset([at for at in range(len(self)) if at not in bad]) if bad else self
        # an image without a group is one by itself
        groups = found.groups
        if groups is not None:
            names = [source.name for source in found.sources]
            groups = np.where(groups == "", names, groups)
        skipped = (*self.skipped, *aside)
        return _in_order(
            replace(found, groups=groups, skipped=skipped, remarks=self.remarks, faults={})
        )


def joined(listings: Sequence[Listing], **changes: Any) -> Listing:
    """Put listings one after the other; classes of one name become one."""
    first = listings[0]
    classes = tuple(dict.fromkeys(name for each in listings for name in each.class_names))
    number = {name: label for label, name in enumerate(classes)}
    starts = [0, *accumulate(len(each) for each in listings)]
    keys = dict.fromkeys(key for each in listings for key in each.columns)

    def where(position: int) -> str:
        at = int(np.searchsorted(starts, position, "right")) - 1
        return listings[at].where(position - starts[at])

    def labels(each: Listing) -> NDArray[np.int64]:
        return np.array([*map(number.__getitem__, each.class_names), -1])[each.labels]

    def texts(what: str) -> NDArray[np.str_] | None:
        found = [getattr(each, what) for each in listings]
        if all(values is None for values in found):
            return None
        nothing = [np.full(len(each), "") for each in listings]
        return np.concatenate([n if v is None else v for v, n in zip(found, nothing, strict=True)])

    whole: dict[str, Any] = {
        "sources": [source for each in listings for source in each.sources],
        "labels": np.concatenate([labels(each) for each in listings]),
        "class_names": classes,
        "groups": texts("groups"),
        "parts": texts("parts"),
        "ids": [own for each in listings for own in each.ids],
        "columns": {
            key: [v for each in listings for v in each.columns.get(key, [None] * len(each))]
            for key in keys
        },
        "skipped": tuple(bad for each in listings for bad in each.skipped),
        "faults": {
            start + at: why
            for start, each in zip(starts, listings, strict=False)
            for at, why in each.faults.items()
        },
        "where": where,
        # the owner's order counts if all tell the same one
        "all_classes": all(e.all_classes and e.class_names == first.class_names for e in listings),
    }
    return replace(first, **(whole | changes))


def _in_order(listing: Listing) -> Listing:
    if listing.all_classes:
        return listing
    labels = listing.labels
    used = {listing.class_names[label] for label in np.unique(labels[labels >= 0]).tolist()}
    names = in_order(used)
    # −1, which leads to the last entry, stays −1
    number = {name: label for label, name in enumerate(names)}
    table = np.array([*(number.get(name, -1) for name in listing.class_names), -1])
    return replace(listing, labels=table[labels], class_names=names)


def _without_own_id(listing: Listing, bad: Mapping[int, str]) -> dict[int, str]:
    found, first = dict[int, str](), dict[str, int]()
    for at, own in enumerate(listing.ids):
        if at in bad:
            continue
        if not own.strip():
            found[at] = "no id"
        elif first.setdefault(own, at) != at:
            by = listing.where(first[own])
            found[at] = f"the id {own!r} is taken" + (f" by {by}" if by else "")
    return found


def _named_again(listing: Listing, bad: Mapping[int, str]) -> dict[int, str]:
    """Find the positions that name a file again, and all of those that disagree."""
    # Rows of a table of encoded images cannot name one twice: only files are compared.
    first: dict[str, int] = {}
    again: dict[int, list[int]] = {}  # the first position of a file → the later ones
    for at, source in enumerate(listing.sources):
        if at in bad or not isinstance(source, FileSource):
            continue
        # bare text: a Path for each of a million files takes longer than all the rest
        earlier = first.setdefault(os.path.normpath(source.path), at)
        if earlier != at:
            again.setdefault(earlier, []).append(at)
    labels = np.array([*listing.class_names, ""])[listing.labels]
    said = {"label": labels, "group": listing.groups, "split": listing.parts}
    found: dict[int, str] = {}
    for at, others in again.items():
        every = [at, *others]
        differs = (w for w, v in said.items() if v is not None and len({*v[every].tolist()}) > 1)
        what = next(differs, None)
        if what is None:
            same = f"the same file as {listing.where(at)}, which says the same"
            found |= dict.fromkeys(others, same)
            continue
        values: Any = said[what]
        for one in every:
            other = next(o for o in every if values[o] != values[one])
            found[one] = (
                f"{what} {str(values[one])!r}, but {listing.where(other)} gives the same file "
                f"{what} {str(values[other])!r}"
            )
    return found
