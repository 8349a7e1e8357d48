"""`SiameseModel`: encoder, preprocessing, distance and threshold, in memory and as one folder."""

from __future__ import annotations

import csv
import hashlib
import importlib.metadata
import io
import json
import os
import platform
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from twinset import distance as distances
from twinset.atomic import write_bytes
from twinset.data.decoding.decode import ImageLike, Preprocessing
from twinset.data.images import LabelledImages
from twinset.data.pairs import Pairs
from twinset.data.stored import StoredPixels
from twinset.decision import Calibrator, Threshold, Verdict
from twinset.embed.encode import encode
from twinset.embed.monitor import EpochRecord
from twinset.errors import DataError, ModelError
from twinset.recipe import Recipe

FORMAT = 1
CARD, ENCODER, RECIPE, HISTORY = "model.json", "encoder.keras", "recipe.toml", "history.csv"


@dataclass(frozen=True)
class TrainedOn:
    """Which data a model was trained on: name, digest, number of images."""

    name: str
    digest: str
    images: int


@dataclass(frozen=True, eq=False)
class SiameseModel:
    """A trained encoder with all that is needed to use it on other images.

    Args:
        encoder: a Keras model from floats in [0, 1], (n, *shape), to embeddings (n, d).
        preprocessing: turns any image into what the encoder takes.
        threshold: decides what counts as the same.
        recipe: that trained it.
        class_names: of the training data.
        trained_on: the training data.
        history: one record per epoch.
        interrupted: whether training ended early, by Ctrl-C.
        alternatives: further thresholds, by other rules, that the model was calibrated for.
        calibrator: distance → probability of "same"; None without a calibration.
    """

    encoder: keras.Model
    preprocessing: Preprocessing
    threshold: Threshold
    recipe: Recipe
    class_names: tuple[str, ...]
    trained_on: TrainedOn
    history: tuple[EpochRecord, ...] = ()
    interrupted: bool = False
    alternatives: tuple[Threshold, ...] = ()
    calibrator: Calibrator | None = None

    def embed(
        self, images: LabelledImages | NDArray[np.uint8] | Sequence[ImageLike]
    ) -> NDArray[np.float32]:
        """Embed images.

        Args:
            images: a `LabelledImages`, uint8 of shape (n, h, w) or (n, h, w, 3), or a sequence of
                paths, PIL images and arrays. Size and colour mode are adapted to the model's.

        Returns:
            Embeddings of shape (n, d), float32.

        Raises:
            ImageFileError: a file cannot be read.
            DataError: something is not an image.
        """
        shape = self.preprocessing.shape
        given: Any = images.images if isinstance(images, LabelledImages) else images
        whole = isinstance(given, np.ndarray | StoredPixels) and given.dtype == np.uint8
        if whole and given.shape[1:] == shape:
            return encode(self.encoder, given)
        if isinstance(given, str | os.PathLike):
            raise DataError(f"Expected a sequence of images. Received one path: [{given!r}]?")
        pixels = [self.preprocessing.pixels(image) for image in given]
        return encode(self.encoder, np.stack(pixels) if pixels else np.zeros((0, *shape), np.uint8))

    def distances(
        self, images: LabelledImages | NDArray[np.uint8] | Sequence[ImageLike], pairs: Pairs
    ) -> NDArray[np.float32]:
        """Measure the distance of each pair of images; each image is embedded once.

        Args:
            images: as for `embed`.
            pairs: positions in `images`.

        Returns:
            Distances of shape (p,), float32.
        """
        embeddings = self.embed(images)
        return distances.of_pairs(
            embeddings, pairs.left, pairs.right, distance=self.recipe.distance
        )

    def compare(self, left: ImageLike, right: ImageLike, *, prior: float = 0.5) -> Verdict:
        """Say whether two images show the same, by this model's distance and threshold.

        Args:
            left: the path of a file, a PIL image, or a uint8 array.
            right: likewise.
            prior: share of same pairs where the verdict will be used, in (0, 1). Defaults to 0.5.

        Raises:
            ImageFileError: a file cannot be read.
            DataError: something is not an image, or the prior is out of range.
        """
        embeddings = self.embed([left, right])
        measure = distances.by_name(self.recipe.distance)
        distance = float(measure(embeddings[0], embeddings[1]))
        probability = None
        if self.calibrator is not None:
            probability = float(self.calibrator.probability(distance, prior))
        same = bool(distance <= self.threshold.value)
        return Verdict(same, distance, self.threshold, probability, prior)

    def save(self, folder: str | Path) -> None:
        """Write the model to a folder: model.json, encoder.keras, recipe.toml, history.csv.

        Each file is written whole or not at all, and the card last: it holds the encoder's
        digest, so that a save cut short is recognised and never loaded as a model.
        """
        target = Path(folder)
        encoder = _encoder_bytes(self.encoder)
        card = _Card(
            format=FORMAT,
            encoder_sha256=hashlib.sha256(encoder).hexdigest(),
            preprocessing=self.preprocessing,
            threshold=self.threshold,
            alternatives=self.alternatives,
            calibrator=self.calibrator,
            trained_on=self.trained_on,
            class_names=self.class_names,
            interrupted=self.interrupted,
            backend=keras.backend.backend(),
            versions=versions(),
        )
        write_bytes(target / ENCODER, encoder)
        write_bytes(target / RECIPE, self.recipe.to_toml().encode())
        write_bytes(target / HISTORY, _history_csv(self.history).encode())
        write_bytes(target / CARD, card.model_dump_json(indent=2).encode() + b"\n")

    @classmethod
    def load(cls, folder: str | Path) -> SiameseModel:
        """Read a model that `save` wrote, by any back end.

        Raises:
            ModelError: the folder holds no model, a damaged one, or one of another format.
        """
        source = Path(folder)
        card = _read_card(source)
        try:
            encoder = (source / ENCODER).read_bytes()
            recipe = Recipe.load(source / RECIPE)
            history = _parse_history((source / HISTORY).read_text("utf-8"))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ModelError(f"{source}: expected a whole model. {error}") from None
        if hashlib.sha256(encoder).hexdigest() != card.encoder_sha256:
            raise ModelError(
                f"{source}: {ENCODER} is not the one that {CARD} describes: a save was cut short "
                "or a file was replaced. Train again, or restore the folder."
            )
        return cls(
            encoder=_load_encoder(source / ENCODER),
            preprocessing=card.preprocessing,
            threshold=card.threshold,
            alternatives=card.alternatives,
            calibrator=card.calibrator,
            recipe=recipe,
            class_names=card.class_names,
            trained_on=card.trained_on,
            history=history,
            interrupted=card.interrupted,
        )


