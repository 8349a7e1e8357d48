"""A tree of folders with images; the folders are the classes, and some of them the parts."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, get_args

import numpy as np

from twinset.data.addresses import absolute, is_address
from twinset.data.decoding.image_file import SUFFIXES
from twinset.data.image_sources import FileSource, Remark, Skipped
from twinset.data.listing import Listing
from twinset.data.names import TEXT_TABLES, class_name, in_order, natural_key, parts_of, shown
from twinset.data.sources import Asked, Classes, Source
from twinset.errors import DataError

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
    ends: dict[str, list[Names]] = {}  # the last name of a folder → the folders that have it
    for names in folders:
        below.setdefault(names[0], set()).add(names[1:])
        ends.setdefault(names[-1], []).append(names)
    # a class of pictures of trains has no classes below it
    parts = parts_of(below)
    named = [shown(top) for top in sorted(parts) if below[top] - {()}]
    shared = [alike for alike in ends.values() if len(alike) > 1]
    if len(below) > 1 and named:
        others = ", ".join(repr(shown(top)) for top in sorted(below.keys() - parts.keys())[:3])
        yield Remark(
            "warning",
            f"{', '.join(map(repr, named))} may be a part, and is taken as classes because of "
            f"{others} beside it: if it is one, move these away or name them after parts.",
        )
    # such as a folder for each session below that of each person, or the other way round
    elif 1 < len(below) < len(folders) < 2 * sum(map(len, shared)):
        one, two, *_ = (shown("/".join(names)) for names in max(shared))
        yield Remark(
            "note",
            f"{one!r} and {two!r} are two classes, since a class is the whole path of its folder: "
            "if the first names alone are classes, say --classes top (classes='top' in Python); "
            "if they are parts, call them train, val or test; else name classes in a table (.csv).",
        )


# what systems leave in folders; names with a dot in front are passed over as well
LITTER = frozenset(
    (
        *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir"),
        *("$recycle.bin", "system volume information", "lost+found"),
    )
)
_EXPECTED = """\
{root}: expected images in folders that are named after their classes:

    {name}/
    ├── cat/
    │   ├── 1.jpg
    │   └── 2.jpg
    └── dog/
        └── 3.jpg

