"""`Embedder`: a trained model in use, whichever engine computes it: images in, distances out."""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset import distance as distances
from twinset.data.decoding.decode import ImageLike, Preprocessing
from twinset.data.features import VectorInput
from twinset.data.labelled import Labelled
from twinset.data.pairs import Pairs
from twinset.data.stored import StoredPixels
from twinset.decision import Calibrator, Threshold, Verdict
from twinset.errors import DataError
from twinset.models.card import TrainedOn

# Numbers of pixels that go through an encoder at once: beyond 1,024 small images nothing is won,
# and large ones leave behind tens of megabytes each on their way through a deep network.
PIXELS, LARGEST = 2**22, 1024


class Embedder(ABC):
    """Turns images into embeddings, and two images into a verdict.

    Attributes:
        preprocessing: turns any image into what the encoder takes; or says that it takes vectors,
            which another model made.
        threshold: decides what counts as the same.
        alternatives: further thresholds, by other rules, that the model was calibrated for.
        calibrator: distance → probability of "same"; None without a calibration.
        class_names: of the training data.
        trained_on: the training data.
    """

    preprocessing: Preprocessing | VectorInput
    threshold: Threshold
    alternatives: tuple[Threshold, ...]
    calibrator: Calibrator | None
    class_names: tuple[str, ...]
    trained_on: TrainedOn

    @property
    @abstractmethod
    def digest(self) -> str:
        """Identity of the embeddings: those of models with different digests cannot be compared.

        The same whichever engine computes them, and whatever the threshold.
        """

    @property
    @abstractmethod
    def distance(self) -> str:
        """Name of the distance, from `twinset.distance`."""

    @property
    @abstractmethod
    def dim(self) -> int:
        """Size d of an embedding."""

    @abstractmethod
    def encode(self, pixels: NDArray[np.uint8] | StoredPixels) -> NDArray[np.float32]:
        """Embed pixels of the model's own size, a batch at a time.

        Args:
            pixels: uint8 of shape (n, *preprocessing.shape).

        Returns:
            Embeddings of shape (n, d), float32.
        """

    def embed(
        self,
        images: Labelled | NDArray[Any] | StoredPixels | Iterable[ImageLike],
    ) -> NDArray[np.float32]:
        """Embed images, or vectors where the model takes such.

        Args:
            images: a `LabelledImages`, uint8 of shape (n, h, w) or (n, h, w, 3), or any number of
                paths, PIL images and arrays. Size and colour mode are adapted to the model's. A
                model that was trained on vectors takes `LabelledFeatures` or numbers of shape
                (n, d).

        Returns:
            Embeddings of shape (n, d), float32.

        Raises:
            ImageFileError: a file cannot be read.
            DataError: something is not an image, or not a vector of the model's size.
        """
        if isinstance(self.preprocessing, VectorInput):
            vectors: Any = self.preprocessing.rows(images)
            return self.encode(vectors)
        shape = self.preprocessing.shape
        given: Any = images.rows if isinstance(images, Labelled) else images
        whole = isinstance(given, np.ndarray | StoredPixels) and given.dtype == np.uint8
        if whole and given.shape[1:] == shape:
            return self.encode(given)
        if isinstance(given, str | os.PathLike):
            raise DataError(f"Expected a sequence of images. Received one path: [{given!r}]?")
        # so many pixels at a time, or the images of a large folder would be in memory at once
        found: list[NDArray[np.float32]] = []
        waiting: list[NDArray[np.uint8]] = []
        for image in given:
            waiting.append(self.preprocessing.pixels(image))
            if len(waiting) == batch_size(shape):
                found.append(self.encode(np.stack(waiting)))
                waiting.clear()
        if waiting or not found:
            last = np.stack(waiting) if waiting else np.zeros((0, *shape), np.uint8)
            found.append(self.encode(last))
        return np.concatenate(found)

    def distances(
        self,
        images: Labelled | NDArray[Any] | Sequence[ImageLike],
        pairs: Pairs,
    ) -> NDArray[np.float32]:
        """Measure the distance of each pair of images; each image is embedded once.

        Args:
            images: as for `embed`.
            pairs: positions in `images`.

        Returns:
            Distances of shape (p,), float32.
        """
        embeddings = self.embed(images)
        return distances.of_pairs(embeddings, pairs.left, pairs.right, distance=self.distance)

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
        measure = distances.by_name(self.distance)
        return self.judge(float(measure(embeddings[0], embeddings[1])), prior=prior)

    def judge(self, distance: float, *, prior: float = 0.5) -> Verdict:
        """Turn the distance of two embeddings into a verdict.

        Args:
            distance: in [0, ∞).
            prior: as for `compare`. Defaults to 0.5.

        Raises:
            DataError: the prior is out of range.
        """
        if not 0 < prior < 1:
            raise DataError(f"Expected a prior between 0 and 1. Received {prior}.")
        probability = None
        if self.calibrator is not None:
            probability = float(self.calibrator.probability(distance, prior))
        same = bool(distance <= self.threshold.value)
        return Verdict(same, distance, self.threshold, probability, prior)


def batch_size(shape: Sequence[int]) -> int:
    """Choose how many images go through an encoder at once, a power of two.

    Args:
        shape: of one image.

    Example:
        >>> batch_size((28, 28)), batch_size((224, 224, 3)), batch_size((4000, 4000, 3))
        (1024, 16, 1)
    """
    most = max(1, min(LARGEST, PIXELS // math.prod(shape)))
    return 1 << (most.bit_length() - 1)
