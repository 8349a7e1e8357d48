"""Tables of pairs (.csv, .tsv, .parquet): left, right, and where people judged them, the same."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twinset.data import arrow
from twinset.data.names import shown
from twinset.data.text_tables import Texts, read_csv
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
    if file.suffix.lower() == ".parquet":
        table = arrow.open_table(file)
        found = choose(table.schema.names)
        used = [column for column in found.values() if column is not None]
        cells = table.columns(list(dict.fromkeys(used)))
        columns = {
            what: arrow.texts(cells.column(column))
            for what, column in found.items()
            if column is not None
        }
        where, faults = "row {}".format, dict[int, str]()
    else:
        # a name of a file may be of bytes that are no text
        read, found = read_csv(file, choose, errors="surrogateescape")
        columns = {
            what: Texts.of(read.column(column))
            for what, column in found.items()
            if column is not None
        }
        where, faults = read.where, dict(read.faults)
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
