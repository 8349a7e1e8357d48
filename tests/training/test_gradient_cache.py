"""Gradient caching: a batch in parts learns what the whole does, and needs less memory."""

import jax
import keras
import numpy as np
import pytest

import twinset
from twinset import losses
from twinset.errors import RecipeError
from twinset.networks.seeded import Dropout
from twinset.training.gradient_cache import embedder
from twinset.training.tasks import BatchTask, Job, build

pytestmark = pytest.mark.jax_alone


def network(width=32, *, seed=0, penalty=0.0):
    image = keras.Input((6, 5))
    x = keras.layers.Flatten()(image)
    start = keras.initializers.GlorotUniform(seed=seed)
    decay = keras.regularizers.L2(penalty) if penalty else None
    for _ in range(3):
        x = keras.layers.Dense(width, "gelu", kernel_initializer=start, kernel_regularizer=decay)(x)
    return keras.Model(image, keras.layers.Dense(4, kernel_initializer=start)(x))


def gradient(encoder, rows, labels, micro_batch, *, trunk=None, unroll=False):
    """Of the loss of one whole batch at each weight, and what else the embedding moves."""
    task = BatchTask(
        losses.create("supcon", classes=3, dim=4), labels, batch_size=0, per_class=0, seed=0
    )
    job = Job(encoder, build(1), task, rows, labels, None, 1, micro_batch, trunk)
    embed = embedder(job, unroll=unroll)
    weights = [variable.value for variable in encoder.trainable_variables]
    others = [variable.value for variable in encoder.non_trainable_variables]

    def cost(weights):
        (embeddings, penalty), moved = embed(weights, others, jax.numpy.asarray(rows))
        return task.objective(labels, embeddings)[0] + penalty, moved

    return jax.jit(jax.value_and_grad(cost, has_aux=True))(weights)


@pytest.mark.parametrize(("images", "micro_batch"), [(9, 1), (60, 7), (60, 20), (60, 64)])
@pytest.mark.parametrize("unroll", [False, True])
def test_the_gradient_is_that_of_the_whole_batch(stripes, images, micro_batch, unroll):
    """In parts that fill it up or do not, with a penalty on the weights."""
    encoder = network(penalty=0.01)
    given = (encoder, stripes.images[:images], stripes.labels[:images])
    (whole, _), slopes = gradient(*given, 0)
    (found, _), parts = gradient(*given, micro_batch, unroll=unroll)
    assert float(found) == pytest.approx(float(whole), rel=1e-5)
    for a, b in zip(slopes, parts, strict=True):
        assert np.abs(a).max() > 1e-4  # awake
        np.testing.assert_allclose(a, b, atol=1e-5 * float(np.abs(a).max()) + 1e-7)


def test_the_loss_sees_the_whole_batch(stripes):
    """Mean losses of parts by themselves are another number."""
    encoder = network()
    (whole, _), _ = gradient(encoder, stripes.images, stripes.labels, 20)
    alone = [
        float(gradient(encoder, stripes.images[i : i + 20], stripes.labels[i : i + 20], 0)[0][0])
        for i in (0, 20, 40)
    ]
    assert abs(float(whole) - np.mean(alone)) > 0.1


def test_only_the_activations_of_a_part_are_in_memory():
    rows = np.zeros((512, 6, 5), np.uint8)
    labels = np.arange(512) % 3
    encoder = network(256)

    def needed(micro_batch):
        run = jax.jit(lambda rows: gradient(encoder, rows, labels, micro_batch)[1])
        return run.lower(rows).compile().memory_analysis().temp_size_in_bytes

    # three layers of 256 floats for 512 images are 1.5 MB, before and after each activation
    assert needed(32) < needed(0) - 1_500_000


def test_training_in_parts_learns_the_same(stripes):
    settings = {
        "pairs": "batch",
        "batch_size": 30,
        "epochs": 3,
        "loss": {"name": "supcon"},
        "optimizer": {"name": "sgd", "learning_rate": 0.1},
        "augment": {"shift": 1},
        "progress": False,
    }
    whole = twinset.fit(stripes, encoder=network(), **settings)
    parts = twinset.fit(stripes, encoder=network(), micro_batch=8, **settings)
    for a, b in zip(whole.encoder.get_weights(), parts.encoder.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
    assert parts.history[-1].loss == pytest.approx(whole.history[-1].loss, rel=1e-4)
    assert parts.history[-1].loss < parts.history[0].loss


def test_dropout_draws_anew_for_each_part(stripes):
    image = keras.Input((6, 5))
    x = Dropout(0.5, seed=1)(keras.layers.Flatten()(image))
    encoder = keras.Model(image, keras.layers.Dense(4)(x))
    same = np.repeat(stripes.images[:1], 12, axis=0)
    job = Job(encoder, build(1), None, same, None, None, 1, 4)
    weights, others = (
        [variable.value for variable in group]
        for group in (encoder.trainable_variables, encoder.non_trainable_variables)
    )
    (found, _), _ = embedder(job, unroll=False)(weights, others, jax.numpy.asarray(same))
    parts = np.asarray(found).reshape(4, 3, 4)  # every third image is in one part
    assert not np.allclose(parts[:, 0], parts[:, 1])
    assert not np.allclose(parts[:, 1], parts[:, 2])


def test_other_back_ends_are_told_before_anything_is_built(stripes, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    settings = {"pairs": "batch", "loss": {"name": "supcon"}, "encoder": {"normalize": True}}
    with pytest.raises(RecipeError, match="Expected the back end jax for micro_batch = 4"):
        twinset.fit(stripes, micro_batch=4, **settings)
