"""The images that a table of judged pairs names, alone or of a data set, with the judgements."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset.data.image_sources import FileSource, Remark, Skipped
from twinset.data.judged import hanging_together
from twinset.data.listing import Listing
from twinset.data.names import shown
from twinset.data.pair_tables import PairTable, read_pair_table
from twinset.data.pairs import Pairs
from twinset.data.sources import read_listing
from twinset.data.sources.table import find_files
from twinset.errors import DataError


def list_pairs(pairs: str | Path, data: str | Path | None = None, **asked: Any) -> Listing:
    """List the images of judged pairs.

    A name is an id of the data set, or a path below its folder, or one that begins at the table's
    folder. Of a data set with classes all images are listed, of another those that have a pair.

    Raises:
        DataError: the table cannot be read, has no judgement, or names nothing that is there.
    """
    table = read_pair_table(pairs)
    names = list(dict.fromkeys([*table.left, *table.right]))
    listing, places = _placed(table, names, data, asked)
    position = np.array([places.get(name, -1) for name in names])
    number = {name: at for at, name in enumerate(names)}
    sides = [
        position[[number[name] for name in each]] for each in (table.left, table.right)
    ]  # −1 where there is no such image
    there = (sides[0] >= 0) & (sides[1] >= 0)
    judged = table.same >= 0
    if not (there & judged).any():
        lost = ""
        if listing.skipped and not there.any():
            last = listing.skipped[-1]
            lost = f" The last, {last.name!r}: {last.reason}."
        raise DataError(
            f"{table.name}: expected judged pairs of images that are there. Received "
            f"{int(judged.sum()):,} judged of {len(table):,} pairs, {int(there.sum()):,} of them "
            f"with both images.{lost}"
        )
    used = there & judged
    found = Pairs(sides[0][used], sides[1][used], table.same[used] == 1)
    chosen = np.unique(np.concatenate([found.left, found.right, np.flatnonzero(_named(listing))]))
    groups = _groups(table, sides, listing)
    listing = replace(listing, judged=found, groups=groups)
    remarks = [
        Remark("note", f"{count:,} pair{'s' * (count != 1)} {what}.")
        for count, what in (
            (int((~judged).sum()), "without a judgement: nobody knows of them"),
            (int((judged & ~there).sum()), "left out, as an image of theirs is not there"),
        )
        if count
    ]
    remarks += _of_the_classes(listing)
    return replace(
        listing.subset(chosen), skipped=listing.skipped, remarks=(*listing.remarks, *remarks)
    )


def _placed(
    table: PairTable, names: Sequence[str], data: str | Path | None, asked: Mapping[str, Any]
) -> tuple[Listing, dict[str, int]]:
    # a listing of all there is, and where in it each name is
    if data is None:
        listing = Listing([], table.file.name, place=os.path.abspath(table.file))  # noqa: PTH100
        places = dict[str, int]()
    else:
        listing = read_listing(data, labelled=False, **asked)
        places = _by_name(listing)
    folders = [] if data is None or not Path(data).is_dir() else [Path(data)]
    known = {
        os.path.normpath(source.path): at
        for at, source in enumerate(listing.sources)
        if isinstance(source, FileSource)
    }
    lacking = [name for name in names if name not in places]
    reasons, more = dict[str, str](), list[FileSource]()
    for folder in [*folders, table.file.parent]:
        files, missing = find_files(lacking, folder)
        for at, (name, source) in enumerate(zip(lacking, files, strict=True)):
            if at in missing:
                reasons.setdefault(name, missing[at])
                continue
            assert isinstance(source, FileSource)
            key = os.path.normpath(source.path)
            if key not in known:
                known[key] = len(listing) + len(more)
                more.append(source)
            places[name] = known[key]
        lacking = [name for name in lacking if name not in places]
    aside = tuple(Skipped(shown(name), reasons[name]) for name in lacking)
    return _longer(listing, more, aside), places


def _by_name(listing: Listing) -> dict[str, int]:
    # by id, by name, and by a name without its suffix where that is one image's alone
    found = dict[str, int]()
    stems: dict[str, int] = {}
    for at, source in enumerate(listing.sources):
        name = source.name or ""
        stem = str(PurePath(name).with_suffix("")) if name else ""
        for text in (stem, PurePath(stem).name):
            stems[text] = at if stems.get(text, at) == at else -1
        found.setdefault(name, at)
    found |= {own: at for at, own in enumerate(listing.ids)}
    return {k: at for k, at in stems.items() if k and at >= 0} | found


def _longer(listing: Listing, more: Sequence[FileSource], aside: tuple[Skipped, ...]) -> Listing:
    # a data set whose images are in memory takes no files beside them
    if more and listing.rows is not None:
        aside += tuple(Skipped(s.name, "a file, where the data is in memory") for s in more)
        more = ()
    count = len(more)

    def with_more(values: Any, fill: Any) -> Any:
        return None if values is None else np.concatenate([values, np.full(count, fill)])

    return replace(
        listing,
        sources=[*listing.sources, *more],
        labels=with_more(listing.labels, -1),
        groups=with_more(listing.groups, ""),
        parts=with_more(listing.parts, ""),
        ids=[*listing.ids, *(source.name for source in more)],
        columns={},
        skipped=(*listing.skipped, *aside),
        where=lambda position: "",
        published=False,
    )


def _named(listing: Listing) -> NDArray[np.bool_]:
    return listing.labels >= 0


def _groups(
    table: PairTable, sides: Sequence[NDArray[Any]], listing: Listing
) -> NDArray[np.str_] | None:
    # groups that share an image are one
    told = listing.groups
    if table.groups is None:
        return told
    names = np.array(["", *table.groups, *([] if told is None else told.tolist())])
    values, codes = np.unique(names, return_inverse=True)
    count = len(listing)
    of_rows, of_images = codes[1 : 1 + len(table)], codes[1 + len(table) :]
    ties = [_tie(side, of_rows, count, codes[0]) for side in sides]
    if told is not None:
        ties.append(_tie(np.arange(count), of_images, count, codes[0]))
    units = hanging_together(count + len(values), *ties)
    first = dict[int, str]()
    for code in range(len(values)):
        if code != codes[0]:
            first.setdefault(int(units[count + code]), str(values[code]))
    return np.array([first.get(unit, "") for unit in units[:count].tolist()], np.str_)


def _tie(
    images: NDArray[Any], codes: NDArray[Any], count: int, nothing: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    kept = (images >= 0) & (codes != nothing)
    return images[kept], count + codes[kept]


def _of_the_classes(listing: Listing) -> Iterable[Remark]:
    if listing.class_names:
        yield Remark(
            "note",
            f"{len(listing.class_names):,} classes of {listing.name} count beside the pairs; where "
            "the folders are no classes, leave the data out: paths then begin at the table.",
        )
