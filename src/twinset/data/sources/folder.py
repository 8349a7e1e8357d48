"""A tree of folders with images → `Listing`; the folders are the classes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np

from twinset.data.skipped import Skipped
from twinset.data.sources.listing import Classes, FileSource, Listing
from twinset.data.sources.names import class_name, in_order, natural_key, part_of, shown
from twinset.errors import DataError

# of the formats in `image_file.FORMATS`
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


def read_folder(path: str | os.PathLike[str], *, classes: Classes = "path") -> Listing:
    """List the images of a tree of folders; a folder is a class.

    - Where "train" is among the top folders, and each of them is named after a part (train; val,
      valid, validation, dev, tune; calib, calibration; test), they are the parts, and the classes
      are below.
    - Images are told by their names' suffix, in any case (`SUFFIXES`). Other files are
      skipped; hidden ones and litter of operating systems are passed over.
    - Links are followed, but no folder is listed twice: a link to one that was met already,
      for example above itself, is skipped. Folders are met before links.
    - Classes and names come in natural order ("2" before "10"), whatever order the disk has.
    - Folder names that differ in Unicode form only are one class, named in composed form.

    Args:
        path: the root.
        classes: "path", the class of an image is the whole path of its folder, "animals/cat";
            "top", it is the first folder, and the folders below it become the groups, "cat/9 May"
            (an image beside such folders is a group by itself). Defaults to "path".

    Raises:
        DataError: the root cannot be read, or no image is in a class.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for name in ("dog/10.png", "dog/9.PNG", "cat/a b.jpg", "cat/notes.txt"):
        ...         file = Path(root, name)
        ...         file.parent.mkdir(exist_ok=True)
        ...         file.touch()
        ...     listing = read_folder(root)
        >>> [source.name for source in listing.sources], listing.class_names
        (['cat/a b.jpg', 'dog/9.PNG', 'dog/10.png'], ('cat', 'dog'))
        >>> [bad.name for bad in listing.skipped]
        ['cat/notes.txt']
    """
    if classes not in get_args(Classes):
        raise DataError(f"Expected classes='path' or classes='top'. Received {classes!r}.")
    root = Path(path)
    bad: list[Skipped] = []
    folders = [folder for folder in _walk(root, bad) if folder.files]
    depth = _depth(folders)
    listed = [folder for folder in folders if len(folder.names) > depth]
    for folder in folders:
        if len(folder.names) <= depth:
            where = "the part" if folder.names else "the root"
            reason = (
                f"directly in {where}, in no class: move it into a folder named after its class"
            )
            bad += (_refused((*folder.names, file.name), reason) for file in folder.files)
    bad.sort(key=lambda one: natural_key(one.name))
    if not listed:
        raise DataError(_nothing(root, sum(len(folder.files) for folder in folders), bad))
    return _listing(root, listed, depth, classes, bad)


def read_unlabelled(
    path: str | os.PathLike[str],
) -> tuple[tuple[FileSource, ...], tuple[str | None, ...], tuple[Skipped, ...]]:
    """List the images of a tree of folders, those in no class as well.

    As `read_folder` lists them, but for images directly in the root: they have no class.

    Args:
        path: the root.

    Returns:
        The images; the class of each, None where it has none; what was skipped.

    Raises:
        DataError: the root cannot be read, or holds no image.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for name in ("loose.png", "cat/a.jpg"):
        ...         file = Path(root, name)
        ...         file.parent.mkdir(exist_ok=True)
        ...         file.touch()
        ...     sources, classes, _ = read_unlabelled(root)
        >>> [source.name for source in sources], classes
        (['loose.png', 'cat/a.jpg'], (None, 'cat'))
    """
    bad: list[Skipped] = []
    folders = [folder for folder in _walk(Path(path), bad) if folder.files]
    depth = _depth(folders)
    sources, classes = list[FileSource](), list[str | None]()
    for folder in folders:
        above = "".join(f"{shown(name)}/" for name in folder.names)
        own = class_name("/".join(folder.names[depth:])) or None
        for file in folder.files:
            sources.append(FileSource(file.path, above + shown(file.name)))
            classes.append(own)
    if not sources:
        what = f"no image, but {bad[0].name} ({bad[0].reason})" if bad else "an empty folder"
        raise DataError(f"{shown(str(path))}: expected images. Received {what}.")
    bad.sort(key=lambda one: natural_key(one.name))
    return tuple(sources), tuple(classes), tuple(bad)


def _depth(folders: list[_Folder]) -> int:
    """Count the levels above the classes: 1 where the top folders are parts, else 0."""
    tops = [part_of(folder.names[0]) for folder in folders if folder.names]
    return 1 if "train" in tops and all(tops) else 0


def _listing(
    root: Path, folders: list[_Folder], depth: int, classes: Classes, bad: list[Skipped]
) -> Listing:
    end = None if classes == "path" else depth + 1
    names = [class_name("/".join(folder.names[depth:end])) for folder in folders]
    class_names = in_order(names)
    number = {name: label for label, name in enumerate(class_names)}
    grouped = end is not None and any(len(folder.names) > end for folder in folders)
    sources, groups = list[FileSource](), list[str]()
    for folder in folders:
        prefix = shown("/".join(folder.names))
        for file in folder.files:
            sources.append(FileSource(file.path, f"{prefix}/{shown(file.name)}"))
            if grouped:
                groups.append(prefix if len(folder.names) > depth + 1 else sources[-1].name)
    sizes = [len(folder.files) for folder in folders]
    parts = [part_of(folder.names[0]) or "" for folder in folders]
    return Listing(
        tuple(sources),
        np.repeat([number[name] for name in names], sizes),
        class_names,
        shown(root.resolve().name),
        np.array(groups) if grouped else None,
        np.repeat(parts, sizes) if depth else None,
        tuple(bad),
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


def _nothing(root: Path, images: int, bad: list[Skipped]) -> str:
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
    name = shown(root.resolve().name)
    return _EXPECTED.format(root=shown(str(root)), name=name, received=received)
