"""Training over all pairs: objectives, their weights, augmentation, schedules, callbacks."""

from functools import partial

import keras
import numpy as np
import pytest

import twinset
from resuming import save_at_every_look
from twinset import losses
from twinset.errors import DataError, RecipeError
from twinset.training import checkpoints
from twinset.training import fit as training
from twinset.training.tasks import BatchTask, PairTask, Schedule, build

UNIT = {"units": [16, 8], "linear": True, "normalize": True}
BATCH = {"pairs": "batch", "batch_size": 12, "encoder": UNIT, "optimizer.name": "adam"}


any_backend = partial(pytest.param, marks=pytest.mark.any_backend)
# Values and slopes of each loss are tested on every back end; that it trains, for one without
# weights of its own, one with, and one of pairs.
TRAINED = [
    name if name in ("supcon", "proxy_anchor", "pair_clusters") else any_backend(name)
    for name in losses.LOSSES.names()
]


def auc(model, data):
    pairs = twinset.tutorial_pairs(data.labels)
    return twinset.score_pairs(model.distances(data, pairs), pairs.same, 0.5).auc


@pytest.mark.parametrize("name", TRAINED)
def test_every_objective_learns(stripes, name):
    over = getattr(losses.LOSSES.load(name), "over", ())
    how = {"pairs": "batch" if "batch" in over else "tutorial", "loss": {"name": name}}
    model = twinset.fit(stripes, **BATCH | how, epochs=40, seed=2)
    assert model.history[-1].loss < model.history[0].loss
    assert auc(model, stripes) > 0.9
    # a loss that is at its best ends the training within an epoch, which then has no statistics
    statistics = next(
        each.statistics for each in reversed(model.history) if each.statistics.zero_share == 0
    )
    assert statistics.positive_distance < statistics.negative_distance


def test_prefixes_reach_the_loss(stripes):
    plain = twinset.fit(stripes, **BATCH, loss={"name": "supcon"}, epochs=1)
    short = twinset.fit(stripes, **BATCH, loss={"name": "supcon", "prefixes": [2, 8]}, epochs=1)
    assert short.history[0].loss > plain.history[0].loss  # a sum of two


@pytest.mark.parametrize(
    "name", [any_backend("softmax"), "proxy_anchor", any_backend("sigmoid"), "pair_clusters"]
)
def test_a_loss_resumes_with_its_weights(stripes, tmp_path, monkeypatch, name):
    pairs = "tutorial" if name == "pair_clusters" else "batch"
    settings = BATCH | {"pairs": pairs, "loss": {"name": name}, "epochs": 4}
    save_at_every_look(monkeypatch)
    saved, write = [], checkpoints.write_bytes
    monkeypatch.setattr(
        checkpoints, "write_bytes", lambda path, data: (write(path, data), saved.append(data))
    )
    path = tmp_path / "state.npz"
    whole = twinset.fit(stripes, checkpoint=path, **settings)
    path.write_bytes(saved[len(saved) // 2])
    head = training._task(whole.recipe, stripes, None, whole.encoder.output_shape[-1]).head
    with np.load(path) as file:
        stored = [file[f"a{i}"] for i in range(len(file.files) - 1)]
    count = len(whole.encoder.trainable_variables)
    for variable, value in zip(head.trainable_variables, stored[count:], strict=False):
        assert variable.shape == value.shape
        assert not np.array_equal(keras.ops.convert_to_numpy(variable), value), "it has learned"
    resumed = twinset.fit(stripes, checkpoint=path, **settings)
    for a, b in zip(whole.encoder.get_weights(), resumed.encoder.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_augmentation_is_drawn_and_repeats(stripes):
    settings = BATCH | {"loss": {"name": "supcon"}, "epochs": 2}
    moved = {"augment": {"shift": 1, "brightness": 0.2}}
    plain, one, two = (
        twinset.fit(stripes, **settings, **changes).encoder.get_weights()
        for changes in ({}, moved, moved)
    )
    np.testing.assert_array_equal(one[0], two[0])
    assert not np.allclose(plain[0], one[0])


@pytest.mark.any_backend
def test_mirroring_is_the_datas_to_allow(stripes):
    from dataclasses import replace

    settings = BATCH | {"loss": {"name": "supcon"}, "epochs": 1}
    plain, auto, mirrored, told = (
        twinset.fit(data, **settings, augment={"flip": flip}).encoder.get_weights()[0]
        for data, flip in (
            (stripes, False),
            (stripes, "auto"),
            (replace(stripes, mirrors=True), "auto"),
            (stripes, True),
        )
    )
    np.testing.assert_array_equal(auto, plain)
    np.testing.assert_array_equal(mirrored, told)
    assert not np.allclose(mirrored, plain)


def test_keras_callbacks_hear_of_each_epoch(stripes):
    class Listener(keras.callbacks.Callback):
        heard = []

        def on_epoch_end(self, epoch, logs=None):
            self.heard.append((epoch, logs["loss"], logs["uniformity"]))

    listener = Listener()
    model = twinset.fit(stripes, **BATCH, loss={"name": "supcon"}, epochs=3, callbacks=[listener])
    assert [epoch for epoch, *_ in listener.heard] == [0, 1, 2]
    assert [loss for _, loss, _ in listener.heard] == [record.loss for record in model.history]


def test_a_list_of_pairs_is_not_for_batches(stripes):
    pairs = twinset.tutorial_pairs(stripes.labels)
    with pytest.raises(DataError, match="no list of pairs for a recipe of all pairs in a batch"):
        twinset.fit(stripes, "fast", pairs=pairs)
    with pytest.raises(RecipeError, match="the loss 'supcon' needs pairs = 'batch'"):
        twinset.fit(stripes, loss={"name": "supcon"})


def test_draws_are_a_function_of_the_epoch(stripes):
    pairs = twinset.tutorial_pairs(stripes.labels)
    tasks = (
        PairTask(losses.Contrastive(), pairs, batch_size=8, seed=1),
        BatchTask(losses.SupCon(), stripes.labels, batch_size=12, per_class=0, seed=1),
    )
    for task in tasks:
        first, again, other = task.draw(0), task.draw(0), task.draw(1)
        np.testing.assert_array_equal(first.positions, again.positions)
        assert not np.array_equal(first.positions, other.positions)
        assert first.positions.shape[0] == first.targets.shape[0] == len(first.sizes)


def test_schedules():
    for shape, end in (("constant", 0.5), ("cosine", 0.0), ("linear", 0.0)):
        rate = Schedule(0.5, 200, shape, warmup=0.1)
        values = [float(rate(step)) for step in range(201)]
        assert max(values) == pytest.approx(0.5, rel=0.01)
        assert np.argmax(values) in (19, 20)
        assert values[0] == pytest.approx(0.5 / 20)
        assert values[200] == pytest.approx(end, abs=1e-6)
        assert Schedule.from_config(rate.get_config())(50) == rate(50)


@pytest.mark.parametrize("name", ["rmsprop", "adam", "adamw", "sgd", "muon"])
def test_optimisers_have_the_recipes_settings(name):
    built = build(10, name=name, learning_rate=0.25, weight_decay=0.125)
    assert float(built.learning_rate) == 0.25
    assert built.weight_decay == 0.125
    steady = build(10, name=name)
    assert float(steady.learning_rate) == pytest.approx(0.001)
