"""`read_images` and `read_features`: the user's own images or vectors, with their labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from twinset.data.data_set import listing_of, loaded
from twinset.data.decoding.decode import Preprocessing
from twinset.data.labelled import LabelledFeatures, LabelledImages
from twinset.data.sources import Classes, read_listing
from twinset.errors import DataError
from twinset.progress import Wanted


def read_images(
    path: str | Path | None = None,
    *,
    pairs: str | Path | None = None,
    size: Literal["auto"] | int | tuple[int, int] = "auto",
    colour: Literal["auto", "gray", "rgb"] = "auto",
    resize: Literal["pad", "stretch", "crop"] = "pad",
    background: Literal["auto"] | int = "auto",
    preprocessing: Preprocessing | None = None,
    classes: Classes = "path",
    cache: str | Path | None = None,
    workers: int | None = None,
    progress: Wanted = False,
    **columns: Any,
) -> LabelledImages:
    """Read a folder tree, a CSV or Parquet table, or a Hugging Face data set of labelled images.

    In a folder the class is the folder that holds an image. Each image is decoded once, into a
    cache file, and read from there; so a second call costs little more than listing the files, and
    a set may be larger than memory. What cannot be read is skipped: listed in the result with its
    reason.

    Args:
        path: the folder or the table, or what else a source of data takes. Defaults to none, where
            there are pairs.
        pairs: a table of judged pairs, as for `train`; then images need no label. Defaults to none.
        size: (h, w), or one number for squares. "auto", the default: the images' own size if 200
            of them agree on it and no side is over 128, else (128, 128).
        colour: "gray" or "rgb". "auto", the default: gray if 200 of the images are.
        resize: how another size is adapted: "pad", "stretch" or "crop". Defaults to "pad".
        background: gray level for padding and behind transparency. "auto", the default: black, or
            what does not hide the content of transparent images as black would.
        preprocessing: all of this at once, as a model has it; then size, colour, resize and
            background are not used. Defaults to none.
        classes: in folders, "path": the class is the whole path of the folder. "top": the first
            folder alone. Defaults to "path".
        cache: the folder for the cache. Defaults to `twinset/images` in the user's cache folder.
        workers: threads that decode. Defaults to one per processor core.
        progress: True for a bar on stderr, False for nothing, or a function that is told. Defaults
            to False.
        **columns: names of a table's columns: `image`, `label`, `group`, `split`. Default to usual
            names.

    Returns:
        The images with class names, file names, groups and parts where the source has them.

    Raises:
        DataError: nothing there, nothing that can be read, or a wrong argument.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("cats/a.png", "cats/b.png", "dogs/c.png"):
        ...         file = Path(folder, "photos", name)
        ...         file.parent.mkdir(parents=True, exist_ok=True)
        ...         Image.new("L", (9, 6)).save(file)
        ...     read_images(f"{folder}/photos", cache=f"{folder}/cache")
        LabelledImages('photos', 3 images of (6, 9), 2 classes)
    """
    asked = {"classes": classes, **columns}
    listing = listing_of(path, pairs, progress=progress, **asked)
    how = {"size": size, "colour": colour, "resize": resize, "background": background}
    found = loaded(listing, how, preprocessing, cache=cache, workers=workers, progress=progress)
    if not isinstance(found, LabelledImages):
        raise DataError(f"{path}: expected images. Received vectors: `read_features` reads these.")
    return found


def read_features(path: str | Path, *, progress: Wanted = False) -> LabelledFeatures:
    r"""Read vectors that another model made of images, and what they show.

    - `.parquet`, `.arrow`: a column of lists called "embedding" or the like, a column "label", and
      "group", "split" and "path" if there are any; the usual names, as for tables of images.
    - `.npz`: arrays of these names.
    - `.npy`: the vectors; a table of the same name beside it, `.csv` or `.tsv`, has a line for
      each row with the other columns.

    Rows without a label are skipped.

    Args:
        path: the file.
        progress: as for `read_images`.

    Raises:
        DataError: the file cannot be read, or does not say what the rows show.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(f"{folder}/pets.npy", np.eye(3))
        ...     _ = Path(folder, "pets.csv").write_text("label,group\ncat,a\ndog,b\ndog,b\n")
        ...     found = read_features(f"{folder}/pets.npy")
        >>> found, found.groups.tolist()
        (LabelledFeatures('pets.npy', 3 vectors of 3 numbers, 2 classes), ['a', 'b', 'b'])
    """
    listing = read_listing(path, progress=progress)
    found = None if listing.rows is None else loaded(listing)
    if not isinstance(found, LabelledFeatures):
        raise DataError(f"{path}: expected vectors. Received images: `read_images` reads these.")
    return found
