"""The pictures of an index's items: from the files that the index names, and from no request."""

from __future__ import annotations

from collections.abc import Sequence

from twinset.data.decoding.image_file import EncodedImage, read_bytes
from twinset.data.image_sources import picture_of
from twinset.errors import DataError
from twinset.search.index import Index
from twinset.server.problems import Problem


def pictures(index: Index, ids: Sequence[str]) -> list[EncodedImage]:
    """Read the pictures of items, in the order of their ids; takes as long as a disk does.

    Raises:
        UnknownItemError: no such item.
        Problem: 404, an item without a picture, or whose picture is gone.
    """
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
