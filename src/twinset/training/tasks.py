"""What a step learns from: which images make its batch, and what is wanted of their embeddings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from twinset import distance as distances
from twinset.data.pairs import PADDING, Pairs, class_batches, shuffled_batches


@dataclass(frozen=True, eq=False)
class Batches:
    """The batches of one epoch."""

    positions: NDArray[np.int32]  # of the images of each batch, (steps, w)
    # what is wanted of them, (steps, t); `PADDING` only fills up its batch and counts nothing
    targets: NDArray[np.int32]
    sizes: NDArray[np.int64]  # how many items count in each batch, (steps,)


class Task(Protocol):
    """What an engine needs to know of the objective; the same for every back end."""

    @property
    def head(self) -> keras.layers.Layer | None:
        """The weights that the loss itself learns, if it has any."""

    def draw(self, epoch: int) -> Batches:
        """Draw the batches of an epoch, counted from 0: the same each time it is asked."""

    def objective(
        self, targets: Any, embeddings: Any, *, settle: Callable[[Any], Any] = lambda x: x
    ) -> tuple[Any, Any]:
        """Compute a batch's loss, and how far apart its embeddings are on average."""


class PairTask:
    """A task over a list of pairs, by their distances: the tutorial's way.

    A batch of b pairs is 2b images, the left ones first: both branches in one pass.
    """

    head = None

    def __init__(
        self,
        loss: keras.losses.Loss,
        pairs: Pairs,
        *,
        distance: str,
        batch_size: int,
        seed: int,
    ) -> None:
        self._loss, self._pairs = loss, pairs
        self._measure = distances.by_name(distance)
        self._batch_size, self._seed = batch_size, seed

    def draw(self, epoch: int) -> Batches:
        """Draw the batches of an epoch."""
        count = len(self._pairs)
        rows = shuffled_batches(count, self._batch_size, seed=self._seed, epoch=epoch)
        real = rows != PADDING
        # The last batch is filled up with pairs of the first. Their loss counts nothing, but their
        # images are seen by batch normalisation: copies of one pair would make up its statistics.
        rows = np.where(real, rows, rows[0])
        return Batches(
            np.concatenate([self._pairs.left[rows], self._pairs.right[rows]], axis=1),
            np.where(real, self._pairs.same[rows], PADDING).astype(np.int32),
            real.sum(axis=1),
        )

    def objective(
        self, targets: Any, embeddings: Any, *, settle: Callable[[Any], Any] = lambda x: x
    ) -> tuple[Any, Any]:
        """Return the mean loss and the mean distance of the pairs that are no padding."""
        left, right = ops.split(embeddings, 2)  # (b, d) each
        apart = settle(self._measure(left, right, xp=ops))  # (b,)
        weight = ops.cast(targets != PADDING, apart.dtype)
        total = ops.sum(weight)
        loss = ops.sum(weight * self._loss.call(ops.maximum(targets, 0), apart)) / total
        return loss, ops.sum(weight * apart) / total


class BatchTask:
    """A task over all pairs of the images in a batch: several of each of several classes."""

    def __init__(
        self,
        loss: keras.losses.Loss,
        labels: NDArray[np.integer],
        *,
        batch_size: int,
        per_class: int,
        seed: int,
    ) -> None:
        self._loss = loss
        self._labels = np.asarray(labels, np.int32)
        self._batch_size, self._per_class, self._seed = batch_size, per_class, seed

    @property
    def head(self) -> keras.layers.Layer | None:
        """The weights that the loss itself learns, such as proxies."""
        return getattr(self._loss, "head", None)

    def draw(self, epoch: int) -> Batches:
        """Draw the batches of an epoch."""
        positions = class_batches(
            self._labels,
            self._batch_size,
            per_class=self._per_class,
            seed=self._seed,
            epoch=epoch,
        )
        sizes = np.full(len(positions), positions.shape[1], np.int64)
        return Batches(positions, self._labels[positions], sizes)

    def objective(
        self, targets: Any, embeddings: Any, *, settle: Callable[[Any], Any] = lambda x: x
    ) -> tuple[Any, Any]:
        """Return the loss, and the root of the mean squared distance of all pairs."""
        del settle
        loss = ops.mean(self._loss.call(targets, embeddings))
        offsets = embeddings - ops.mean(embeddings, axis=0, keepdims=True)
        spread = ops.sqrt(2 * ops.mean(ops.sum(ops.square(offsets), axis=-1)))
        return loss, spread


@dataclass(frozen=True, eq=False)
class Job:
    """All that an engine needs for a training; every engine takes the same."""

    encoder: keras.Model  # trained in place
    optimizer: keras.optimizers.Optimizer  # not yet built
    task: Task
    # what the encoder takes: uint8 pixels, an array or `StoredPixels`, which are scaled to [0, 1];
    # or float32 vectors, taken as they are
    rows: Any
    labels: NDArray[np.int64]
    # (floats in [0, 1], number of the step) → the same shape; None: images as they are
    augment: Callable[[Any, Any], Any] | None
    epochs: int

    def build(self) -> None:
        """Make the optimiser's variables."""
        learned = [*self.encoder.trainable_variables, *self.head_variables(True)]
        self.optimizer.build(learned)

    def pixels(self, positions: NDArray[np.int32]) -> NDArray[np.float32]:
        """Gather rows on the host, as the encoder takes them: pixels scaled to [0, 1]."""
        rows: NDArray[Any] = self.rows[positions]
        scale = np.float32(1 / 255) if rows.dtype == np.uint8 else np.float32(1)
        scaled: NDArray[np.float32] = np.multiply(rows, scale, dtype=np.float32)
        return scaled

    def head_variables(self, trainable: bool) -> list[keras.Variable]:
        """List the variables of the loss."""
        head = self.task.head
        if head is None:
            return []
        return list(head.trainable_variables if trainable else head.non_trainable_variables)

    def variables(self) -> tuple[list[keras.Variable], list[keras.Variable], list[keras.Variable]]:
        """List all that changes while training: learned, otherwise updated, the optimiser's."""
        return (
            [*self.encoder.trainable_variables, *self.head_variables(True)],
            [*self.encoder.non_trainable_variables, *self.head_variables(False)],
            list(self.optimizer.variables),
        )
