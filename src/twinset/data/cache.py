"""Images decoded in parallel: each once, into a file, or a batch at a time."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import shutil
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import astuple, dataclass
from io import FileIO
from pathlib import Path

import numpy as np
import PIL
from numpy.typing import NDArray

from twinset.cache_folder import cache_folder, held, in_use, prune, tag, unwritten
from twinset.cores import cores
from twinset.data.decoding.decode import Preprocessing
from twinset.data.image_sources import SIZE, ImageSource, Skipped, StoredPixels, fingerprint
from twinset.data.labelled import VectorInput
from twinset.errors import DataError
from twinset.files import write_bytes
from twinset.progress import Progress, Report, Wanted, reporting

FORMAT = 2  # a part of each cache's name: another layout starts anew
# images that a thread takes at a time: few, so that Ctrl-C ends soon
CHUNK = 16
# chunks that a process which helps another takes in their order, as archives are read
SPAN = 64
STAMP = 16
READ, BAD = 1, 2  # marks; 0: not yet tried
PIXELS, PRINTS, MARKS, STAMPS, REASONS = (
    "pixels",
    "fingerprints",
    "marks",
    "stamps",
    "reasons.jsonl",
)


@dataclass(frozen=True, eq=False)
class Decoded:
    """What became of a list of image files.

    Of the list, `positions` (m,) could be read: `pixels` and `fingerprints` (m, 16) are of these,
    in their order. `reused` of the list were decoded by an earlier call, for this list or another.
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
    progress: Wanted = False,
) -> Decoded:
    """Decode images into a cache in `folder`, each one once, by a thread per processor core.

    Processes that do so at the same time, on one machine or on several with one disk, share the
    work.
    """
    # threads, as Pillow decodes without holding Python's lock
    base = cache_folder("images") if folder is None else folder
    stamps = [stamp(f"{len(source.name)}:{source.name}{source.stamp()}") for source in sources]
    # Whatever would change the pixels starts another cache: the decoder's version, and the names,
    # sizes and times of all files. It takes over what is unchanged in the others.
    store = _Store(base / _key(stamps, preprocessing), stamps, preprocessing.shape)
    try:
        tag(base)
        job = (store, sources, preprocessing, workers or cores())
        with reporting(progress) as tell:
            helped = _help(*job, tell)
            # of two processes with the same list one has it; the other has helped, and now waits
            with in_use(store.folder), store.opened():
                store.adopt()
                reused = len(sources) - len(store.pending()) - helped
                _decode(*job, tell)
                found = store.decoded([source.name for source in sources], reused)
        prune(base, keep=store.folder)
    except OSError as error:
        raise unwritten(base, error, store.size, "decoded images") from None
    return found


def stamp(text: str) -> bytes:
    """Hash what tells one image's file and its last change, to 16 bytes."""
    return hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=STAMP).digest()


def _key(stamps: Sequence[bytes], preprocessing: Preprocessing) -> str:
    # Pillow's version, as another decoder may give other pixels
    how = hashlib.sha256(repr((FORMAT, PIL.__version__, astuple(preprocessing))).encode())
    return f"{how.hexdigest()[:12]}-{hashlib.sha256(b''.join(stamps)).hexdigest()[:32]}"


def _help(
    store: _Store,
    sources: Sequence[ImageSource],
    preprocessing: Preprocessing,
    workers: int,
    tell: Report,
) -> int:
    # Take part while another process decodes this list, and count what was decoded. It begins at
    # the list's start; whoever helps takes pieces at random, so that two are seldom at the same.
    # Where they are, both write the same bytes, so nobody need be asked, and who dies is no loss.
    while held(store.folder):
        # whoever has it may be about to throw it away: then nothing is there to help with
        with suppress(FileNotFoundError):
            if store.begun:
                with store.opened(helping=True):
                    return _decode(store, sources, preprocessing, workers, tell, helping=True)
        time.sleep(0.05)
    return 0


