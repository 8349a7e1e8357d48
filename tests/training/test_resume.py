"""A training that was killed goes on to the very weights of one that was not."""

import os
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

import twinset
from resuming import Killed, save_at_every_look
from twinset.data.image_sources import StoredPixels
from twinset.errors import ModelError
from twinset.training import checkpoints
from twinset.training.checkpoints import Keeper
from twinset.training.monitor import Monitor

SETTINGS = {"encoder": {"units": [16, 8]}, "batch_size": 8, "epochs": 60}

# Keras without what it wraps is imported in half the time
VICTIM = """
import sys
import numpy as np
import twinset
from twinset.cli.arguments import choose_backend
choose_backend(None)
from twinset.training import checkpoints

checkpoints.Keeper.__init__.__kwdefaults__.update(seconds=0.0, share=1.0)
data = np.load(sys.argv[1])
stripes = twinset.LabelledImages(data["images"], data["labels"], tuple(data["names"].tolist()))
print("ready", flush=True)
model = twinset.fit(stripes, checkpoint=sys.argv[2], encoder={"units": [16, 8]}, batch_size=8,
                    epochs=60)
np.savez(sys.argv[3], *model.encoder.get_weights())
"""


@pytest.fixture(scope="module")
def whole(stripes):
    """The weights of the training that nothing stops."""
    return twinset.fit(stripes, **SETTINGS).encoder.get_weights()


@pytest.fixture
def eager(monkeypatch):
    """Every look at the losses saves."""
    save_at_every_look(monkeypatch)


def same(one, two):
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


def saved(images, folder):
    """Save the data, and say where the victim finds it, and puts checkpoint and weights."""
    names = np.array(images.class_names)
    np.savez(folder / "data.npz", images=images.images, labels=images.labels, names=names)
    return [folder / "data.npz", folder / "state.npz", folder / "weights.npz"]


@pytest.mark.any_backend
@pytest.mark.usefixtures("eager")
def test_killed_and_resumed_equals_uninterrupted(stripes, whole, tmp_path):
    """A process killed at its first checkpoint, its successor stopped half way, the third alone."""
    arguments = saved(stripes, tmp_path)
    command = [sys.executable, "-c", VICTIM, *map(str, arguments)]
    victim = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while victim.poll() is None and time.monotonic() < deadline and not arguments[1].exists():
        time.sleep(0.005)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    assert arguments[1].exists() or arguments[2].exists()  # killed midway, or quick and done

    with pytest.raises(MemoryError, match="killed"):
        twinset.fit(stripes, checkpoint=arguments[1], callbacks=[Killed(at=40)], **SETTINGS)
    same(whole, twinset.fit(stripes, checkpoint=arguments[1], **SETTINGS).encoder.get_weights())
    assert not arguments[1].exists()


@pytest.mark.usefixtures("eager")
def test_every_checkpoint_leads_to_the_same_weights(stripes, tmp_path, monkeypatch):
    settings = SETTINGS | {"epochs": 3}
    whole = twinset.fit(stripes, **settings)
    saved = []
    write = checkpoints.write_bytes
    monkeypatch.setattr(
        checkpoints, "write_bytes", lambda path, data: (write(path, data), saved.append(data))
    )
    path = tmp_path / "state.npz"
    twinset.fit(stripes, checkpoint=path, **settings)
    assert len(saved) >= 3
    for data in saved[:: max(1, len(saved) // 4)]:
        path.write_bytes(data)
        resumed = twinset.fit(stripes, checkpoint=path, **settings)
        same(whole.encoder.get_weights(), resumed.encoder.get_weights())
        assert [r.loss for r in resumed.history] == pytest.approx([r.loss for r in whole.history])


class Signal(keras.callbacks.Callback):
    """Sends this process a signal at the beginning of an epoch."""

    def __init__(self, number, at):
        super().__init__()
        self.number, self.at = number, at

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.at:
            signal.raise_signal(self.number)


class EndedError(Exception):
    """What the handler of SIGTERM raises here."""


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="the others save between epochs")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_all_that_was_done(number, stripes, whole, tmp_path, monkeypatch):
    def end(*_):
        raise EndedError("when all is kept")

    handlers = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: end}
    before = {each: signal.signal(each, handler) for each, handler in handlers.items()}
    saved = []
    keep = Keeper.save
    monkeypatch.setattr(Keeper, "save", lambda *given: (keep(*given), saved.append(given[1:3])))
    path = tmp_path / "state.npz"
    try:
        told = {"callbacks": [Signal(number, at=40)], "checkpoint": path}
        if number == signal.SIGTERM:
            with pytest.raises(EndedError, match="when all is kept"):
                twinset.fit(stripes, **told, **SETTINGS)
        else:
            assert twinset.fit(stripes, **told, **SETTINGS).interrupted
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    assert saved == [(40, 0)]  # the first of the training, which is far from half a minute long
    same(whole, twinset.fit(stripes, checkpoint=path, **SETTINGS).encoder.get_weights())


