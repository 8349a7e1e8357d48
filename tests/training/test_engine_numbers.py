"""What the engines compute where it is easy to get wrong: padding, 16 bits, settings of recipes."""

import functools
import os
import time

import keras
import numpy as np
import pytest

import twinset
from resuming import check_that_it_goes_on
from twinset import losses
from twinset.data.batches import PADDING
from twinset.exporters import graph as export
from twinset.training import fit as training
from twinset.training.checkpoints import Keeper
from twinset.training.monitor import Monitor
from twinset.training.tasks import Job, PairTask, build

MOMENTUM = 0.5


def test_padding_does_not_make_up_the_statistics_of_batch_normalisation(stripes):
    """The layer looks at pixels, so its averages are those of the images, whatever is learned."""
    norm = keras.layers.BatchNormalization(momentum=MOMENTUM)
    image = keras.Input((6, 5))
    x = norm(keras.layers.Flatten()(image))
    encoder = keras.Model(image, keras.layers.Dense(4)(x))
    pairs = twinset.tutorial_pairs(stripes.labels)[np.arange(9)]
    task = PairTask(losses.Contrastive(), pairs, batch_size=8, seed=0)
    optimizer = keras.optimizers.SGD(0.01)
    job = Job(encoder, optimizer, task, stripes.images, stripes.labels, None, epochs=1)
    batches = task.draw(0)
    assert (batches.targets[1] == PADDING).sum() == 7
    monitor = Monitor(epochs=1, sizes=batches.sizes, images=16)
    training._engine().train(job, monitor, Keeper(None, ""))

    mean = np.zeros(30)
    for row in batches.positions.tolist():
        seen = np.mean([stripes.images[i].ravel() / 255 for i in row], axis=0)
        mean = MOMENTUM * mean + (1 - MOMENTUM) * seen
    found = keras.ops.convert_to_numpy(norm.moving_mean)
    np.testing.assert_allclose(found, mean, rtol=1e-4)
    # the last batch has one pair of its own, and others that are real and differ
    last = batches.positions[1].reshape(2, 8)
    assert len(set(map(tuple, last.T.tolist()))) == 8
    own = last[:, batches.targets[1] != PADDING].ravel()
    copies = np.mean([stripes.images[i].ravel() / 255 for i in own], axis=0)
    assert not np.allclose(seen, copies, rtol=0.05), "the test must tell the two apart"


def test_padding_counts_nothing_in_loss_and_gradient(stripes):
    """One batch of 9 pairs, and the same in a task that pads it to 16, take the same step."""
    pairs = twinset.tutorial_pairs(stripes.labels)[np.arange(9)]
    task = PairTask(losses.Contrastive(), pairs, batch_size=16, seed=0)
    rows = task.draw(0)
    assert rows.positions.shape == (1, 18)
    embeddings = np.random.default_rng(0).normal(size=(32, 3)).astype(np.float32)
    whole = [task.objective(rows.targets[0], np.concatenate([embeddings[:9], embeddings[16:25]]))]
    padded = np.concatenate([rows.targets[0], np.full(7, PADDING, np.int32)])
    whole.append(task.objective(padded, embeddings))
    (a, b), (c, d) = ([float(value) for value in each] for each in whole)
    assert a == pytest.approx(c, rel=1e-6)
    assert b == pytest.approx(d, rel=1e-6)
    assert a > 0.1


BATCH = {
    "pairs": "batch",
    "batch_size": 30,
    "encoder": {"units": [16, 8], "dropout": 0.0, "linear": True, "normalize": True},
    "loss": {"name": "supcon"},
    "epochs": 12,
    "optimizer": {"learning_rate": 0.003},
}


@pytest.fixture(scope="module")
def trained(stripes):
    """Train on these pairs in this precision: `trained("batch", "float32")`, each once."""
    tutorial = {"pairs": "tutorial", "loss": {"name": "contrastive"}, "epochs": 6}
    return functools.cache(
        lambda pairs, precision: twinset.fit(
            stripes, **BATCH | (tutorial if pairs == "tutorial" else {}), precision=precision
        )
    )


