"""Pictures of items: read from where the index says, made small, encoded anew, kept a while."""

from __future__ import annotations

import hashlib
import io
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from twinset.data.decoding.decode import Preprocessing
from twinset.data.decoding.image_file import EncodedImage, read_bytes
from twinset.data.image_sources import picture_of
from twinset.errors import DataError
from twinset.search.index import Index
from twinset.server.problems import Problem
from twinset.server.service import Service

# Longest side in pixels. A fixed list, or anybody could fill the memory with sizes of his own.
SIZES = (64, 96, 160, 320, 640, 1024)
WHOLE = 1600  # of an image that is looked at by itself
MEDIA = "image/webp"
_ROOM = 64 * 2**20  # bytes of pictures that are kept
_SMALL = 64 * 64  # pixels up to which nothing may blur


class Pictures:
    """Encoded pictures by item, stamp and size; those asked for last are kept."""

    def __init__(self, room: int = _ROOM) -> None:
        self._held: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()
        self._left = room

    def get(self, tag: str, metadata: Mapping[str, Any], size: int) -> bytes:
        """Give the picture of an item, made now or before."""
        with self._lock:
            if tag in self._held:
                self._held.move_to_end(tag)
                return self._held[tag]
        made = drawn(metadata, size)
        with self._lock:
            if tag not in self._held:
                self._held[tag] = made
                self._left -= len(made)
            while self._left < 0:
                self._left += len(self._held.popitem(last=False)[1])
        return made


def pictures(service: Service) -> Pictures:
    """Give the pictures that are kept for a service."""
    found: Pictures = service.caches.setdefault("pictures", Pictures())
    return found


def tag_of(id_: str, metadata: Mapping[str, Any], size: int) -> str:
    """Name a picture: another image, or another size, has another tag."""
    told = repr((id_, metadata.get("_stamp"), metadata.get("path"), size))
    return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def drawn(metadata: Mapping[str, Any], size: int) -> bytes:
    """Read an item's picture, no longer than `size` on a side; never larger than it is."""
    source = picture_of(metadata)
    try:
        if source is None:
            raise DataError("no file")
        width, height, _ = source.probe()
        share = min(1.0, size / max(width, height))
        shape = (max(1, round(height * share)), max(1, round(width * share)), 3)
        pixels = Preprocessing(shape, "stretch", 255).pixels(source.encoded())
    except DataError:
        # its message would name a file of the host
        raise Problem(
            404,
            "Expected an item with a picture. This one has none that can be read: it came from "
            "memory and not from a file, or its file was moved since it was indexed.",
            name="no-picture",
        ) from None
    file = io.BytesIO()
    Image.fromarray(pixels).save(
        file, "WEBP", quality=82, method=1, lossless=shape[0] * shape[1] <= _SMALL
    )
    return file.getvalue()


def pictures_of(index: Index, ids: Sequence[str]) -> list[EncodedImage]:
    """Read the pictures of items, in the order of their ids; takes as long as a disk does."""
    items = index.get(ids)
    found = []
    for own, metadata in zip(items.ids, items.metadata, strict=True):
        source = picture_of(metadata)
        if source is None:
            raise Problem(
                404,
                f"Expected an item with a picture. {own!r} was put in as an embedding.",
                name="no-picture",
            )
        try:
            data = source.encoded()
            if not isinstance(data, EncodedImage):
                data = EncodedImage(read_bytes(data), own)
        except DataError:
            # not its own words, which name a path of the host
            raise Problem(
                404,
                f"Expected the picture of {own!r} where the index found it. It is there no longer.",
                name="no-picture",
            ) from None
        found.append(EncodedImage(data.data, own))
    return found
