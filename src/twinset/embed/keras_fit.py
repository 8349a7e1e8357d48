"""The training engine on TensorFlow and PyTorch: Keras' own `fit` over batches of indices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from twinset.data.batches import PADDING, shuffled_batches
from twinset.data.images import LabelledImages
from twinset.data.pairs import Pairs
from twinset.embed.monitor import Monitor
from twinset.embed.siamese import siamese
from twinset.recipe import Recipe


def train(
    encoder: keras.Model,
    loss: keras.losses.Loss,
    optimizer: keras.optimizers.Optimizer,
    data: LabelledImages,
    pairs: Pairs,
    recipe: Recipe,
    monitor: Monitor,
) -> None:
    """Train the encoder in place, as `scanned.train` does: same pairs, same order, same guards."""
    model = siamese(encoder, recipe.distance)
    model.compile(
        optimizer=optimizer,
        loss=loss,
        metrics=[
            _Latest(lambda same, apart: ops.mean(loss.call(same, apart)), name="step_loss"),
            _Latest(lambda same, apart: ops.mean(apart), name="step_distance"),
        ],
    )
    batches = _PairBatches(data, pairs, recipe)
    model.fit(
        batches,
        epochs=recipe.epochs,
        shuffle=False,
        verbose=0,
        callbacks=[_Epochs(batches, monitor)],
    )


class _PairBatches(keras.utils.PyDataset):
    """Gathers the pixels of one batch of index pairs at a time."""

    def __init__(self, data: LabelledImages, pairs: Pairs, recipe: Recipe) -> None:
        super().__init__()
        self._data, self._pairs, self._recipe = data, pairs, recipe
        self.draw(epoch=0)

    def draw(self, epoch: int) -> None:
        self._batches = shuffled_batches(
            len(self._pairs), self._recipe.batch_size, seed=self._recipe.seed, epoch=epoch
        )

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, step: int) -> Any:
        rows = self._batches[step]
        batch = self._pairs[rows[rows != PADDING]]
        left, right = self._pixels(batch.left), self._pixels(batch.right)
        return (left, right), batch.same.astype(np.float32)[:, None]

    def _pixels(self, positions: NDArray[np.int32]) -> NDArray[np.float32]:
        return np.multiply(self._data.images[positions], np.float32(1 / 255), dtype=np.float32)


class _Latest(keras.metrics.Metric):
    """Holds a function of the last batch alone, where Keras' metrics average over the epoch."""

    def __init__(self, function: Callable[[Any, Any], Any], name: str) -> None:
        super().__init__(name=name)
        self._function = function
        self._value = self.add_variable((), "zeros", name="value")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        del sample_weight
        self._value.assign(ops.cast(self._function(y_true, y_pred), self._value.dtype))

    def result(self) -> Any:
        return ops.convert_to_tensor(self._value)


class _Epochs(keras.callbacks.Callback):
    """Draws each epoch's batches, and tells the monitor of each step.

    The data set's own `on_epoch_end` is no place to draw: Keras calls it once more, before the
    first epoch, when it tries a batch to build the model.
    """

    def __init__(self, batches: _PairBatches, monitor: Monitor) -> None:
        super().__init__()
        self._batches, self._monitor = batches, monitor

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        del logs
        self._batches.draw(epoch)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        del batch
        self._monitor.steps(
            np.array([float(logs["step_loss"])]), np.array([float(logs["step_distance"])])
        )
        if self._monitor.interrupted:
            self.model.stop_training = True
