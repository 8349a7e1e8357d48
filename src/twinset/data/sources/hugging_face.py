"""A Hugging Face image data set on disk, read without the package `datasets`."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from twinset.data import arrow
from twinset.data.image_sources import Skipped
from twinset.data.listing import Listing, joined
from twinset.data.names import part_of, parts_of, shown
from twinset.data.sources import Asked, Source
from twinset.data.sources.table import table_listing
from twinset.errors import DataError, reason

# "train-00000-of-00003.parquet", "train-00000-of-00003-0a1b2c.parquet"; of the cache,
# "beans-train.arrow", "beans-train-00000-of-00003.arrow"
_SHARD = re.compile(r"(?P<split>.+?)-\d{5}-of-\d{5}(-[0-9a-f]+)?")


@dataclass(frozen=True)
class _File:
    path: Path
    split: str  # "" if none is told


def read_hugging_face(place: str, asked: Asked) -> Listing:
    """List the images of a Hugging Face data set on disk.

    Read are the folders that `save_to_disk` writes for a `Dataset` or a `DatasetDict`, the Arrow
    files of the cache, and the Parquet files of the hub. The classes and their order are those
    that the data set notes (`ClassLabel`), so labels are equal to its own. Its splits are the
    parts, unless a column tells them; a split of another name, such as "unsupervised", is skipped
    as a whole.
    """
    asked.refuse(place, SOURCE.takes, "classes")
    root = Path(place)
    files = _saved(root) or _hub(root)
    others, read, names = list[Skipped](), list[Listing](), list[str]()
    parts_by_split = parts_of({file.split for file in files})
    for file in files:
        name = shown(file.path.relative_to(root).as_posix())
        table = arrow.open_table(file.path)
        part = parts_by_split.get(file.split)
        if file.split and part is None:
            reason = f"{table.rows} rows of the split {file.split!r}, which is none of the parts"
            others.append(Skipped(name, reason))
            continue
        listing = table_listing(table, asked, name)
        if file.split and listing.parts is None:
            listing = replace(listing, parts=np.full(len(listing), part))
        read.append(listing)
        names.append(name)
    if not read:
        raise DataError(
            f"{shown(str(root))}: expected a split named after a part, such as 'train' or 'test'. "
            f"Received {', '.join(repr(file.split) for file in files)}."
        )
    # of several files, tell which one a row is in
    if len(read) > 1:
        read = [replace(one, where=_within(n, one)) for n, one in zip(names, read, strict=True)]
    return joined(
        read,
        name=shown(root.resolve().name),
        place=shown(os.path.abspath(root)),  # noqa: PTH100 - links stay as they are
        skipped=tuple(others),
    )


def _within(name: str, listing: Listing) -> Callable[[int], str]:
    return lambda row: f"{name}, {listing.where(row)}"


def _saved(folder: Path) -> list[_File]:
    """Find the Arrow files of `save_to_disk` or of the cache; none if it is neither."""
    whole = folder / "dataset_dict.json"
    if whole.is_file():
        splits = _json(whole).get("splits")
        if not isinstance(splits, list):
            raise DataError(f'{shown(str(whole))}: expected "splits". Received none: save it anew.')
        # only names: a file from elsewhere must not lead out of its folder
        return [
            _File(path, split)
            for split in map(str, splits)
            for path in _arrow_files(folder / Path(split).name)
        ]
    if (folder / "state.json").is_file():
        split = str(_json(folder / "state.json").get("_split") or "")
        # "train[:10%]" and "train+test" are splits too, but no part
        return [_File(path, split if part_of(split) else "") for path in _arrow_files(folder)]
    if (folder / "dataset_info.json").is_file():
        return [
            _File(path, _split(path.stem).rpartition("-")[2])
            for path in sorted(folder.glob("*.arrow"))
            if not path.name.startswith(("cache-", "tmp"))
        ]
    return []


def _arrow_files(folder: Path) -> list[Path]:
    state = _json(folder / "state.json")
    if state.get("_indices_data_files"):
        raise DataError(
            f"{shown(str(folder))}: expected rows in their order. Received an index of rows beside "
            "them: call `flatten_indices()` before `save_to_disk`."
        )
    try:
        return [folder / Path(file["filename"]).name for file in state["_data_files"]]
    except (KeyError, TypeError):
        raise DataError(
            f'{shown(str(folder / "state.json"))}: expected "_data_files" with file names. '
            "Received others: save the data set anew."
        ) from None


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{shown(str(path))}: expected a file of JSON. {reason(error)}") from None
    if not isinstance(content, dict):
        raise DataError(f"{shown(str(path))}: expected an object. Received {content!r}.")
    return content


def _hub(folder: Path) -> list[_File]:
    """Find the Parquet files of the hub: here, in `data`, or in the only folder that has some."""
    found = [*_parquet_files(folder), *_parquet_files(folder / "data")]
    if found:
        return found
    below = {}
    for name in _entries(folder):
        if files := _parquet_files(folder / name):
            below[name] = files
    if len(below) > 1:
        raise DataError(
            f"{shown(str(folder))}: expected one configuration of a data set. Received "
            f"{', '.join(map(repr, below))}: pass one of these folders."
        )
    return next(iter(below.values()), [])


def _parquet_files(folder: Path) -> list[_File]:
    """Find "train.parquet", "train-00000-of-00003.parquet" and "train/0000.parquet"."""
    files = []
    for name in _entries(folder):
        stem, dot, suffix = name.rpartition(".")
        if dot and suffix == "parquet" and (_SHARD.fullmatch(stem) or part_of(stem)):
            files.append(_File(folder / name, _split(stem)))
        elif part_of(name):
            inside = (re.fullmatch(r"\d+\.parquet", below) for below in _entries(folder / name))
            files += [_File(folder / name / match[0], name) for match in inside if match]
    return files


def _entries(folder: Path) -> list[str]:
    """List a folder that may be none, or not to be read: then nothing of it is a data set."""
    try:
        # bare names: a Path for each of a million files takes long
        return sorted(name for name in os.listdir(folder) if name[0] != ".")  # noqa: PTH208
    except OSError:
        return []


def _split(stem: str) -> str:
    match = _SHARD.fullmatch(stem)
    return match["split"] if match else stem


def _claims(place: str) -> bool:
    folder = Path(place)
    return folder.is_dir() and bool(_saved(folder) or _hub(folder))


SOURCE = Source("a Hugging Face data set", _claims, read_hugging_face)
