"""The training engine on TensorFlow and PyTorch: Keras' own `fit` over batches of positions."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from twinset.data.batches import PADDING
from twinset.models.history import BatchStatistics, batch_statistics
from twinset.training.checkpoints import Keeper
from twinset.training.monitor import Monitor, Steps
from twinset.training.tasks import Batches, Job

# So many steps apart the gradient at the embeddings is looked at: it costs a pass of its own here.
STEPS_PER_LOOK = 25


def train(job: Job, monitor: Monitor, keeper: Keeper) -> None:
    """Train the encoder in place, as JAX's engine does: same batches, same order, same guards."""
    # but checkpoints are taken between epochs only
    model = _Trained(job)
    model.compile(optimizer=job.optimizer)
    job.build()
    start = keeper.load()
    if start is not None:
        monitor.restore(start.history, start.pending, start.guards, start.best)
        everything = [variable for group in job.variables() for variable in group]
        for variable, value in zip(everything, start.arrays, strict=True):
            variable.assign(value)
    batches = _Pixels(job)
    memory = FreedMemory()
    with memory.kept():
        model.fit(
            batches,
            initial_epoch=0 if start is None else start.epoch,
            epochs=job.epochs,
            shuffle=False,
            verbose=0,
            callbacks=[_Watch(job, batches, monitor, keeper, memory)],
        )


class _Trained(keras.Model):
    """The encoder with the task's objective in place of a loss over (truth, prediction)."""

    def __init__(self, job: Job) -> None:
        super().__init__(name="trained")  # TensorFlow takes no name that begins with "_"
        self.encoder = job.encoder
        if job.task.head is not None:
            self.head = job.task.head  # for Keras to find its weights
        self._job = job
        self._loss_now = _Latest(name="step_loss")
        self._spread_now = _Latest(name="step_spread")

    def call(self, inputs: Any, training: bool = False) -> Any:
        pixels, step = inputs
        if training and self._job.augment is not None:
            pixels = self._job.augment(pixels, step[0])
        return self.encoder(pixels, training=training)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        del x, sample_weight, training
        loss, spread = self._job.task.objective(y, ops.cast(y_pred, "float32"))
        for penalty in self.losses:  # of regularisers, where the user's own layers have some
            loss += ops.cast(penalty, loss.dtype)
        self._loss_now.update_state(loss)
        self._spread_now.update_state(spread)
        return loss

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        del x, y, y_pred, sample_weight
        return self.get_metrics_result()


class _Pixels(keras.utils.PyDataset):
    """Gathers the pixels of one batch of positions at a time."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self._job = job
        self.draw(epoch=0)

    def draw(self, epoch: int) -> None:
        self.batches: Batches = self._job.task.draw(epoch)
        self._offset = epoch * len(self.batches.positions)

    def __len__(self) -> int:
        return len(self.batches.positions)

    def __getitem__(self, step: int) -> Any:
        positions, targets = self.batches.positions[step], self.batches.targets[step]
        # an axis of its own for the step's number: Keras takes batches, not scalars
        number = np.full(len(positions), self._offset + step, np.int32)
        return (self._job.pixels(positions), number), targets

    def real(self, step: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Leave the padding out, of pairs on both sides."""
        positions, targets = self.batches.positions[step], self.batches.targets[step]
        kept = targets != PADDING
        sides = len(positions) // len(targets)
        return positions.reshape(sides, -1)[:, kept].ravel(), targets[kept]


