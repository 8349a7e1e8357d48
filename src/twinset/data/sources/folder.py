"""A tree of folders with images; the folders are the classes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np

from twinset.data.image_sources import FileSource, Skipped
from twinset.data.layout import Layout, Place, laid_out
from twinset.data.listing import Listing
from twinset.data.names import class_name, in_order, natural_key, shown
from twinset.data.sources import Asked, Classes, Source
from twinset.errors import DataError

# of the formats that `image_file` opens
SUFFIXES = frozenset(
    (
        *(".apng", ".avif", ".avifs", ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".mpo"),
        *(".pbm", ".pfm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
    )
)
# what systems leave in folders; names with a dot in front are passed over as well
_LITTER = frozenset(
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


@dataclass(frozen=True)
class _Folder:
    path: str  # as reached, through links
    real: str  # without links: what tells folders apart
    names: tuple[str, ...] = ()  # from the root
    key: tuple[Any, ...] = ()  # for the natural order
    files: list[os.DirEntry[str]] = field(default_factory=list)

    def below(self, entry: os.DirEntry[str], real: str) -> _Folder:
        key = (*self.key, natural_key(entry.name))
        return _Folder(entry.path, real, (*self.names, entry.name), key)


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
    root = Path(place)
    bad: list[Skipped] = []
    folders = [folder for folder in _walk(root, bad) if folder.files]
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
        raise DataError(_nothing(root, sum(len(folder.files) for folder in folders), bad, asked))
    return _listing(root, listed, layout, asked.classes, bad)


def _listing(
    root: Path,
    listed: list[tuple[_Folder, Place]],
    layout: Layout,
    classes: Classes,
    bad: list[Skipped],
) -> Listing:
    end = None if classes == "path" else 1
    names = [class_name("/".join(place.names[:end])) for _, place in listed]
    class_names = in_order(filter(None, names))
    number = {name: label for label, name in enumerate(class_names)} | {"": -1}
    grouped = end is not None and any(len(place.names) > end for _, place in listed)
    sources, groups = list[FileSource](), list[str]()
    for folder, place in listed:
        above = "".join(f"{shown(name)}/" for name in folder.names)
        group = above[:-1] if len(place.names) > 1 else ""
        for file in folder.files:
            sources.append(FileSource(file.path, above + shown(file.name)))
            groups.append(group)
    sizes = [len(folder.files) for folder, _ in listed]
    return Listing(
        sources,
        shown(root.resolve().name),
        np.repeat([number[name] for name in names], sizes),
        class_names,
        np.array(groups) if grouped else None,
        np.repeat([place.part for _, place in listed], sizes) if layout.parted else None,
        place=shown(os.path.abspath(root)),  # noqa: PTH100 - links stay as they are
        skipped=tuple(bad),
        remarks=layout.remarks,
    )


def _walk(root: Path, bad: list[Skipped]) -> list[_Folder]:
    """Meet every folder below a root once; the folders in order, each with its images in order."""
    met: dict[str, _Folder] = {}
    # links wait until all folders were met, so that what is met twice keeps its own name
    folders = [_Folder(os.path.abspath(root), os.path.realpath(root))]  # noqa: PTH100 - bare text
    links: list[_Folder] = []
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


def _entries(folder: _Folder, bad: list[Skipped]) -> Iterator[tuple[os.DirEntry[str], bool]]:
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
        if entry.name.startswith(".") or entry.name.casefold() in _LITTER:
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


def _nothing(root: Path, images: int, bad: list[Skipped], asked: Asked) -> str:
    """Say what was there instead of images in classes."""
    if images:
        received = f"{images} image{'s' * (images > 1)} directly in the root or in a part"
    elif bad:
        received = f"no image, but {bad[0].name} ({bad[0].reason})"
    else:
        received = "an empty folder"
    tables = [one.name for one in bad if one.name.lower().endswith((".csv", ".tsv", ".parquet"))]
    if tables:
        received += f"; to read the table that is there, pass {shown(str(root / tables[0]))}"
    if not asked.labelled:
        return f"{shown(str(root))}: expected images. Received {received}."
    name = shown(root.resolve().name)
    return _EXPECTED.format(root=shown(str(root)), name=name, received=received)


# last, as it claims every folder, those of Hugging Face too
SOURCE = Source("a folder of images", lambda place: Path(place).is_dir(), read_folder, last=True)
