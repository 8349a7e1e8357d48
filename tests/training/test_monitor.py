"""The guards: what stops a training, what does not, and what is told."""

import numpy as np
import pytest

from twinset.errors import CollapseError, DivergedError, IdleError, NonFiniteLossError
from twinset.models.history import BatchStatistics, EpochRecord
from twinset.training.guards import PATIENCE, Guards
from twinset.training.monitor import Monitor, Steps

pytestmark = pytest.mark.any_backend


def monitor(steps=100, size=8, **settings):
    return Monitor(epochs=2, sizes=np.full(steps, size), images=2 * size, **settings)


def steps(loss, spread=0.5, norm=0.1, active=1.0):
    count = max(np.size(each) for each in (loss, spread, norm, active))
    return Steps(*(np.broadcast_to(np.float64(e), count) for e in (loss, spread, norm, active)))


class Ear:
    """Hears of epochs, and wants the end after so many."""

    def __init__(self, enough=100):
        self.begun, self.ended, self.enough = [], [], enough

    def begin(self, epoch):
        self.begun.append(epoch)

    def end(self, record):
        self.ended.append(record)

    @property
    def stopped(self):
        return len(self.ended) >= self.enough


def test_an_epoch_is_averaged_over_its_items():
    watching = Monitor(epochs=2, sizes=np.array([4, 4, 2]), images=8)
    watching.steps(steps([0.5, 0.3, 0.2], norm=[1, 2, 3], active=[1, 0.5, 0]))
    record = watching.history[0]
    assert record.loss == pytest.approx((4 * 0.5 + 4 * 0.3 + 2 * 0.2) / 10)
    assert record.gradient_norm == pytest.approx((4 + 8 + 6) / 10)
    assert record.active == pytest.approx(0.6)
    with pytest.raises(NonFiniteLossError, match=r"Received nan at epoch 2, step 2 of 3"):
        watching.steps(steps([0.5, np.nan]))


def test_a_collapse_is_told_after_some_patience():
    watching = monitor(scale=2.0)
    for _ in range(3):  # a short flat spell is forgiven
        watching.steps(steps(np.full(PATIENCE - 1, 0.5), spread=1e-3))
        watching.steps(steps(0.4, spread=2.1e-3))
    assert watching.history == []  # 60 of 100 steps: no error, and no epoch yet
    with pytest.raises(CollapseError, match=r"distance 0.001 .* up to epoch 1, step 80 of 100"):
        watching.steps(steps(np.full(PATIENCE, 0.5), spread=1e-3))


def test_a_loss_that_moves_nothing_is_told():
    watching = monitor()
    watching.steps(steps(np.full(PATIENCE - 1, 0.2), norm=0))
    watching.steps(steps(0.2, norm=1e-9))
    with pytest.raises(IdleError, match="Its gradient was 0 in 20 batches .* no pair is active"):
        watching.steps(steps(np.full(PATIENCE, 0.2), norm=0))


def test_a_gradient_that_was_not_looked_at_says_nothing():
    watching = monitor()
    short = monitor(steps=2)
    short.steps(steps([0.2, 0.4], norm=[np.nan, 3.0]))
    assert short.history[0].gradient_norm == 3
    huge = monitor(steps=2)  # what 16 bits cannot hold is left out of the mean
    huge.steps(steps([0.2, 0.4], norm=[np.inf, 3.0]))
    assert huge.history[0].gradient_norm == 3
    norms = np.where(np.arange(90) % 5 == 0, 0.0, np.nan)
    watching.steps(steps(np.full(90, 0.2), norm=norms))  # 18 zeros
    with pytest.raises(IdleError, match="Its gradient was 0"):
        watching.steps(steps([0.2, 0.2], norm=0))


def test_a_loss_at_its_best_ends_the_training():
    watching = monitor()
    watching.steps(steps(np.full(PATIENCE, 0.0), norm=0))
    assert watching.finished
    assert watching.stop
    assert not watching.interrupted


def test_a_loss_that_rises_is_told():
    watching = monitor()
    watching.steps(steps(np.full(10, 0.5)))
    watching.steps(steps(np.full(PATIENCE - 1, 6.0)))
    watching.steps(steps(4.9))
    with pytest.raises(DivergedError, match=r"from 0.5 in the first 10 batches to 6 at epoch 1"):
        watching.steps(steps(np.full(PATIENCE, 6.0)))


def test_dead_coordinates_are_told_at_the_end_of_an_epoch():
    watching = monitor(steps=1)
    watching.steps(
        steps(0.5), lambda: BatchStatistics(dead_share=0.98)
    )  # the tutorial's network gets near
    watching.steps(steps(0.5), lambda: BatchStatistics(dead_share=0.99))
    with pytest.raises(CollapseError, match="99% of them are constant after epoch 3"):
        watching.steps(steps(0.5), lambda: BatchStatistics(dead_share=0.99))


def test_another_monitor_goes_on():
    ear = Ear()
    first = monitor(steps=3)
    first.steps(steps([0.5, 0.4, 0.3], norm=[1, 2, 3]))
    first.steps(steps(0.2))
    second = monitor(steps=3, listener=ear)
    second.restore(first.history, first.pending, first.guards)
    assert second.step == 1
    second.steps(steps([0.1, 0.0]), lambda: BatchStatistics(alignment=0.25))
    assert second.history[0] == first.history[0]
    assert second.history[1].loss == pytest.approx(0.1)
    assert ear.ended == second.history[1:]
    second.begin()
    assert ear.begun == [2]


def test_the_guards_go_on_where_they_were():
    """Killed among steps that move nothing, a training ends at the very step it would have."""
    first = monitor()
    first.steps(steps(np.full(15, 0.0), norm=0))
    second = monitor()
    second.restore(first.history, first.pending, first.guards)
    second.steps(steps(np.full(PATIENCE - 16, 0.0), norm=0))
    assert not second.finished
    second.steps(steps(0.0, norm=0))
    assert second.finished
    rising = monitor()
    rising.restore([], np.empty((0, 3)), Guards(high=PATIENCE - 1, first=(0.5,) * 10))
    with pytest.raises(DivergedError, match=r"from 0.5 in the first 10 batches to 6"):
        rising.steps(steps(6.0))


def test_a_listener_may_end_the_training():
    watching = monitor(steps=1, listener=Ear(enough=2))
    watching.steps(steps(0.5))
    assert not watching.stop
    watching.steps(steps(0.4))
    assert watching.stop
    assert not watching.interrupted


def test_a_record_comes_back_from_its_numbers():
    record = EpochRecord(3, 7, 0.5, 1.5, 100.0, 0.25, 0.75, BatchStatistics(1, 2, 3, 4, 5, 6, 7, 8))
    flat = record.flat()
    assert list(flat)[:3] == ["epoch", "steps", "loss"]
    assert EpochRecord.from_flat({name: str(value) for name, value in flat.items()}) == record
    old = EpochRecord.from_flat({"epoch": 1, "steps": 2, "loss": 0.5})
    assert np.isnan([old.seconds, old.active, old.statistics.uniformity]).all()
