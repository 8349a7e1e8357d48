"""`Embedder`: a trained model in use, whichever engine computes it: images in, distances out."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twinset import distance as distances
from twinset.backbones.session import Provenance
from twinset.data.decoding.decode import ImageLike, Preprocessing
from twinset.data.image_sources import StoredPixels
from twinset.data.labelled import Labelled, VectorInput
from twinset.data.pair_parts import listed
from twinset.data.pairs import Pairs
from twinset.decision import Calibrator, ErrorCurve, Threshold, Verdict, judge
from twinset.errors import DataError
from twinset.models.card import TrainedOn
from twinset.models.given import one_or_many, pixels_of, the_one
from twinset.models.hub import push
from twinset.progress import Progress, Wanted, reporting

if TYPE_CHECKING:
    from twinset.metrics.measure import Calibration
    from twinset.models.explanation import Explanation
    from twinset.models.history import EpochRecord
    from twinset.recipe import Recipe

# Numbers of pixels that go through an encoder at once: beyond 1,024 small images nothing is won,
# and large ones leave behind tens of megabytes each on their way through a deep network.
PIXELS, LARGEST = 2**22, 1024

Images: TypeAlias = "Labelled | NDArray[Any] | StoredPixels | Iterable[ImageLike] | ImageLike"


class Embedder(ABC):
    """A trained model in use: turns images into embeddings, and two images into a verdict.

    Attributes:
        preprocessing: turns any image into what the encoder takes, of its `shape`; or says that
            the encoder takes vectors, which another model made.
        threshold: decides what counts as the same.
        alternatives: further thresholds, by other rules, that the model was calibrated for.
        calibrator: distance → probability of "same"; None without a calibration.
        error_curve: both error rates to expect at each threshold; None without a calibration.
        class_names: of the training data.
        trained_on: the training data.
        recipe: that trained it; None where that is not known, as of a graph alone.
        history: one record per epoch; empty where that is not known.
        provenance: whose weights the encoder began with, and under which licence; empty where it
            learned from nothing.
        home: the folder that it was read from; None where there is none.

    Example:
        >>> import numpy as np, twinset
        >>> rows = np.array([[1, 0.1], [1, 0.2], [0.1, 1], [0.2, 1]])
        >>> model = twinset.fit(rows, list("aabb"), "head", head={"kind": "plain"})
        >>> model.compare(rows[0], rows[1]).same, model.compare(rows[0], rows[2]).same
        (True, False)
        >>> apart = model.distances(rows, twinset.Pairs([0, 0], [1, 2], [1, 0]))
        >>> apart.round(2).tolist(), model.judge(0.7).same
        ([0.10000000149011612, 1.2699999809265137], True)
        >>> model.encode(np.float32(rows)).shape, model.rules("EER")
        ((4, 2), ['EER', 'balanced accuracy', 'FPR <= 0.01'])
        >>> from twinset.metrics import measure, measured
        >>> part = measured.Part(model.embed(rows), np.array([0, 0, 1, 1]))
        >>> found = measure.calibrate(part, rules=["EER"])
        >>> model.decided(found, data="of others", images=4).threshold.rule
        'EER'
    """

    preprocessing: Preprocessing | VectorInput
    threshold: Threshold
    alternatives: tuple[Threshold, ...]
    calibrator: Calibrator | None
    class_names: tuple[str, ...]
    trained_on: TrainedOn
    # a model of the user's own class need not have them
    error_curve: ErrorCurve | None = None
    recipe: Recipe | None = None
    history: tuple[EpochRecord, ...] = ()
    provenance: tuple[Provenance, ...] = ()
    home: Path | None = None

    @property
    @abstractmethod
    def digest(self) -> str:
        """Identity of the embeddings: those of models with different digests cannot be compared.

        The same whichever engine computes them, and whatever the threshold.
        """

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
        self, images: Images, *, batch_size: int | None = None, progress: Wanted = False
    ) -> NDArray[np.float32]:
        """Embed images, or vectors where the model takes such.

        Args:
            images: one image: a path, an address (https://…), a file opened to read or its bytes,
                a PIL image, or an array of shape (h, w) or (h, w, 3); a list or other iterable of
                such images; an array of shape (n, h, w) or (n, h, w, 3); or a `LabelledImages`.
                Arrays are of any library, of pixels as `LabelledImages` takes them. Size and
                colour mode are adapted to the model's. An array of shape (a, b, 3) is one colour
                image, unless the model's own images have the shape (b, 3). A model that was
                trained on vectors takes one of shape (d,), numbers of shape (n, d), or
                `LabelledFeatures`.
            batch_size: images that go through the encoder at once, 1 or more; it changes memory
                and time, not the embeddings but for their last digits. Defaults to what suits the
                images' size, up to 1,024, which is also the most.
            progress: True for a bar on stderr, or a function that is told. Defaults to False.

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
        if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
            raise DataError(f"Expected a batch_size of 1 or more. Received {batch_size!r}.")
        shape, how = self.preprocessing.shape, self.preprocessing
        parts: Iterator[Any]
        rows: Any = how.rows(given) if isinstance(how, VectorInput) else given
        ready = isinstance(rows, np.ndarray | StoredPixels) and rows.shape[1:] == shape
        if ready and batch_size is None and not progress:
            return self.encode(rows)  # which goes through them in batches itself
        # so many pixels at a time, or the images of a large folder would be in memory at once
        size = batch_size or batch_size_for(shape)
        if ready or isinstance(how, VectorInput):
            parts = (rows[start : start + size] for start in range(0, len(rows), size))
        else:
            single = pixels_of(rows, how)
            parts = iter(lambda: list(itertools.islice(single, size)), [])
        found, done = list[NDArray[np.float32]](), 0
        with reporting(progress) as tell:
            for part in parts:
                found.append(self.encode(np.asarray(part)))
                done += len(part)
                tell(Progress("embed", done, len(rows) if ready else None, "images"))
        return np.concatenate(found or [self.encode(np.zeros((0, *shape), np.uint8))])

    def distances(self, images: Images, pairs: Pairs) -> NDArray[np.float32]:
        """Measure the distance of each pair of images; each image is embedded once.

        Args:
            images: as for `embed`.
            pairs: positions in `images`.

        Returns:
            Distances of shape (p,), float32.
        """
        embeddings = self.embed(images)
        return distances.of_pairs(embeddings, pairs.left, pairs.right)

    def compare(self, left: ImageLike, right: ImageLike, *, prior: float = 0.5) -> Verdict:
        """Say whether two images show the same, by this model's distance and threshold.

        Args:
            left: one image, as `embed` takes it; of an array, channels may come first.
            right: likewise.
            prior: share of same pairs where the verdict will be used, in (0, 1). Defaults to 0.5.

        Raises:
            ImageFileError: a file cannot be read.
            DataError: something is not an image, or the prior is out of range.
        """
        embeddings = self.embed(self._two(left, right))
        return self.judge(float(distances.euclidean(*embeddings)), prior=prior)

    def _two(self, left: ImageLike, right: ImageLike) -> list[ImageLike]:
        # said here, as the error of `embed` would list what else it takes
        both = [the_one(image, self.preprocessing) for image in (left, right)]
        if any(each is None for each in both):
            raise DataError(
                "Expected one image on each side. Received many: use `distances` or "
                "`compare_pairs`."
            )
        return both

    def explain(
        self, left: ImageLike, right: ImageLike, *, patch: int | None = None
    ) -> Explanation:
        """Find where two images agree and differ: cover a patch at a time, and measure again.

        Args:
            left: as for `compare`.
            right: likewise.
            patch: its side in pixels of the model's own size. Defaults to a sixth of the image.

        Raises:
            DataError: as for `compare`, or no such patch, or the model takes vectors.

        Example:
            >>> import numpy as np, twinset
            >>> images = np.random.default_rng(0).integers(0, 256, (4, 6, 6), np.uint8)
            >>> model = twinset.fit(images, [0, 0, 1, 1], epochs=1, encoder={"units": [8]})
            >>> model.explain(images[0], images[0], patch=2).distance
            0.0
        """
        from twinset.models.explanation import explain_pixels  # as a verdict needs none of it

        if isinstance(self.preprocessing, VectorInput):
            raise DataError(
                "Expected a model of images. Received one that takes vectors, which have no "
                "patches to cover: explain with a model that was trained on the images."
            )
        a, b = (
            np.ascontiguousarray(p) for p in pixels_of(self._two(left, right), self.preprocessing)
        )
        size = batch_size_for(self.preprocessing.shape)
        return explain_pixels((a, b), self.encode, self.judge, batch=size, patch=patch)

    def push_to_hub(
        self,
        name: str,
        *,
        private: bool = True,
        token: str | None = None,
        revision: str | None = None,
    ) -> str:
        """Upload the model to the Hugging Face Hub, from where `load_model` takes it.

        The repository gets what `save` writes, and a page (README.md) that says what the model is,
        with its scores where the folder that it was read from was evaluated. Of that folder go
        along, too, fingerprints of the images that were used, by which `twinset evaluate` leaves
        them out elsewhere. No image and no path goes along; the names of the classes do. A model
        fresh from `fit` has no graph: save it, call `export` on the folder, load it and push that,
        and a server or a phone can use it without Keras.

        Args:
            name: "user/name", or "organisation/name". The repository is made if there is none.
            private: whether a new repository is seen by its owner alone. Defaults to True.
            token: one that may write. Defaults to $HF_TOKEN, or that of `hf auth login`.
            revision: the branch, made if there is none. Defaults to "main".

        Returns:
            Its address with the commit, "hf://user/name@0123…", which always means this model.

        Raises:
            ModelError: the name is none, the package huggingface_hub is missing, the hub cannot be
                reached, or says no.

        Example:
            >>> import numpy as np, twinset
            >>> pixels = np.stack([np.full((4, 4), 85 * i, np.uint8) for i in range(4)])
            >>> data = twinset.LabelledImages(pixels, [0, 0, 1, 1], ("dark", "bright"))
            >>> model = twinset.fit(data, epochs=1, encoder={"units": [8]}, progress=False)
            >>> model.push_to_hub("name")
            Traceback (most recent call last):
            twinset.errors.ModelError: Expected a name such as 'user/name' to push to. Received ...
        """
        return push(self, name, private=private, token=token, revision=revision)

    def calibrate(
        self,
        images: Labelled | ArrayLike | Sequence[ImageLike],
        labels: ArrayLike | None = None,
        *,
        rule: str | None = None,
    ) -> Self:
        """Choose the threshold, and fit the probability, on images that were not fitted on.

        All n (n − 1) / 2 pairs of the images are measured; the rule reads the threshold off the
        two error rates, which it promises from then on, with intervals: for new images, or, where
        the model knows none of these classes by name, for new classes. The probability is a
        logistic regression on the same pairs, both kinds weighing one half.

        Args:
            images: as the data of `fit`, of what the model will be used on: two or more of some
                class, of two classes or more, seen or not. Where pairs were judged, these count.
            labels: of these, where they have none themselves.
            rule: "balanced accuracy", "EER", "FPR <= 0.01" or "cost 10:1". Defaults to the
                recipe's, or the one by which the threshold was chosen before.

        Returns:
            A new model; this one stays as it is. `alternatives` has the thresholds by "balanced
            accuracy", "EER" and "FPR <= 0.01".

        Raises:
            DataError: no labelled images, those that the model was fitted on, no pairs of both
                kinds, or no such rule.

        Reference:
            Brümmer, du Preez (2006), Application-Independent Evaluation of Speaker Detection.

        Example:
            >>> import numpy as np, twinset
            >>> pixels = np.stack([np.full((4, 4), 8 * i, np.uint8) for i in range(32)])
            >>> labels = np.arange(32) // 16
            >>> train, others = (
            ...     twinset.LabelledImages(pixels[i::2], labels[i::2], ("dark", "bright"))
            ...     for i in range(2)
            ... )
            >>> model = twinset.fit(train, epochs=1, encoder={"units": [8]}, progress=False)
            >>> print(model.calibrate(others, rule="EER").threshold.origin)
            EER on 16 images kept out
        """
        # here, as most uses of a model need none of the metrics, and read no data set
        from twinset.data.data_set import labelled
        from twinset.metrics.measure import calibrate
        from twinset.metrics.measured import Part
        from twinset.metrics.promised import Over

        images = labelled(images, labels, use="calibrate on", class_names=self.class_names)
        if images.digest == self.trained_on.digest:
            raise DataError(
                f"Expected images that the model has not seen. Received {images.name!r}, on which "
                "it was fitted, where distances are too small: take other images."
            )
        names = enumerate(images.class_names)
        known = {name for label, name in names if (images.labels == label).any()}
        part = Part(self.embed(images), images.labels, judged=listed(images))
        over: Over = "class" if known.isdisjoint(self.class_names) else "image"
        found = calibrate(part, rules=self.rules(rule), over=over)
        return self.decided(found, data=images.digest, images=len(images))

    def rules(self, rule: str | None = None) -> list[str]:
        """List the rules that thresholds are chosen by, the model's own first."""
        from twinset.metrics.measure import RULES
        from twinset.metrics.pairs import parse_rule

        if rule is None and self.recipe is not None:
            rule = self.recipe.rule
        elif rule is None:
            rule = self.threshold.rule if self.threshold.calibrated else RULES[0]
        return list(dict.fromkeys([parse_rule(rule).name, *RULES]))

    def decided(self, found: Calibration, *, data: str, images: int, across: str = "") -> Self:
        """Take thresholds, the first as the model's own, and a probability, and say whence."""
        first, *others = (
            replace(each, data=data, images=images, across=across) for each in found.thresholds
        )
        this: Any = self  # a dataclass, as models are
        model: Self = replace(
            this, threshold=first, alternatives=tuple(others), calibrator=found.calibrator
        )
        # a model of the user's own class need not have a field for it
        model.__dict__["error_curve"] = found.error_curve
        for known in {"digest", "home"} & self.__dict__.keys():  # the embeddings are the same
            model.__dict__[known] = self.__dict__[known]
        return model

    def judge(self, distance: float, *, prior: float = 0.5) -> Verdict:
        """Turn the distance of two embeddings into a verdict.

        Args:
            distance: in [0, ∞).
            prior: as for `compare`. Defaults to 0.5.

        Raises:
            DataError: the prior is out of range.
        """
        return judge(distance, self.threshold, self.calibrator, prior)


def batch_size_for(shape: Sequence[int]) -> int:
    """Choose how many images of a shape go through an encoder at once, a power of two."""
    most = max(1, min(LARGEST, PIXELS // math.prod(shape)))
    return 1 << (most.bit_length() - 1)
