"""`read_listing`: which source reads what a user named, by a path, a name or `scheme://…`."""

from __future__ import annotations

import os
import pkgutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from twinset.data import sources
from twinset.data.image_sources import FileSource
from twinset.data.listing import Listing
from twinset.data.names import shown
from twinset.data.sources import Asked, Classes, Source
from twinset.errors import DataError
from twinset.progress import Wanted
from twinset.registry import Registry


def _builtin() -> dict[str, str]:
    modules = (module.name for module in pkgutil.iter_modules(sources.__path__))
    return {name.replace("_", "-"): f"{sources.__name__}.{name}:SOURCE" for name in modules}


SOURCES = Registry("source of data", "twinset.sources", _builtin, DataError)


def read_listing(
    place: str | os.PathLike[str],
    *,
    labelled: bool = True,
    classes: Classes = "path",
    image: str | None = None,
    label: str | None = None,
    group: str | None = None,
    split: str | None = None,
    progress: Wanted = False,
) -> Listing:
    """List the images, or vectors, of whatever a source of data takes.

    Args:
        place: a path, the name of a built-in set, or `scheme://…` for the source of that name.
        labelled: whether each needs a label, as for training; else an index is to be made, which
            takes all and keeps further columns. Defaults to True.
        classes: of a folder: "path", the class is the whole relative path; "top", it is the first
            folder. Defaults to "path".
        image: of a table, the column with paths or encoded images. Defaults to a usual name.
        label: likewise the column with labels.
        group: likewise the column with groups, which may be missing.
        split: likewise the column with the parts, which may be missing.
        progress: as for `reporting`.

    Raises:
        DataError: nothing that could be listed is there; no image is left; or an argument does
            not belong to what is there.

    Example:
        >>> read_listing("nowhere")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        twinset.errors.DataError: nowhere: expected ... a folder of images, or a table of images \
(.csv, .tsv, .parquet). Received nothing: no such file or folder.
    """
    asked = Asked(labelled, classes, image, label, group, split, progress)
    text = os.fspath(place)
    return source_for(text).read(text, asked).usable(labelled=labelled)


def list_files(paths: Sequence[str | os.PathLike[str]]) -> Listing:
    """List single image files without labels; the id of each is its path as given."""
    texts = [os.fspath(path) for path in paths]
    found = Listing([FileSource(text, shown(text)) for text in texts], "the list of paths")
    return found.usable(labelled=False)


def source_for(place: str) -> Source:
    """Find the source that reads a place."""
    scheme, mark, _ = place.partition("://")
    # a folder may be called "a:"; what is there is not an address
    if mark and not Path(place).exists():
        source: Source = SOURCES.load(scheme)
        return source
    takes = []
    for source in _in_turn():
        if source.claims(place):
            return source
        takes.append(source.takes)
    raise DataError(
        f"{shown(place)}: expected {', '.join(takes[:-1])}, or {takes[-1]}. Received "
        f"{_received(Path(place))}."
    )


def is_path(place: str) -> bool:
    """Tell a path, which is relative to some folder, from a name or an address."""
    return Path(place).exists() and source_for(place).is_path


def _in_turn() -> Iterator[Source]:
    # Ours first: a package that is installed must not change what a folder means. It is not even
    # imported where one of ours is meant.
    ours = _builtin()
    yield from sorted((SOURCES.load(name) for name in ours), key=lambda source: source.last)
    theirs = (SOURCES.load(name) for name in SOURCES.names() if name not in ours)
    yield from sorted(theirs, key=lambda source: source.last)


def _received(path: Path) -> str:
    if not path.exists():
        return "nothing: no such file or folder"
    hint = "pass the folder it is in" if path.suffix == ".arrow" else "unpack an archive first"
    return f"a file {path.suffix or 'without suffix'}: {hint}"
