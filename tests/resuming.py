"""A training that is killed, and goes on from its checkpoint to the same bits."""

import keras
import numpy as np
import pytest

import twinset
from twinset.training.checkpoints import Keeper


def save_at_every_look(monkeypatch):
    for name, value in (("seconds", 0.0), ("share", 1.0)):
        monkeypatch.setitem(Keeper.__init__.__kwdefaults__, name, value)


class Killed(keras.callbacks.Callback):
    """Ends a training at the beginning of an epoch."""

    def __init__(self, at):
        super().__init__()
        self.at = at

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.at:
            raise MemoryError("killed")


def check_that_it_goes_on(data, path, monkeypatch, *, killed_at, **settings):
    """Train twice, once with a kill at the beginning of an epoch: the weights are the same.

    An `encoder` that is a function makes a network of its own for each training.
    """
    save_at_every_look(monkeypatch)
    make = settings.pop("encoder", None)

    def fit(**more):
        own = {} if make is None else {"encoder": make() if callable(make) else make}
        return twinset.fit(data, **settings, **own, **more)

    whole = fit()

    with pytest.raises(MemoryError, match="killed"):
        fit(checkpoint=path, callbacks=[Killed(at=killed_at)])
    assert path.exists(), "there must be something to go on from"
    resumed = fit(checkpoint=path)
    for a, b in zip(whole.encoder.get_weights(), resumed.encoder.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
