"""Images behind an address: a folder in an object store, an archive, or Parquet files of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from twinset.data import addresses
from twinset.data.arrow import open_table
from twinset.data.decoding.image_file import SUFFIXES
from twinset.data.image_sources import Skipped, TableSource
from twinset.data.listing import Listing, joined
from twinset.data.names import natural_key, shown
from twinset.data.sources import Asked, Source
from twinset.data.sources.archive import parted, read_archive
from twinset.data.sources.folder import Entry, Folder, listed_below
from twinset.data.sources.table import table_listing
from twinset.errors import DataError


def read_remote(place: str, asked: Asked) -> Listing:
    """List what is behind an address."""
    if parted(place):
        return read_archive(place, asked)
    if place.lower().endswith(".parquet"):
        return _tables(place, [place], asked)
    images: list[Entry] = []
    tables, bad = list[str](), list[Skipped]()
    for address, mark in addresses.find(place).items():
        name = _name(address)
        suffix = PurePosixPath(name).suffix.lower()
        if suffix == ".parquet":
            tables.append(address)
        elif suffix in SUFFIXES:
            images.append(Entry(address, name, mark))
        elif not name.startswith("."):
            bad.append(Skipped(shown(address), "not an image by its name"))
    if tables and not images:
        return _tables(place, sorted(tables), asked)
    asked.refuse(place, SOURCE.takes, "image", "label", "group", "split")
    return listed_below(place, _folders(place, images), bad, asked)


def _name(address: str) -> str:
    return address.rpartition("/")[2]


def _folders(place: str, images: Sequence[Entry]) -> list[Folder]:
    # in the order of a folder on a disk
    root = addresses.root(place) if images else place
    found: dict[tuple[str, ...], Folder] = {}
    for each in sorted(images, key=lambda one: natural_key(one.name)):
        names = tuple(each.path.removeprefix(root).strip("/").split("/")[:-1])
        key: tuple[Any, ...] = tuple(natural_key(name) for name in names)
        found.setdefault(names, Folder(each.path, each.path, names, key)).files.append(each)
    return sorted(found.values(), key=lambda folder: folder.key)


def _tables(place: str, files: Sequence[str], asked: Asked) -> Listing:
    asked.refuse(place, SOURCE.takes, "classes")
    listings = []
    for file in files:
        one = table_listing(open_table(file), asked, _name(file))
        inside = [each for each in one.sources if isinstance(each, TableSource)]
        if len(inside) < len(one):
            raise DataError(
                f"{file}: expected the images themselves in a table behind an address. Received "
                "paths in some rows: copy the table and its files to a disk."
            )
        mark = addresses.mark(file)  # asked once, and not for each row
        found = [replace(each, path=file, mark=mark) for each in inside]
        listings.append(replace(one, sources=found))
    return joined(listings, name=_name(place.rstrip("/")), place=place)


SOURCE = Source(
    "the address of a folder of images, of an archive or of a .parquet file (s3://…, https://…)",
    lambda place: False,  # found by its scheme
    read_remote,
    is_path=False,
)