Received {received}."""


class Entry(NamedTuple):
    """A file that is behind an address."""

    path: str
    name: str
    mark: str  # as `FileSource` has it


@dataclass(frozen=True)
class Folder:
    """A folder of a tree, and the images directly in it."""

    path: str  # as reached, through links
    real: str  # without links: what tells folders apart
    names: tuple[str, ...] = ()  # from the root
    key: tuple[Any, ...] = ()  # for the natural order
    files: list[os.DirEntry[str] | Entry] = field(default_factory=list)

    def below(self, entry: os.DirEntry[str], real: str) -> Folder:
        """Make a folder in this one."""
        key = (*self.key, natural_key(entry.name))
        return Folder(entry.path, real, (*self.names, entry.name), key)


def _refused(names: tuple[str, ...], reason: str) -> Skipped:
    return Skipped(shown("/".join(names)), reason)


def read_folder(place: str, asked: Asked) -> Listing:
    """List the images of a tree of folders; a folder is a class.

    - Folders named after parts (train; val, valid, validation, dev, tune; calib, calibration; test)
      are the parts, as `laid_out` finds them, and the classes are below.
    - Images are told by their names' suffix, in any case (`SUFFIXES`). Other files are
      skipped; hidden ones and litter of operating systems are passed over.
    - Links are followed, but no folder is listed twice: a link to one that was met already,
      for example above itself, is skipped. Folders are met before links.
    - Classes and names come in natural order ("2" before "10"), whatever order the disk has.
    - Folder names that differ in Unicode form only are one class, named in composed form.
    - For an index, images directly in the root or in a part are listed too, without a class.
    """
    asked.refuse(place, SOURCE.takes, "image", "label", "group", "split")
    if asked.classes not in get_args(Classes):
        raise DataError(f"Expected classes='path' or classes='top'. Received {asked.classes!r}.")
    bad: list[Skipped] = []
    folders = _walk(Path(place), bad)
    return listed_below(place, folders, bad, asked)


def listed_below(
    place: str, folders: Sequence[Folder], bad: list[Skipped], asked: Asked
) -> Listing:
    """List the images of folders that were found below a place."""
    folders = [folder for folder in folders if folder.files]
    layout = laid_out([f.names for f in folders], [len(f.files) for f in folders])
    listed = list(zip(folders, layout.places, strict=True))
    if asked.labelled:
        for folder, place_ in listed:
            if not place_.names and not place_.aside:
                where = "the part" if folder.names else "the root"
                reason = (
                    f"directly in {where}, in no class: move it into a folder named after its class"
                )
                bad += (_refused((*folder.names, file.name), reason) for file in folder.files)
        listed = [(folder, it) for folder, it in listed if it.names and not it.aside]
    bad.sort(key=lambda one: natural_key(one.name))
    if not listed:
        count = sum(len(folder.files) for folder in folders)
        raise DataError(_nothing(place, count, bad, asked))
    return _listing(place, listed, layout, asked.classes, bad)


def _listing(
    place: str,
    listed: list[tuple[Folder, Place]],
    layout: Layout,
    classes: Classes,
    bad: list[Skipped],
) -> Listing:
    end = None if classes == "path" else 1
    names = [class_name("/".join(it.names[:end])) for _, it in listed]
    class_names = in_order(filter(None, names))
    number = {own: label for label, own in enumerate(class_names)} | {"": -1}
    grouped = end is not None and any(len(it.names) > end for _, it in listed)
    sources, groups = list[FileSource](), list[str]()
    for folder, it in listed:
        above = "".join(f"{shown(each)}/" for each in folder.names)
        group = above[:-1] if len(it.names) > 1 else ""
        for file in folder.files:
            mark = file.mark if isinstance(file, Entry) else ""
            sources.append(FileSource(file.path, above + shown(file.name), mark))
            groups.append(group)
    sizes = [len(folder.files) for folder, _ in listed]
    return Listing(
        sources,
        _name(place),
        np.repeat([number[own] for own in names], sizes),
        class_names,
        np.array(groups) if grouped else None,
        np.repeat([it.part for _, it in listed], sizes) if layout.parted else None,
        place=shown(absolute(place)),
        skipped=tuple(bad),
        remarks=layout.remarks,
    )


def _walk(root: Path, bad: list[Skipped]) -> list[Folder]:
    """Meet every folder below a root once; the folders in order, each with its images in order."""
    met: dict[str, Folder] = {}
    # links wait until all folders were met, so that what is met twice keeps its own name
    folders = [Folder(os.path.abspath(root), os.path.realpath(root))]  # noqa: PTH100 - bare text
    links: list[Folder] = []
    while folders or links:
        folder = folders.pop() if folders else links.pop(0)
        if folder.real in met:
            first = met[folder.real].names
            same = repr(shown("/".join(first))) if first else "the root"
            bad.append(_refused(folder.names, f"the same folder as {same}, which is listed"))
            continue
        met[folder.real] = folder
        below = []
        for entry, is_folder in _entries(folder, bad):
            if not is_folder:
                folder.files.append(entry)
            elif entry.is_symlink():
                links.append(folder.below(entry, os.path.realpath(entry.path)))
            else:
                real = os.path.join(folder.real, entry.name)  # noqa: PTH118 - bare text
                below.append(folder.below(entry, real))
        folders += reversed(below)
    return sorted(met.values(), key=lambda folder: folder.key)


def _entries(folder: Folder, bad: list[Skipped]) -> Iterator[tuple[os.DirEntry[str], bool]]:
    """Give the images and folders in a folder, in order; refuse what is neither."""
    try:
        with os.scandir(folder.path) as scan:
            entries = sorted(scan, key=lambda entry: natural_key(entry.name))
    except OSError as error:
        if not folder.names:
            raise DataError(
                f"{shown(folder.path)}: expected a folder of images. {error.strerror}."
            ) from None
        bad.append(_refused(folder.names, f"cannot be read: {error.strerror}"))
        return
    for entry in entries:
        if entry.name.startswith(".") or entry.name.casefold() in LITTER:
            continue
        names = (*folder.names, entry.name)
        suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122 - of bare text
        try:
            is_folder, is_file = entry.is_dir(), entry.is_file()
        except OSError:  # a link to itself
            is_folder = is_file = False
        if is_folder:
            yield entry, True
        elif not is_file:
            link = entry.is_symlink()
            bad.append(_refused(names, "a link that leads nowhere" if link else "no regular file"))
        elif suffix not in SUFFIXES:
            bad.append(_refused(names, f"not an image by its name: {_about(suffix)}"))
        else:
            yield entry, False


def _about(suffix: str) -> str:
    if suffix in (".heic", ".heif"):
        return f"{suffix} is not read here, convert it to JPEG or PNG"
    return f"{shown(suffix)} is none of the suffixes" if suffix else "it has no suffix"


def _name(place: str) -> str:
    parts = place.rstrip("/").split("/")
    return shown(parts[-1] if is_address(place) else Path(place).resolve().name)


def _nothing(place: str, images: int, bad: list[Skipped], asked: Asked) -> str:
    """Say what was there instead of images in classes."""
    if images:
        received = f"{images} image{'s' * (images > 1)} directly in the root or in a part"
    elif bad:
        received = f"no image, but {bad[0].name} ({bad[0].reason})"
    else:
        received = "an empty folder"
    tables = [one.name for one in bad if one.name.lower().endswith((*TEXT_TABLES, ".parquet"))]
    if tables:
        received += (
            f"; to read the table that is there, pass {shown(place.rstrip('/'))}/{tables[0]}"
        )
    if not asked.labelled:
        return f"{shown(place)}: expected images. Received {received}."
    return _EXPECTED.format(root=shown(place), name=_name(place), received=received)


# last, as it claims every folder, those of Hugging Face too
SOURCE = Source("a folder of images", lambda place: Path(place).is_dir(), read_folder, last=True)
