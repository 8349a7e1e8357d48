"""The averaged weights by a loop over the steps, and what batch normalisation then knows."""

import keras
import numpy as np
import pytest

import twinset
from resuming import check_that_it_goes_on
from twinset import losses, networks
from twinset.errors import RecipeError
from twinset.networks.head import MOMENTUM
from twinset.recipe_sections import OptimizerRecipe
from twinset.training import fit as averaging
from twinset.training.optimizers import build
from twinset.training.tasks import BatchTask, Job

SETTINGS = {
    "pairs": "batch",
    "batch_size": 30,
    "encoder": {"units": [8, 4], "dropout": 0.0, "linear": True, "normalize": True},
    "loss": {"name": "supcon"},
    "optimizer": {"name": "adam", "learning_rate": 0.01, "average": 0.7},
    "epochs": 12,
    "progress": False,
}


class Weights(keras.callbacks.Callback):
    """Keeps the weights after each epoch."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append(self.model.get_weights())


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_the_average_by_a_loop(stripes, precision):
    few = stripes.subset(np.arange(30))  # one step an epoch, so the callback sees each
    seen = Weights()
    model = twinset.fit(few, **SETTINGS, precision=precision, callbacks=[seen])
    assert len(seen.seen) == 12
    start = twinset.networks.build(model.recipe.encoder, (6, 5), seed=0).get_weights()
    # the first steps of float16 are left out: they find how far the loss can be scaled
    moved = [each for each in seen.seen if not np.array_equal(each[0], start[0])]
    assert len(moved) >= 8
    average = moved[0]
    for after in moved[1:]:
        average = [0.7 * old + 0.3 * new for old, new in zip(average, after, strict=True)]
    for found, expected, last in zip(
        model.encoder.get_weights(), average, seen.seen[-1], strict=True
    ):
        np.testing.assert_allclose(found, expected, atol=1e-6)
        assert np.abs(found - last).max() > 1e-3, "the last weights would pass for the average"


def test_the_steps_are_those_without_an_average(stripes):
    one, two = (
        twinset.fit(stripes, **SETTINGS | {"optimizer": SETTINGS["optimizer"] | {"average": m}})
        for m in (0.0, 0.8)
    )
    assert [each.loss for each in one.history] == [each.loss for each in two.history]


def test_statistics_are_those_of_the_averaged_weights(stripes, monkeypatch):
    settings = SETTINGS | {"encoder": {"name": "conv", "widths": [4, 4], "embedding": 4}}
    settings |= {"optimizer": settings["optimizer"] | {"average": 0.95}, "epochs": 40}
    large = twinset.LabelledImages(
        np.repeat(np.repeat(stripes.images, 4, axis=1), 4, axis=2),
        stripes.labels,
        stripes.class_names,
    )

    def gap(model):
        """How far the running means are from those of the data, in their own spread."""
        norm = model.encoder.get_layer("features_norm")
        inner = keras.Model(model.encoder.inputs[0], norm.input)
        seen = keras.ops.convert_to_numpy(inner(large.images / np.float32(255)))
        mean = keras.ops.convert_to_numpy(norm.moving_mean)
        return np.abs(mean - seen.mean(axis=0)).max() / seen.std()

    model = twinset.fit(large, **settings)
    assert model.encoder.get_layer("features_norm").momentum == MOMENTUM
    monkeypatch.setattr(averaging, "BATCHES", 0)
    assert gap(model) < 0.5 * gap(twinset.fit(large, **settings))


def test_an_average_that_remembers_more_than_there_is(stripes):
    settings = SETTINGS | {"optimizer": {"average": 0.99}}
    words = r"at most 0\.878 for 24 steps.*Received 0\.99.*first step would still be 79%"
    with pytest.raises(RecipeError, match=words):
        twinset.fit(stripes, **settings)
    twinset.fit(stripes, **SETTINGS | {"optimizer": {"average": 0.877}, "epochs": 12})


def test_weights_that_a_callback_puts_back_stay(stripes):
    """As `EarlyStopping(restore_best_weights=True)` does, which speaks last."""

    class Restores(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 0:
                self.first = self.model.get_weights()

        def on_train_end(self, logs=None):
            self.averaged = self.model.get_weights()
            self.model.set_weights(self.first)

    watch = Restores()
    model = twinset.fit(stripes, **SETTINGS, callbacks=[watch])
    for found, first, averaged in zip(
        model.encoder.get_weights(), watch.first, watch.averaged, strict=True
    ):
        np.testing.assert_array_equal(found, first)
        assert np.abs(averaged - first).max() > 1e-3


def test_no_step_leaves_the_first_weights(stripes):
    """Every step of 16 bits may be left out; the averages that Keras began with are zeros."""
    encoder = networks.mlp((6, 5), units=(4,), linear=True, normalize=True, seed=0)
    before = encoder.get_weights()
    recipe = OptimizerRecipe(average=0.5)
    for precision in ("float32", "mixed_float16"):
        optimizer = build(recipe, 1, precision=precision)
        task = BatchTask(losses.SupCon(), stripes.labels, batch_size=30, per_class=0, seed=0)
        job = Job(encoder, optimizer, task, stripes.images, stripes.labels, None, epochs=1)
        job.build()
        optimizer.finalize_variable_values(encoder.trainable_variables)
        averaging.settle(job)
        for found, expected in zip(encoder.get_weights(), before, strict=True):
            np.testing.assert_array_equal(found, expected)


def test_an_average_goes_on_from_a_checkpoint(stripes, tmp_path, monkeypatch):
    check_that_it_goes_on(stripes, tmp_path / "state.npz", monkeypatch, killed_at=3, **SETTINGS)
