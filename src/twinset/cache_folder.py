"""What can be made again, in the user's cache folder: held under a lock, pruned to a limit."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from twinset.errors import DataError
from twinset.files import write_bytes

CACHE_GB = 20.0  # of each kind of cache, unless TWINSET_CACHE_GB says otherwise
# What was used within a day may be in use still: a training reads its images for hours after it
# let go of the lock.
IDLE_SECONDS = 24 * 3600
LOCKS = "locks"
# tells backup programs to pass by: https://bford.info/cachedir/
_TAG = b"Signature: 8a477f597d28d172789f06886806bc55\n"


def cache_folder(name: str) -> Path:
    """Name the folder for one kind of thing, "images" or "programs"; nothing is made or written.

    It lies in `$XDG_CACHE_HOME/twinset` or where the system keeps caches, and in the folder for
    temporary files where there is no home, or none that can be written.
    """
    from platformdirs import user_cache_path

    base = user_cache_path("twinset", appauthor=False)
    if not os.environ.get("XDG_CACHE_HOME"):  # else an error tells who set it that it is of no use
        home = next(folder for folder in (*base.parents, base) if folder.exists())
        if not (home.is_dir() and os.access(home, os.W_OK)):
            base = Path(tempfile.gettempdir(), "twinset")
    return base / name


def tag(folder: Path) -> None:
    """Mark a folder as a cache for backup programs, making it if need be."""
    if not (folder / "CACHEDIR.TAG").exists():
        write_bytes(folder / "CACHEDIR.TAG", _TAG)


@contextmanager
def in_use(folder: Path) -> Iterator[None]:
    """Hold one cache for this process alone, waiting for another that holds it; it is made."""
    with _lock(folder, wait=True):
        # only now: whoever held the lock before may have been `prune`
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)  # when it was last used
        yield


def held(folder: Path) -> bool:
    """Tell whether somebody has one cache `in_use` right now."""
    from filelock import Timeout

    try:
        with _lock(folder, wait=False):
            return False
    except Timeout:
        return True


def unwritten(folder: Path, error: OSError, size: int, what: str) -> DataError:
    """Make the error for a cache that could not be written, by the reason: no room, or no right."""
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None)):
        return DataError(
            f"{folder}: expected room for {size / 1e9:.2f} GB of {what}. {error.strerror}: free "
            "some, or set XDG_CACHE_HOME to another disk."
        )
    place = error.filename or folder
    return DataError(
        f"{folder}: expected a folder to keep {what} in. {place}: {error.strerror or error}: set "
        "XDG_CACHE_HOME to a folder that can be written."
    )


def prune(base: Path, *, keep: Path | None = None, limit: float | None = None) -> list[Path]:
    """Throw away the caches that were used least recently, until all are within a limit."""
    # Each folder or file in `base` is one. What a process holds (`in_use`) stays.
    room = cache_limit() if limit is None else limit
    caches = {
        cache: _size(cache)
        for cache in (base.iterdir() if base.is_dir() else ())
        if cache.name not in ("CACHEDIR.TAG", LOCKS) and not cache.name.startswith(".")
    }
    total, gone = sum(caches.values()), list[Path]()
    for cache in sorted(caches, key=_last_used):
        if total <= room:
            break
        if cache != keep and _thrown_away(cache):
            total -= caches[cache]
            gone.append(cache)
    return gone


def _lock(folder: Path, *, wait: bool) -> Any:
    # here, as commands that use no cache need not wait for the import
    from filelock import FileLock

    # Beside the cache and not in it. A lock that is deleted along with its folder leaves those who
    # wait for it with a file that has no name: they would go on in a folder that is gone.
    locks = folder.parent / LOCKS
    locks.mkdir(parents=True, exist_ok=True)
    return FileLock(locks / f"{folder.name}.lock", timeout=-1 if wait else 0)


def _thrown_away(cache: Path) -> bool:
    from filelock import Timeout

    try:
        with _lock(cache, wait=False):
            # asked under the lock: another process may just have used it
            if time.time() - _last_used(cache) < IDLE_SECONDS:
                return False
            if cache.is_dir():
                shutil.rmtree(cache, ignore_errors=True)
            else:
                cache.unlink(missing_ok=True)
    except (Timeout, OSError):  # in use, or somebody else's
        return False
    return not cache.exists()


def _last_used(cache: Path) -> float:
    try:
        status = cache.stat()
    except OSError:  # gone meanwhile
        return 0.0
    # A folder's time of reading says when it was listed. A file's says when it was used.
    return status.st_mtime if cache.is_dir() else max(status.st_atime, status.st_mtime)


def _size(cache: Path) -> int:
    total = 0
    for file in [cache] if cache.is_file() else cache.rglob("*"):
        with suppress(OSError):  # gone meanwhile
            total += file.stat().st_size
    return total


def cache_limit() -> float:
    """Return how many bytes the caches of one kind may have together."""
    try:
        return float(os.environ["TWINSET_CACHE_GB"]) * 1e9
    except (KeyError, ValueError):
        return CACHE_GB * 1e9
