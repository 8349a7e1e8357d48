"""What can be put into an index, or asked of it: images, in files or in memory, and embeddings."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, Literal, TypeAlias, TypedDict

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from twinset.data.decoding.decode import ImageLike
from twinset.data.decoding.image_file import EncodedImage
from twinset.data.given import as_array
from twinset.data.image_sources import HeldSource, StoredPixels
from twinset.data.labelled import Labelled, LabelledFeatures, LabelledImages, VectorInput
from twinset.data.listing import Listing
from twinset.data.names import shown
from twinset.data.sources import list_files, read_listing
from twinset.errors import DataError
from twinset.models.embedder import Embedder
from twinset.models.given import one_or_many
from twinset.search.items import Items
from twinset.search.where import Where

Within: TypeAlias = Literal["threshold"] | float | None
PathLike: TypeAlias = str | os.PathLike[str]
Source: TypeAlias = (
    PathLike | Sequence[PathLike] | Items | LabelledImages | LabelledFeatures | Listing
)

# What is asked: one image, or many.
One: TypeAlias = str | os.PathLike[str] | EncodedImage | Image.Image
Many: TypeAlias = Sequence[ImageLike] | LabelledImages | LabelledFeatures


class Asked(TypedDict, total=False):
    """What `Index.search` takes by name."""

    k: int | None
    within: Within
    where: Where
    exact: bool
    point: str | None


def listing_of(source: Source, **columns: Any) -> Listing:
    """List what is to be put into an index; of a table, columns that are not called as usual."""
    if isinstance(source, Listing):
        return source
    if isinstance(source, LabelledImages | LabelledFeatures):
        return _of_labelled(source)
    if isinstance(source, Items):
        return _of_items(source)
    if isinstance(source, str | os.PathLike):
        return read_listing(source, labelled=False, **columns)
    paths = list(source)
    if not all(isinstance(path, str | os.PathLike) for path in paths):
        raise DataError(
            "Expected a folder, a table, paths of image files, LabelledImages, LabelledFeatures "
            f"or Items. Received a list with {next(type(p).__name__ for p in paths)} in it."
        )
    return list_files(paths)


def _of_labelled(data: LabelledImages | LabelledFeatures) -> Listing:
    names = [""] * len(data) if data.names is None else data.names.tolist()
    return Listing(
        [HeldSource(data.rows, row, name) for row, name in enumerate(names)],
        data.name,
        data.labels,
        data.class_names,
        columns={} if data.groups is None else {"group": data.groups.tolist()},
        place=data.name,
        rows=data.rows,
        skipped=data.skipped,
    )


def _of_items(items: Items) -> Listing:
    return _ItemsListing(
        [HeldSource(items.vectors, row, own) for row, own in enumerate(items.ids)],
        "items",
        columns={"metadata": items.metadata},
        rows=items.vectors,
    )


class _ItemsListing(Listing):
    """A listing of items, of which is known what was given, labels, paths and nulls included."""

    def metadata(self, position: int) -> dict[str, Any]:
        return dict(self.columns["metadata"][position])


def embed_queries(model: Embedder, given: Any) -> tuple[NDArray[np.float32], list[str], bool]:
    """Embed one query or many; return their embeddings, their names, and whether it was one."""
    if isinstance(given, Iterator) and not hasattr(given, "read"):
        given = list(given)  # gone through twice
    takes_vectors = isinstance(model.preprocessing, VectorInput)
    if hasattr(given, "__array__") and not isinstance(given, Image.Image | StoredPixels):
        given = as_array(given)
    # Floats of one axis or two are embeddings, but for one image of the model's own size.
    fractions = isinstance(given, np.ndarray) and given.dtype.kind == "f" and given.ndim < 3
    if fractions and given.ndim == 2 and given.shape[1] != model.dim:
        fractions = given.shape != model.preprocessing.shape[:2]
    if fractions and not takes_vectors:
        single = given.ndim == 1
        vectors = np.asarray(given[None] if single else given, np.float32)
    else:
        _, single = one_or_many(given, model.preprocessing)
        vectors = model.embed(given)
    if isinstance(given, Labelled):
        return vectors, [f"{given.name}/{row}" for row in range(len(vectors))], False
    kind = "vector" if fractions or takes_vectors else "image"
    each = [given] if single else given
    plain = each if isinstance(each, list | tuple) else [None] * len(vectors)
    return vectors, [_name(one, f"{kind} {row}") for row, one in enumerate(plain)], single


def _name(query: Any, other: str) -> str:
    if isinstance(query, str | os.PathLike):
        return shown(os.fspath(query))
    return getattr(query, "name", None) or other
