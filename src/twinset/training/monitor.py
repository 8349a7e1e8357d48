"""Watches a training: stops what is broken, keeps the history, heeds Ctrl-C."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from twinset.errors import CollapseError, DivergedError, IdleError, NonFiniteLossError
from twinset.models.history import NAN, UNKNOWN, BatchStatistics, EpochRecord, Guards, Steps
from twinset.progress import Progress, Report

# Embeddings closer than this share of the scale, over as many steps as the patience, are one
# point. A network that learns passes through no such state: distances start near it and spread.
COLLAPSED = 1e-3
PATIENCE = 20
# A loss below this wants nothing more; at so many times that of the first steps it has diverged.
SATISFIED = 1e-6
FIRST, DIVERGED = 10, 10.0
DEAD = 0.98


class Listener(Protocol):
    """One who is told of the epochs, and may end the training."""

    @property
    def stopped(self) -> bool:
        """Whether the training is to end."""

    def begin(self, epoch: int) -> None:
        """Hear that an epoch, counted from 0, begins."""

    def end(self, record: EpochRecord) -> None:
        """Hear what an epoch did."""


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
        listener: Listener | None = None,
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
