"""Ordinary Keras callbacks: each works as its user expects, or is refused before an epoch."""

import csv
import functools
import importlib.util

import keras
import numpy as np
import pytest

import twinset
from twinset.errors import TrainingError
from twinset.training import callbacks

BATCH = {
    "pairs": "batch",
    "batch_size": 12,
    "encoder": {"units": [16, 8], "linear": True, "normalize": True},
    "loss": {"name": "supcon"},
}


def fit(data, *given, **settings):
    return twinset.fit(data, callbacks=given, **BATCH | settings)


def same(one, two):
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def alone(stripes):
    """Train as many epochs without a callback: `alone(1)`, each once."""
    return functools.cache(lambda epochs: fit(stripes, epochs=epochs))


class Story(keras.callbacks.Callback):
    """Notes what it is told, and the weights at that moment."""

    def __init__(self):
        super().__init__()
        self.heard = []

    def _note(self, what, epoch=None):
        weights = [np.array(w) for w in self.model.get_weights()]
        self.heard.append((what, epoch, weights, int(self.model.optimizer.iterations)))

    def on_train_begin(self, logs=None):
        self._note("begins")

    def on_train_end(self, logs=None):
        self._note("ends")

    def on_epoch_begin(self, epoch, logs=None):
        self._note("epoch begins", epoch)

    def on_epoch_end(self, epoch, logs=None):
        assert logs["loss"] > 0
        self._note("epoch ends", epoch)


def test_the_story_is_told_in_order_with_the_weights_of_the_moment(stripes, alone):
    story = Story()
    model = fit(stripes, story, epochs=2)
    steps = model.history[0].steps
    assert [(what, epoch, seen) for what, epoch, _, seen in story.heard] == [
        ("begins", None, 0),
        ("epoch begins", 0, 0),
        ("epoch ends", 0, steps),
        ("epoch begins", 1, steps),
        ("epoch ends", 1, 2 * steps),
        ("ends", None, 2 * steps),
    ]
    weights = [each[2] for each in story.heard]
    same(weights[1], twinset.networks.build(model.recipe.encoder, (6, 5), seed=0).get_weights())
    same(weights[2], alone(1).encoder.get_weights())
    same(weights[2], weights[3])
    same(weights[4], model.encoder.get_weights())
    assert not np.allclose(weights[2][0], weights[4][0])


def test_who_only_listens_changes_nothing(stripes, alone):
    listened = fit(stripes, Story(), epochs=3)
    same(listened.encoder.get_weights(), alone(3).encoder.get_weights())


@pytest.mark.parametrize(
    "loss", [pytest.param("supcon", marks=pytest.mark.any_backend), "proxy_anchor"]
)
def test_model_checkpoint_saves_the_weights_of_each_epoch(stripes, tmp_path, loss):
    path = str(tmp_path / "{epoch}.weights.h5")
    weights = keras.callbacks.ModelCheckpoint(path, save_weights_only=True)
    whole = keras.callbacks.ModelCheckpoint(str(tmp_path / "{epoch}.keras"))
    model = fit(stripes, weights, whole, epochs=2, loss={"name": loss})
    first = fit(stripes, epochs=1, loss={"name": loss}).encoder.get_weights()
    fresh = twinset.networks.build(model.recipe.encoder, (6, 5), seed=9)
    for epoch, expected in ((1, first), (2, model.encoder.get_weights())):
        fresh.load_weights(tmp_path / f"{epoch}.weights.h5")
        same(fresh.get_weights(), expected)
        loaded = keras.saving.load_model(tmp_path / f"{epoch}.keras", compile=False)
        same(loaded.get_weights(), expected)


def test_early_stopping_stops_and_restores_the_best(stripes, alone):
    stopping = keras.callbacks.EarlyStopping(
        "loss", min_delta=100, patience=2, restore_best_weights=True
    )
    model = fit(stripes, stopping, epochs=30)
    assert len(model.history) == 3
    assert not model.interrupted
    same(model.encoder.get_weights(), alone(1).encoder.get_weights())


def test_a_learning_rate_scheduler_is_heeded_from_the_first_step_on(stripes):
    rates = keras.callbacks.LearningRateScheduler(lambda epoch, rate: 1e-3 if epoch == 0 else 0.0)
    model = fit(stripes, rates, epochs=3, optimizer={"learning_rate": 0.5})
    one = fit(stripes, epochs=1, optimizer={"learning_rate": 1e-3}).encoder.get_weights()
    same(model.encoder.get_weights(), one)


def test_a_plateau_lowers_the_rate(stripes):
    plateau = keras.callbacks.ReduceLROnPlateau("loss", factor=0.1, patience=1, min_delta=100)
    logger = Story()
    fit(stripes, plateau, logger, epochs=3)
    assert float(logger.model.optimizer.learning_rate) == pytest.approx(1e-5)


