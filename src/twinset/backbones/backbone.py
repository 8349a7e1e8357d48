"""`Backbone`: a frozen network on ONNX Runtime, from images to features, without Keras.

backbone = lite0.backbone(data.row_shape)  # or onnx_file.backbone("model.onnx", data.row_shape)
features = backbone.encode(data)  # float32 (n, d)
features = backbone.encode_once(data)  # the same from a cache, where it was done before
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from twinset.backbones.session import INPUT, OUTPUT, open_session
from twinset.cache_folder import cache_folder, in_use, prune, tag, unwritten
from twinset.data.image_sources import SIZE, StoredPixels, as_keys
from twinset.data.labelled import Labelled, LabelledImages
from twinset.errors import DataError
from twinset.progress import Progress, Report, Wanted, reporting

Images: TypeAlias = "Labelled | NDArray[np.uint8] | StoredPixels"

# Pixels that go through at once. More win nothing on a CPU, and a deep network's activations take
# some 200 bytes for each.
PIXELS = 2**19


@dataclass(frozen=True, eq=False)
class Backbone:
    """A frozen network: uint8 images of one shape in, float32 features out."""

    name: str  # as people call it
    # of an .onnx file, from `images` (batch, *image_shape) to `embeddings` (batch, dim)
    graph: bytes = field(repr=False)
    image_shape: tuple[int, ...]  # (h, w) or (h, w, 3)
    dim: int  # of the features
    pixels: int = 0  # of an image as the network sees it; 0: those of `image_shape`

    @cached_property
    def key(self) -> str:
        """Identity of the features, in letters that a file's name may have."""
        return f"{hashlib.sha256(self.graph).hexdigest()[:32]}-onnx"

    @cached_property
    def _session(self) -> Any:
        return open_session(self.graph)

    def __getstate__(self) -> dict[str, Any]:
        # a session cannot be pickled, and is made of the graph
        return {key: value for key, value in self.__dict__.items() if key != "_session"}

    @property
    def batch(self) -> int:
        """The number of images that go through at once, a power of two."""
        seen = self.pixels or self.image_shape[0] * self.image_shape[1]
        return 1 << (max(1, PIXELS // seen).bit_length() - 1)

    def encode(self, images: Images, *, progress: Wanted = False) -> NDArray[np.float32]:
        """Compute the features of images, (n, d), on all cores that this process may use."""
        rows = self._rows(images)
        result = np.empty((len(rows), self.dim), np.float32)
        with reporting(progress) as tell:
            for start in range(0, len(rows), self.batch):
                pixels = np.ascontiguousarray(rows[start : start + self.batch])
                done = start + len(pixels)
                result[start:done] = self._session.run([OUTPUT], {INPUT: pixels})[0]
                tell(Progress("encode", done, len(rows), "images"))
        return result

    def encode_once(
        self, data: Labelled, *, folder: Path | None = None, progress: Wanted = False
    ) -> NDArray[np.float32]:
        """Compute the features of images that no earlier call did; the others come from the cache.

        As `encode`, but equal images share a row, across splits, runs and processes.
        """
        rows = self._rows(data)
        return encoded_once(
            lambda positions: self.encode(rows[positions]),
            data.fingerprints,
            key=self.key,
            dim=self.dim,
            chunk=min(CHUNK, 8 * self.batch),  # seconds, also of a slow network
            folder=folder,
            progress=progress,
        )

    def _rows(self, images: Any) -> Any:
        rows = images.rows if isinstance(images, Labelled) else images
        rows = rows if isinstance(rows, StoredPixels) else np.asarray(rows)
        right = rows.dtype == np.uint8 and tuple(rows.shape[1:]) == self.image_shape
        if not right or (isinstance(images, Labelled) and not isinstance(images, LabelledImages)):
            raise DataError(
                f"Expected uint8 images of shape (n, {', '.join(map(str, self.image_shape))}) for "
                f"{self.name}. Received {rows.dtype} of shape {rows.shape}."
            )
        return rows


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
        raise unwritten(base, error, 4 * dim * len(fingerprints), "features") from None
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
