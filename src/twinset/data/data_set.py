"""A data set by its place: listed, decoded, and in the parts that its publisher gave it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from twinset.data.cache import decode_all
from twinset.data.choose import Looked, choose_preprocessing
from twinset.data.decoding.decode import Preprocessing
from twinset.data.given import as_array, as_labels
from twinset.data.image_sources import FileSource, HeldSource, ImageSource, Remark
from twinset.data.labelled import Labelled, LabelledFeatures, LabelledImages, VectorInput
from twinset.data.listing import Listing
from twinset.data.pair_tables import list_pairs
from twinset.data.pairs import Pairs
from twinset.data.sources import Classes, read_listing
from twinset.data.streamed import are_batches, load_batches, pixels_of_picture
from twinset.errors import DataError
from twinset.progress import Wanted
from twinset.settings import Section


def load_data_set(
    data: str | Path | None,
    images: Section | None = None,
    *,
    preprocessing: Preprocessing | VectorInput | None = None,
    pairs: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    progress: Wanted = False,
) -> tuple[Labelled, Labelled | None]:
    """Load a data set: its training part and test part where these are published, or all of it.

    `data` is what a source of data takes: "fashion-mnist", or the path of a folder, a table, or a
    file of vectors. The section `images` of a recipe says what the user's own images become,
    unless a model's `preprocessing` does. `pairs` is a table of judged pairs, whose images may be
    those of the data, or with None those that it names itself. `columns` names those of the data's
    table that are not called as usual: {"image": "photo", "label": "person"}.
    """
    listing = listing_of(data, pairs, progress=progress, **(columns or {}))
    vectors = listing.rows is not None and listing.rows.dtype != np.uint8
    if isinstance(preprocessing, VectorInput) and not vectors:
        raise DataError(
            f"{data}: expected a file of features (.npy, .npz, .parquet), {preprocessing.size} "
            "numbers for each image, since this model was trained on such. Received images."
        )
    how = {} if images is None else images.model_dump()
    asked = None if isinstance(preprocessing, VectorInput) else preprocessing
    found = loaded(listing, how, asked, progress=progress)
    if isinstance(found, LabelledFeatures):
        _check_kind(data, found, preprocessing)
    if not listing.published:
        return found, None
    # the field's own split, which others compare with: it is neither drawn nor checked here
    return _published(found, "train"), _published(found, "test")


def listing_of(
    data: str | Path | None,
    pairs: str | Path | None = None,
    *,
    progress: Wanted = False,
    **asked: Any,
) -> Listing:
    """List the images of a data set, of judged pairs, or of both."""
    if pairs is not None:
        return list_pairs(pairs, data, progress=progress, **asked)
    if data is None:
        raise DataError(
            "Expected a data set (a folder, a table, or a name such as fashion-mnist), or judged "
            "pairs. Received neither: name one, or give --pairs TABLE."
        )
    return read_listing(data, progress=progress, **asked)


def _published(images: Labelled, part: str) -> Labelled:
    chosen: Any = images.subset(np.flatnonzero(images.parts == part), f"{images.name}/{part}")
    found: Labelled = replace(chosen, parts=None)
    return found


def _check_kind(
    data: str | Path | None,
    found: LabelledFeatures,
    preprocessing: Preprocessing | VectorInput | None,
) -> None:
    if preprocessing is not None and preprocessing != found.preprocessing:
        wanted = (
            f"features of {preprocessing.size} numbers"
            if isinstance(preprocessing, VectorInput)
            else "images"
        )
        raise DataError(
            f"{data}: expected {wanted}, which this model takes. Received features of "
            f"{found.dim} numbers."
        )


def loaded(
    listing: Listing,
    how: dict[str, Any] | None = None,
    preprocessing: Preprocessing | None = None,
    *,
    cache: str | Path | None = None,
    workers: int | None = None,
    progress: Wanted = False,
) -> LabelledImages | LabelledFeatures:
    """Read what a listing names; what is in memory already is taken as it is."""
    facts: dict[str, Any] = {"class_names": listing.class_names, "name": listing.name}
    names = np.array([source.name for source in listing.sources], np.str_)
    facts["names"] = names if names.any() else None
    if listing.rows is not None:
        facts["judged"] = listing.judged
        told = {each: getattr(listing, each) for each in ("labels", "groups", "parts", "skipped")}
        if listing.rows.dtype != np.uint8:
            return LabelledFeatures(listing.rows, **facts, **told)
        told["remarks"] = listing.remarks
        return LabelledImages(listing.rows, mirrors=listing.mirrors, **facts, **told)
    looked = Looked(listing.sources)
    chosen = preprocessing or choose_preprocessing(looked, **(how or {}))
    # what a model brings has been chosen, and told, where it was trained
    remarks = () if preprocessing else looked.remarks(chosen)
    found = decode_all(
        listing.sources,
        chosen,
        folder=None if cache is None else Path(cache),
        workers=workers,
        progress=progress,
    )
    if not len(found.positions):
        raise listing.all_failed(found.skipped[-1], len(found.skipped))
    # without what only an index asks for, as copying it takes time
    kept = replace(listing, columns={}).subset(found.positions)
    images = LabelledImages(
        found.pixels,
        kept.labels,
        groups=kept.groups,
        parts=kept.parts,
        preprocessing=chosen,
        skipped=(*listing.skipped, *found.skipped),
        mirrors=listing.mirrors,
        remarks=(*listing.remarks, *remarks, *_lost_pairs(listing.judged, kept.judged)),
        judged=kept.judged,
        **(facts | {"names": names[found.positions]}),
    )
    images.__dict__["fingerprints"] = found.fingerprints  # made while decoding
    return images


def labelled(
    data: Any, labels: Any = None, *, use: str = "train on", class_names: Sequence[str] = ()
) -> Labelled:
    """Make labelled rows of what people pass: such already, or arrays or files with their labels.

    Images are of shape (n, h, w) or (n, h, w, 3), and vectors (n, d); or a list of images of any
    sizes, or of their files; or what `load_batches` takes. `class_names` are taken where all labels
    are among them.
    """
    if isinstance(data, tuple) and len(data) == 2 and labels is None:
        data, labels = data
    if isinstance(data, Labelled):
        if labels is not None:
            raise DataError(f"Expected no labels beside {data!r}, which has its own.")
        return data
    if isinstance(data, str | os.PathLike):
        raise DataError(
            f"Expected images and labels to {use}. Received the place {os.fspath(data)!r}: read it "
            "with `twinset.load_images`, or let `twinset.train` read, divide and report on it."
        )
    if labels is None and are_batches(data):
        return load_batches(data)
    if labels is None:
        raise DataError(
            f"Expected LabelledImages to {use}, or images and labels. Received "
            f"{type(data).__name__} without labels: pass them as `(images, labels)`."
        )
    codes, names = as_labels(labels)
    if set(names) <= set(class_names):
        codes, names = as_labels(np.array(names)[codes], class_names)
    rows = _rows_of(data)
    if isinstance(rows, list):
        if len(rows) != len(codes):
            raise DataError(
                f"Expected a label for each of {len(rows)} images. Received {len(codes)}."
            )
        return loaded(Listing(rows, "images", codes, names, place="images"))
    kind = LabelledFeatures if rows.ndim == 2 else LabelledImages
    return kind(rows, codes, names)


def _rows_of(data: Any) -> NDArray[Any] | list[ImageSource]:
    if hasattr(data, "__array__"):
        array = as_array(data)
        if array.dtype.kind not in "OU":  # paths, or images of many sizes
            return array
        data = array.tolist()
    given: list[Any] = [
        each if isinstance(each, str | os.PathLike) else pixels_of_picture(each) for each in data
    ]
    if len({np.shape(each) for each in given}) == 1 and not isinstance(given[0], str | os.PathLike):
        return np.stack(given)
    return [
        FileSource(each, str(each))
        if isinstance(each, str | os.PathLike)
        else HeldSource(given, at)
        for at, each in enumerate(given)
    ]


def _lost_pairs(before: Pairs | None, after: Pairs | None) -> Iterator[Remark]:
    lost = len(before or ()) - len(after or ())
    if lost:
        yield Remark("note", f"Pairs left out, as an image of theirs cannot be read: {lost:,}.")


def load_images(
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
        ...     load_images(f"{folder}/photos", cache=f"{folder}/cache")
        LabelledImages('photos', 3 images of (6, 9), 2 classes)
    """
    asked = {"classes": classes, **columns}
    listing = listing_of(path, pairs, progress=progress, **asked)
    how = {"size": size, "colour": colour, "resize": resize, "background": background}
    found = loaded(listing, how, preprocessing, cache=cache, workers=workers, progress=progress)
    if not isinstance(found, LabelledImages):
        raise DataError(f"{path}: expected images. Received vectors: `load_features` reads these.")
    return found


