"""What ends a training early: guards, which stop what is broken with a reason, and signals."""

from __future__ import annotations

import math
import signal
import statistics
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from twinset.errors import CollapseError, DivergedError, IdleError, NonFiniteLossError

# Embeddings closer than this share of the scale, over as many steps as the patience, are one
# point. A network that learns passes through no such state: distances start near it and spread.
COLLAPSED = 1e-3
PATIENCE = 20
# A loss below this wants nothing more; at so many times that of the first steps it has diverged.
SATISFIED = 1e-6
FIRST, DIVERGED = 10, 10.0
DEAD = 0.98


@dataclass
class Guards:
    """How near to their limits the guards are, between two steps."""

    flat: int = 0  # steps in a row with all embeddings in one point
    idle: int = 0  # likewise with a gradient of 0
    high: int = 0  # likewise with a loss far above the first ones
    first: tuple[float, ...] = ()  # these

    def at_its_best(
        self, loss: float, spread: float, norm: float, *, scale: float, where: str
    ) -> bool:
        """Look at one step: whether nothing is left to learn; a TrainingError if it is broken."""
        if not math.isfinite(loss):
            raise NonFiniteLossError(
                f"Expected a finite loss. Received {loss} at {where}: "
                "lower the learning rate (for example --set optimizer.learning_rate=0.0003), "
                "and check the images for broken values."
            )
        self.flat = self.flat + 1 if spread < COLLAPSED * scale else 0
        if self.flat >= PATIENCE:
            raise CollapseError(
                f"Expected embeddings that differ. All pairs had distance {spread:.2g} "
                f"(loss {loss:.3f}) in {PATIENCE} batches up to {where}: the "
                "network maps every image to one point, and cannot recover. Lower the learning "
                "rate, try another --seed, or widen the last layer (encoder.units)."
            )
        if not math.isnan(norm):  # some engines look at it now and then
            self.idle = self.idle + 1 if norm == 0 else 0
        if self.idle >= PATIENCE:
            if loss < SATISFIED:
                return True  # all pairs are where the loss wants them
            raise IdleError(
                f"Expected a loss that moves the network. Its gradient was 0 in {PATIENCE} "
                f"batches up to {where} (loss {loss:.3f}): no pair is active, or the last "
                "layer is dead. Take another seed, a larger margin, encoder.linear=true, or "
                "larger batches (batch_size)."
            )
        self._diverging(loss, where)
        return False

    def _diverging(self, loss: float, where: str) -> None:
        if len(self.first) < FIRST:
            self.first = (*self.first, loss)
            return
        usual = statistics.median(self.first)
        self.high = self.high + 1 if loss > DIVERGED * max(usual, SATISFIED) else 0
        if self.high >= PATIENCE:
            raise DivergedError(
                f"Expected a loss that falls. It rose from {usual:.3g} in "
                f"the first {FIRST} batches to {loss:.3g} at {where}: lower the learning "
                "rate, or warm it up (--set optimizer.warmup=0.1)."
            )


def refuse_dead(shares: Sequence[float], epoch: int) -> None:
    """Refuse an embedding most of whose coordinates were constant at the end of two epochs."""
    # twice: one small batch may be of images that are all alike
    if len(shares) == 2 and min(shares) > DEAD:
        raise CollapseError(
            f"Expected an embedding that uses its coordinates. {shares[-1]:.0%} "
            f"of them are constant after epoch {epoch}: lower the learning rate, try "
            "another --seed, or take encoder.linear=true."
        )


@contextmanager
def on_interrupt(call: Callable[[], None]) -> Iterator[None]:
    """Turn the first Ctrl-C within into a call; a second one is as usual. So for SIGTERM."""
    # Only the main thread can catch signals; elsewhere they stay what they were. So they do where
    # they are ignored, as a shell's background job must not end by the Ctrl-C that is meant for
    # another, where nobody handles SIGTERM, and where a handler is not Python's (None), which could
    # not be put back.
    here = threading.current_thread() is threading.main_thread()
    found = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM) if here}
    before = {each: handler for each, handler in found.items() if callable(handler)}

    def note(signum: int, frame: FrameType | None) -> None:
        del frame
        call()
        if signum == signal.SIGTERM:  # again from each who passes it on; the patient send SIGKILL
            _put_off.append(signum)
        else:
            signal.signal(signum, before[signal.SIGINT])

    with sigterm_put_off():
        for each in before:
            signal.signal(each, note)
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)


_put_off: list[int] = []
_within = 0


@contextmanager
def sigterm_put_off() -> Iterator[None]:
    """Have a SIGTERM that ended a training within come at the end, as what was learned is kept."""
    global _within
    _within += 1
    try:
        yield
    finally:
        _within -= 1
        if _put_off and not _within:
            _put_off.clear()
            signal.raise_signal(signal.SIGTERM)
