"""Which reader reads what a user named."""

from __future__ import annotations

import os
from pathlib import Path

from twinset.data.sources.listing import TABLES, Classes, Listing
from twinset.errors import DataError


def read_listing(
    path: str | os.PathLike[str],
    *,
    classes: Classes = "path",
    image: str | None = None,
    label: str | None = None,
    group: str | None = None,
    split: str | None = None,
) -> Listing:
    """List the images of a folder, a manifest, or a Hugging Face data set on disk.

    - A folder with `dataset_dict.json`, with `dataset_info.json` and Arrow files, or with Parquet
      files named after splits: `read_hugging_face`.
    - Any other folder: `read_folder`, the folders being the classes.
    - A file `.csv`, `.tsv` or `.parquet`: `read_manifest`.

    Args:
        path: the folder or file.
        classes: of a folder: "path", the class is the whole relative path; "top", it is the first
            folder. Defaults to "path".
        image: of a table, the column with paths or encoded images. Defaults to a usual name.
        label: likewise the column with labels.
        group: likewise the column with groups, which may be missing.
        split: likewise the column with the parts, which may be missing.

    Raises:
        DataError: nothing that could be listed is there; no image is left; or an argument does
            not belong to what is there.

    Example:
        >>> read_listing("nowhere")
        Traceback (most recent call last):
        twinset.errors.DataError: nowhere: expected a folder of images or a table of them \
(.csv, .tsv, .parquet). Received nothing: no such file or folder.
    """
    # only here: these modules build listings, and import this one
    from twinset.data.sources.folder import read_folder
    from twinset.data.sources.hugging_face import is_hugging_face, read_hugging_face
    from twinset.data.sources.manifest import read_manifest

    place = Path(path)
    columns = {"image": image, "label": label, "group": group, "split": split}
    needless = None if classes == "path" else classes
    what = "expected a folder of images or a table of them (.csv, .tsv, .parquet)"
    if place.is_dir():
        if is_hugging_face(place):
            _refuse(place, "a Hugging Face data set", classes=needless)
            return read_hugging_face(place, **columns)
        _refuse(place, "a folder of images", **columns)
        return read_folder(place, classes=classes)
    if not place.exists():
        raise DataError(f"{place}: {what}. Received nothing: no such file or folder.")
    if place.suffix.lower() in TABLES:
        _refuse(place, "a table", classes=needless)
        return read_manifest(place, **columns)
    hint = "pass the folder it is in" if place.suffix == ".arrow" else "unpack an archive first"
    raise DataError(f"{place}: {what}. Received a file {place.suffix or 'without suffix'}: {hint}.")


def _refuse(place: Path, what: str, **arguments: str | None) -> None:
    for argument, value in arguments.items():
        if value is not None:
            raise DataError(
                f"{place}: expected no `{argument}` for {what}. Received {value!r}: leave it out."
            )
