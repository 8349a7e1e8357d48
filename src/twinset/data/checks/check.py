"""Is this data fit for training? Copies, contradictions, leaks, tiny classes, what was left out."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset import tables
from twinset.data.checks.findings import (
    SEVERITIES,
    Finding,
    TornGroup,
    about_classes,
    about_constant,
    about_contents,
    about_contrast,
    about_copies,
    about_leaks,
    about_pairs,
    about_skipped,
)
from twinset.data.checks.near_duplicates import (
    Alike,
    Duplicates,
    Judged,
    image_name,
    judge_duplicates,
    kept_duplicates,
)
from twinset.data.data_set import listing_of, loaded
from twinset.data.image_sources import Skipped
from twinset.data.labelled import LabelledImages
from twinset.data.names import shown
from twinset.data.parts import division_of, wishes
from twinset.data.purpose import usually_left_out
from twinset.data.split import trainable
from twinset.errors import DataError
from twinset.files import write_bytes
from twinset.progress import Progress, Wanted, reporting
from twinset.recipe import IMAGES, plain_values

USUAL = "auto"  # the recipe that one's own images are trained by
DIVISION = "division"  # the code of what is said about parts
_LISTED = 1000  # entries of one list in the JSON file
_COLUMNS, _NAME, _ROWS, _EXAMPLES = 100, 48, 12, 3  # of the text for a terminal
_DRAWN = 20  # judged pairs in the picture


@dataclass(frozen=True)
class DataCheck:
    """What was found in a set of labelled images.

    Args:
        name: of the set.
        images: their number.
        image_shape: (h, w) or (h, w, 3).
        classes: (name, number of images), in the order of the labels.
        parts: part → number of its images; empty without parts.
        skipped: what could not be read.
        judged: copies, label conflicts and leaks between parts.
        torn_groups: groups in two parts or more.
        constant: names of images of one colour.
        threshold: near duplicates are this far apart or less; see `find_duplicates`.
        findings: what to say about all this, errors first.
        pairs: number of same and of different pairs that were judged; none: classes tell.
    """

    name: str
    images: int
    image_shape: tuple[int, ...]
    classes: tuple[tuple[str, int], ...]
    parts: Mapping[str, int]
    skipped: tuple[Skipped, ...]
    judged: Judged
    torn_groups: tuple[TornGroup, ...]
    constant: tuple[str, ...]
    threshold: float
    findings: tuple[Finding, ...]
    pairs: tuple[int, int] | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing found is an error."""
        return not self.count("error")

    def count(self, severity: str) -> int:
        """Count the findings of one severity."""
        return sum(finding.severity == severity for finding in self.findings)

    def refuse_unfit(self, allow_leaks: bool) -> None:
        """Raise a DataError where something found is an error; leaks may be allowed."""
        errors = [each for each in self.findings if each.severity == "error"]
        if allow_leaks:
            errors = [each for each in errors if not each.about_leaks]
        if errors:
            more = f" And {len(errors) - 1} more." if len(errors) > 1 else ""
            hint = " (--allow-leaks trains all the same)" * any(each.about_leaks for each in errors)
            raise DataError(
                f"{self.name}: expected data fit for training. {errors[0].message}{more} "
                f"`twinset check` tells all{hint}."
            )

    def worst(self, most: int = 12) -> list[tuple[str, Alike]]:
        """Pick the duplicates to look at first, for `figures.look_alikes`, and say why."""
        # of each kind in turn while there are any; equal ones come first, then by distance
        kinds = (
            [("in two parts", each) for each in self.judged.leaks],
            [("two labels", each) for each in self.judged.conflicts],
            [("in one class", each) for each in self.judged.copies],
        )
        picked = [entry for turn in zip_longest(*kinds) for entry in turn if entry is not None]
        return [
            (f"{'equal' if each.exact else 'nearly equal'}, {why}", each)
            for why, each in picked[:most]
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return what the JSON file holds, in plain Python types.

        Schema 1:

        - `schema`: 1. `ok`: whether there is no error.
        - `name`, `images`, `image_shape`: of the set.
        - `classes`: list of objects with `name` and `images`, in the order of the labels.
        - `parts`: object of part → number of images; empty without parts.
        - `pairs`: object with the numbers of `same` and `different` judged pairs, or None.
        - `findings`: list of objects with `severity` ("error", "warning", "note"), `code`,
          `message`, `count` and `examples` (text), errors first.
        - `near_duplicate_threshold`: how far apart near duplicates may be; 0 if none were sought.
        - `skipped` (objects with `name`, `reason`), `constant` (names), `torn_groups` (objects
          with `group`, `parts`), and `copies`, `conflicts`, `leaks` (objects with `positions`,
          `names`, `classes`, `parts`, `exact`, `distance`).

        Each of these lists, and `examples`, has 1,000 entries at most. `totals` has the true
        number of each by its name.
        """
        lists: dict[str, Sequence[Any]] = {
            "skipped": self.skipped,
            "constant": self.constant,
            "torn_groups": self.torn_groups,
            "copies": self.judged.copies,
            "conflicts": self.judged.conflicts,
            "leaks": self.judged.leaks,
        }
        return {
            "schema": 1,
            "ok": self.ok,
            "name": self.name,
            "images": self.images,
            "image_shape": list(self.image_shape),
            "classes": [{"name": name, "images": count} for name, count in self.classes],
            "parts": dict(self.parts),
            "pairs": self.pairs and dict(zip(("same", "different"), self.pairs, strict=True)),
            "findings": [_plain(finding) for finding in self.findings],
            "near_duplicate_threshold": self.threshold,
            **{name: [_plain(each) for each in many[:_LISTED]] for name, many in lists.items()},
            "totals": {name: len(many) for name, many in lists.items()},
        }

    def summary(self) -> str:
        """Lay everything out as plain aligned text for a terminal; long lists are cut."""
        shape = " × ".join(str(size) for size in self.image_shape)
        classes = f"{len(self.classes):,} class{'es' * (len(self.classes) != 1)}"
        known = [f"in {classes}"] if self.classes or not self.pairs else []
        if self.pairs:
            known.append(f"with {self.pairs[0]:,} same and {self.pairs[1]:,} different pairs")
        lines = [f"{shown(self.name)}: {self.images:,} images of {shape} {', '.join(known)}"]
        if self.classes:
            lines += ["", *_table("class", self.classes)]
        if self.parts:
            lines += ["", *_table("part", tuple(self.parts.items()))]
        for finding in self.findings:
            lines += ["", *_paragraph(finding)]
        told = ", ".join(
            f"{self.count(severity) or 'no'} {severity}{'s' * (self.count(severity) != 1)}"
            for severity in SEVERITIES
        )
        verdict = "Fit for training" if self.ok else "Not fit for training"
        return "\n".join([*lines, "", f"{verdict}: {told}."])


def check(data: LabelledImages, *, duplicates: Duplicates | None = None) -> DataCheck:
    """Check whether labelled images are fit for training.

    Errors are: fewer than 2 classes of 2 images, or of 2 that differ; too few images to be judged
    on; the same pixels, or a group, in two parts; near duplicates in two parts, if they make up
    more than 1% of one (at least 5 images: a few may be false alarms, and move no score by much);
    more than a fifth of the files unreadable; more than half of the images of one colour all over,
    if that does not tell the class. What is less is a warning or a note.
    """
    owners = np.full(len(data), "") if data.parts is None else data.parts
    part_sizes = {name: int((owners == name).sum()) for name in dict.fromkeys(owners.tolist())}
    part_sizes.pop("", None)
    found = duplicates or kept_duplicates(data)
    judged = judge_duplicates(data, found, owners)
    torn = _torn_groups(data.groups, owners)
    constant = tuple(image_name(data, i) for i in np.flatnonzero(found.constant).tolist())
    classes = tuple(
        (shown(name), count)
        for name, count in zip(data.class_names, data.class_counts.tolist(), strict=False)
    )
    told = data.judged is not None  # in pairs: classes, if there are any, are not all
    same = [] if data.judged is None else data.judged.same.tolist()
    pairs = (sum(same), len(same) - sum(same)) if told else None
    varied = ~found.constant
    contents = [
        *(() if told else about_contents(data.labels[varied], found.first[varied])),
        *about_constant(constant, len(data), told=found.colours_tell(data)),
    ]
    # copies go to one part, so that images which are all alike cannot be divided either
    alike = any(each.severity == "error" for each in contents)
    findings = [
        *(about_pairs(data, found) if told else about_classes(classes)),
        *(() if alike else _about_division(data, found)),
        *about_skipped(data.skipped, len(data)),
        *about_leaks(judged, torn, part_sizes),
        *about_copies(judged, len(data), found.skipped),
        *contents,
        *about_contrast(found.spreads),
        *(Finding(each.severity, "reading", each.text, 1) for each in data.remarks),
    ]
    return DataCheck(
        name=data.name,
        images=len(data),
        image_shape=data.image_shape,
        classes=classes,
        parts=part_sizes,
        skipped=data.skipped,
        judged=judged,
        torn_groups=torn,
        constant=constant,
        threshold=found.threshold,
        findings=tuple(sorted(findings, key=lambda each: SEVERITIES.index(each.severity))),
        pairs=pairs,
    )


def _about_division(data: LabelledImages, found: Duplicates) -> Iterator[Finding]:
    """Tell what a training would make of so many images, by the judgement that it asks itself."""
    if data.judged is None and not trainable(data.labels):  # told of the classes
        return
    holdout, by = plain_values(USUAL)["holdout"], usually_left_out(data.labels)
    how: Any = {"by": by, "crossed": holdout == "cross", "together": found.together()}
    try:
        division = division_of(data, wishes(holdout), **how)
    except DataError as error:
        yield Finding("error", DIVISION, str(error), 1)
        return
    yield from (Finding("note", DIVISION, f"{n[:1].upper()}{n[1:]}.", 1) for n in division.notes)


def _torn_groups(
    groups: NDArray[np.str_] | None, owners: NDArray[np.str_]
) -> tuple[TornGroup, ...]:
    if groups is None:
        return ()
    homes: dict[str, Counter[str]] = {}
    for group, part in zip(groups.tolist(), owners.tolist(), strict=True):
        if part and group:
            homes.setdefault(group, Counter())[part] += 1
    return tuple(
        TornGroup(group, dict(counts)) for group, counts in homes.items() if len(counts) > 1
    )


def _plain(value: Finding | Alike | TornGroup | Skipped | str) -> Any:
    if isinstance(value, str):
        return value
    content = asdict(value)
    for key in ("positions", "names", "classes", "parts", "examples"):
        if isinstance(content.get(key), tuple):
            content[key] = list(content[key][:_LISTED])
    return content


def _table(head: str, rows: Sequence[tuple[str, int]]) -> list[str]:
    listed = [(_middle_cut(shown(name)), f"{count:,}") for name, count in rows[:_ROWS]]
    table = textwrap.indent(tables.text([head, ">images"], listed), "  ")
    return [table, *_more(len(rows) - _ROWS)]


def _paragraph(finding: Finding) -> list[str]:
    indent = " " * 9
    text = textwrap.wrap(
        f"{finding.severity:<9}{finding.message}", _COLUMNS, subsequent_indent=indent
    )
    shown_lines = [f"{indent}  {line}" for line in finding.examples[:_EXAMPLES]]
    rest = len(finding.examples) - _EXAMPLES
    return [*text, *shown_lines, *(indent + line for line in _more(rest))]


def _more(rest: int) -> list[str]:
    return [f"  and {rest:,} more"] if rest > 0 else []


def _middle_cut(text: str) -> str:
    """Cut a long name in its middle: begin and end tell most."""
    half = (_NAME - 1) // 2
    return text if len(text) <= _NAME else f"{text[:half]}…{text[-half:]}"


def check_data(
    data: str | Path | None = None,
    *,
    pairs: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    size: int | None = None,
    pictures: str | Path | None = None,
    progress: Wanted = False,
) -> DataCheck:
    """Read images and check whether they are fit for training.

    Args:
        data: a folder or a table of images, or the name of a built-in set. Defaults to none, where
            there are pairs.
        pairs: a table of judged pairs, as for `train`. Defaults to none.
        columns: of a table of images, as for `train`. Defaults to the usual names.
        size: side that they are brought to. Defaults to what a training would take.
        pictures: a folder to draw to: classes.png, some images of each class, or pairs.png, some of
            those that were judged; and look_alikes.png, the worst copies and label conflicts, if
            there are any. Defaults to none.
        progress: as for `load_images`. Defaults to False.

    Raises:
        DataError: nothing there, or nothing that can be read.

    Example:
        >>> import tempfile
        >>> images = np.random.default_rng(0).integers(0, 256, (8, 16, 16), np.uint8)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.savez(f"{folder}/a.npz", images=images[[*range(8), 0]], labels=[0] * 4 + [1] * 5)
        ...     found = check_data(f"{folder}/a.npz")
        >>> found.refuse_unfit(allow_leaks=False)  # raises nothing: fit for training
        >>> found.count("error"), found.worst(1)[0][0], found.to_dict()["ok"], found.summary()[:15]
        (0, 'equal, two labels', True, 'a.npz: 9 images')
    """
    asked = plain_values(USUAL)["images"] | ({} if size is None else {"size": size})
    listing = listing_of(data, pairs, progress=progress, **(columns or {}))
    images = loaded(listing, IMAGES.read(asked, "images").model_dump(), progress=progress)
    if not isinstance(images, LabelledImages):
        raise DataError(
            f"{data}: expected images to check. Received features, of which only numbers and "
            "labels are known: these are checked as they are read, by `twinset train`."
        )
    with reporting(progress) as tell:
        tell(Progress("check", 0, len(images), "images"))
        found = check(images)
        tell(Progress("check", len(images), len(images), "images"))
    if pictures is not None:
        _draw(images, found, Path(pictures))
    return found


def _draw(images: LabelledImages, found: DataCheck, folder: Path) -> None:
    from twinset import figures  # here, as a training checks without drawing

    if images.judged is None:
        drawn = figures.contact_sheet(
            images.images, images.labels, images.class_names, heading=images.name
        )
        write_bytes(folder / "classes.png", figures.png_bytes(drawn))
    else:
        spread = np.linspace(0, len(images.judged) - 1, _DRAWN).astype(int)
        some = images.judged[np.unique(spread)]
        sides = images.images[some.left], images.images[some.right]
        drawn = figures.pairs(*sides, some.same, heading=images.name)
        write_bytes(folder / "pairs.png", figures.png_bytes(drawn))
    copies = folder / "look_alikes.png"
    copies.unlink(missing_ok=True)  # of a check before
    worst = found.worst()
    if worst:
        drawn = figures.look_alikes(
            images.images,
            [alike.positions for _, alike in worst],
            [why for why, _ in worst],
            [alike.names for _, alike in worst],
            [alike.classes for _, alike in worst],
            heading=images.name,
        )
        write_bytes(copies, figures.png_bytes(drawn))
