"""Which folders of a tree are parts, wherever they stand and however they are spelled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from twinset.data.image_sources import Remark
from twinset.data.names import parts_of, shown

Names: TypeAlias = tuple[str, ...]  # of a folder and those above it, from the root


@dataclass(frozen=True)
class Place:
    """What a folder of images is: its part, or "", and the names that make its class.

    Without a name its images are directly in the root or in a part. `aside` is a folder beside the
    parts that is none of them, or a part without classes.
    """

    part: str
    names: Names
    aside: bool = False


@dataclass(frozen=True)
class Layout:
    """What each of some folders is, and what people must know of how it was found out."""

    places: tuple[Place, ...]
    parted: bool = False
    remarks: tuple[Remark, ...] = ()


def laid_out(folders: Sequence[Names], sizes: Sequence[int]) -> Layout:
    """Find parts among folders that hold so many images each.

    Parts stand at the top, below folders that are alone on their level, or below the classes. They
    may be spelled as in `parts_of`, and a part may hold one folder of its own name
    (`seg_train/seg_train/cats`). What stands beside parts and is none is set aside.
    """
    for level in _levels(folders):
        below = [names[level:] for names in folders if len(names) > level]
        if parts := _parts(below, at_top=level == 0):
            return _by_top(folders, sizes, level, parts)
    inside = [names for names in folders if names]
    ends = parts_of({names[-1] for names in inside})
    if (
        {*ends.values()} > {"train"}
        and all(len(names) > 1 and names[-1] in ends for names in inside)
        and len({names[:-1] for names in inside}) < len(inside)  # some class is in two parts
    ):
        places = tuple(Place(ends[n[-1]], n[:-1]) if n else Place("", ()) for n in folders)
        return Layout(places, True, tuple(_taken(ends)))
    return Layout(tuple(Place("", n) for n in folders), remarks=tuple(_doubt(inside)))


def _levels(folders: Sequence[Names]) -> Iterator[int]:
    """Give the levels on which parts may stand: the top, and below what is alone on its level."""
    level = 0
    while True:
        yield level
        tops = {names[level : level + 1] for names in folders}
        if len(tops) != 1 or () in tops:
            return
        level += 1


def _parts(below: Sequence[Names], *, at_top: bool) -> dict[str, str]:
    tops = {names[0] for names in below}
    parts = parts_of(sorted(tops))
    kinds = {*parts.values()}
    # "train" beside "bus" and "tram" is a class: parts are two or more, with classes in them
    deeper = any(len(names) > 1 and names[0] in parts for names in below)
    if len(kinds) > 1 and deeper:
        return parts
    # or all there is at the top, where no class is called so
    return parts if at_top and "train" in kinds and tops == parts.keys() else {}


def _by_top(
    folders: Sequence[Names], sizes: Sequence[int], level: int, parts: dict[str, str]
) -> Layout:
    drop, bare = {}, set[str]()  # part's folder → levels down to its classes; parts without any
    for top, part in parts.items():
        inside = [names[level + 1 :] for names in folders if names[level : level + 1] == (top,)]
        again = {names[:1] for names in inside}
        bare |= {top} if again == {()} else set()
        name = next(iter(again))[:1]
        repeats = len(again) == 1 and name and (name[0] == top or parts_of(name) == {name[0]: part})
        drop[top] = level + 1 + bool(repeats)
    places, beside = list[Place](), Counter[str]()
    for names, size in zip(folders, sizes, strict=True):
        top = names[level] if len(names) > level else ""
        if top in parts and top not in bare:
            places.append(Place(parts[top], names[drop[top] :]))
        elif top:
            beside[top] += size
            places.append(Place(parts.get(top, ""), () if top in bare else names, aside=True))
        else:
            places.append(Place("", ()))
    return Layout(tuple(places), True, (*_taken(parts), *_left_out(beside, parts)))


def _taken(parts: dict[str, str]) -> Iterator[Remark]:
    if any(name.casefold() != part for name, part in parts.items()):
        told = ", ".join(f"{shown(name)!r} as {part}" for name, part in sorted(parts.items()))
        yield Remark("note", f"Taken as parts: {told}.")


def _left_out(beside: Counter[str], parts: dict[str, str]) -> Iterator[Remark]:
    # one for all images, since it is as the owner meant it: test images often have no classes
    named = ", ".join(repr(shown(top)) for top in parts)
    for top, size in beside.items():
        why = (
            "it is a part without classes: to use it, move its images into folders named after "
            "their classes"
            if top in parts
            else f"it is beside the parts {named}, and none by its name: if it is one, call it "
            "train, val or test"
        )
        many = f"{size:,} image{'s' * (size != 1)}"
        yield Remark("warning", f"{shown(top)!r} is left out with its {many}, as {why}.")


def _doubt(folders: Sequence[Names]) -> Iterator[Remark]:
    below: dict[str, set[Names]] = {}  # top → what is below it that holds images
    for names in folders:
        below.setdefault(names[0], set()).add(names[1:])
    # a class of pictures of trains has no classes below it
    parts = parts_of(below)
    named = [shown(top) for top in sorted(parts) if below[top] - {()}]
    first = below[min(below)] if below else set()
    if len(below) > 1 and named:
        others = ", ".join(repr(shown(top)) for top in sorted(below.keys() - parts.keys())[:3])
        yield Remark(
            "warning",
            f"{', '.join(map(repr, named))} may be a part, and is taken as classes because of "
            f"{others} beside it: if it is one, move these away or name them after parts.",
        )
    elif len(below) > 1 and len(first - {()}) > 1 and all(first == each for each in below.values()):
        one, two, *_ = (shown("/".join((top, *max(first)))) for top in sorted(below))
        yield Remark(
            "note",
            f"{one!r} and {two!r} are two classes, since a class is the whole path of its folder: "
            "if the first names are parts, call them train, val or test.",
        )
