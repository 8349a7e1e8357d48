"""Watches a training: has its guards look at each step, heeds signals, keeps the history."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset.models.history import NAN, UNKNOWN, BatchStatistics, EpochRecord, ValidationScores
from twinset.progress import Progress, Report
from twinset.training import processes
from twinset.training.callbacks import Callbacks
from twinset.training.guards import Guards, on_interrupt, refuse_dead
from twinset.training.validation import Validation


@dataclass(frozen=True, eq=False)
class Steps:
    """What some steps in a row did, as an engine tells it: arrays of shape (steps,)."""

    loss: NDArray[np.floating]  # mean of each batch
    spread: NDArray[np.floating]  # how far apart the batch's embeddings are on average
    gradient_norm: NDArray[np.floating]  # of the loss at the embeddings
    active: NDArray[np.floating]  # share of the embeddings with a gradient


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
        validation: Validation | None = None,
    ) -> None:
        self.epochs = epochs
        self.history: list[EpochRecord] = []
        self.interrupted = self._asked = False
        self.finished = False
        self._sizes = np.asarray(sizes, np.float64)
        self._images = images
        self._scale = scale
        self._tell = tell
        self._listener = listener  # may look at the weights, and change them
        self._validation = validation  # looks at them
        self._seen: list[tuple[float, float, float]] = []  # loss, gradient norm, active share
        self.guards = Guards()
        self._epoch_started = time.perf_counter()

    @property
    def stop(self) -> bool:
        """Whether the engine is to end the training: interrupted, told so, or at the best."""
        return self.interrupted or self.finished

    def agree(self, steps: int, due: bool) -> tuple[int, bool]:
        """Agree with the other processes whether to stop, and when to look and save next."""
        # each has a clock and a keyboard of its own: process 0 decides
        steps, due, stop = processes.from_first(
            lambda: (steps, due, self.interrupted or self._asked or processes.asked_to_stop())
        )
        if stop:  # never taken back: Ctrl-C may come at any moment, here too
            self.interrupted = True
        return steps, due

    @property
    def looks(self) -> bool:
        """Whether somebody looks at the weights between two epochs."""
        return self._listener is not None or self._validation is not None

    @property
    def best(self) -> list[NDArray[Any]]:
        """The weights of the best epoch so far, where they are kept."""
        return [] if self._validation is None else self._validation.best

    @property
    def step(self) -> int:
        """How many steps of the current epoch are done."""
        return len(self._seen)

    def begin(self) -> None:
        """Take note that the next epoch begins."""
        if self._listener is not None:
            self._listener.begin(len(self.history))

    def restore(
        self,
        history: Sequence[EpochRecord],
        seen: NDArray[np.floating],
        guards: Guards,
        best: Sequence[NDArray[Any]] = (),
    ) -> None:
        """Go on where another monitor was: with its history, `pending`, `guards` and `best`."""
        if self._validation is not None:
            self._validation.best = list(best)
        self.history = list(history)
        self.guards = replace(guards)
        self._seen = [tuple(row) for row in seen.tolist()]
        self._epoch_started = time.perf_counter()

    @property
    def pending(self) -> NDArray[np.float64]:
        """What was seen of the current epoch: loss, gradient norm and active share, (steps, 3)."""
        return np.array(self._seen, np.float64).reshape(-1, 3)

    def steps(self, steps: Steps, statistics: Callable[[], BatchStatistics] | None = None) -> None:
        """Take note of the next steps, which end with the epoch at the latest.

        The statistics of the last batch are asked for at its end; a TrainingError says what broke.
        """
        told = (steps.loss, steps.spread, steps.gradient_norm, steps.active)
        for loss, spread, norm, active in np.stack(told, axis=1).tolist():
            self._seen.append((loss, norm, active))
            where = f"epoch {len(self.history) + 1}, step {self.step} of {len(self._sizes)}"
            if self.guards.at_its_best(loss, spread, norm, scale=self._scale, where=where):
                self.finished = True
        if self.step == len(self._sizes):
            self._finish_epoch(statistics)
        else:
            health = self.history[-1].health if self.history else {}
            self._report(self._mean(0), self._speed(time.perf_counter()), health)

    def _report(self, loss: float, speed: float, health: Mapping[str, float]) -> None:
        epoch = f"epoch {len(self.history) + 1}/{self.epochs}"
        numbers = {"loss": loss, "images/s": speed, **health}
        self._tell(Progress(epoch, self.step, len(self._sizes), "steps", numbers))

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
            validation=self._scores(),
        )
        self._report(record.loss, record.images_per_second, record.health)
        self.history.append(record)
        if self._validation is not None:
            self.finished = self._validation.ends(self.history) or self.finished
        if self._listener is not None:
            self._listener.end(record)
            self.finished = self.finished or self._listener.stopped
        self._seen, self._epoch_started = [], time.perf_counter()
        refuse_dead([each.statistics.dead_share for each in self.history[-2:]], record.epoch)

    def _scores(self) -> ValidationScores | None:
        if self._validation is None:
            return None
        scores = self._validation.scores
        return ValidationScores(**processes.from_first(lambda: asdict(scores())))

    @contextmanager
    def watch(self) -> Iterator[Monitor]:
        """Turn Ctrl-C and SIGTERM into `interrupted` until training ends."""
        self._epoch_started = time.perf_counter()
        with on_interrupt(self._interrupt):
            yield self
            if self._seen:  # interrupted within an epoch
                self._finish_epoch()

    def _interrupt(self) -> None:
        if processes.index():
            processes.ask_to_stop()
        elif processes.count() > 1:  # not before the others know
            self._asked = True
        else:
            self.interrupted = True
