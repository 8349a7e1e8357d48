"""Ordinary Keras callbacks in a training whose steps run many at a time."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras

from twinset.errors import TrainingError
from twinset.models.history import EpochRecord

BATCH_HOOKS = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")


class Callbacks:
    """Keras callbacks that are told of a training's epochs, and heeded."""

    def __init__(
        self,
        callbacks: Sequence[keras.callbacks.Callback],
        encoder: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        epochs: int,
    ) -> None:
        for callback in callbacks:
            _refuse(callback, optimizer)
        # Their model, with the encoder's layers: compiling the encoder itself would put the
        # optimiser into every file that the encoder is saved to.
        self._model = keras.Model(encoder.inputs, encoder.outputs, name=encoder.name)
        self._model.compile(optimizer=optimizer, auto_scale_loss=False)
        self._model.stop_training = False
        self._list = keras.callbacks.CallbackList(
            list(callbacks), model=self._model, params={"epochs": epochs, "verbose": 0}
        )

    @property
    def stopped(self) -> bool:
        """Whether a callback asked for the end of the training."""
        return bool(self._model.stop_training)

    def begin(self, epoch: int) -> None:
        """Tell that an epoch, counted from 0, begins."""
        self._list.on_epoch_begin(epoch)

    def end(self, record: EpochRecord) -> None:
        """Tell that an epoch ended; the numbers of its record become the logs."""
        numbers = record.flat()
        del numbers["epoch"]  # CSVLogger has a column of this name, counted from 0
        self._list.on_epoch_end(record.epoch - 1, logs=numbers)

    @contextmanager
    def training(self) -> Iterator[None]:
        """Tell of the training's beginning, and of its end however it comes."""
        self._list.on_train_begin()
        try:
            yield
        finally:
            self._list.on_train_end()


def _refuse(callback: Any, optimizer: keras.optimizers.Optimizer) -> None:
    # what cannot work here, before an epoch is lost on it
    if not isinstance(callback, keras.callbacks.Callback):
        raise TrainingError(f"Expected Keras callbacks. Received {callback!r}.")
    name = type(callback).__name__
    told = _batch_hooks(callback)
    if told:
        raise TrainingError(
            f"Expected callbacks that are told of epochs. Received {name} with {', '.join(told)}: "
            "many steps run in one compiled loop, and nobody is told of each. Use on_epoch_end."
        )
    if isinstance(callback, keras.callbacks.BackupAndRestore):
        raise TrainingError(
            f"Expected callbacks that `fit` can serve. Received {name}, which begins Keras' own "
            "`fit` anew: pass `checkpoint=`, which resumes to the very weights."
        )
    rate = getattr(optimizer, "inner_optimizer", optimizer)._learning_rate
    steers = keras.callbacks.LearningRateScheduler | keras.callbacks.ReduceLROnPlateau
    if isinstance(callback, steers) and callable(rate) and not hasattr(rate, "assign"):
        raise TrainingError(
            f"Expected a learning rate that nobody else changes. Received {name} beside a "
            'schedule: take optimizer.schedule = "constant" and warmup = 0, or leave one out.'
        )
    missing = [
        package
        for package in ("tensorflow", "tensorboard")
        if isinstance(callback, keras.callbacks.TensorBoard)
        and importlib.util.find_spec(package) is None
    ]
    if missing:
        raise TrainingError(
            f"Expected the packages that {name} writes with. Not installed: {', '.join(missing)}; "
            f"`pip install {' '.join(missing)}`, or see docs/callbacks.md for one without them."
        )


def _batch_hooks(callback: keras.callbacks.Callback) -> list[str]:
    # By what a callback wants to be told of batches. Keras' own have such hooks, and use them if
    # told so; those of a user are there to be used.
    if type(callback).__module__.split(".")[0] == "keras":
        asked = {"save_freq": "epoch", "update_freq": "epoch"}
        found = [key for key, usual in asked.items() if getattr(callback, key, usual) != usual]
        return found + [hook for hook in BATCH_HOOKS if hook in vars(callback)]  # LambdaCallback
    return [hook for hook in BATCH_HOOKS if not _inherited(callback, hook)]


def _inherited(callback: keras.callbacks.Callback, hook: str) -> bool:
    home = next(base for base in type(callback).__mro__ if hook in vars(base))
    return home.__module__.split(".")[0] == "keras" and hook not in vars(callback)