def _decode(
    store: _Store,
    sources: Sequence[ImageSource],
    preprocessing: Preprocessing,
    workers: int,
    tell: Report,
    *,
    helping: bool = False,
) -> int:
    pending = store.pending()
    chunks = [pending[start : start + CHUNK] for start in range(0, len(pending), CHUNK)]
    if helping:
        spans = [chunks[start : start + SPAN] for start in range(0, len(chunks), SPAN)]
        order = np.random.default_rng().permutation(len(spans))
        chunks = [chunk for place in order.tolist() for chunk in spans[place]]
    done = len(sources) - len(pending)

    def work(chunk: NDArray[np.int64]) -> tuple[int, int]:
        kept = 0
        for position in store.left(chunk, helping=helping).tolist():
            found = _decoded(sources[position], preprocessing)
            if not isinstance(found, str):
                store.keep(position, found)
                kept += 1
            elif not helping:  # the other finds out why by itself
                store.refuse(position, found)
        return len(chunk), kept

    total = 0
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    try:
        for count, kept in pool.map(work, chunks):
            done, total = done + count, total + kept
            tell(Progress("decode", done, len(sources), "images"))
    finally:
        # after Ctrl-C or a full disk the chunks in hand are finished, and no other is begun
        pool.shutdown(cancel_futures=True)
    return total


class _Store:
    # The files of one cache: pixels, a mark and a fingerprint for each image, and reasons. An image
    # is marked as done after its pixels were written, so a process that is killed loses the few in
    # hand. Written and not mapped, as a full disk ends a process that writes to a map by a signal.

    def __init__(self, folder: Path, stamps: Sequence[bytes], shape: tuple[int, ...]) -> None:
        self.folder = folder
        self._stamps = stamps
        self._count = len(stamps)
        self._shape = shape
        self._sizes = {PIXELS: math.prod(shape), PRINTS: SIZE, MARKS: 1}
        self._files: dict[str, FileIO] = {}
        self._writing = threading.Lock()  # a file has one position, which threads would share

    @property
    def size(self) -> int:
        return self._count * (sum(self._sizes.values()) + STAMP)

    @property
    def begun(self) -> bool:
        """Whether all files have their size, so that others can write to them as well."""
        return (self.folder / STAMPS).exists() and all(
            path.exists() and path.stat().st_size == self._sizes[name] * self._count
            for name, path in self._paths().items()
        )

    def _paths(self) -> dict[str, Path]:
        return {name: self.folder / name for name in self._sizes}

    @contextmanager
    def opened(self, *, helping: bool = False) -> Iterator[None]:
        """Open the files, made anew unless all of them are whole."""
        paths, whole = self._paths(), helping or self.begun
        if not whole:  # new, or a start that was cut short: no mark may stay
            for path in paths.values():
                path.write_bytes(b"")
            if shutil.disk_usage(self.folder).free < self.size:
                # told before the first image is decoded, and not after the last
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            write_bytes(self.folder / STAMPS, b"".join(self._stamps))
        with ExitStack() as stack:
            for name, path in paths.items():
                self._files[name] = stack.enter_context(path.open("r+b", buffering=0))
                if not whole:
                    self._files[name].truncate(self._sizes[name] * self._count)
            if helping:
                yield
                return
            # what could not be read is tried again, so old reasons go
            reasons = (self.folder / REASONS).open("wb", buffering=0)
            self._files[REASONS] = stack.enter_context(reasons)
            yield

    def adopt(self) -> None:
        """Copy what other caches hold of the images that are not yet decoded."""
        # those of the same preprocessing share this one's name up to the "-"
        left = {self._stamps[position]: position for position in self.pending().tolist()}
        sizes = {name: size for name, size in self._sizes.items() if name != MARKS}
        beside = self.folder.parent.glob(f"{self.folder.name.split('-')[0]}-*")
        # that of last time first: it is the most like this one
        for other in sorted(beside, key=_age, reverse=True):
            if other == self.folder or not left:
                continue
            try:
                self._take_from(other, left, sizes)
            except FileNotFoundError:  # another process throws it away
                continue

    def _take_from(self, other: Path, left: dict[bytes, int], sizes: Mapping[str, int]) -> None:
        with ExitStack() as stack:
            files = {name: stack.enter_context((other / name).open("rb")) for name in sizes}
            for row, known in _rows(other):
                if (position := left.get(known)) is None:
                    continue
                for name, file in files.items():
                    file.seek(row * sizes[name])
                # a file may have been cut short, or still be written by another process
                parts = {name: file.read(sizes[name]) for name, file in files.items()}
                if all(len(part) == sizes[name] for name, part in parts.items()):
                    self._put(position, parts)
                    del left[known]

    def _put(self, position: int, parts: Mapping[str, bytes], mark: int = READ) -> None:
        with self._writing:
            for name, part in (*parts.items(), (MARKS, bytes([mark]))):
                self._files[name].seek(position * self._sizes[name])
                _write(self._files[name], part)

    def _marks(self) -> NDArray[np.uint8]:
        return np.fromfile(self.folder / MARKS, np.uint8, self._count)

    def pending(self) -> NDArray[np.int64]:
        return np.flatnonzero(self._marks() != READ)

    def left(self, positions: NDArray[np.int64], *, helping: bool) -> NDArray[np.int64]:
        """Tell which of some neighbours nobody has decoded meanwhile."""
        first, last = int(positions[0]), int(positions[-1])
        marks = np.fromfile(self.folder / MARKS, np.uint8, last + 1 - first, offset=first)
        mark = marks[positions - first]
        found: NDArray[np.int64] = positions[mark == 0 if helping else mark != READ]
        return found

    def keep(self, position: int, pixels: NDArray[np.uint8]) -> None:
        self._put(position, {PIXELS: pixels.tobytes(), PRINTS: fingerprint(pixels)})

    def refuse(self, position: int, reason: str) -> None:
        with self._writing:
            _write(self._files[REASONS], json.dumps([position, reason]).encode() + b"\n")
        self._put(position, {}, BAD)

    def decoded(self, names: Sequence[str], reused: int) -> Decoded:
        marks = self._marks()
        good, bad = np.flatnonzero(marks == READ), np.flatnonzero(marks != READ)
        prints = np.fromfile(self.folder / PRINTS, np.uint8).reshape(-1, SIZE)
        lines = (self.folder / REASONS).read_text("utf-8").splitlines()
        reasons: dict[int, str] = dict(json.loads(line) for line in lines)
        return Decoded(
            StoredPixels(self.folder / PIXELS, (self._count, *self._shape), good),
            good,
            prints[good],
            tuple(Skipped(names[i], reasons[i]) for i in bad.tolist()),
            self.folder,
            reused,
        )


