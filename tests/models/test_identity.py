"""Equal where the embeddings are, and different where they are not."""

import keras
import numpy as np
import pytest

import twinset
from twinset import networks
from twinset.data.decoding.decode import Preprocessing
from twinset.models.keras_model import identity
from twinset.networks.layers import Scaling

HOW = Preprocessing((16, 16))


def mlp(**options):
    return networks.mlp((16, 16), **{"units": (8, 4), "seed": 0} | options)


def conv(**options):
    return networks.conv((16, 16), **{"widths": (4, 8), "embedding": 4, "seed": 0} | options)


@pytest.mark.parametrize("build", [mlp, conv])
def test_it_survives_a_file_and_another_name(build, tmp_path):
    encoder = build()
    expected = identity(encoder, HOW)
    assert identity(build(), HOW) == expected
    encoder.save(tmp_path / "a.keras")
    loaded = keras.saving.load_model(tmp_path / "a.keras")
    assert identity(loaded, HOW) == expected
    image = keras.Input((16, 16))
    cloned = keras.models.clone_model(encoder, input_tensors=image)
    cloned.set_weights(encoder.get_weights())
    assert identity(cloned, HOW) == expected


def test_what_has_no_effect_on_embeddings_has_none():
    assert identity(mlp(dropout=0.3), HOW) == identity(mlp(dropout=0.2), HOW)


OTHERS = {
    "weights": lambda: identity(mlp(seed=1), HOW),
    "one weight": lambda: identity(_nudged(mlp()), HOW),
    "activation": lambda: identity(mlp(linear=True), HOW),
    "unit norm": lambda: identity(mlp(normalize=True), HOW),
    "size": lambda: identity(mlp(), Preprocessing((8, 32))),
    "resize": lambda: identity(mlp(), Preprocessing((16, 16), "crop")),
    "background": lambda: identity(mlp(), Preprocessing((16, 16), background=9)),
}


def _nudged(encoder):
    kernel = encoder.layers[-1].kernel
    values = np.array(keras.ops.convert_to_numpy(kernel))
    values[0, 0] = np.nextafter(values[0, 0], 9)
    kernel.assign(values)
    return encoder


@pytest.mark.parametrize("what", OTHERS)
def test_another_model_has_another(what):
    assert OTHERS[what]() != identity(mlp(), HOW)


def test_a_layer_without_weights_counts_in_a_network_within():
    def nested(scale):
        image = keras.Input((16, 16))
        inner = keras.Sequential([keras.Input((16, 16)), keras.layers.Rescaling(scale)])
        return keras.Model(image, keras.layers.Flatten()(inner(image)))

    assert identity(nested(1.0), HOW) == identity(nested(1.0), HOW)
    assert identity(nested(1.0), HOW) != identity(nested(2.0), HOW)


def test_preprocessing_within_a_frozen_network_counts():
    def frozen(offset):
        image = keras.Input((4, 4))
        x = Scaling([1.0] * 3, [offset] * 3)(image)
        inner = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Rescaling(2 + offset)])
        return keras.Model(image, keras.layers.Flatten()(networks.Frozen(inner)(x)))

    assert identity(frozen(0.0), HOW) != identity(frozen(0.5), HOW)


def test_engines_and_processes_agree(tmp_path, other_process):
    images = np.stack([np.full((4, 4), 85 * i, np.uint8) for i in range(4)])
    data = twinset.LabelledImages(images, [0, 0, 1, 1], ("dark", "bright"))
    model = twinset.fit(data, epochs=1, encoder={"units": [4]}, progress=False)
    model.save(tmp_path)
    twinset.export(tmp_path)
    assert twinset.load_model(tmp_path, engine="onnx").digest == model.digest
    script = (
        "import pathlib, twinset\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        "model = twinset.SiameseModel.load(folder)\n"
        "told = model.digest\n"
        "del model.__dict__['digest']\n"
        "(folder / 'told').write_text(f'{told} {model.digest}')\n"
    )
    other_process.apply(exec, [script])
    assert (tmp_path / "told").read_text().split() == [model.digest] * 2


def test_a_threshold_has_no_part_in_it():
    from dataclasses import replace

    images = np.stack([np.full((4, 4), 85 * i, np.uint8) for i in range(4)])
    data = twinset.LabelledImages(images, [0, 0, 1, 1], ("dark", "bright"))
    model = twinset.fit(data, epochs=1, encoder={"units": [4]}, progress=False)
    assert replace(model, threshold=twinset.Threshold(0.1, "by hand")).digest == model.digest


def test_saving_tells_weights_that_were_changed(tmp_path):
    images = np.stack([np.full((4, 4), 85 * i, np.uint8) for i in range(4)])
    data = twinset.LabelledImages(images, [0, 0, 1, 1], ("dark", "bright"))
    model = twinset.fit(data, epochs=1, encoder={"units": [4]}, progress=False)
    before = model.digest
    _nudged(model.encoder)
    model.save(tmp_path)
    assert model.digest != before
    assert twinset.SiameseModel.load(tmp_path).digest == model.digest
