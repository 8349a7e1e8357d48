"""Features on disk: each image is encoded once, whatever split or labels it comes with."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twinset.cache_folder import cache_folder, in_use, prune, tag
from twinset.data.fingerprints import SIZE, as_keys
from twinset.errors import DataError
from twinset.progress import Progress, Report, Wanted, reporting

# images encoded between two writes: what a kill can lose
CHUNK = 256
ROWS, PRINTS = "rows", "fingerprints"


def encoded_once(
    make: Callable[[NDArray[np.int64]], NDArray[np.float32]],
    fingerprints: NDArray[np.uint8],
    *,
    key: str,  # names the network, in letters that a file's name may have
    dim: int,
    chunk: int = CHUNK,
    folder: Path | None = None,
    progress: Wanted = False,
) -> NDArray[np.float32]:
    """Return a row for each image, making only those that no earlier call made: (c,) → (c, dim)."""
    # Rows are found by the fingerprints of the images, so another split, other labels or more
    # images use what is there. Of two processes one waits.
    base = cache_folder("features") if folder is None else folder
    try:
        tag(base)
        with in_use(base / key), reporting(progress) as tell:
            found = _completed(base / key, make, fingerprints, dim, chunk, tell)
        prune(base, keep=base / key)
    except OSError as error:
        raise DataError(
            f"{base}: expected room for {4 * dim * len(fingerprints) / 1e9:.2f} GB of features. "
            f"{error.strerror or error}: free some, or set XDG_CACHE_HOME to another disk."
        ) from None
    return found


def _completed(
    folder: Path,
    make: Callable[[NDArray[np.int64]], NDArray[np.float32]],
    fingerprints: NDArray[np.uint8],
    dim: int,
    chunk: int,
    tell: Report,
) -> NDArray[np.float32]:
    known = _whole(folder, dim)
    wanted = as_keys(fingerprints)
    unique, first = np.unique(wanted, return_index=True)
    missing = np.sort(first[~np.isin(unique, known)])
    with (folder / ROWS).open("ab") as rows, (folder / PRINTS).open("ab") as prints:
        for start in range(0, len(missing), chunk):
            chosen = missing[start : start + chunk]
            made = np.ascontiguousarray(make(chosen), np.float32)
            if made.shape != (len(chosen), dim):
                raise ValueError(f"rows of shape {made.shape} for {len(chosen)} images")
            for file, data in ((rows, made), (prints, wanted[chosen])):
                file.write(data.tobytes())
                file.flush()
                os.fsync(file.fileno())  # what only one of the two has is cut off by the next call
            done = len(unique) - len(missing) + start + len(chosen)
            tell(Progress("encode", done, len(unique), "images"))
    known = as_keys(np.fromfile(folder / PRINTS, np.uint8))
    order = np.argsort(known)
    place = order[np.searchsorted(known, wanted, sorter=order)]
    if not len(place):
        return np.empty((0, dim), np.float32)
    # mapped, for the cache may hold many more; nobody shortens it while the lock is held
    stored = np.memmap(folder / ROWS, np.float32, "r", shape=(len(known), dim))
    return np.array(stored[place])


def _whole(folder: Path, dim: int) -> NDArray[np.void]:
    """Cut off what a killed process or a full disk left unfinished, and list what is there."""
    sizes = {ROWS: 4 * dim, PRINTS: SIZE}
    for name in sizes:
        (folder / name).touch()
    count = min((folder / name).stat().st_size // size for name, size in sizes.items())
    for name, size in sizes.items():
        os.truncate(folder / name, count * size)
    return as_keys(np.fromfile(folder / PRINTS, np.uint8))