def _write(file: FileIO, data: bytes) -> None:
    left = memoryview(data)
    while len(left):
        left = left[file.write(left) :]


def _age(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0


def _rows(folder: Path) -> Iterator[tuple[int, bytes]]:
    """Give number and stamp of the images that a cache holds; marks are written after pixels."""
    marks = (folder / MARKS).read_bytes()
    stamps = (folder / STAMPS).read_bytes()
    for number, mark in enumerate(marks[: len(stamps) // STAMP]):
        if mark == READ:
            yield number, stamps[number * STAMP : (number + 1) * STAMP]


BATCH = 1024
BATCH_BYTES = 32 * 2**20  # twice: one batch is in use while the next is decoded


@dataclass(frozen=True, eq=False)
class Batch:
    """Neighbours of a list of images, decoded.

    Of the list `positions` (m,) could be read: `pixels` (m, ...) are of these, in their order.
    """

    positions: NDArray[np.int64]
    pixels: NDArray[np.uint8]
    skipped: dict[int, Skipped]


def decode_batches(
    sources: Sequence[ImageSource],
    preprocessing: Preprocessing | VectorInput,
    *,
    size: int | None = None,
    workers: int | None = None,
) -> Iterator[Batch]:
    """Decode images in their order, kept nowhere; the next batch is under way while one is used."""
    room = BATCH_BYTES // math.prod(preprocessing.shape)
    per_batch = size or max(CHUNK, min(BATCH, room))

    def work(positions: range) -> list[NDArray[np.uint8] | str]:
        return [_decoded(sources[position], preprocessing) for position in positions]

    def begin(start: int) -> list[Future[list[NDArray[np.uint8] | str]]]:
        end = min(start + per_batch, len(sources))
        chunks = (range(first, min(first + CHUNK, end)) for first in range(start, end, CHUNK))
        return [pool.submit(work, chunk) for chunk in chunks]

    pool = ThreadPoolExecutor(workers or cores(), thread_name_prefix="decode")
    try:
        ahead = begin(0)
        for start in range(0, len(sources), per_batch):
            current, ahead = ahead, begin(start + per_batch)
            found = dict(enumerate((one for each in current for one in each.result()), start))
            good = {at: one for at, one in found.items() if not isinstance(one, str)}
            pixels = np.empty((len(good), *preprocessing.shape), np.uint8)
            for row, one in enumerate(good.values()):
                pixels[row] = one
            bad = {at: Skipped(sources[at].name, str(found[at])) for at in found if at not in good}
            yield Batch(np.array([*good], np.int64), pixels, bad)
    finally:
        # after Ctrl-C the chunks in hand are finished, and no other is begun
        pool.shutdown(cancel_futures=True)


def _decoded(
    source: ImageSource, preprocessing: Preprocessing | VectorInput
) -> NDArray[np.uint8] | str:
    try:
        return preprocessing.pixels(source.encoded())
    except DataError as error:
        return str(error)