@pytest.mark.parametrize(
    ("pairs", "precision"),
    [
        ("batch", "mixed_float16"),
        ("tutorial", "mixed_bfloat16"),
        pytest.param("batch", "mixed_bfloat16", marks=pytest.mark.any_backend),
        pytest.param("tutorial", "mixed_float16", marks=pytest.mark.any_backend),
    ],
)
def test_sixteen_bits_learn_what_thirty_two_do(stripes, trained, precision, pairs):
    full, half = trained(pairs, "float32"), trained(pairs, precision)
    assert keras.config.dtype_policy().name == "float32"
    weights = half.encoder.trainable_variables
    assert {variable.dtype for variable in weights} == {"float32"}
    assert half.encoder.compute_dtype == "float32", "a graph of 16 bits is nobody's"
    assert export.export_graph(half)[1] <= 1e-5
    losses_of = [[record.loss for record in model.history] for model in (full, half)]
    assert losses_of[1] == pytest.approx(losses_of[0], rel=0.05)
    start = twinset.networks.build(full.recipe.encoder, (6, 5), seed=0).get_weights()[0]
    assert np.abs(full.encoder.get_weights()[0] - start).max() > 0.02, "it must have learned"
    # more digits than 16 bits have: the loss is summed in float32
    sums = np.float64(losses_of[1])
    assert not np.allclose(sums, sums.astype(np.float16), rtol=1e-7, atol=0)
    one, two = full.embed(stripes), half.embed(stripes)
    assert two.dtype == np.float32
    np.testing.assert_allclose(one, two, atol=0.12)
    assert not np.array_equal(one, two)
    assert half.history[-1].gradient_norm == pytest.approx(full.history[-1].gradient_norm, rel=0.2)


def test_small_gradients_survive_float16(stripes):
    """A loss of 10⁻⁷ times the usual one: its gradients are 0 in 16 bits unless scaled."""

    class Tiny(losses.SupCon):
        def call(self, y_true, y_pred):
            return super().call(y_true, y_pred) * 1e-7

    def train(precision):
        with training._precision(precision):
            encoder = twinset.networks.mlp((6, 5), units=(8,), linear=True, normalize=True, seed=0)
        task = training.BatchTask(Tiny(), stripes.labels, batch_size=30, per_class=0, seed=0)
        optimizer = build(8, name="sgd", learning_rate=1e6, precision=precision)
        job = Job(encoder, optimizer, task, stripes.images, stripes.labels, None, epochs=4)
        before = encoder.get_weights()
        batches = task.draw(0)
        monitor = Monitor(epochs=4, sizes=batches.sizes, images=30, scale=1e-9)
        training._engine().train(job, monitor, Keeper(None, ""))
        return [a - b for a, b in zip(encoder.get_weights(), before, strict=True)]

    for full, half in zip(train("float32"), train("mixed_float16"), strict=True):
        assert np.abs(full).max() > 1e-3
        np.testing.assert_allclose(half, full, atol=0.1 * np.abs(full).max())


def test_sixteen_bits_resume_exactly(stripes, tmp_path, monkeypatch):
    """The scale of the loss is state as well."""
    settings = BATCH | {"precision": "mixed_float16", "epochs": 3}
    check_that_it_goes_on(stripes, tmp_path / "state.npz", monkeypatch, killed_at=2, **settings)


@pytest.mark.parametrize("name", ["rmsprop", "adam", "adamw", "muon"])
def test_epsilon_reaches_the_optimiser(name):
    assert build(1, name=name).epsilon == 1e-7
    assert build(1, name=name, epsilon=0.5).epsilon == 0.5


@pytest.mark.parametrize(("name", "usual"), [("softmax", 1.0), ("proxy_anchor", 100.0)])
def test_the_proxies_rate_can_be_told(name, usual):
    for given, expected in (({}, usual), ({"learning_rate_multiplier": 7.0}, 7.0)):
        recipe = twinset.Recipe.load("fast", loss={"name": name, **given})
        loss = losses.create(recipe.loss, classes=3, dim=4)
        assert loss.head.multiplier == expected


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="programs are kept by JAX")
def test_compiled_programs_of_long_ago_make_room(stripes, tmp_path, monkeypatch):
    import jax

    from twinset.training import jax_engine

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(jax_engine, "PROGRAMS", 250)
    folder = tmp_path / "twinset" / "programs"
    folder.mkdir(parents=True)
    for age, name in enumerate(["new", "old", "older", "oldest"]):
        (folder / name).write_bytes(bytes(100))
        seconds = time.time() - age * 86_500  # a day and a little
        os.utime(folder / name, (seconds, seconds))
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    try:
        twinset.fit(stripes, epochs=1, encoder={"units": [3]}, progress=False)
        # as it was: what else this process compiles is kept nowhere
        assert jax.config.jax_compilation_cache_dir is None
        kept = set(folder.iterdir())
        jax.jit(lambda x: x * 17 + 4)(np.ones(3))
        assert set(folder.iterdir()) == kept
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
    assert {"new", "old"} == {path.name for path in folder.iterdir()} & {
        *("new", "old", "older", "oldest")
    }
