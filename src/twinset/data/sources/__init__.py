"""Where labelled images come from: `read_listing` finds the module whose `SOURCE` reads a place."""

from __future__ import annotations

import os
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from twinset.data.addresses import is_known
from twinset.data.decoding.image_file import SUFFIXES
from twinset.data.image_sources import FileSource
from twinset.data.listing import Listing
from twinset.data.names import shown
from twinset.errors import DataError
from twinset.progress import Wanted
from twinset.registry import Registry

Classes = Literal["path", "top"]


@dataclass(frozen=True)
class Asked:
    """What the caller of `read_listing` wants of a source: its arguments."""

    labelled: bool = True
    classes: Classes = "path"
    image: str | None = None
    label: str | None = None
    group: str | None = None
    split: str | None = None
    progress: Wanted = False

    def refuse(self, place: str, takes: str, *arguments: str) -> None:
        """Refuse arguments that mean nothing for a source."""
        for argument in arguments:
            if (value := getattr(self, argument)) != getattr(Asked, argument):
                text = f"expected no `{argument}` for {takes}. Received {value!r}: leave it out."
                raise DataError(f"{place}: {text}")


@dataclass(frozen=True)
class Source:
    """A source of labelled images or vectors, which `twinset train`, `check` and `index` take.

    A module in `twinset/data/sources` declares one as `SOURCE`. Another package declares an entry
    point in the group `twinset.sources`; its name is a scheme: with `shop = "shop_data:SOURCE"`,
    `twinset train shop://shoes` is read by it, whatever it claims.
    """

    takes: str  # what it reads, in words for messages: "a folder of images"
    claims: Callable[[str], bool]  # tells cheaply whether a place is for it; ours are asked first
    read: Callable[[str, Asked], Listing]  # lists it; `Listing.usable` is called afterwards
    last: bool = False  # whether all other sources of the same package go before it
    is_path: bool = True  # whether its places are paths, and not names


def _builtin() -> dict[str, str]:
    modules = (module.name for module in pkgutil.iter_modules(__path__))
    return {name.replace("_", "-"): f"{__name__}.{name}:SOURCE" for name in modules}


# What a file is that no source reads, and what to do with it.
_ANY_FILE = "pass a folder, or a table with a line for each image"
_HINTS = (
    ((".arrow",), "pass the folder it is in"),
    (
        (".gz", ".bz2", ".xz", ".zst", ".7z", ".rar"),
        "it is no .zip or .tar; unpack it, and pass the folder",
    ),
    ((".xlsx", ".xls", ".ods", ".numbers"), "it is a spreadsheet; save it as CSV, and pass that"),
    (
        (".txt", ".json", ".xml", ".yaml", ".yml"),
        "write what it says as a table (.csv) with the columns path and label, and pass that",
    ),
    (SUFFIXES, "it is one image; pass the folder that holds all of them"),
)

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
    """List the images, or vectors, of a path, of a built-in set, or of `scheme://…`.

    Unless they are `labelled`, as for training, an index is to be made, which takes all and keeps
    further columns. Of a folder the class is the whole relative path, or the "top" folder. Of a
    table `image`, `label`, `group` and `split` name the columns that are not called as usual.
    """
    asked = Asked(labelled, classes, image, label, group, split, progress)
    text = os.fspath(place)
    return source_for(text).read(text, asked).usable(labelled=labelled)


def list_files(paths: Sequence[str | os.PathLike[str]]) -> Listing:
    """List single image files without labels; the id of each is its path as given."""
    sources = [FileSource(text, shown(text)) for text in (os.fspath(path) for path in paths)]
    return Listing(sources, "the list of paths").usable(labelled=False)


def source_for(place: str) -> Source:
    """Find the source that reads a place."""
    scheme, mark, _ = place.partition("://")
    # a folder may be called "a:"; what is there is not an address
    if mark and not Path(place).exists():
        own = scheme in SOURCES or not is_known(scheme)
        source: Source = SOURCES.load(scheme if own else "remote")
        return source
    if Path(place).is_dir() and not os.access(place, os.R_OK | os.X_OK):
        raise DataError(f"{shown(place)}: expected a folder that may be read. Permission denied.")
    takes = []
    for source in _in_turn():
        if source.claims(place):
            return source
        takes.append(source.takes)
    expected = f"{', '.join(takes[:-1])}, or {takes[-1]}"
    raise DataError(f"{shown(place)}: expected {expected}. Received {_received(Path(place))}.")


def is_path(place: str) -> bool:
    """Tell a path, which is relative to some folder, from a name or an address."""
    there = Path(place).exists() or SOURCES.load("archive").claims(place)  # a file in one is there
    return there and source_for(place).is_path


def _in_turn() -> Iterator[Source]:
    # ours first: a package that is installed must not change what a folder means
    ours = _builtin()
    yield from sorted((SOURCES.load(name) for name in ours), key=lambda source: source.last)
    theirs = (SOURCES.load(name) for name in SOURCES.names() if name not in ours)
    yield from sorted(theirs, key=lambda source: source.last)


def _received(path: Path) -> str:
    if not path.exists():
        return "nothing: no such file or folder"
    suffix = path.suffix.lower()
    hint = next((hint for suffixes, hint in _HINTS if suffix in suffixes), _ANY_FILE)
    return f"a file {shown(path.suffix) or 'without suffix'}: {hint}"
