"""Labelled images that come a batch at a time, and may be more than memory holds: read once."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from twinset.cache_folder import cache_folder, cache_limit, prune, tag, unwritten
from twinset.data.given import as_array, as_images, as_labels, as_pixels
from twinset.data.image_sources import StoredPixels
from twinset.data.labelled import LabelledImages
from twinset.errors import DataError
from twinset.progress import Progress, Report, Wanted, reporting

_IMAGE, _LABEL = ("image", "images", "img"), ("label", "labels")


def load_batches(
    batches: Any,
    *,
    class_names: Sequence[str] = (),
    name: str = "images",
    steps: int | None = None,
    cache: str | Path | None = None,
    progress: Wanted = False,
) -> LabelledImages:
    """Read labelled images from a generator, a `tf.data.Dataset`, a `DataLoader` or the like, once.

    The pixels go to a file in the cache as they come, and are read from there: memory holds one
    batch and all labels. Augment by the recipe and not before, or one form of each image is all
    that the training sees.

    Args:
        batches: gives (images, labels), of shapes (n, h, w[, 3]) and (n,) or one-hot (n, k); or
            (image, label), one at a time; or mappings with "image" and "label", as data sets of
            TensorFlow and Hugging Face do. What has `len` and `[...]` alone is gone through by
            position. Pixels and labels are taken as `LabelledImages` takes them.
        class_names: as for `LabelledImages`. Defaults to the different labels.
        name: what reports call the images. Defaults to "images".
        steps: at most so many batches, of what has no end. Defaults to all.
        cache: the folder for the file of pixels. Defaults to `twinset/streams` in the user's cache
            folder.
        progress: True for a bar on stderr, or a function that is told. Defaults to False.

    Raises:
        DataError: something else comes, images of several sizes, nothing, or more than the cache
            may hold.

    Example:
        >>> def batches():
        ...     for shade in (0, 100, 200):
        ...         yield np.full((2, 4, 4), shade / 255), ["dark" if shade < 150 else "bright"] * 2
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     found = load_batches(batches(), cache=folder)
        ...     found, int(found.images[2].max())
        (LabelledImages('images', 6 images of (4, 4), 2 classes), 100)
    """
    cardinality = getattr(batches, "cardinality", None)
    if steps is None and cardinality is not None and int(cardinality()) == -1:
        raise DataError("Expected batches that end. Received a repeated Dataset: give steps.")
    base = cache_folder("streams") if cache is None else Path(cache)
    labels = list[NDArray[Any]]()
    try:
        tag(base)
        with tempfile.NamedTemporaryFile(dir=base, delete=False) as draft:
            try:
                with reporting(progress) as tell:
                    shape, digest = _write(draft, batches, steps, labels, tell)
                draft.close()
                file = base / f"{digest[:32]}.pixels"
                if file.exists():  # called by its content, and perhaps read just now
                    os.utime(file)
                else:
                    os.replace(draft.name, file)  # noqa: PTH105 - in one step
            finally:
                draft.close()  # on Windows what is open stays
                Path(draft.name).unlink(missing_ok=True)
    except OSError as error:
        raise unwritten(base, error, 0, "images") from None
    prune(base, keep=file)
    codes, names = as_labels(np.concatenate(labels), class_names)
    return LabelledImages(StoredPixels(file, shape), codes, names, name)


def _write(
    draft: IO[bytes], batches: Any, steps: int | None, labels: list[NDArray[Any]], tell: Report
) -> tuple[tuple[int, ...], str]:
    # Gives shape and digest, as a file is called by its content: the same images are kept once.
    first, levels, scaled, count, sha = None, False, False, 0, hashlib.sha256()
    for images, known in islice(_pairs(batches), steps):
        # a dark batch among floats up to 255 is no batch of floats up to 1
        highest = images.max(initial=0) if images.dtype.kind == "f" else 0
        levels = levels or bool(highest > 127)
        scaled = scaled or bool(0 < highest <= 1 and not levels)
        if levels and scaled:
            raise DataError(
                "Expected floats on one scale. Received some up to 1, then some above 127: divide "
                "all by 255."
            )
        pixels = as_images(as_pixels(images, levels=levels))
        first = pixels.shape[1:] if first is None else first
        _check(pixels, known, first, count)
        data = np.ascontiguousarray(pixels).data
        draft.write(data)
        sha.update(data)
        labels.append(known)
        count += len(pixels)
        if draft.tell() > cache_limit():
            raise DataError(
                f"Expected at most {cache_limit() / 1e9:g} GB of pixels. Received more, perhaps "
                "without end: give steps, or set TWINSET_CACHE_GB."
            )
        tell(Progress("read", count, None, "images"))
    if first is None:
        raise DataError("Expected batches of images and labels. Received none.")
    sha.update(repr(first).encode())
    return (count, *first), sha.hexdigest()


def are_batches(given: Any) -> bool:
    """Tell what gives images with their labels from arrays and lists of images alone."""
    if isinstance(given, str | Mapping) or hasattr(given, "__array__"):
        return False
    if isinstance(given, list | tuple):
        return bool(given) and isinstance(given[0], tuple | Mapping)
    return hasattr(given, "__iter__") or hasattr(given, "__getitem__")


def _pairs(batches: Any) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    if not hasattr(batches, "__iter__") or hasattr(batches, "on_epoch_end"):
        # of Keras and PyTorch, which need not end when they are iterated
        given = (batches[position] for position in range(len(batches)))
    else:
        given = iter(batches)
    for at, each in enumerate(given):
        if isinstance(each, Mapping):
            found = [
                next((each[key] for key in keys if key in each), None) for keys in (_IMAGE, _LABEL)
            ]
        else:
            found = list(each) if isinstance(each, tuple | list) else []
        if len(found) != 2 or any(one is None or isinstance(one, Mapping) for one in found):
            held = f" of {len(each)}" if isinstance(each, tuple | list) else ""
            raise DataError(
                "Expected (images, labels), or a mapping with 'image' and 'label'. Received "
                f"{type(each).__name__}{held} at position {at}."
            )
        images, labels = pixels_of_picture(found[0]), as_array(found[1])
        yield (images, labels) if labels.ndim else (images[None], labels[None])


def pixels_of_picture(image: Any) -> NDArray[Any]:
    """Make an array of what is one already, or of a PIL image as it is seen."""
    if isinstance(image, Image.Image):  # which knows its orientation and its colours
        turned = ImageOps.exif_transpose(image)
        return np.asarray(turned if turned.mode in ("L", "RGB") else turned.convert("RGB"))
    return as_array(image)


def _check(pixels: NDArray[Any], labels: NDArray[Any], shape: tuple[int, ...], before: int) -> None:
    if len(labels) != len(pixels):
        raise DataError(
            f"Expected a label for each of {len(pixels)} images. Received {len(labels)}, after "
            f"{before} images."
        )
    if pixels.shape[1:] != shape:
        raise DataError(
            f"Expected images of one size, {shape}. Received {pixels.shape[1:]}, after {before} "
            "images: resize them before, or keep them in files, for `load_images`."
        )