def test_csv_logger_writes_the_history(stripes, tmp_path):
    model = fit(stripes, keras.callbacks.CSVLogger(tmp_path / "log.csv"), epochs=3)
    rows = list(csv.DictReader((tmp_path / "log.csv").read_text("utf-8").splitlines()))
    assert [int(row["epoch"]) for row in rows] == [0, 1, 2]
    for name in ("loss", "effective_rank", "gradient_norm"):
        expected = [record.flat()[name] for record in model.history]
        assert [float(row[name]) for row in rows] == pytest.approx(expected), name


class Zeros(keras.callbacks.Callback):
    """Sets all weights to 0 when the epochs are over."""

    def on_epoch_end(self, epoch, logs=None):
        self.model.set_weights([np.zeros_like(w) for w in self.model.get_weights()])


def test_weights_that_a_callback_sets_are_taken(stripes):
    model = fit(stripes, Zeros(), epochs=1)
    assert not any(w.any() for w in model.encoder.get_weights())


def test_the_encoder_is_saved_without_the_optimiser(stripes, alone, tmp_path):
    fit(stripes, Story(), epochs=1).save(tmp_path / "heard")
    alone(1).save(tmp_path / "alone")
    heard, plain = (
        len((tmp_path / name / "encoder.keras").read_bytes()) for name in ("heard", "alone")
    )
    assert heard == pytest.approx(plain, rel=0.05)


class EachBatch(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        raise AssertionError("must be refused")


SCHEDULED = {"optimizer": {"schedule": "cosine"}}


@pytest.mark.parametrize(
    ("make", "settings", "words"),
    [
        (EachBatch, {}, "EachBatch with on_train_batch_end: many steps run in one compiled loop"),
        (
            lambda: keras.callbacks.LambdaCallback(on_train_batch_begin=print),
            {},
            "LambdaCallback with on_train_batch_begin",
        ),
        (
            lambda: keras.callbacks.ModelCheckpoint("x.keras", save_freq=10),
            {},
            "ModelCheckpoint with save_freq",
        ),
        (
            lambda: keras.callbacks.BackupAndRestore("x"),
            {},
            "Received BackupAndRestore, which .* pass `checkpoint=`",
        ),
        (
            lambda: keras.callbacks.LearningRateScheduler(lambda epoch: 0.1),
            SCHEDULED,
            "Received LearningRateScheduler beside a schedule: take optimizer.schedule",
        ),
        (
            lambda: keras.callbacks.ReduceLROnPlateau("loss"),
            SCHEDULED,
            "Received ReduceLROnPlateau beside a schedule",
        ),
        (lambda: print, {}, "Expected Keras callbacks. Received <built-in function print>"),
    ],
)
def test_what_cannot_work_is_refused(stripes, make, settings, words):
    with pytest.raises(TrainingError, match=words):
        fit(stripes, make(), epochs=1, **settings)


def test_keras_own_batch_hooks_are_no_reason_to_refuse(stripes):
    quiet = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: None)
    fit(stripes, keras.callbacks.TerminateOnNaN(), quiet, epochs=1)


def test_tensorboard_without_its_packages_is_told(stripes, tmp_path, monkeypatch):
    monkeypatch.setattr(callbacks.importlib.util, "find_spec", lambda name: None)
    board = keras.callbacks.TensorBoard.__new__(keras.callbacks.TensorBoard)
    board.update_freq = "epoch"
    with pytest.raises(TrainingError, match="Not installed: tensorflow, tensorboard; `pip install"):
        fit(stripes, board, epochs=1)


@pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is None
    or importlib.util.find_spec("tensorflow") is None,
    reason="tensorboard and tensorflow are not installed",
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_gets_the_history(stripes, tmp_path):
    import tensorflow as tf

    board = keras.callbacks.TensorBoard(str(tmp_path), write_graph=True)
    model = fit(stripes, board, epochs=3)
    (file,) = (tmp_path / "train").glob("events*")
    found = {}
    for event in tf.compat.v1.train.summary_iterator(str(file)):
        for value in event.summary.value:
            if value.tag in ("epoch_loss", "epoch_effective_rank", "epoch_learning_rate"):
                found.setdefault(value.tag, []).append(float(tf.make_ndarray(value.tensor)))
    assert found["epoch_loss"] == pytest.approx([r.loss for r in model.history], rel=1e-6)
    ranks = [r.statistics.effective_rank for r in model.history]
    assert found["epoch_effective_rank"] == pytest.approx(ranks, rel=1e-6)
    assert found["epoch_learning_rate"] == pytest.approx([1e-3] * 3)
