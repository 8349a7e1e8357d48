"""Caches of decoded images that are there already: what is unchanged is taken over from them.

A cache belongs to one list of images, so a file that is added, or one that changed, makes a new
cache. The others' pixels are copied, at the speed of the disk, instead of decoded anew.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

STAMP = 16
READ = 1
DAYS = 60


def stamp(text: str) -> bytes:
    """Hash what tells one image's file and its last change, to 16 bytes.

    Args:
        text: its name, size and time of change.

    Example:
        >>> len(stamp("a.png 12")), stamp("a.png 12") == stamp("a.png 13")
        (16, False)
    """
    return hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=STAMP).digest()


def adopt(
    folder: Path,
    wanted: Mapping[bytes, int],
    sizes: Mapping[str, int],
    keep: Callable[[int, Mapping[str, bytes]], None],
) -> int:
    """Take images over from the caches beside this one that have the same preprocessing.

    Args:
        folder: of the new cache; those beside it share its name up to the "-".
        wanted: the stamps of the images that it lacks, and their positions.
        sizes: bytes per image of each file to copy, by the file's name.
        keep: is given a position and the bytes out of each file.

    Returns:
        How many were taken over.
    """
    left = dict(wanted)
    beside = folder.parent.glob(f"{folder.name.split('-')[0]}-*")
    for other in sorted(beside, key=_last_used, reverse=True):
        if other == folder or not left:
            continue
        try:
            with _opened(other, sizes) as files:
                for row in _rows(other):
                    position = left.get(row.stamp)
                    if position is None:
                        continue
                    parts = {
                        name: os.pread(file, sizes[name], row.number * sizes[name])
                        for name, file in files.items()
                    }
                    if all(len(part) == sizes[name] for name, part in parts.items()):
                        keep(position, parts)
                        del left[row.stamp]
        except FileNotFoundError:  # another process throws it away
            continue
    return len(wanted) - len(left)


def prune(base: Path, keep: Path) -> None:
    """Throw away caches that nobody has opened for 60 days and nobody holds.

    Args:
        base: the folder of all caches.
        keep: the one in use.
    """
    oldest = time.time() - DAYS * 24 * 3600
    for folder in base.iterdir():
        if folder == keep or not (folder / "lock").exists() or _last_used(folder) > oldest:
            continue
        lock = os.open(folder / "lock", os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            pass
        finally:
            os.close(lock)


def _last_used(folder: Path) -> float:
    try:
        return (folder / "lock").stat().st_mtime
    except OSError:
        return 0.0


class _Row(NamedTuple):
    stamp: bytes
    number: int


def _rows(folder: Path) -> Iterator[_Row]:
    """Give the images that a cache holds; their marks are written after their pixels."""
    marks = (folder / "marks").read_bytes()
    stamps = (folder / "stamps").read_bytes()
    for number, mark in enumerate(marks[: len(stamps) // STAMP]):
        if mark == READ:
            yield _Row(stamps[number * STAMP : (number + 1) * STAMP], number)


@contextmanager
def _opened(folder: Path, names: Iterable[str]) -> Iterator[dict[str, int]]:
    files: dict[str, int] = {}
    try:
        for name in names:
            files[name] = os.open(folder / name, os.O_RDONLY)
        yield files
    finally:
        for file in files.values():
            os.close(file)