@pytest.mark.usefixtures("eager")
def test_a_checkpoint_belongs_to_one_training(stripes, tmp_path, monkeypatch):
    path = tmp_path / "state.npz"
    monkeypatch.setattr(Keeper, "remove", lambda self: None)
    settings = SETTINGS | {"epochs": 2}
    twinset.fit(stripes, checkpoint=path, **settings)
    assert path.exists()
    with pytest.raises(ModelError, match="It is of another recipe, other data or another back end"):
        twinset.fit(stripes, checkpoint=path, **settings | {"seed": 1})
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ModelError, match="expected a checkpoint. .* remove it, and train anew"):
        twinset.fit(stripes, checkpoint=path, **settings)


def test_a_full_disk_keeps_the_checkpoint_before(tmp_path, monkeypatch, capsys):
    keeper = Keeper(tmp_path / "state.npz", lambda: "key", seconds=0, share=1)
    watching = Monitor(epochs=1, sizes=np.array([1]), images=1)
    keeper.save(0, 1, [np.arange(3)], watching)

    def full(file):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        for _ in range(3):
            keeper.save(0, 2, [np.arange(4)], watching)
    found = keeper.load()
    assert (found.epoch, found.step, found.arrays[0].tolist()) == (0, 1, [0, 1, 2])
    told = capsys.readouterr().err
    assert told.count("could not be written. No space left on device: make room") == 1
    keeper.save(0, 3, [np.arange(5)], watching)  # somebody has made room
    assert keeper.load().step == 3


@pytest.mark.parametrize(("takes", "next_save"), [(0.5, 30.5), (10, 10 + 190)])
def test_saving_takes_a_bounded_share_of_the_time(tmp_path, takes, next_save):
    """A large network would mostly save if the half minute were counted from a save's beginning."""
    now = 100.0

    def arrays():  # as if the network came off the device slowly
        nonlocal now
        now += takes
        yield np.arange(3)

    keeper = Keeper(tmp_path / "state.npz", lambda: "key", clock=lambda: now)
    assert not keeper.due
    now += 30
    assert keeper.due
    begun = now
    keeper.save(0, 1, arrays(), Monitor(epochs=1, sizes=np.array([1]), images=1))
    for later, due in ((next_save - 0.1, False), (next_save, True)):
        now = begun + later
        assert keeper.due is due
    assert takes / next_save <= 0.05
    assert keeper.load().arrays[0].tolist() == [0, 1, 2]


@pytest.mark.any_backend
@pytest.mark.usefixtures("eager")
def test_a_disk_that_fills_up_ends_no_training(stripes, whole, tmp_path, monkeypatch, capsys):
    def full(file):
        raise OSError(27, "File too large")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        path = tmp_path / "state.npz"
        weights = twinset.fit(stripes, checkpoint=path, **SETTINGS).encoder.get_weights()
    told = capsys.readouterr().err
    assert "state.npz: the checkpoint could not be written. File too large: make" in told
    same(whole, weights)
    assert not list(tmp_path.iterdir()), "no half-written file stays"


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="the other engines read each batch")
def test_images_fed_a_few_steps_ahead_train_alike(stripes, tmp_path, monkeypatch):
    from twinset.training import feed

    settings = SETTINGS | {"epochs": 3}
    whole = twinset.fit(stripes, **settings)
    (tmp_path / "pixels").write_bytes(stripes.images.tobytes())
    stored = twinset.LabelledImages(
        StoredPixels(tmp_path / "pixels", stripes.images.shape),
        stripes.labels,
        stripes.class_names,
    )
    monkeypatch.setattr(feed, "RESIDENT", 0)
    for chunk in (1, 16 * 30 * 3, 10**6):  # one step at a time, three, all
        monkeypatch.setitem(feed.Feed.__init__.__kwdefaults__, "chunk", chunk)
        model = twinset.fit(stored, **settings)
        same(whole.encoder.get_weights(), model.encoder.get_weights())
        assert model.trained_on.digest == whole.trained_on.digest
