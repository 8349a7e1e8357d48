"""An uploaded image as an item: its file on disk first, then its record, under our own name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset.data.decoding.image_file import EncodedImage
from twinset.data.image_sources import FileSource
from twinset.errors import StoreError, UnknownItemError
from twinset.files import write_bytes
from twinset.search.checked import checked_metadata
from twinset.search.index import Index
from twinset.search.index_changes import STAMP
from twinset.search.items import Items
from twinset.search.store import scheme_of
from twinset.server.problems import Problem
from twinset.server.telling import PATH

UPLOADS = "uploads"  # in the folder of an index
_SUFFIXES = {b"\xff\xd8": "jpg", b"\x89PNG": "png", b"GIF": "gif", b"BM": "bmp", b"RIFF": "webp"}


def folder_of(index: Index, given: Path | None = None) -> Path:
    """Tell where uploaded images are kept: in the index's own folder, unless told otherwise.

    Raises:
        Problem: 409, the index is in a database, and no folder was named.
    """
    if given is not None:
        return given.absolute()
    if scheme_of(index.url):
        raise Problem(
            409,
            "Expected a folder for uploaded images. This index is in a database, which keeps none: "
            "start the server with --uploads FOLDER.",
            name="no-uploads",
        )
    return Path(index.url).absolute() / UPLOADS


def known_of(text: str) -> dict[str, Any]:
    """Read what is to be known of an item.

    Raises:
        Problem: 422, no JSON object of scalars, or a name that the index keeps for itself.
    """
    try:
        known = json.loads(text)
    except (ValueError, RecursionError):
        known = None
    if not isinstance(known, Mapping):
        raise Problem(422, 'Expected `metadata` as a JSON object, such as {"label": "red"}.')
    checked = checked_metadata(known, "the new item")
    for name in checked:
        # whoever could name a path could have any image of the host shown
        if name == PATH or name.startswith("_"):
            raise Problem(
                422, f"Expected `metadata` without {name!r}: the index keeps this name for itself."
            )
    return checked


def put(
    index: Index,
    folder: Path,
    image: EncodedImage,
    vector: NDArray[np.float32],
    id_: str | None,
    known: Mapping[str, Any],
) -> tuple[str, dict[str, Any]]:
    """Write an image that was decoded already, and make it an item; both are on disk then."""
    digest = hashlib.sha256(image.data).hexdigest()[:32]
    own = id_ if id_ is not None else f"{UPLOADS}/{digest}"
    path = folder / f"{digest}.{_suffix(image.data)}"
    _refuse(index, own)
    if not path.is_file():
        write_bytes(path, image.data)
    stamp = FileSource(str(path), path.name).stamp()
    metadata = {**known, PATH: str(path), STAMP: stamp}
    try:
        index.put(Items([own], vector[None], [metadata]))
    except StoreError:
        _refuse(index, own)  # another put it in meanwhile
        raise
    return own, metadata


def _suffix(data: bytes) -> str:
    # for people who look into the folder: whoever reads a file goes by its first bytes
    return next((name for mark, name in _SUFFIXES.items() if data.startswith(mark)), "image")


def _refuse(index: Index, own: str) -> None:
    try:
        index.get([own])
    except UnknownItemError:
        return
    raise Problem(
        409,
        f"Expected the id of a new item. Received {own!r}, which is there already: remove it "
        "first, or choose another id.",
        name="known-id",
    )
