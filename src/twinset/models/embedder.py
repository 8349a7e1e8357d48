"""`Embedder`: a trained model in use, whichever engine computes it: images in, distances out."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from twinset import distance as distances
from twinset.data.decoding.decode import ImageLike, Preprocessing
from twinset.data.features import VectorInput
from twinset.data.pairs import Pairs
from twinset.data.stored import StoredPixels
from twinset.decision import Calibrator, Threshold, Verdict
from twinset.errors import DataError
from twinset.models.card import TrainedOn
from twinset.models.images import Images, one_or_many, pixels_of

if TYPE_CHECKING:
    from twinset.models.history import EpochRecord
    from twinset.recipe import Recipe

# Numbers of pixels that go through an encoder at once: beyond 1,024 small images nothing is won,
# and large ones leave behind tens of megabytes each on their way through a deep network.
PIXELS, LARGEST = 2**22, 1024


class Embedder(ABC):
    """A trained model in use: turns images into embeddings, and two images into a verdict.

    Attributes:
        preprocessing: turns any image into what the encoder takes, of its `shape`; or says that
            the encoder takes vectors, which another model made.
        threshold: decides what counts as the same.
        alternatives: further thresholds, by other rules, that the model was calibrated for.
        calibrator: distance → probability of "same"; None without a calibration.
        class_names: of the training data.
        trained_on: the training data.
        recipe: that trained it; None where that is not known, as of a graph alone.
        history: one record per epoch; empty where that is not known.
    """

    preprocessing: Preprocessing | VectorInput
    threshold: Threshold
    alternatives: tuple[Threshold, ...]
    calibrator: Calibrator | None
    class_names: tuple[str, ...]
    trained_on: TrainedOn
    # a model of the user's own class need not have them
    recipe: Recipe | None = None
    history: tuple[EpochRecord, ...] = ()

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

    def embed(self, images: Images) -> NDArray[np.float32]:
        """Embed images, or vectors where the model takes such.

        Args:
            images: one image: a path, a PIL image, or a uint8 array of shape (h, w) or (h, w, 3);
                a list or other iterable of such images; a uint8 array of shape (n, h, w) or
                (n, h, w, 3); or a `LabelledImages`. Size and colour mode are adapted to the
                model's. An array of shape (a, b, 3) is one colour image, unless the model's own
                images have the shape (b, 3). A model that was trained on vectors takes one of
                shape (d,), numbers of shape (n, d), or `LabelledFeatures`.

        Returns:
            Embeddings of shape (n, d), float32; (1, d) for one image.

        Raises:
            ImageFileError: a file cannot be read.
            DataError: something is not an image, or not a vector of the model's size.

        Example:
            >>> import numpy as np, twinset
            >>> pixels = np.stack([np.full((4, 4), 85 * i, np.uint8) for i in range(4)])
            >>> data = twinset.LabelledImages(pixels, [0, 0, 1, 1], ("dark", "bright"))
            >>> model = twinset.fit(data, epochs=1, encoder={"units": [8]}, progress=False)
            >>> model.embed(pixels).shape, model.embed(pixels[0]).shape
            ((4, 8), (1, 8))
        """
        given, _ = one_or_many(images, self.preprocessing)
        if isinstance(self.preprocessing, VectorInput):
            vectors: Any = self.preprocessing.rows(given)
            return self.encode(vectors)
        shape = self.preprocessing.shape
        if isinstance(given, np.ndarray | StoredPixels) and given.shape[1:] == shape:
            return self.encode(given)
        # so many pixels at a time, or the images of a large folder would be in memory at once
        found: list[NDArray[np.float32]] = []
        pixels = pixels_of(given, self.preprocessing)
        while batch := list(itertools.islice(pixels, batch_size(shape))):
            found.append(self.encode(np.stack(batch)))
        return np.concatenate(found) if found else self.encode(np.zeros((0, *shape), np.uint8))

    def distances(self, images: Images, pairs: Pairs) -> NDArray[np.float32]:
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
        # said here, as the error of `embed` would list what else it takes
        for image in (left, right):
            if not one_or_many(image, self.preprocessing)[1]:
                raise DataError(
                    "Expected one image on each side. Received many: use `distances` or "
                    "`compare_pairs`."
                )
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
