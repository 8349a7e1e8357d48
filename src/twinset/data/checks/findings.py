"""What a check of data has to say: one finding per kind of trouble, with what to do about it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from twinset.data.checks.near_duplicates import FLAT, Alike, Duplicates, Judged, image_name
from twinset.data.image_sources import Skipped
from twinset.data.labelled import LabelledImages
from twinset.data.names import shown
from twinset.data.purpose import MANY_CLASSES

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")

PAIR = 2  # images that make a pair
SPLIT = 5  # images of which a fifth, the share of a test part, is one
FEW = 20  # images below which an interval over images is too wide to tell anything
UNEVEN, VERY_UNEVEN = 10, 100  # images of the largest class for each of the smallest
# A near duplicate is a measurement, and one in a thousand clean images has a false one. So a few
# across parts are to be looked at; more than this share of a part flatters its scores.
NEAR_LEAKS, NEAR_LEAK_SHARE = 5, 0.01
COPIES_SHARE = 0.01
MOST_CONSTANT = 0.5  # with more of the images empty, what shows something is the exception
FAINT = 32  # gray levels
MOST_SKIPPED = 0.2  # with more of the files unreadable, what is left may be another set

# severity, code, least and largest number of images, what to say of such classes
_SIZES: tuple[tuple[Severity, str, int, int, str], ...] = (
    ("note", "empty-classes", 0, 0, "without an image: check the spelling of the labels."),
    (
        "warning",
        "single-images",
        1,
        1,
        "of 1 image, which makes no pair: add images, or leave out what stays so small.",
    ),
    (
        "warning",
        "small-classes",
        PAIR,
        SPLIT - 1,
        f"of fewer than {SPLIT} images, too few for each part of a split: add images, or hold "
        "such classes out, for a test on unseen ones.",
    ),
    (
        "note",
        "wide-intervals",
        SPLIT,
        FEW - 1,
        f"of fewer than {FEW} images: scores of such a class have wide intervals.",
    ),
)


_WHOLE = (
    f"of fewer than {SPLIT} images: of {MANY_CLASSES} classes or more, whole ones go to each part, "
    "for a test on unseen ones, unless a training is told otherwise (--for seen)."
)


@dataclass(frozen=True)
class Finding:
    """One thing to say about the data."""

    # "error": training makes no sense, or its scores would not be true; "warning": look at it
    # before training; "note": know it when reading scores
    severity: Severity
    code: str  # a stable name of its kind, such as "label-conflicts"
    message: str  # what was found, and what to do
    count: int  # of cases
    examples: tuple[str, ...] = ()  # all cases as lines of text, the worst first

    @property
    def about_leaks(self) -> bool:
        """Whether it is an image or a group in two parts."""
        return self.code in ("exact-leaks", "near-leaks", "torn-groups")


@dataclass(frozen=True)
class TornGroup:
    """A group that is in two parts or more: part → number of its images there."""

    group: str
    parts: Mapping[str, int]


def about_classes(classes: Sequence[tuple[str, int]]) -> Iterator[Finding]:
    """Judge how many images the classes have."""
    usable = sum(count >= PAIR for _, count in classes)
    if usable < 2:
        text = (
            "Expected at least 2 classes of 2 images or more, to make pairs of. Received "
            f"{usable}: add images, or check that each class has a folder or name of its own."
        )
        yield Finding("error", "too-few-classes", text, usable)
    for severity, code, low, high, text in _SIZES:
        if code == "small-classes" and usable >= MANY_CLASSES:  # whole classes go to each part
            severity, text = "note", _WHOLE
        named = sorted((count, name) for name, count in classes if low <= count <= high)
        if named:
            lines = tuple(f"{name}: {_counted(count, 'image')}" for count, name in named)
            text = f"{_counted(len(named), 'class')} {text}"
            yield Finding(severity, code, text, len(named), lines)
    counts = [(count, name) for name, count in classes if count]
    if counts and max(counts)[0] >= UNEVEN * min(counts)[0]:
        (least, small), (most, large) = min(counts), max(counts)
        text = (
            f"The largest class, {large}, has {most:,} images, the smallest, {small}, "
            f"{least:,}: read scores per class too, and add to the small ones if they matter."
        )
        severity = "warning" if most >= VERY_UNEVEN * least else "note"
        yield Finding(severity, "uneven-classes", text, 1)
    if alike := _alike([name for _, name in counts]):
        text = (
            "with names that differ in nothing but capitals, spaces or dashes: give those that "
            "are one class one name, or its own images are taken for different things."
        )
        lines = tuple(", ".join(map(repr, names)) for names in alike)
        count = sum(map(len, alike))
        yield Finding("warning", "alike-names", f"{_counted(count, 'class')} {text}", count, lines)


def _alike(names: Sequence[str]) -> list[list[str]]:
    found: dict[str, list[str]] = {}
    for name in sorted(names):
        # no dash in front, which may be a minus
        plain = re.sub(r"(?<=\w)[\s_-]+", " ", unicodedata.normalize("NFC", name).lower()).strip()
        found.setdefault(plain, []).append(name)
    # letters by themselves are classes of their own: a and A
    return [each for each in found.values() if len(each) > 1 and max(map(len, each)) > 1]


def about_skipped(skipped: Sequence[Skipped], images: int) -> Iterator[Finding]:
    """Judge what could not be read."""
    if not skipped:
        return
    share = len(skipped) / (images + len(skipped))
    text = f"{_counted(len(skipped), 'file or row')} ({share:.1%}) unusable"
    if share > MOST_SKIPPED:
        text += (
            f", where {MOST_SKIPPED:.0%} are bearable: mend the files, or point to the right "
            "folder; what is left may not be what you mean to learn."
        )
    else:
        text += " and left out: mend or remove."
    lines = tuple(f"{shown(each.name)}: {shown(each.reason)}" for each in skipped)
    severity: Severity = "error" if share > MOST_SKIPPED else "warning"
    yield Finding(severity, "skipped", text, len(skipped), lines)


def about_leaks(
    judged: Judged, torn: Sequence[TornGroup], part_sizes: Mapping[str, int]
) -> Iterator[Finding]:
    """Judge what two parts share: nobody should be tested on what they learned by heart."""
    exact, near = _by_exactness(judged.leaks)
    if exact:
        text = (
            f"{_counted(len(exact), 'image')} in two parts or more, pixel by pixel: remove the "
            "copies from all parts but one."
        )
        lines = tuple(_line(each, each.parts) for each in exact)
        yield Finding("error", "exact-leaks", text, len(exact), lines)
    if torn:
        text = f"{_counted(len(torn), 'group')} in two parts or more: split by group."
        lines = tuple(
            f"{shown(each.group)}: "
            + ", ".join(f"{n:,} in {part}" for part, n in each.parts.items())
            for each in torn
        )
        yield Finding("error", "torn-groups", text, len(torn), lines)
    if near:
        involved: dict[str, set[int]] = {}
        for each in near:
            for position, part in zip(each.positions, each.parts, strict=True):
                involved.setdefault(part, set()).add(position)
        part = max(involved, key=lambda name: len(involved[name]) / part_sizes[name])
        many = len(involved[part])
        share = many / part_sizes[part]
        text = (
            f"{_counted(len(near), 'pair')} of nearly equal images in two parts, with "
            f"{share:.1%} of {part!r}: look at them, and give what shows one thing one group."
        )
        severe = share > NEAR_LEAK_SHARE and many >= NEAR_LEAKS
        lines = tuple(_line(each, each.parts) for each in near)
        yield Finding("error" if severe else "warning", "near-leaks", text, len(near), lines)


def about_copies(judged: Judged, images: int, skipped: int) -> Iterator[Finding]:
    """Judge duplicates that are in one part: contradictions, and copies that count twice."""
    if judged.conflicts:
        text = (
            f"{_counted(len(judged.conflicts), 'image')} with two labels or more, in equal or "
            "nearly equal copies: correct the labels, or remove all copies."
        )
        lines = tuple(_line(each, each.classes) for each in judged.conflicts)
        yield Finding("warning", "label-conflicts", text, len(judged.conflicts), lines)
    exact, near = _by_exactness(judged.copies)
    if exact:
        extra = sum(len(each.positions) - 1 for each in exact)
        text = (
            f"{_counted(extra, 'image')} ({extra / images:.1%}) with the pixels of another in "
            "the class: copies count twice, and a random split tears them apart. Remove them."
        )
        severity: Severity = "warning" if extra > COPIES_SHARE * images else "note"
        yield Finding(severity, "copies", text, extra, tuple(map(_line, exact)))
    if near:
        share = len({i for each in near for i in each.positions}) / images
        text = (
            f"{_counted(len(near), 'pair')} of nearly equal images in a class ({share:.1%} of "
            "all images): give what shows one thing one group, or remove it."
        )
        severity = "warning" if share > COPIES_SHARE else "note"
        yield Finding(severity, "near-copies", text, len(near), tuple(map(_line, near)))
    if skipped:
        text = (
            f"{_counted(skipped, 'pair')} of look-alikes not examined closely, as some images "
            "have very many: there may be more near duplicates than listed."
        )
        yield Finding("note", "look-alikes-skipped", text, skipped)


def about_contents(labels: NDArray[np.int64], first: NDArray[np.int64]) -> Iterator[Finding]:
    """Judge whether copies are all there is, such as one picture in the place of each image."""
    kinds = np.unique(np.stack([first, labels], axis=1), axis=0)
    contents, classes = np.unique(kinds[:, 0], return_counts=True)
    own = kinds[np.isin(kinds[:, 0], contents[classes == 1])]  # what is in one class only
    usable = int((np.bincount(own[:, 1]) >= PAIR).sum()) if len(own) else 0
    if usable < 2 <= (np.bincount(labels) >= PAIR).sum():
        text = (
            f"Expected at least 2 classes of {PAIR} images that differ, to make pairs of. Received "
            f"{usable}: most images have the pixels of another, as where one picture stands for "
            "those that could not be fetched. Get the images anew."
        )
        yield Finding("error", "too-few-contents", text, usable)


def about_constant(constant: Sequence[str], images: int, *, told: bool) -> Iterator[Finding]:
    """Judge that images have nothing on them, unless their colours tell classes."""
    if not constant:
        return
    text = f"{_counted(len(constant), 'image')} of one colour all over, with nothing to learn from"
    severity: Severity = "warning"
    if len(constant) > MOST_CONSTANT * images and not told:
        severity = "error"
        text += (
            f", where {MOST_CONSTANT:.0%} are bearable: look at one as it is decoded. If it is "
            "transparent, set another background (`--set images.background=255`); if it has 8, 10 "
            "or 12 bits in 16, multiply its values by 257, 64 or 16; else point to other images."
        )
    else:
        text += ": remove or replace."
    yield Finding(severity, "constant-images", text, len(constant), tuple(constant))


def about_contrast(spreads: NDArray[np.uint8]) -> Iterator[Finding]:
    """Judge that next to nothing of the gray levels is used, as by 12 bits in 16."""
    used = spreads[spreads > FLAT]
    levels = int(np.median(used)) + 1 if used.size else FAINT
    if levels < FAINT:
        text = (
            f"Most images use {levels} of 256 gray levels or fewer, so that little is left to tell "
            "them apart. 10 or 12 bits in files of 16 look so: multiply the values by 64 or 16 "
            "before saving; else stretch the contrast, all images alike."
        )
        yield Finding("warning", "low-contrast", text, int((spreads < FAINT).sum()))


def _by_exactness(found: Sequence[Alike]) -> tuple[list[Alike], list[Alike]]:
    exact = [each for each in found if each.exact]
    return exact, [each for each in found if not each.exact]


def _line(alike: Alike, marks: Iterable[str] = (), most: int = 3) -> str:
    """Write "a.png [train] = b.png [test]"; "≈" for what is nearly equal."""
    named = list(alike.names)
    marked = [
        f"{name} [{mark}]" if mark else name
        for name, mark in zip(named, list(marks) or [""] * len(named), strict=True)
    ]
    line = (" = " if alike.exact else " ≈ ").join(marked[:most])
    if len(marked) > most:
        line += f" and {len(marked) - most:,} more"
    return line if alike.exact else f"{line} ({alike.distance:.3f} apart)"


def _counted(count: int, thing: str) -> str:
    if count != 1:
        thing = {"class": "classes", "file or row": "files or rows"}.get(thing, f"{thing}s")
    return f"{count:,} {thing}"


# With more of the judgements against the classes, these are something else than was asked.
MOST_AGAINST = 0.2


def about_pairs(data: LabelledImages, found: Duplicates) -> Iterator[Finding]:
    """Judge what was judged."""
    settled, judged = data.settled, data.judged
    assert settled is not None
    assert judged is not None

    def lines(pairs: Sequence[Sequence[int]], mark: str) -> tuple[str, ...]:
        return tuple(mark.join(image_name(data, at) for at in each) for each in pairs)

    same = int(judged.same.sum())
    different = len(judged) - same
    if not (same and different) and not data.class_names:
        lacking = "different" if same else "same"
        yield Finding(
            "error",
            "one-kind-of-pairs",
            f"Expected same and different pairs. Received {same:,} same and {different:,} "
            f"different: judge some that are {lacking}, since nothing is taken for {lacking} that "
            "nobody judged.",
            len(judged),
        )
    if settled.contradictions:
        text = (
            f"{_pairs(len(settled.contradictions))} judged both the same and different, which "
            "count for nothing: judge them again."
        )
        examples = lines(settled.contradictions, " =≠ ")
        yield Finding("warning", "contradictions", text, len(examples), examples)
    if settled.conflicts:
        text = (
            f"{_pairs(len(settled.conflicts))} judged different, though a chain of others says "
            "that they are the same; one link is wrong. All count as judged, and nothing is "
            "concluded from these chains: judge them again."
        )
        chains = (f"{line} ≠ {line.split(' = ')[0]}" for line in lines(settled.conflicts, " = "))
        yield Finding("warning", "broken-chains", text, len(settled.conflicts), tuple(chains))
    yield from _about_classes(data, lines)
    yield from _about_copies(data, found, lines)
    if settled.repeated:
        text = (
            f"{_pairs(settled.repeated)} there twice, or of an image with itself: they count once."
        )
        yield Finding("note", "repeated-pairs", text, settled.repeated)


def _about_classes(
    data: LabelledImages, lines: Callable[..., tuple[str, ...]]
) -> Iterator[Finding]:
    judged, settled = data.judged, data.settled
    assert settled is not None
    assert judged is not None
    if not settled.against:
        return
    rows = list(settled.against)
    pairs = np.stack([judged.left[rows], judged.right[rows]], axis=1).tolist()
    classed = (data.labels[[judged.left, judged.right]] < len(data.class_names)).all(axis=0)
    share = len(settled.against) / max(int(classed.sum()), 1)
    severe = share > MOST_AGAINST
    text = f"{_pairs(len(settled.against))} say otherwise than the classes ({share:.1%})" + (
        f", where {MOST_AGAINST:.0%} are bearable: if these are no classes but folders of "
        "another kind, leave the data out, and give paths that begin at the table."
        if severe
        else ", and count as they were judged: correct one of the two."
    )
    examples = tuple(
        f"{line} ({data.class_names[data.labels[i]]} / {data.class_names[data.labels[j]]})"
        for line, (i, j) in zip(lines(pairs, ", "), pairs, strict=True)
    )
    yield Finding(
        "error" if severe else "warning", "against-classes", text, len(examples), examples
    )


def _about_copies(
    data: LabelledImages, found: Duplicates, lines: Callable[..., tuple[str, ...]]
) -> Iterator[Finding]:
    judged = data.judged
    assert judged is not None
    equal = np.flatnonzero(~judged.same & (found.first[judged.left] == found.first[judged.right]))
    if len(equal):
        text = (
            f"{_pairs(len(equal))} of the same pixels judged different, which no model can tell "
            "apart: judge them again, or remove the copies."
        )
        pairs = np.stack([judged.left[equal], judged.right[equal]], axis=1).tolist()
        yield Finding("warning", "copies-judged-different", text, len(equal), lines(pairs, " = "))
    if data.parts is not None:
        parts = data.parts[judged.left], data.parts[judged.right]
        across = np.flatnonzero((parts[0] != parts[1]) & (parts[0] != "") & (parts[1] != ""))
        if len(across):
            text = f"{_pairs(len(across))} join two parts of the data, and are not used."
            pairs = np.stack([judged.left[across], judged.right[across]], axis=1).tolist()
            yield Finding("warning", "pairs-across-parts", text, len(across), lines(pairs, ", "))


def _pairs(count: int) -> str:
    return f"{count:,} pair{'s' * (count != 1)}"