def versions() -> dict[str, str]:
    """List the versions that a run depends on: Python, twinset, Keras, the back end, numpy.

    Example:
        >>> {"keras", "numpy", "python", "twinset"} <= set(versions())
        True
    """
    backend = keras.backend.backend()
    found = {"python": platform.python_version()}
    for package in ("twinset", "keras", backend, "numpy"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # tensorflow has several packages
            found[package] = str(getattr(__import__(package), "__version__", "unknown"))
    return found


class _Card(BaseModel):
    model_config = ConfigDict(extra="forbid")

    format: Literal[1]
    encoder_sha256: str
    preprocessing: Preprocessing
    threshold: Threshold
    alternatives: tuple[Threshold, ...] = ()
    calibrator: Calibrator | None = None
    trained_on: TrainedOn
    class_names: tuple[str, ...]
    interrupted: bool
    backend: str
    versions: dict[str, str]


def _read_card(folder: Path) -> _Card:
    if not (folder / CARD).is_file():
        raise ModelError(
            f"{folder}: expected a model folder, with {CARD} in it. "
            f"{'There is no such file' if folder.is_dir() else 'There is no such folder'}: "
            "make one with `twinset train`."
        )
    try:
        values = json.loads((folder / CARD).read_text("utf-8"))
        version = values["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder / CARD}: expected the card of a model. {error!r}") from None
    if version != FORMAT:
        raise ModelError(
            f"{folder}: expected a model of format {FORMAT}. Received format {version!r}, "
            "written by another version of twinset: load it with that version, or train again."
        )
    try:
        return _Card.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ModelError(f"{folder / CARD}: {where}: {first['msg']}.") from None


def _encoder_bytes(encoder: keras.Model) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ENCODER
        encoder.save(path)
        return path.read_bytes()


def _load_encoder(path: Path) -> keras.Model:
    # Keras looks custom layers up by name: they must have been imported.
    from twinset.embed import dropout, networks, siamese  # noqa: F401

    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # noqa: BLE001 - zip, HDF5, JSON and Keras each raise their own
        raise ModelError(
            f"{path}: expected a Keras model. {type(error).__name__}: {error}"
        ) from None


def _history_csv(history: Sequence[EpochRecord]) -> str:
    text = io.StringIO()
    rows = [record.flat() for record in history]
    names = list(rows[0]) if rows else ["epoch", "steps"]
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _parse_history(text: str) -> tuple[EpochRecord, ...]:
    return tuple(EpochRecord.from_flat(row) for row in csv.DictReader(io.StringIO(text)))
