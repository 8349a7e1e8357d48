"""Watches a training: stops what is broken, heeds Ctrl-C, keeps the history and checkpoints."""

from __future__ import annotations

import io
import json
import signal
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from twinset.errors import (
    CollapseError,
    DivergedError,
    IdleError,
    ModelError,
    NonFiniteLossError,
)
from twinset.files import write_bytes
from twinset.models.history import NAN, UNKNOWN, BatchStatistics, EpochRecord, Guards, Steps
from twinset.progress import Progress, Report

if TYPE_CHECKING:  # a report takes the limits from here, and does without Keras
    from twinset.training.callbacks import Callbacks

# Embeddings closer than this share of the scale, over as many steps as the patience, are one
# point. A network that learns passes through no such state: distances start near it and spread.
COLLAPSED = 1e-3
PATIENCE = 20
# A loss below this wants nothing more; at so many times that of the first steps it has diverged.
SATISFIED = 1e-6
FIRST, DIVERGED = 10, 10.0
DEAD = 0.98


class Monitor:
    """The guards and the history of a training, step by step, on behalf of every engine."""

    def __init__(
        self,
        *,
        epochs: int,
        sizes: NDArray[np.integer],  # pairs or images in each batch of an epoch, (steps,)
        images: int,  # in each batch
        scale: float = 1.0,  # distance that a healthy embedding spans
        tell: Report = lambda _: None,
        listener: Callbacks | None = None,
    ) -> None:
        self.epochs = epochs
        self.history: list[EpochRecord] = []
        self.interrupted = False
        self.finished = False
        self._sizes = np.asarray(sizes, np.float64)
        self._images = images
        self._scale = scale
        self._tell = tell
        self._listener = listener
        self._seen: list[tuple[float, float, float]] = []  # loss, gradient norm, active share
        self._flat_steps = 0
        self._idle_steps = 0
        self._high_steps = 0
        self._first_losses: list[float] = []
        self._epoch_started = time.perf_counter()

    @property
    def stop(self) -> bool:
        """Whether the engine is to end the training: interrupted, told so, or at the best."""
        return self.interrupted or self.finished

    @property
    def listens(self) -> bool:
        """Whether somebody is told of the epochs, who may look at the weights and change them."""
        return self._listener is not None

    @property
    def step(self) -> int:
        """How many steps of the current epoch are done."""
        return len(self._seen)

    def begin(self) -> None:
        """Take note that the next epoch begins."""
        if self._listener is not None:
            self._listener.begin(len(self.history))

    def restore(
        self, history: Sequence[EpochRecord], seen: NDArray[np.floating], guards: Guards
    ) -> None:
        """Go on where another monitor was: with its history, `pending` and `guards`."""
        # the guards too: one of them ends a training that is at its best
        self.history = list(history)
        self._flat_steps, self._idle_steps = guards.flat, guards.idle
        self._high_steps, self._first_losses = guards.high, list(guards.first)
        self._seen = [tuple(row) for row in seen.tolist()]
        self._epoch_started = time.perf_counter()

    @property
    def pending(self) -> NDArray[np.float64]:
        """What was seen of the current epoch: loss, gradient norm and active share, (steps, 3)."""
        return np.array(self._seen, np.float64).reshape(-1, 3)

    @property
    def guards(self) -> Guards:
        """How near to their limits the guards are."""
        first = tuple(self._first_losses)
        return Guards(self._flat_steps, self._idle_steps, self._high_steps, first)

    def steps(self, steps: Steps, statistics: Callable[[], BatchStatistics] | None = None) -> None:
        """Take note of the next steps, which end with the epoch at the latest.

        Raises:
            TrainingError: it is broken, as its class says. The statistics of the last batch are
                asked for at the end of an epoch.
        """
        rows = zip(
            *(
                values.tolist()
                for values in (steps.loss, steps.spread, steps.gradient_norm, steps.active)
            ),
            strict=True,
        )
        for loss, spread, norm, active in rows:
            self._seen.append((loss, norm, active))
            self._check(loss, spread, norm)
        if self.step == len(self._sizes):
            self._finish_epoch(statistics)
        else:
            health = self.history[-1].health if self.history else {}
            self._report(self._mean(0), self._speed(time.perf_counter()), health)

    def _report(self, loss: float, speed: float, health: Mapping[str, float]) -> None:
        epoch = f"epoch {len(self.history) + 1}/{self.epochs}"
        numbers = {"loss": loss, "images/s": speed, **health}
        self._tell(Progress(epoch, self.step, len(self._sizes), "steps", numbers))

    def _check(self, loss: float, spread: float, norm: float) -> None:
        if not np.isfinite(loss):
            raise NonFiniteLossError(
                f"Expected a finite loss. Received {loss} at {self._where()}: "
                "lower the learning rate (for example --set optimizer.learning_rate=0.0003), "
                "and check the images for broken values."
            )
        self._flat_steps = self._flat_steps + 1 if spread < COLLAPSED * self._scale else 0
        if self._flat_steps >= PATIENCE:
            raise CollapseError(
                f"Expected embeddings that differ. All pairs had distance {spread:.2g} "
                f"(loss {loss:.3f}) in {PATIENCE} batches up to {self._where()}: the "
                "network maps every image to one point, and cannot recover. Lower the learning "
                "rate, try another --seed, or widen the last layer (encoder.units)."
            )
        if not np.isnan(norm):  # some engines look at it now and then
            self._idle_steps = self._idle_steps + 1 if norm == 0 else 0
        if self._idle_steps >= PATIENCE:
            if loss < SATISFIED:
                self.finished = True  # all pairs are where the loss wants them
                return
            raise IdleError(
                f"Expected a loss that moves the network. Its gradient was 0 in {PATIENCE} "
                f"batches up to {self._where()} (loss {loss:.3f}): no pair is active, or the last "
                "layer is dead. Take another seed, a larger margin, encoder.linear=true, or "
                "larger batches (batch_size)."
            )
        self._diverging(loss)

    def _diverging(self, loss: float) -> None:
        if len(self._first_losses) < FIRST:
            self._first_losses.append(loss)
            return
        limit = DIVERGED * max(np.median(self._first_losses), SATISFIED)
        self._high_steps = self._high_steps + 1 if loss > limit else 0
        if self._high_steps >= PATIENCE:
            raise DivergedError(
                f"Expected a loss that falls. It rose from {np.median(self._first_losses):.3g} in "
                f"the first {FIRST} batches to {loss:.3g} at {self._where()}: lower the learning "
                "rate, or warm it up (--set optimizer.warmup=0.1)."
            )

    def _where(self) -> str:
        return f"epoch {len(self.history) + 1}, step {self.step} of {len(self._sizes)}"

    def _mean(self, column: int) -> float:
        values = np.array([row[column] for row in self._seen])
        # the others are looked at now and then, and may be too large for 16 bits
        known = np.isfinite(values) | (column == 0)
        if not known.any():
            return NAN
        return float(np.average(values[known], weights=self._sizes[: self.step][known]))

    def _speed(self, now: float) -> float:
        return float(self._images * self.step / max(now - self._epoch_started, 1e-9))

    def _finish_epoch(self, statistics: Callable[[], BatchStatistics] | None = None) -> None:
        now = time.perf_counter()
        record = EpochRecord(
            epoch=len(self.history) + 1,
            steps=self.step,
            loss=self._mean(0),
            seconds=now - self._epoch_started,
            images_per_second=self._speed(now),
            gradient_norm=self._mean(1),
            active=self._mean(2),
            statistics=statistics() if statistics is not None else UNKNOWN,
        )
        self._report(record.loss, record.images_per_second, record.health)
        self.history.append(record)
        if self._listener is not None:
            self._listener.end(record)
            self.finished = self.finished or self._listener.stopped
        self._seen, self._epoch_started = [], time.perf_counter()
        # twice: one small batch may be of images that are all alike
        dead = [each.statistics.dead_share for each in self.history[-2:]]
        if len(dead) == 2 and min(dead) > DEAD:
            raise CollapseError(
                f"Expected an embedding that uses its coordinates. {dead[-1]:.0%} "
                f"of them are constant after epoch {record.epoch}: lower the learning rate, try "
                "another --seed, or take encoder.linear=true."
            )

    @contextmanager
    def watch(self) -> Iterator[Monitor]:
        """Turn Ctrl-C into `interrupted` until training ends; a second one is as usual."""
        self._epoch_started = time.perf_counter()
        with self._heed_interrupt():
            yield self
            if self._seen:  # interrupted within an epoch
                self._finish_epoch()

    @contextmanager
    def _heed_interrupt(self) -> Iterator[None]:
        # Only the main thread can catch signals; elsewhere Ctrl-C stays what it was. So it does
        # where it is ignored, as a shell's background job must not end by the Ctrl-C that is meant
        # for another, and where a handler is not Python's (None), which could not be put back.
        before = signal.getsignal(signal.SIGINT)
        elsewhere = threading.current_thread() is not threading.main_thread()
        if elsewhere or before in (signal.SIG_IGN, None):
            yield
            return

        def note(signum: int, frame: FrameType | None) -> None:
            del signum, frame
            self.interrupted = True
            signal.signal(signal.SIGINT, before)

        signal.signal(signal.SIGINT, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


# At least so long between two saves.
SECONDS_BETWEEN_SAVES = 30.0
# At most so much of a training's time goes into saving, however large the network.
SHARE_OF_SAVING = 0.05


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The state of a training between two steps."""

    epoch: int  # counted from 0
    step: int  # how many of its steps are done
    arrays: tuple[NDArray[Any], ...]  # values of all variables, in the order of `Job.variables`
    history: tuple[EpochRecord, ...]
    pending: NDArray[np.float64]  # as `Monitor.pending` and `Monitor.guards`
    guards: Guards


class Keeper:
    """The checkpoints of a training: written now and then, and the one to begin with.

    A checkpoint belongs to one training: recipe, data, back end. All that is random is a function
    of seed, epoch and step, so weights, optimiser and position are enough to go on exactly.
    """

    def __init__(
        self,
        path: Path | None,  # None keeps nothing
        key: Callable[[], str],  # gives the training's name, which costs time: asked where needed
        *,
        seconds: float = SECONDS_BETWEEN_SAVES,
        share: float = SHARE_OF_SAVING,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path, self._key, self._clock = path, key, clock
        self._seconds, self._share = seconds, share
        self._next = clock() + seconds
        self._failed = False

    @property
    def due(self) -> bool:
        """Whether it is time to save."""
        return self._path is not None and self._clock() >= self._next

    def save(self, epoch: int, step: int, arrays: Iterable[NDArray[Any]], monitor: Monitor) -> None:
        """Write a checkpoint whole, or leave the one before and say so, once."""
        # A training is worth more than its checkpoint: on a full disk it goes on, and tries again.
        # To take the arrays off the device counts as saving, so they come one by one.
        if self._path is None:
            return
        started = self._clock()
        self._write(self._path, epoch, step, arrays, monitor)
        ended = self._clock()  # not before: a save that takes long would be due again at once
        self._next = ended + max(self._seconds, (ended - started) * (1 / self._share - 1))

    def _write(
        self, path: Path, epoch: int, step: int, arrays: Iterable[NDArray[Any]], monitor: Monitor
    ) -> None:
        about = {
            "key": self._key(),
            "epoch": epoch,
            "step": step,
            "history": [record.flat() for record in monitor.history],
            "pending": monitor.pending.tolist(),
            "guards": asdict(monitor.guards),
        }
        file = io.BytesIO()
        named: dict[str, Any] = {f"a{i}": _storable(array) for i, array in enumerate(arrays)}
        np.savez(file, about=np.frombuffer(json.dumps(about).encode(), np.uint8), **named)
        try:
            write_bytes(path, file.getvalue())
        except OSError as error:
            if not self._failed:
                print(  # noqa: T201 - must not be missed, whether or not progress is wanted
                    f"twinset: {path}: the checkpoint could not be written. "
                    f"{error.strerror or error}: make room; the training goes on, and tries again.",
                    file=sys.stderr,
                )
            self._failed = True
        else:
            self._failed = False

    def load(self) -> Checkpoint | None:
        """Read the checkpoint of this training; None if there is none.

        Raises:
            ModelError: the file is damaged, or of another training.
        """
        if self._path is None or not self._path.exists():
            return None
        try:
            # from memory: numpy leaves a damaged file open
            with np.load(io.BytesIO(self._path.read_bytes())) as file:
                about = json.loads(file["about"].tobytes())
                arrays = tuple(file[f"a{i}"] for i in range(len(file.files) - 1))
            history = tuple(EpochRecord.from_flat(each) for each in about["history"])
            pending = np.array(about["pending"], np.float64).reshape(-1, 3)
            guards = Guards(**about["guards"])
            found = Checkpoint(about["epoch"], about["step"], arrays, history, pending, guards)
            key = about["key"]
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise ModelError(
                f"{self._path}: expected a checkpoint. {error!r}: remove it, and train anew."
            ) from None
        if key != self._key():
            raise ModelError(
                f"{self._path}: expected a checkpoint of this training. It is of another recipe, "
                "other data or another back end: resume with those, or train anew."
            )
        return found

    def remove(self) -> None:
        """Delete the file: the training is done."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def _storable(array: NDArray[Any]) -> NDArray[Any]:
    # numpy's files know no bfloat16; in 32 bits each is the same number, and comes back as it was
    values = np.asarray(array)
    return values.astype(np.float32) if values.dtype.name == "bfloat16" else values
