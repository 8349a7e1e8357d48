"""Tables of pairs (.csv, .tsv, .parquet): left, right, and where judged, the same; as a listing."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset.data import arrow
from twinset.data.image_sources import FileSource, Remark, Skipped
from twinset.data.listing import Listing
from twinset.data.names import Texts, read_csv, shown
from twinset.data.pairs import Pairs, hanging_together
from twinset.data.sources import read_listing
from twinset.data.sources.table import find_files
from twinset.errors import DataError

# Column → its usual names, in any case, with "_" or " " between the words; the column's own first.
_THING = "(image|img|picture|photo|path|file|filename|file_name|id|item|name|sample|signature)"
USUAL = {
    "left": f"left|first|{_THING}?_?(1|a|left)|(left|first)_{_THING}",
    "right": f"right|second|{_THING}?_?(2|b|right)|(right|second)_{_THING}",
    "same": "same|(is_)?(same|match|duplicate|genuine|positive)|label|target|y|judgement|decision",
    "group": "group",
    "why": "why",
}
_EVIDENCE = "evidence "
SAME = frozenset(
    (
        *("1", "yes", "y", "true", "t", "same", "match", "matched", "matching", "equal"),
        *("identical", "duplicate", "dup", "positive", "pos", "genuine", "mated", "="),
    )
)
DIFFERENT = frozenset(
    (
        *("0", "-1", "no", "n", "false", "f", "different", "differ", "differs", "diff", "distinct"),
        *("not same", "not the same", "other", "no match", "non match", "nonmatch", "not match"),
        *("mismatch", "unmatched", "unequal", "not duplicate", "negative", "neg", "forged"),
        *("forgery", "impostor", "imposter", "non mated", "!=", "≠"),
    )
)
UNDECIDED = frozenset(
    (
        *("", "?", "unsure", "unknown", "undecided", "maybe", "skip", "skipped", "none", "null"),
        *("na", "n/a", "nan", "cannot tell", "can't tell", "don't know"),
    )
)


@dataclass(frozen=True, eq=False)
class PairTable:
    """p pairs as a table names them: `left` and `right` are paths, or ids of a data set."""

    file: Path
    left: Sequence[str]
    right: Sequence[str]
    same: NDArray[np.int8]  # (p,): 1 same, 0 different, −1 not judged
    groups: Sequence[str] | None  # of both images of each row; "" for none
    where: Callable[[int], str]  # tells people where a row is: "line 17"
    evidence: NDArray[np.float64] | None = None  # what the columns asked for say, (p, k)
    why: Sequence[str] | None = None  # each pair was asked about, as `twinset review` writes it

    def __len__(self) -> int:
        return len(self.left)

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Left and right of each row."""
        return list(zip(self.left, self.right, strict=True))

    @property
    def name(self) -> str:
        """The file as people can read it."""
        return shown(str(self.file))