def load_features(path: str | Path, *, progress: Wanted = False) -> LabelledFeatures:
    r"""Read vectors that another model made of images, and what they show.

    - `.parquet`, `.arrow`: a column of lists called "embedding" or the like, a column "label", and
      "group", "split" and "path" if there are any; the usual names, as for tables of images.
    - `.npz`: arrays of these names.
    - `.npy`: the vectors; a table of the same name beside it, `.csv` or `.tsv`, has a line for
      each row with the other columns.

    Rows without a label are skipped.

    Args:
        path: the file.
        progress: as for `load_images`.

    Raises:
        DataError: the file cannot be read, or does not say what the rows show.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(f"{folder}/pets.npy", np.eye(3))
        ...     _ = Path(folder, "pets.csv").write_text("label,group\ncat,a\ndog,b\ndog,b\n")
        ...     found = load_features(f"{folder}/pets.npy")
        >>> found, found.groups.tolist()
        (LabelledFeatures('pets.npy', 3 vectors of 3 numbers, 2 classes), ['a', 'b', 'b'])
    """
    listing = read_listing(path, progress=progress)
    found = None if listing.rows is None else loaded(listing)
    if not isinstance(found, LabelledFeatures):
        raise DataError(f"{path}: expected vectors. Received images: `load_images` reads these.")
    return found
