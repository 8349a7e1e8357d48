"""Watches a training: stops what is broken, keeps the history, shows progress, heeds Ctrl-C."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from twinset.errors import CollapseError, NonFiniteLossError

if TYPE_CHECKING:
    from rich.progress import Progress

# Embeddings closer than this share of the margin, over this many steps, are one point. A network
# that learns passes through no such state: distances start near the margin and spread.
COLLAPSED_SHARE = 1e-3
COLLAPSED_STEPS = 20


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch did.

    Args:
        epoch: counted from 1.
        steps: batches trained; fewer than the epoch has if training was interrupted.
        loss: mean over the epoch's pairs, while the weights moved.
        seconds: wall-clock time of the epoch; the first holds the compilation.
        images_per_second: images through the encoder, two per pair.
    """

    epoch: int
    steps: int
    loss: float
    seconds: float
    images_per_second: float


class Monitor:
    """Follows a training step by step on behalf of every engine.

    Args:
        epochs: how many there will be.
        sizes: pairs in each batch of an epoch, of shape (steps,).
        margin: of the loss, the scale on which a collapse is judged.
        progress: show a progress bar (a line per epoch where output is no terminal). None shows
            it on terminals only. Defaults to None.
    """

    def __init__(
        self,
        *,
        epochs: int,
        sizes: NDArray[np.integer],
        margin: float,
        progress: bool | None = None,
    ) -> None:
        self.epochs = epochs
        self.history: list[EpochRecord] = []
        self.interrupted = False
        self._sizes = np.asarray(sizes, np.float64)
        self._margin = margin
        self._display = _Display(epochs, len(sizes), progress)
        self._losses: list[float] = []
        self._flat_steps = 0
        self._epoch_started = time.perf_counter()

    def steps(self, losses: NDArray[np.floating], distances: NDArray[np.floating]) -> None:
        """Take note of the next steps.

        Args:
            losses: mean loss of each batch, of shape (steps,).
            distances: mean distance of the pairs of each batch, of shape (steps,).

        Raises:
            NonFiniteLossError: a loss is NaN or infinite.
            CollapseError: all pairs of many batches in a row had distance 0.
        """
        for loss, distance in zip(losses.tolist(), distances.tolist(), strict=True):
            self._losses.append(loss)
            self._check(loss, distance)
        done = len(self._losses)
        self._display.update(
            len(self.history) + 1, done, self._mean_loss(), self._speed(time.perf_counter())
        )
        if done == len(self._sizes):
            self._finish_epoch()

    def _check(self, loss: float, distance: float) -> None:
        if not np.isfinite(loss):
            raise NonFiniteLossError(
                f"Expected a finite loss. Received {loss} at {self._where()}: "
                "lower the learning rate (for example --set optimizer.learning_rate=0.0003), "
                "and check the images for broken values."
            )
        flat = distance < COLLAPSED_SHARE * self._margin
        self._flat_steps = self._flat_steps + 1 if flat else 0
        if self._flat_steps >= COLLAPSED_STEPS:
            raise CollapseError(
                f"Expected embeddings that differ. All pairs had distance {distance:.2g} "
                f"(loss {loss:.3f}) in {COLLAPSED_STEPS} batches up to {self._where()}: the "
                "network maps every image to one point, and cannot recover. Lower the learning "
                "rate, try another --seed, or widen the last layer (encoder.units)."
            )

    def _where(self) -> str:
        return f"epoch {len(self.history) + 1}, step {len(self._losses)} of {len(self._sizes)}"

    def _mean_loss(self) -> float:
        return float(np.average(self._losses, weights=self._sizes[: len(self._losses)]))

    def _speed(self, now: float) -> float:
        images = 2 * self._sizes[: len(self._losses)].sum()
        return float(images / max(now - self._epoch_started, 1e-9))

    def _finish_epoch(self) -> None:
        now = time.perf_counter()
        self.history.append(
            EpochRecord(
                epoch=len(self.history) + 1,
                steps=len(self._losses),
                loss=self._mean_loss(),
                seconds=now - self._epoch_started,
                images_per_second=self._speed(now),
            )
        )
        self._display.epoch(self.history[-1])
        self._losses, self._epoch_started = [], now

    @contextmanager
    def watch(self) -> Iterator[Monitor]:
        """Show progress, and turn Ctrl-C into `interrupted`, until training ends.

        A second Ctrl-C raises KeyboardInterrupt as usual. Only the main thread can catch signals;
        elsewhere Ctrl-C stays what it was, as it does where it is ignored: a shell's background
        job must not end by the Ctrl-C that is meant for another.
        """
        self._epoch_started = time.perf_counter()
        with self._display, self._heed_interrupt():
            yield self
            if self._losses:  # interrupted within an epoch
                self._finish_epoch()

    @contextmanager
    def _heed_interrupt(self) -> Iterator[None]:
        before = signal.getsignal(signal.SIGINT)
        elsewhere = threading.current_thread() is not threading.main_thread()
        if elsewhere or before is signal.SIG_IGN:
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


class _Display:
    """A bar on a terminal, a line per epoch elsewhere, nothing if not wanted; on stderr."""

    def __init__(self, epochs: int, steps: int, wanted: bool | None) -> None:
        terminal = sys.stderr.isatty()
        self._epochs = epochs
        self._steps = steps
        self._lines = bool(wanted) and not terminal
        self._bar: Progress | None = None
        self._task: Any = None
        if terminal and wanted is not False:
            self._bar = _bar()
            self._task = self._bar.add_task("", total=epochs * steps, loss=0.0, speed=0.0)

    def __enter__(self) -> None:
        if self._bar:
            self._bar.start()

    def __exit__(self, *exc_info: object) -> None:
        if self._bar:
            self._bar.stop()

    def update(self, epoch: int, done: int, loss: float, speed: float) -> None:
        if self._bar:
            self._bar.update(
                self._task,
                description=f"epoch {epoch}/{self._epochs}",
                completed=(epoch - 1) * self._steps + done,
                loss=loss,
                speed=speed,
            )

    def epoch(self, record: EpochRecord) -> None:
        if self._lines:
            print(  # noqa: T201
                f"epoch {record.epoch}/{self._epochs}  loss {record.loss:.4f}  "
                f"{record.images_per_second:,.0f} images/s  {record.seconds:.1f} s",
                file=sys.stderr,
            )


def _bar() -> Progress:
    from rich import progress
    from rich.console import Console

    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.TextColumn("loss {task.fields[loss]:.4f}"),
        progress.TextColumn("{task.fields[speed]:,.0f} images/s"),
        progress.TimeRemainingColumn(),
        console=Console(stderr=True),
    )
