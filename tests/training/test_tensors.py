"""Real tensors and data sets of TensorFlow and PyTorch are taken as arrays and batches are."""

import os
from typing import NamedTuple

import numpy as np
import pytest

import twinset
from twinset.errors import DataError

pytestmark = pytest.mark.skipif(
    os.environ.get("KERAS_BACKEND", "jax") == "jax", reason="`./task backend` installs these"
)
QUICK = {"epochs": 1, "encoder": {"units": [4]}, "progress": False}


class Given(NamedTuple):
    images: object
    labels: object
    floats: object  # of 16 bits, from 0 to 1, with an axis for the only channel
    batches: object


def of_tensorflow(images, labels):
    tf = pytest.importorskip("tensorflow")
    batches = tf.data.Dataset.from_tensor_slices((images, labels)).batch(16)
    floats = tf.cast(images[..., None], tf.bfloat16) / 255
    return Given(tf.constant(images), tf.constant(labels), floats, batches)


def of_torch(images, labels):
    torch = pytest.importorskip("torch")
    tensors = torch.tensor(images), torch.tensor(labels)
    data = torch.utils.data.TensorDataset(*tensors)
    floats = (tensors[0][:, None].bfloat16() / 255).requires_grad_()
    return Given(*tensors, floats, torch.utils.data.DataLoader(data, batch_size=16))


@pytest.fixture(scope="module")
def fitted(stripes):
    return twinset.fit((stripes.images, stripes.labels), "fast", **QUICK)


@pytest.fixture(scope="module")
def others(stripes):
    """The same with other last bits, as no model is judged on what it was fitted on."""
    return stripes.images ^ np.uint8(1), stripes.labels


LIBRARIES = pytest.mark.parametrize("made", [of_tensorflow, of_torch])


@LIBRARIES
def test_tensors_are_what_their_arrays_are(made, fitted, stripes, others):
    given = made(stripes.images, stripes.labels)
    model = twinset.fit(given.images, given.labels, "fast", **QUICK)
    expected = fitted.embed(stripes.images)
    np.testing.assert_array_equal(model.embed(given.images), expected)
    np.testing.assert_allclose(model.embed(given.floats), expected, atol=0.02)
    np.testing.assert_array_equal(model.embed(given.images[0]), expected[:1])
    pair = model.compare(given.images[0], given.images[1])
    assert pair.distance == fitted.compare(*stripes.images[:2]).distance
    unseen = made(*others)
    assert judged(model, unseen[:2]) == judged(fitted, others)


@LIBRARIES
def test_their_data_sets_are_batches(made, fitted, stripes, others, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    model = twinset.fit(made(stripes.images, stripes.labels).batches, "fast", **QUICK)
    np.testing.assert_array_equal(model.embed(stripes.images), fitted.embed(stripes.images))
    assert judged(model, made(*others).batches) == judged(fitted, others)


def judged(model, images):
    """The threshold and the figures that other images give."""
    found = twinset.evaluate(model, images, baselines=False, progress=False).to_dict()
    return model.calibrate(images).threshold.value, found["results"]


def test_a_data_set_without_end_wants_steps(stripes, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    endless = of_tensorflow(stripes.images, stripes.labels).batches.repeat()
    with pytest.raises(DataError, match="Received a repeated Dataset: give steps"):
        twinset.load_batches(endless)
    assert len(twinset.load_batches(endless, steps=5)) == 76
