"""Validation: images kept out, judged after each epoch, and the weights of the best epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import keras
import numpy as np
from numpy.typing import NDArray

from twinset.data.labelled import Labelled
from twinset.data.split import comparable
from twinset.errors import DataError, RecipeError
from twinset.metrics.all_pairs import AllPairs
from twinset.metrics.pairs import auc
from twinset.models.history import NAN, EpochRecord, ValidationScores, best_epoch
from twinset.models.keras_model import encode
from twinset.nearest import Matrix, rank_in_group
from twinset.settings import CountOrNone, Section

# To embed an image takes a third of what it takes to learn from it, so that so many of an epoch's
# images cost less than a twentieth of its time. All pairs of the most take 60 ms.
SHARE, LEAST, MOST = 0.12, 64, 1000
# Of one class in a row, where not all images are taken: each needs some of its own class to find.
OF_A_CLASS = 8


class Stopping(Section):
    """Which epoch's weights a training ends with, by its validation images.

    Args:
        keep: "last": the weights of the last epoch. "best": those of the best one.
        by: what is best: the "AUC" over all pairs, or "recall@1".
        patience: end the training once so many epochs in a row were no better than the best
            before. 0: never.
    """

    keep: Literal["last", "best"] = "last"
    by: Literal["AUC", "recall@1"] = "AUC"
    patience: CountOrNone = 0

    @property
    def nothing(self) -> bool:
        """Whether the training is the same without validation images."""
        return self.keep == "last" and not self.patience


def fitting(data: Labelled, validation: Labelled | None, stopping: Section) -> None:
    """Refuse validation images that cannot do what a recipe wants of them."""
    if validation is None:
        if not stopping.nothing:
            raise RecipeError(
                "Expected validation images for stopping.keep = 'best' and stopping.patience. "
                "Received none: pass `validation`, put some in a folder val/ beside train/, or "
                "take holdout = 'auto' with split.tune = 0.1."
            )
        return
    if not isinstance(validation, type(data)) or validation.row_shape != data.row_shape:
        raise DataError(
            f"Expected validation images as those of the training, {type(data).__name__} of shape "
            f"{data.row_shape}. Received {validation!r}."
        )
    if validation.judged is not None:
        raise DataError(
            "Expected validation images with classes, to find the nearest of. Received "
            f"{validation!r}: leave them out."
        )
    if validation.digest == data.digest:
        raise DataError(
            "Expected validation images that are not trained on. Received those of the training: "
            "take others, or leave them out."
        )
    if not all(comparable(validation.labels)):
        raise DataError(
            f"Expected validation images of two classes or more, of one of them two. Received "
            f"{len(validation)} of {len(np.unique(validation.labels))}: add some, or leave them "
            "out."
        )


class Validation:
    """The validation images of a training, and the weights of its best epoch so far."""

    def __init__(
        self,
        rows: Any,  # what the network takes, (n, ...)
        labels: NDArray[np.integer],
        networks: tuple[keras.Model, keras.Model],  # what is judged, and what of it is kept
        stopping: Section,
        *,
        epoch: int,  # images that the network sees in an epoch
        seed: int,
    ) -> None:
        count = min(MOST, max(LEAST, int(SHARE * epoch)))
        chosen = sample(np.asarray(labels), count, seed)
        self._rows, self._labels = rows[chosen], np.asarray(labels)[chosen]
        (self._network, self._learned), self._stopping = networks, stopping
        self.best: list[NDArray[Any]] = []  # weights; none where the last ones are wanted

    def scores(self) -> ValidationScores:
        """Judge the network as it is now."""
        embeddings = encode(self._network, self._rows)
        if not np.isfinite(embeddings).all():  # 16 bits may overflow, and come to themselves again
            return ValidationScores(images=len(self._labels))
        return ValidationScores(
            recall_at_1=recall_at_1(embeddings, self._labels),
            auc=auc(AllPairs(embeddings, self._labels).curve()),
            images=len(self._labels),
        )

    def ends(self, history: Sequence[EpochRecord]) -> bool:
        """Keep the weights if the last epoch is the best; tell whether patience is at its end."""
        best = best_epoch(history, self._stopping.by)
        if best is None:
            return False
        if best is history[-1] and self._stopping.keep == "best":
            self.best = self._learned.get_weights()
        return bool(0 < self._stopping.patience <= history[-1].epoch - best.epoch)

    def put_back(self) -> None:
        """Give the network the weights of the best epoch, where that is wanted."""
        if self.best:
            self._learned.set_weights(self.best)


def sample(labels: NDArray[np.integer], count: int, seed: int) -> NDArray[np.intp]:
    """Choose so many images, ascending, of as many classes as can have some to find."""
    if len(labels) <= count:
        return np.arange(len(labels))
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(labels))
    _, kinds, sizes = np.unique(labels[order], return_inverse=True, return_counts=True)
    together = np.argsort(kinds, kind="stable")
    order, kinds = order[together], kinds[together]
    # some of each class in turn, and then some more of each; classes of one image come last
    turn = rank_in_group(kinds) // OF_A_CLASS
    first = np.lexsort((rng.permutation(len(sizes))[kinds], turn, sizes[kinds] < 2))
    return np.sort(order[first[:count]])


def recall_at_1(embeddings: NDArray[np.float32], labels: NDArray[np.integer]) -> float:
    """Compute the share of images whose nearest other one is of their class, of those with any."""
    hits = Matrix(embeddings).search(embeddings, k=2)
    _, kinds, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    asked = np.flatnonzero(sizes[kinds] > 1)
    right = 0
    for query in asked.tolist():
        others = [place for place in hits.of(query)[0].tolist() if place != query]
        right += bool(kinds[others[0]] == kinds[query])
    return right / len(asked) if len(asked) else NAN
