"""Images decoded once, into a file: safe to interrupt, to resume, and for two processes at once."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import math
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL
from numpy.typing import NDArray

from twinset.data.decoding.decode import Preprocessing
from twinset.data.fingerprint import SIZE, fingerprint
from twinset.data.skipped import Skipped
from twinset.data.sources.listing import ImageSource
from twinset.data.stored import StoredPixels
from twinset.errors import DataError
from twinset.files import cache_folder, tag, write_bytes

FORMAT = 2
CHUNK = 16
BAD = 2  # 0: not yet tried


@dataclass(frozen=True, eq=False)
class Decoded:
    """What became of a list of image files.

    Args:
        pixels: of those that could be read, in their order.
        positions: which of the list these are, (m,).
        fingerprints: a digest of each, (m, 16).
        skipped: those that could not be read, with the reasons.
        folder: where all of this is kept.
        reused: how many of the list were decoded by an earlier call, for this list or another.
    """

    pixels: StoredPixels
    positions: NDArray[np.int64]
    fingerprints: NDArray[np.uint8]
    skipped: tuple[Skipped, ...]
    folder: Path
    reused: int


def decode_all(
    sources: Sequence[ImageSource],
    preprocessing: Preprocessing,
    *,
    folder: Path | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Decoded:
    """Decode images into a cache, each one once.

    The cache of a list lies in a folder of its own, named by digests of the preprocessing with
    the decoder's version, and of all names, sizes and times of change: whatever would change the
    pixels starts a new one. That takes over what is unchanged in the others, and those that were
    not opened for 60 days are thrown away then. Each image is marked as done after its pixels
    were written, so a process that is killed loses the few in hand; the next call goes on from
    there. Of two processes with the same list one decodes and the other waits.

    Args:
        sources: what to decode.
        preprocessing: what each becomes.
        folder: holds the caches. Defaults to `twinset/images` in the user's cache folder.
        workers: threads. Defaults to one per processor core; Pillow decodes without holding
            Python's lock.
        progress: is told (done, all) now and then. Defaults to none.

    Raises:
        DataError: the cache cannot be written, for example as the disk is full.
    """
    base = cache_folder("images") if folder is None else folder
    stamps = [stamp(f"{len(source.name)}:{source.name}{source.stamp()}") for source in sources]
    store = _Store(base / _key(stamps, preprocessing), stamps, preprocessing.shape)
    try:
        tag(base)
        with store.locked():
            if store.open():
                prune(base, store.folder)
            store.adopt()
            reused = len(sources) - len(store.pending())
            _decode(store, sources, preprocessing, workers or os.cpu_count() or 1, progress)
            return store.decoded([source.name for source in sources], reused)
    except OSError as error:
        raise DataError(
            f"{base}: expected room for {store.bytes / 1e9:.2f} GB of decoded images. "
            f"{error.strerror or error}: free some, or set XDG_CACHE_HOME to another disk."
        ) from None


def _key(stamps: Sequence[bytes], preprocessing: Preprocessing) -> str:
    how = hashlib.sha256(repr((FORMAT, PIL.__version__, astuple(preprocessing))).encode())
    return f"{how.hexdigest()[:12]}-{hashlib.sha256(b''.join(stamps)).hexdigest()[:32]}"


def _decode(
    store: _Store,
    sources: Sequence[ImageSource],
    preprocessing: Preprocessing,
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    pending = store.pending()
    chunks = [pending[start : start + CHUNK] for start in range(0, len(pending), CHUNK)]
    done = len(sources) - len(pending)

    def work(positions: NDArray[np.int64]) -> int:
        for position in positions.tolist():
            try:
                pixels = preprocessing.pixels(sources[position].encoded())
            except DataError as error:
                store.refuse(position, str(error))
            else:
                store.keep(position, pixels)
        return len(positions)

    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    try:
        for count in pool.map(work, chunks):
            done += count
            if progress is not None:
                progress(done, len(sources))
    finally:
        # after Ctrl-C or a full disk the chunks in hand are finished, and no other is begun
        pool.shutdown(cancel_futures=True)


class _Store:
    """The files of one cache: pixels, a mark and a fingerprint for each image, and reasons.

    Written with positioned writes: several threads share the files, and a full disk is an error
    here, where a memory map would end the process with a signal.
    """

    def __init__(self, folder: Path, stamps: Sequence[bytes], shape: tuple[int, ...]) -> None:
        self.folder = folder
        self._stamps = stamps
        self._count = len(stamps)
        self._shape = shape
        self._size = math.prod(shape)
        self._files: dict[str, int] = {}
        self._appending = threading.Lock()

    @property
    def bytes(self) -> int:
        return self._count * (self._size + SIZE + STAMP + 1)

    @contextmanager
    def locked(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.folder / "lock", os.O_CREAT | os.O_RDWR, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)  # freed by the kernel, however the process ends
            os.utime(lock)  # when it was last used
            yield
        finally:
            for file in self._files.values():
                os.close(file)
            self._files = {}
            os.close(lock)

    def open(self) -> bool:
        """Open the files; tell whether they are new."""
        sizes = {"pixels": self._size, "fingerprints": SIZE, "marks": 1}
        paths = {name: self.folder / name for name in sizes}
        whole = all(
            path.exists() and path.stat().st_size == sizes[name] * self._count
            for name, path in paths.items()
        )
        for name, path in paths.items():
            self._files[name] = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
            if not whole:  # new, or a start that was cut short: no mark may stay
                os.ftruncate(self._files[name], 0)
                _reserve(self._files[name], sizes[name] * self._count)
        if not whole or not (self.folder / "stamps").exists():
            write_bytes(self.folder / "stamps", b"".join(self._stamps))
        # what could not be read is tried again, so old reasons go
        flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_TRUNC
        self._files["reasons"] = os.open(self.folder / "reasons.jsonl", flags, 0o644)
        return not whole

    def adopt(self) -> None:
        """Copy what other caches hold of the images that are not yet decoded."""
        wanted = {self._stamps[position]: position for position in self.pending().tolist()}

        def keep(position: int, parts: Mapping[str, bytes]) -> None:
            for name, part in parts.items():
                _write(self._files[name], memoryview(part), position * len(part))
            _write(self._files["marks"], memoryview(bytes([READ])), position)

        adopt(self.folder, wanted, {"pixels": self._size, "fingerprints": SIZE}, keep)

    def _marks(self) -> NDArray[np.uint8]:
        return np.fromfile(self.folder / "marks", np.uint8, self._count)

    def pending(self) -> NDArray[np.int64]:
        return np.flatnonzero(self._marks() != READ)

    def keep(self, position: int, pixels: NDArray[np.uint8]) -> None:
        _write(self._files["pixels"], np.ascontiguousarray(pixels).data, position * self._size)
        _write(self._files["fingerprints"], memoryview(fingerprint(pixels)), position * SIZE)
        _write(self._files["marks"], memoryview(bytes([READ])), position)

    def refuse(self, position: int, reason: str) -> None:
        line = json.dumps([position, reason]).encode() + b"\n"
        with self._appending:
            written = os.write(self._files["reasons"], line)
        if written < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        _write(self._files["marks"], memoryview(bytes([BAD])), position)

    def decoded(self, names: Sequence[str], reused: int) -> Decoded:
        marks = self._marks()
        good, bad = np.flatnonzero(marks == READ), np.flatnonzero(marks != READ)
        prints = np.fromfile(self.folder / "fingerprints", np.uint8).reshape(-1, SIZE)
        lines = (self.folder / "reasons.jsonl").read_text("utf-8").splitlines()
        reasons: dict[int, str] = dict(json.loads(line) for line in lines)
        return Decoded(
            StoredPixels(self.folder / "pixels", (self._count, *self._shape), good),
            good,
            prints[good],
            tuple(Skipped(names[i], reasons[i]) for i in bad.tolist()),
            self.folder,
            reused,
        )


def _reserve(file: int, size: int) -> None:
    # a full disk shows before the first image is decoded, and not after the last
    try:
        os.posix_fallocate(file, 0, size)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise
        # a file system that cannot reserve, or nothing to reserve
        os.ftruncate(file, size)


def _write(file: int, data: memoryview, offset: int) -> None:
    data = data.cast("B")
    while len(data):
        written = os.pwrite(file, data, offset)
        data, offset = data[written:], offset + written


# --- Caches of decoded images that are there already: what is unchanged is taken over from them.

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
