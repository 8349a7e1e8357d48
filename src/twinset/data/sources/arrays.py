"""Images as arrays in one `.npz` file, as Keras' data sets and many benchmarks come."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset.data.image_sources import HeldSource
from twinset.data.listing import Listing
from twinset.data.names import shown
from twinset.data.sources import Asked, Source
from twinset.data.sources.table import assembled
from twinset.data.text_tables import Texts
from twinset.errors import DataError

# (images, labels, part), as files call them: one pair alone, Keras' names, and MedMNIST's
NAMES = (
    ("images", "labels", ""),
    ("x", "y", ""),
    ("x_train", "y_train", "train"),
    ("x_val", "y_val", "tune"),
    ("x_test", "y_test", "test"),
    ("train_images", "train_labels", "train"),
    ("val_images", "val_labels", "tune"),
    ("test_images", "test_labels", "test"),
)


def read_arrays(place: str, asked: Asked) -> Listing:
    """List images of uint8, (n, h, w) or (n, h, w, 3), with labels (n,) or (n, 1) and parts.

    Nothing is unpickled.

    Raises:
        DataError: the file is damaged, or its arrays do not fit together.
    """
    asked.refuse(place, SOURCE.takes, "classes", "image", "label", "group", "split")
    file = Path(place)
    try:
        with np.load(file, allow_pickle=False) as arrays:
            found = [each for each in NAMES if each[0] in arrays.files]
            pixels = np.concatenate([_pixels(arrays[name], name, file) for name, _, _ in found])
            labels = [_labels(arrays, images, name, file, asked) for images, name, _ in found]
            sizes = [len(each) for each in labels]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{shown(place)}: expected arrays of images of one size. {error}") from None
    parts = [part for (_, _, part), size in zip(found, sizes, strict=True) for _ in range(size)]
    texts = [text for each in labels for text in each]
    return assembled(
        [HeldSource(pixels, row) for row in range(len(pixels))],
        {
            "label": Texts.of(texts) if any(texts) else None,
            "group": None,
            "split": Texts.of(parts) if any(parts) else None,
        },
        {},
        file,
        asked,
        where=lambda row: f"row {row}",
        ids=[f"{shown(file.name)}[{row}]" for row in range(len(pixels))],
        rows=pixels,
    )


def _pixels(array: NDArray[Any], name: str, file: Path) -> NDArray[np.uint8]:
    shape = array.shape[:3] if array.ndim == 4 and array.shape[3] == 1 else array.shape
    fits = array.dtype == np.uint8 and len(shape) in (3, 4) and shape[3:] in ((), (3,))
    if not fits or 0 in shape:
        raise DataError(
            f"{shown(str(file))}: expected pixels of type uint8, of shape (n, h, w) or "
            f"(n, h, w, 3), in {name!r}. Received {array.dtype} of shape {array.shape}: save them "
            "so."
        )
    return array.reshape(shape)


def _labels(arrays: Any, images: str, name: str, file: Path, asked: Asked) -> list[str]:
    count = len(arrays[images])
    if name not in arrays.files:
        if asked.labelled:
            raise DataError(
                f"{shown(str(file))}: expected labels in {name!r} beside {images!r}. Received "
                f"{sorted(arrays.files)}."
            )
        return [""] * count
    labels = arrays[name]
    if labels.shape not in ((count,), (count, 1)) or labels.dtype.kind not in "iuU":
        raise DataError(
            f"{shown(str(file))}: expected {count} labels, whole numbers or texts, in {name!r}. "
            f"Received {labels.dtype} of shape {labels.shape}."
        )
    return [str(label) for label in labels.ravel().tolist()]


def _claims(place: str) -> bool:
    file = Path(place)
    if file.suffix.lower() != ".npz" or not file.is_file():
        return False
    try:
        with zipfile.ZipFile(file) as archive:
            held = set(archive.namelist())
            names = [images for images, _, _ in NAMES if f"{images}.npy" in held]
            # "x" may also be vectors: the header alone tells
            return any(_axes(archive, name) > 2 for name in names)
    except (OSError, zipfile.BadZipFile):
        return False  # the reader of vectors says what is wrong with it


def _axes(archive: zipfile.ZipFile, name: str) -> int:
    with archive.open(f"{name}.npy") as member:
        try:
            version = np.lib.format.read_magic(member)
            reader = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }
            return len(reader[version](member)[0])
        except (ValueError, KeyError):
            return 0


SOURCE = Source("images as arrays (.npz)", _claims, read_arrays)