def read_pair_table(
    path: str | Path, *, judged: bool = True, evidence: Sequence[str] = ()
) -> PairTable:
    """Read a table of pairs.

    With `judged` it has to have a column "same" (1/0, yes/no, true/false, same/different, …), of
    which an empty cell is a pair that nobody has judged; without, that column is not looked at.
    Columns of `evidence` hold a number for each pair.
    """
    file = Path(path)
    name = shown(str(file))

    def choose(header: Sequence[str]) -> dict[str, str | None]:
        usual = {what: _column(what, header, name, judged) for what in USUAL}
        if missing := [column for column in evidence if column not in header]:
            there = ", ".join(map(repr, header))
            raise DataError(f"{name}: expected a column {missing[0]!r}. Received {there}.")
        return usual | {_EVIDENCE + column: column for column in evidence}

    where: Callable[[int], str]
    read: Callable[[str], Texts]
    if file.suffix.lower() == ".parquet":
        table = arrow.open_table(file)
        found = choose(table.schema.names)
        used = dict.fromkeys(column for column in found.values() if column is not None)
        cells = table.columns(list(used))
        read = lambda column: arrow.texts(cells.column(column))  # noqa: E731
        where, faults = "row {}".format, dict[int, str]()
    else:
        # a name of a file may be of bytes that are no text
        lines, found = read_csv(file, choose, errors="surrogateescape")
        read = lambda column: Texts.of(lines.column(column))  # noqa: E731
        where, faults = lines.where, dict(lines.faults)
    columns = {what: read(column) for what, column in found.items() if column is not None}
    left, right = ([cell.strip() for cell in columns[side].each] for side in ("left", "right"))
    for row, (one, other) in enumerate(zip(left, right, strict=True)):
        problem = faults.get(row) or ("" if one and other else f"{one!r} and {other!r}")
        if problem:
            raise DataError(f"{name}, {where(row)}: expected two paths. Received {problem}.")
    if not left:
        raise DataError(f"{name}: expected pairs of images. Received a table without rows.")
    same = np.full(len(left), -1, np.int8)
    if judged:
        same = _judgements(columns["same"], name, where)
    groups, why = columns.get("group"), columns.get("why")
    texts = None if groups is None else [shown(text.strip()) for text in groups.each]
    reasons = None if why is None else list(why.each)
    told = [_numbers(columns[_EVIDENCE + each], each, name, where) for each in evidence]
    numbers = np.stack(told, axis=1) if told else None
    return PairTable(file, left, right, same, texts, where, numbers, reasons)


def _numbers(
    cells: Texts, column: str, place: str, where: Callable[[int], str]
) -> NDArray[np.float64]:
    found = np.empty(len(cells.codes))
    for row, cell in enumerate(cells.each):
        try:
            found[row] = float(cell)
        except ValueError:
            found[row] = np.nan
        if not np.isfinite(found[row]):
            raise DataError(
                f"{place}, {where(row)}: expected a number in column {column!r}. Received {cell!r}."
            )
    return found


def _column(what: str, header: Sequence[str], place: str, judged: bool) -> str | None:
    plain = [name.strip().casefold().replace(" ", "_") for name in header]
    if what in plain:  # its own name counts, whatever else is there
        return header[plain.index(what)]
    usual = [n for n, p in zip(header, plain, strict=True) if re.fullmatch(USUAL[what], p)]
    if len(usual) == 1:
        return usual[0]
    if what in ("group", "why") or (what == "same" and not judged):
        return None
    wanted = "left, right and same" if judged else "left and right"
    raise DataError(
        f"{place}: expected the columns {wanted}, with paths of images"
        f"{' and 1 or 0' if judged else ''}. Received {', '.join(map(repr, header))}: name them in "
        "the first line."
    )


def _judgements(cells: Texts, place: str, where: Callable[[int], str]) -> NDArray[np.int8]:
    # each spelling once, however many rows have it
    known = np.full(len(cells.values) + 1, -1, np.int8)  # the last: where a cell is empty
    for code, value in enumerate(cells.values):
        word = " ".join(value.casefold().replace("_", " ").split()).replace("\u2019", "'")
        word = re.sub(r"^[+]|[.]0+$", "", word)  # "+1" and, as spreadsheets have it, "1.0"
        word = word if word == "-1" else word.replace("-", " ").strip()
        if word in UNDECIDED:
            continue
        if word not in SAME | DIFFERENT:
            row = int(np.argmax(cells.codes == code))
            raise DataError(
                f"{place}, {where(row)}: expected 1 or 0 (also yes/no, true/false, same/different, "
                "or nothing where nobody has judged) in the column for the same. Received "
                f"{value!r}."
            )
        known[code] = word in SAME
    return known[cells.codes]


def list_pairs(pairs: str | Path, data: str | Path | None = None, **asked: Any) -> Listing:
    """List the images of judged pairs.

    A name is an id of the data set, or a path below its folder, or one that begins at the table's
    folder. Of a data set with classes all images are listed, of another those that have a pair.
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
    chosen = np.unique(
        np.concatenate([found.left, found.right, np.flatnonzero(listing.labels >= 0)])
    )
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
