"""The training engine on TensorFlow and PyTorch: Keras' own `fit` over batches of indices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

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
    model.fit(
        _PairBatches(data, pairs, recipe),
        epochs=recipe.epochs,
        shuffle=False,
        verbose=0,
        callbacks=[_Report(monitor)],
    )


class _PairBatches(keras.utils.PyDataset):
    """Gathers the pixels of one batch of index pairs at a time."""

    def __init__(self, data: LabelledImages, pairs: Pairs, recipe: Recipe) -> None:
        super().__init__()
        self._data, self._pairs, self._recipe = data, pairs, recipe
        self._epoch = 0
        self._draw()

    def _draw(self) -> None:
        self._batches = shuffled_batches(
            len(self._pairs), self._recipe.batch_size, seed=self._recipe.seed, epoch=self._epoch
        )

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, step: int) -> Any:
        rows = self._batches[step]
        batch = self._pairs[rows[rows != PADDING]]
        left, right = self._pixels(batch.left), self._pixels(batch.right)
        return (left, right), batch.same.astype(np.float32)[:, None]

    def _pixels(self, positions: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return self._data.images[positions].astype(np.float32) * np.float32(1 / 255)

    def on_epoch_end(self) -> None:
        self._epoch += 1
        self._draw()


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


class _Report(keras.callbacks.Callback):
    def __init__(self, monitor: Monitor) -> None:
        super().__init__()
        self._monitor = monitor

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        del batch
        self._monitor.steps(
            np.array([float(logs["step_loss"])]), np.array([float(logs["step_distance"])])
        )
        if self._monitor.interrupted:
            self.model.stop_training = True
