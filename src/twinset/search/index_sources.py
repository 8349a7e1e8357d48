"""What can be put into an index: files of images, images in memory, embeddings made before."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from twinset.data.features import LabelledFeatures, VectorInput
from twinset.data.fingerprint import fingerprint
from twinset.data.labelled import LabelledImages
from twinset.data.skipped import Skipped
from twinset.data.sources.catalogue import Catalogue, catalogue_of, read_catalogue
from twinset.data.sources.tables import open_table, scalars
from twinset.data.sources.vectors import IDS, is_features, load_features
from twinset.data.stream import decode_batches
from twinset.errors import DataError, StoreError
from twinset.search.store import Items

if TYPE_CHECKING:
    from twinset.models.embedder import Embedder

BATCH = 1024

PathLike: TypeAlias = str | os.PathLike[str]
Source: TypeAlias = (
    PathLike | Sequence[PathLike] | Items | LabelledImages | LabelledFeatures | Catalogue
)


@dataclass(frozen=True, eq=False)
class Embedded:
    """Holds embeddings of some entries, and what could not be embedded.

    Args:
        positions: of the entries, (m,).
        vectors: their embeddings, float32 of shape (m, d).
        skipped: what failed, with the reasons.
    """

    positions: NDArray[np.int64]
    vectors: NDArray[np.float32]
    skipped: tuple[Skipped, ...] = ()


class Entries(Protocol):
    """Promises n things to put into an index, none of which is read before it is asked for."""

    @property
    def ids(self) -> Sequence[str]:
        """One text per entry."""

    @property
    def source(self) -> str:
        """Where they come from: later, what is missing there can be removed; "" for nowhere."""

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """What was refused already, with the reasons."""

    def metadata(self, position: int) -> dict[str, Any]:
        """Tell what is known of an entry."""

    def stamp(self, position: int) -> str:
        """Tell cheaply whether an entry has changed: if so, the stamp is another.

        Raises:
            DataError: it is gone.
        """

    def embed(self, positions: NDArray[np.int64], model: Embedder) -> Iterator[Embedded]:
        """Embed entries, a batch at a time."""


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """Promises the images of a catalogue.

    Args:
        catalogue: names them.
    """

    catalogue: Catalogue

    @property
    def ids(self) -> Sequence[str]:
        """One per image."""
        return self.catalogue.ids

    @property
    def source(self) -> str:
        """The folder or table; "" for a list of paths."""
        return self.catalogue.name

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """What the listing refused."""
        return self.catalogue.skipped

    def metadata(self, position: int) -> dict[str, Any]:
        """Tell label, path and what else the catalogue knows.

        Args:
            position: from 0.
        """
        return self.catalogue.metadata(position)

    def stamp(self, position: int) -> str:
        """Return size, time of change and inode of the file.

        Args:
            position: from 0.
        """
        return self.catalogue.sources[position].stamp()

    def embed(self, positions: NDArray[np.int64], model: Embedder) -> Iterator[Embedded]:
        """Decode and embed images; the next batch is decoded meanwhile.

        Args:
            positions: of those that are wanted.
            model: embeds.
        """
        chosen = [self.catalogue.sources[position] for position in positions.tolist()]
        for batch in decode_batches(chosen, model.preprocessing):
            vectors = model.embed(batch.pixels)
            yield Embedded(positions[batch.positions], vectors, tuple(batch.skipped.values()))


@dataclass(frozen=True, eq=False)
class Held:
    """Promises images or features that are in memory; ids are their names, or "NAME/7".

    Args:
        data: with labels.
    """

    data: LabelledImages | LabelledFeatures
    ids: Sequence[str] = field(init=False)

    def __post_init__(self) -> None:
        names = self.data.names
        own = (
            [f"{self.data.name}/{i}" for i in range(len(self.data))]
            if names is None
            else names.tolist()
        )
        object.__setattr__(self, "ids", own)

    @property
    def source(self) -> str:
        """The name of the set."""
        return self.data.name

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """What could not be read when the set was."""
        return self.data.skipped

    def metadata(self, position: int) -> dict[str, Any]:
        """Tell the label, and the group if there is one.

        Args:
            position: from 0.
        """
        told = {"label": self.data.class_names[self.data.labels[position]]}
        if self.data.groups is not None:
            told["group"] = str(self.data.groups[position])
        return told | {"_source": self.source}

    def stamp(self, position: int) -> str:
        """Return the fingerprint of the pixels or numbers.

        Args:
            position: from 0.
        """
        return bytes(self.data.fingerprints[position]).hex()

    def embed(self, positions: NDArray[np.int64], model: Embedder) -> Iterator[Embedded]:
        """Embed images or features.

        Args:
            positions: of those that are wanted.
            model: embeds.
        """
        for start in range(0, len(positions), BATCH):
            part = positions[start : start + BATCH]
            yield Embedded(part, model.embed(self.data.rows[part]))


@dataclass(frozen=True, eq=False)
class Vectors:
    """Promises embeddings that were made before, by the same model; or what it takes.

    A model that was trained on vectors takes those of a file as it did then.

    Args:
        items: ids, vectors, metadata.
        source: the absolute path of their file. Defaults to "", for none.
        skipped: nothing, as a rule.
    """

    items: Items
    source: str = ""
    skipped: tuple[Skipped, ...] = ()

    @property
    def ids(self) -> Sequence[str]:
        """One per embedding."""
        return self.items.ids

    def metadata(self, position: int) -> dict[str, Any]:
        """Tell what was given with the embedding.

        Args:
            position: from 0.
        """
        told = dict(self.items.metadata[position])
        return told | {"_source": self.source} if self.source else told

    def stamp(self, position: int) -> str:
        """Return a fingerprint of the embedding.

        Args:
            position: from 0.
        """
        return fingerprint(self.items.vectors[position].view(np.uint8)).hex()

    def embed(self, positions: NDArray[np.int64], model: Embedder) -> Iterator[Embedded]:
        """Pass embeddings on, or make them.

        Args:
            positions: of those that are wanted.
            model: which must have made them: their size is all that can be checked.

        Raises:
            StoreError: they are of another size.
        """
        if self.source and isinstance(model.preprocessing, VectorInput):
            for start in range(0, len(positions), BATCH):
                part = positions[start : start + BATCH]
                yield Embedded(part, model.embed(self.items.vectors[part]))
            return
        if self.items.vectors.shape[1] != model.dim:
            raise StoreError(
                f"Expected embeddings of size {model.dim}, as the index's model makes them. "
                f"Received {self.items.vectors.shape[1]}: they come from another model."
            )
        for start in range(0, len(positions), BATCH):
            part = positions[start : start + BATCH]
            yield Embedded(part, self.items.vectors[part])


def entries(source: Source) -> Entries:
    """Find out what is to be put into an index.

    Args:
        source: the path of a folder of images, of a table (.csv, .tsv, .parquet) that names some,
            or of a file of embeddings (.npy, .npz, a .parquet with lists); paths of image files;
            or what is in memory: `LabelledImages`, `LabelledFeatures`, `Items`, a `Catalogue`.

    Raises:
        DataError: nothing there, or nothing that can be used.
    """
    if isinstance(source, LabelledImages | LabelledFeatures):
        return Held(source)
    if isinstance(source, Items):
        return Vectors(source)
    if isinstance(source, Catalogue):
        return ImageFiles(source)
    if not isinstance(source, str | os.PathLike):
        paths = list(source)
        if not all(isinstance(path, str | os.PathLike) for path in paths):
            raise DataError(
                "Expected a folder, a table, paths of image files, LabelledImages, "
                "LabelledFeatures or Items. "
                f"Received a list with {next(type(p).__name__ for p in paths)} in it."
            )
        return ImageFiles(catalogue_of(paths))
    path = Path(source)
    return _of_features(path) if is_features(path) else ImageFiles(read_catalogue(path))


def _of_features(path: Path) -> Vectors:
    found = load_features(path)
    ids = [f"{path.name}[{row}]" for row in range(len(found))]
    if found.ids is not None:
        ids = found.ids.tolist()
    columns: Mapping[str, Sequence[Any]] = {}
    if path.suffix.lower() in (".parquet", ".arrow"):
        columns = scalars(open_table(path), leave_out="")
    known = [
        {
            name: values[row]
            for name, values in columns.items()
            if name not in IDS and values[row] is not None
        }
        for row in range(len(found))
    ]
    return Vectors(Items(tuple(ids), found.vectors, known), str(path.absolute()))
