"""Vectors in a file that only grows: written behind what is known, then made known elsewhere."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twinset.errors import StoreError


class DamagedError(StoreError):
    """A store whose files are not whole."""


_NAME = re.compile(r"vectors-(\d+)\.f32")
_BYTES = 4
_KIND = np.dtype("<f4")


def path_of(folder: Path, generation: int) -> Path:
    """Return the file of a generation; each is a new one, without what was removed before."""
    return folder / f"vectors-{generation}.f32"


def generations(folder: Path) -> list[int]:
    """List the generations that have a file."""
    matches = (_NAME.fullmatch(entry.name) for entry in os.scandir(folder))
    return sorted(int(match[1]) for match in matches if match)


def following(folder: Path) -> int:
    """Return the number of a generation that has no file."""
    return max(generations(folder), default=-1) + 1


def sweep(folder: Path, keep: Collection[int]) -> None:
    """Delete the files of other generations: left by a compaction, whole or cut short.

    Only for who holds the lock of writers. Readers that have one of these mapped keep it.
    """
    for generation in generations(folder):
        if generation not in keep:
            discard(folder, generation)


def discard(folder: Path, generation: int) -> None:
    """Delete the file of a generation that no state names any more."""
    with suppress(OSError):  # Windows keeps what a reader has mapped: the next sweep takes it
        path_of(folder, generation).unlink()


def create(path: Path, parts: Iterable[NDArray[np.float32]] = ()) -> None:
    """Write a new file, in the place of one that nothing points to."""
    with path.open("wb") as file:
        for part in parts:
            file.write(np.ascontiguousarray(part, _KIND).data)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)


def append(path: Path, row: int, vectors: NDArray[np.float32]) -> None:
    """Write vectors from a row on, over whatever is there, and see them onto the disk.

    What lies behind the known rows is the rest of a write that was cut short. If this one fails,
    for example as the disk is full, the file ends again where it is known to.
    """
    start = row * vectors.shape[1] * _BYTES
    data = np.ascontiguousarray(vectors, _KIND).data.cast("B")
    # not through a memory map: there a full disk is a signal that kills, here it is an error
    try:
        file = path.open("r+b", buffering=0)
    except FileNotFoundError:
        raise damaged(path, start) from None
    with file:
        if file.seek(0, os.SEEK_END) < start:
            raise damaged(path, start)
        file.seek(start)
        try:
            while data:
                data = data[file.write(data) :]  # one call may write less than all
            os.fsync(file.fileno())
        except OSError:
            with suppress(OSError):  # Windows does not shorten what a reader has mapped
                file.truncate(start)
            raise


def mapped(path: Path, rows: int, dim: int) -> NDArray[np.float32]:
    """Map the first rows of a file into memory, without reading it."""
    size = path.stat().st_size
    if size < rows * dim * _BYTES:
        raise damaged(path, rows * dim * _BYTES)
    if not rows:
        return np.empty((0, dim), np.float32)
    vectors = np.memmap(path, _KIND, "r", shape=(rows, dim))
    # a plain array: each slice of np.memmap costs microseconds, and a search makes many
    return np.asarray(vectors)


def damaged(path: Path, size: int) -> DamagedError:
    """Make the error for a file that is shorter than what is known to be in it."""
    has = path.stat().st_size if path.exists() else 0
    return DamagedError(
        f"{path}: the index is damaged: this file has {has:,} bytes instead of {size:,} or more. "
        "Restore the index from a copy, or make it again."
    )


def sync_folder(folder: Path) -> None:
    """See the names of a folder's files onto the disk, where the system can."""
    try:
        file = os.open(folder, os.O_RDONLY)
    except PermissionError:  # Windows opens no folders, and writes names down by itself
        return
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot
            raise
    finally:
        os.close(file)