class _Latest(keras.metrics.Metric):
    """Holds a number of the last batch alone, where Keras' metrics average over the epoch."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name)
        self._value = self.add_variable((), "zeros", name="value")

    def update_state(self, value: Any) -> None:
        self._value.assign(ops.cast(value, self._value.dtype))

    def result(self) -> Any:
        return ops.convert_to_tensor(self._value)


class _Watch(keras.callbacks.Callback):
    """Draws each epoch's batches, tells the monitor of each step, and saves between epochs."""

    # The data set's own `on_epoch_end` is no place to draw: Keras calls it once more, before the
    # first epoch, when it tries a batch to build the model.
    def __init__(
        self, job: Job, batches: _Pixels, monitor: Monitor, keeper: Keeper, memory: FreedMemory
    ) -> None:
        super().__init__()
        self._job, self._batches = job, batches
        self._monitor, self._keeper, self._memory = monitor, keeper, memory

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        del logs
        self._memory.keep()  # TensorFlow's own setting comes with each data set
        self._monitor.begin()
        self._batches.draw(epoch)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        norm, active = np.nan, np.nan
        if batch % STEPS_PER_LOOK == 0:
            norm, active = self._activity(batch)
        row = (float(logs["step_loss"]), float(logs["step_spread"]), norm, active)
        self._monitor.steps(
            Steps(*(np.array([value]) for value in row)), lambda: self._statistics(batch)
        )
        if self._monitor.stop:
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        del logs
        if self._keeper.due and not self._monitor.stop:
            arrays = (
                ops.convert_to_numpy(variable)
                for group in self._job.variables()
                for variable in group
            )
            self._keeper.save(epoch + 1, 0, arrays, self._monitor)

    def _embeddings(self, batch: int) -> Any:
        positions, _ = self._batches.real(batch)
        return self._job.encoder(self._job.pixels(positions), training=False)

    def _statistics(self, batch: int) -> BatchStatistics:
        positions, _ = self._batches.real(batch)
        embeddings = ops.convert_to_numpy(self._embeddings(batch))
        return batch_statistics(embeddings.astype(np.float32), self._job.labels[positions])

    def _activity(self, batch: int) -> tuple[float, float]:
        # the norm of the loss' gradient at the embeddings, and the share that it moves
        _, targets = self._batches.real(batch)
        embeddings = ops.convert_to_numpy(self._embeddings(batch)).astype(np.float32)

        def objective(values: Any) -> Any:
            return self._job.task.objective(ops.convert_to_tensor(targets), values)[0]

        slope = _gradient(objective, embeddings)
        return float(np.sqrt(np.square(slope).sum())), float((slope != 0).any(axis=-1).mean())


def _gradient(function: Any, values: NDArray[np.float32]) -> NDArray[np.float32]:
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tensor = tf.constant(values)
        with tf.GradientTape() as tape:
            tape.watch(tensor)
            value = function(tensor)
        found = tape.gradient(value, tensor)
        return np.zeros_like(values) if found is None else np.asarray(found)
    import torch

    leaf = ops.convert_to_tensor(values).detach().requires_grad_(True)
    (found,) = torch.autograd.grad(function(leaf), leaf, allow_unused=True)
    return np.zeros_like(values) if found is None else found.cpu().numpy()


# Of glibc's mallopt.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_NEVER = 2**31 - 1
# What glibc comes to by itself in a process that frees large blocks, and TensorFlow's own choice.
_USUAL_MMAP, _USUAL_TRIM = 32 * 2**20, 128 * 2**10


class FreedMemory:
    """Memory that is freed and needed again, which the C library is to keep."""

    # TensorFlow sets glibc's M_TRIM_THRESHOLD to 128 kB when its first data set begins. From then
    # on each step's activations are handed back when it ends, and come again as fresh pages in the
    # next, one fault for each 4 kB: half of the time of a step of the encoder `conv`. The
    # environment may say how it is to be (MALLOC_TRIM_THRESHOLD_, GLIBC_TUNABLES).
    def __init__(self) -> None:
        told = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
        self._libc = None if told or not _has_glibc() else ctypes.CDLL(None)

    def keep(self) -> None:
        """Keep what is freed from now on."""
        self._set(_NEVER, _NEVER)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep what is freed within, and hand it back at the end."""
        self.keep()
        try:
            yield
        finally:
            self._set(_USUAL_TRIM, _USUAL_MMAP)
            if self._libc is not None:
                self._libc.malloc_trim(0)

    def _set(self, trim: int, mmap: int) -> None:
        if self._libc is not None:
            self._libc.mallopt(_TRIM_THRESHOLD, trim)
            self._libc.mallopt(_MMAP_THRESHOLD, mmap)


def _has_glibc() -> bool:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (AttributeError, ValueError, OSError):  # Windows, macOS, musl
        return False
