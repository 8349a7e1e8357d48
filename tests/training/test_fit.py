import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
from PIL import Image

import twinset
from twinset.data.batches import shuffled_batches
from twinset.data.data_set import labelled
from twinset.data.decoding.decode import Preprocessing
from twinset.errors import CollapseError, DataError, NonFiniteLossError, RecipeError
from twinset.recipe import builtin_names
from twinset.training import fit as training

QUICK = {"encoder": {"units": [16, 8]}, "batch_size": 16, "epochs": 15}


def test_fit_learns_and_tells_its_story(stripes):
    model = twinset.fit(stripes, **QUICK)
    pairs = twinset.tutorial_pairs(stripes.labels)
    scores = twinset.score_pairs(model.distances(stripes, pairs), pairs.same, 0.5)
    assert scores.accuracy > 0.95
    assert [record.epoch for record in model.history] == list(range(1, 16))
    assert model.history[-1].loss < 0.7 * model.history[0].loss
    assert {record.steps for record in model.history} == {-(-len(pairs) // 16)}
    assert all(record.images_per_second > 0 for record in model.history)
    assert model.preprocessing == Preprocessing((6, 5))
    assert model.trained_on.digest == stripes.digest
    assert not model.interrupted


def test_same_seed_same_weights(stripes):
    a, b, c = (
        twinset.fit(stripes, seed=seed, **{**QUICK, "epochs": 2}).encoder.get_weights()
        for seed in (1, 1, 2)
    )
    for one, two in zip(a, b, strict=True):
        np.testing.assert_array_equal(one, two)
    assert not np.allclose(a[0], c[0])


def test_fit_equals_the_tutorials_style(stripes):
    """The library's loop takes the very steps of Keras' own fit on the same batches."""
    model = twinset.fit(stripes, epochs=1, batch_size=16, encoder={"units": [8], "dropout": 0})
    encoder = twinset.networks.mlp(stripes.image_shape, units=(8,), dropout=0, seed=0)
    plain = twinset.siamese(encoder)
    plain.compile(loss=twinset.losses.Contrastive(), optimizer="rmsprop")
    pairs = twinset.tutorial_pairs(stripes.labels, seed=0)
    order = shuffled_batches(len(pairs), 16, seed=0, epoch=0).ravel()[: len(pairs)]
    x = stripes.images / np.float32(255)
    plain.fit(
        [x[pairs.left[order]], x[pairs.right[order]]],
        pairs.same[order].astype("float32"),
        batch_size=16,
        epochs=1,
        shuffle=False,
        verbose=0,
    )
    for ours, theirs in zip(model.encoder.get_weights(), encoder.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
    assert not np.allclose(ours, np.zeros_like(ours)), (
        "the comparison must not be of weights that never moved"
    )


def test_pairs_can_be_chosen(stripes):
    pairs = twinset.Pairs(np.int32([0, 0]), np.int32([3, 1]), np.array([True, False]))
    model = twinset.fit(stripes, pairs=pairs, epochs=2, encoder={"units": [4]})
    assert {record.steps for record in model.history} == {1}


def test_a_rate_that_explodes_is_explained(stripes):
    with pytest.raises(NonFiniteLossError, match=r"epoch \d+, step \d+ of \d+: lower the learning"):
        twinset.fit(stripes, encoder={"units": [64]}, optimizer={"learning_rate": 1e20})


def test_collapse_is_explained():
    """Dead from the start: constant black images leave a network without biases at zero."""
    black = twinset.LabelledImages(np.zeros((40, 3, 3), np.uint8), [0, 1] * 20, ("a", "b"))
    with pytest.raises(CollapseError, match=r"loss \d.\d+\) in 20 batches up to epoch \d+, step"):
        twinset.fit(black, batch_size=2, epochs=5)


class CtrlC(keras.callbacks.Callback):
    """Sends SIGINT after the third epoch: a timer's could come after a quick training's end."""

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 2:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def _heeds_sigint():
    """Tests may themselves be a background job, whose SIGINT the shell has switched off."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_heeds_sigint")
def test_ctrl_c_keeps_what_was_trained(stripes):
    """A real SIGINT, in the midst of a training that would take minutes."""
    model = twinset.fit(stripes, callbacks=[CtrlC()], **QUICK | {"epochs": 1_000_000})
    assert model.interrupted
    assert 1 <= len(model.history) < 1_000_000
    pairs = twinset.tutorial_pairs(stripes.labels)
    scores = twinset.score_pairs(model.distances(stripes, pairs), pairs.same, 0.5)
    assert scores.accuracy > 0.9
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_an_ignored_sigint_stays_ignored(stripes):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        model = twinset.fit(stripes, callbacks=[CtrlC()], **QUICK | {"epochs": 6})
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert not model.interrupted
    assert len(model.history) == 6


def test_it_trains_in_a_thread_and_in_a_spawned_process(stripes, other_process):
    """Where no signal can be caught, and nothing is inherited."""
    settings = QUICK | {"epochs": 1, "progress": False}
    expected = twinset.fit(stripes, **settings).embed(stripes)
    with ThreadPoolExecutor(1) as pool:
        in_a_thread = pool.submit(twinset.fit, stripes, **settings).result()
    for model in (in_a_thread, other_process.apply(twinset.fit, [stripes], settings)):
        np.testing.assert_array_equal(model.embed(stripes), expected)


def test_progress_without_a_terminal_is_a_line_per_epoch(stripes, capsys):
    twinset.fit(stripes, progress=True, **QUICK | {"epochs": 2})
    told = capsys.readouterr().err.strip().splitlines()
    # where an epoch takes long, as the first may on a busy machine, there is a line every 5 s too
    lines = [line for line in told if re.search(r" (\d+) of \1 steps", line)]
    assert len(lines) == 2
    words = r"epoch 2/2 (\d+) of \1 steps  loss 0\.\d+  images/s \S+"
    for name in ("same", "different", "active", "alignment", "uniformity", "rank", "gradient"):
        words += rf"  {name} \S+"
    assert re.fullmatch(words, lines[1])
    twinset.fit(stripes, progress=False, **QUICK | {"epochs": 1})
    assert capsys.readouterr().err == ""


def test_progress_tells_a_function_of_loss_speed_and_health(stripes):
    seen = []
    model = twinset.fit(stripes, progress=seen.append, **QUICK | {"epochs": 3})
    ends = [each for each in seen if each.done == each.total]
    assert [each.task for each in ends] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    for told, record in zip(ends, model.history, strict=True):
        speed = record.images_per_second
        assert told.numbers == {"loss": record.loss, "images/s": speed, **record.health}
        assert told.unit == "steps"
        assert told.done == record.steps
    assert model.history[0].health["rank"] == model.history[0].statistics.effective_rank


def test_arrays_and_files_with_labels(stripes, tmp_path):
    """As labelled images of the same pixels and names do."""
    names = np.array(stripes.class_names)[stripes.labels]
    pictures = [Image.fromarray(image) for image in stripes.images]
    for images in (stripes.images, stripes.images / 255, pictures):
        found = labelled(images, names[:, None], class_names=stripes.class_names)
        assert found.class_names == stripes.class_names
        np.testing.assert_array_equal(found.labels, stripes.labels)
        np.testing.assert_array_equal(found.images, stripes.images)
    files = [tmp_path / f"{at}.png" for at in range(6)]
    for at, file in enumerate(files):
        pictures[at].resize((5 + at, 6)).save(file)
    for images in (files, list(map(str, files)), np.array(files), [*files[:5], pictures[5]]):
        assert len(labelled(images, names[:6])) == 6
    with pytest.raises(DataError, match="Expected a label for each of 6 images. Received 2"):
        labelled(files, ["a", "b"])
    assert isinstance(labelled(np.eye(60), names), twinset.LabelledFeatures)

    judged = (stripes.images[:30] / 255, names[:30])
    model = twinset.fit(
        stripes.images, names, "fast", validation=judged, epochs=1, encoder={"units": [4]}
    )
    assert model.class_names == ("bottom", "middle", "top")
    assert model.history[0].validation
    others = (255 - stripes.images, names)
    assert model.calibrate(*others).threshold.calibrated
    found = twinset.evaluate(model, *others, baselines=False, progress=False)
    assert found.class_names == model.class_names


def test_wrong_data_and_recipes(stripes):
    with pytest.raises(DataError, match=r"Expected LabelledImages to train on, or .* without labe"):
        twinset.fit(stripes.images)
    with pytest.raises(DataError, match=r"Expected no labels beside LabelledImages\('stripes'"):
        twinset.fit(stripes, stripes.labels)
    with pytest.raises(DataError, match=r"Received the place 'photos': read it with `twinset.load"):
        twinset.fit("photos")
    with pytest.raises(DataError, match=r"Expected LabelledImages to validate on, or images"):
        twinset.fit(stripes, validation=stripes.images)
    with pytest.raises(RecipeError, match=r"unknown key 'epoch' \(did you mean 'epochs'\?\)"):
        twinset.fit(stripes, epoch=3)


def test_colour_images_train():
    rng = np.random.default_rng(0)
    labels = np.tile([0, 1], 16)
    images = rng.integers(0, 80, (32, 4, 4, 3), dtype=np.uint8)
    images[labels == 1, :, :, 2] += 150
    data = twinset.LabelledImages(images, labels, ("dull", "blue"))
    model = twinset.fit(data, **QUICK)
    assert model.compare(images[0], images[2]).same
    assert not model.compare(images[0], images[1]).same


def test_the_engine_follows_the_back_end():
    name = training._engine().__name__.rsplit(".", 1)[-1]
    assert name == ("jax_engine" if keras.backend.backend() == "jax" else "keras_engine")


# As the recipes are, but for their size: what is left trains in a second.
SMALL = {
    "tutorial": {"units": [16, 8]},
    "fast": {"units": [16, 8]},
    **{name: {"widths": [4, 8], "embedding": 8} for name in ("conv", "search", "best", "unseen")},
    "head": {"units": [8], "embedding": 8},
}
CHOSEN = "auto"  # which is no recipe to train, but a choice among such


# On another back end, "best" has the network of these two, and each loss has a test of its own.
FOLLOWS = {"conv", "search", "fast"}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.any_backend] * (name in FOLLOWS))
        for name in sorted({*builtin_names()} - {CHOSEN})
    ],
)
def test_every_recipe_trains_and_comes_back_from_its_folder(fashion_mnist, tmp_path, name):
    data = fashion_mnist[0].subset(np.arange(600))
    if name == "head":
        rows = data.images.reshape(600, -1)[:, ::8].astype(np.float32)
        data = twinset.LabelledFeatures(rows, data.labels, data.class_names)
    model = twinset.fit(data, name, encoder=SMALL[name], epochs=2, batch_size=60, progress=False)
    found = model.embed(data)
    pairs = twinset.tutorial_pairs(data.labels)
    assert twinset.score_pairs(model.distances(data, pairs), pairs.same, 0.5).auc > 0.6
    model.save(tmp_path / name)
    np.testing.assert_array_equal(twinset.load_model(tmp_path / name).embed(data), found)
