"""Graphs against Keras: on real images, on each kind of layer, and what is refused."""

import json
import subprocess
import sys
from dataclasses import replace

import keras
import numpy as np
import onnx
import pytest

import twinset
from twinset import networks
from twinset.backbones.onnx_writer import UnwritableError
from twinset.backbones.session import open_session
from twinset.errors import ModelError
from twinset.exporters import graph as export
from twinset.exporters import onnx_layers as layers
from twinset.models.card import Essentials
from twinset.models.onnx_model import ABOUT, OnnxModel


@pytest.fixture(autouse=True)
def _same_weights_each_time():
    keras.utils.set_random_seed(0)


@pytest.fixture(scope="module")
def trained(fashion_mnist):
    """Two models that have learned something, of the two built-in kinds of encoders."""
    few = fashion_mnist[0].subset(np.arange(600))
    unit = {"name": "conv", "widths": [8, 16], "embedding": 16}
    return {
        "mlp": twinset.fit(few, epochs=1, progress=False),
        "conv": twinset.fit(few, epochs=1, encoder=unit, progress=False),
    }


@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_a_graph_gives_what_keras_gives_on_all_test_images(trained, fashion_mnist, kind):
    model = trained[kind]
    graph, difference = export.export_graph(model)
    expected = model.embed(fashion_mnist[1])
    found = OnnxModel.of_graph(graph).embed(fashion_mnist[1])
    assert expected.std(axis=0).max() > 0.01, "flat embeddings would agree whatever the graph"
    assert np.abs(found - expected).max() <= 1e-5
    assert 0 < difference <= 1e-5


def test_a_graph_holds_its_card_and_takes_any_batch(trained):
    model = trained["mlp"]
    graph, _ = export.export_graph(model)
    session = open_session(graph)
    about = json.loads(session.get_modelmeta().custom_metadata_map[ABOUT])
    assert about["format"] == 2
    assert about == json.loads(json.dumps(Essentials.of(model).to_dict()))
    (given,), (result,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type, given.shape) == ("images", "tensor(uint8)", ["batch", 28, 28])
    assert (result.name, result.type, result.shape) == (
        "embeddings",
        "tensor(float)",
        ["batch", 128],
    )
    for count in (0, 1, 7):
        images = np.zeros((count, 28, 28), np.uint8)
        assert session.run(None, {"images": images})[0].shape == (count, 128)


def test_a_graph_alone_is_small(trained):
    """Normalisation and scaling are in it, and no weight is there twice."""
    graph = export.export_graph(trained["mlp"])[0]
    weights = 4 * trained["mlp"].encoder.count_params()
    assert weights < len(graph) < weights + 10_000


def test_images_of_the_check_are_not_flat():
    for shape in ((5, 4), (28, 28), (64, 64, 3), (900, 1000, 3)):
        images = export.some_images(shape)
        assert images.dtype == np.uint8
        assert len(images) >= 4
        assert images.shape[1:] == shape
        assert (images.reshape(len(images), -1).std(axis=1) > 5).all()
        assert len({image.tobytes() for image in images}) == len(images)


def _spoiled(graph, change):
    """Change the last weights of a graph."""
    model = onnx.ModelProto.FromString(graph)
    name = next(node for node in reversed(model.graph.node) if node.op_type == "Gemm").input[1]
    (tensor,) = (each for each in model.graph.initializer if each.name == name)
    values = onnx.numpy_helper.to_array(tensor).copy()
    values += change
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, name))
    return model.SerializeToString()


def test_a_graph_that_differs_is_refused(trained):
    model = trained["mlp"]
    graph, _ = export.export_graph(model)
    assert export.checked(_spoiled(graph, 1e-7), model) < export.TOLERANCE
    for change in (1e-2, np.nan):
        with pytest.raises(
            ModelError, match=r"within 1\.\de-04. Received a difference of (.*) for"
        ):
            export.checked(_spoiled(graph, change), model)
    with pytest.raises(ModelError, match="expected an ONNX graph that ONNX Runtime can run"):
        export.checked(b"no graph", model)


def test_neither_way_leads_to_a_graph(trained, monkeypatch):
    def fail(*_):
        raise UnwritableError("too strange")

    monkeypatch.setattr(export, "trace", fail)
    monkeypatch.setattr(layers, "write", fail)
    with pytest.raises(ModelError, match="can be written as ONNX. too strange; too strange."):
        export.export_graph(trained["mlp"])


def test_a_graph_that_differs_is_traced_instead(trained, monkeypatch):
    """A writer that is wrong is found by the check, and the other way is taken."""
    model = trained["mlp"]
    right = layers.write
    wrong = onnx.ModelProto.FromString(_spoiled(export.export_graph(model)[0], 1e-2))
    monkeypatch.setattr(layers, "write", lambda *_: wrong)
    monkeypatch.setattr(export, "trace", right)
    graph, difference = export.export_graph(model)
    assert difference < 1e-5
    images = export.some_images((28, 28))
    np.testing.assert_allclose(
        OnnxModel.of_graph(graph).embed(images), model.embed(images), atol=1e-5
    )


# --- each layer


def _spread(encoder):
    """Give normalisations and biases numbers that are not 0 and 1."""
    rng = np.random.default_rng(0)
    for variable in encoder.variables:
        if any(part in variable.path for part in ("gamma", "beta", "bias", "moving", "variance")):
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    return encoder


def _difference(encoder, graph, shape):
    images = np.random.default_rng(1).integers(0, 256, (5, *shape), np.uint8)
    expected = encoder.predict(images / np.float32(255), verbose=0)
    found = open_session(graph.SerializeToString()).run(None, {"images": images})[0]
    spread = np.abs(expected - expected[0]).max()
    assert spread > 1e-3, "flat embeddings would agree whatever the graph"
    return np.abs(found - expected).max() / max(1, np.abs(expected).max())


def _chain(*chain, shape=(13, 11, 3)):
    image = keras.Input(shape)
    x = image
    for layer in chain:
        x = layer(x)
    return keras.Model(image, x)


def _end(*chain, **options):
    return _chain(*chain, keras.layers.Flatten(), keras.layers.Dense(4), **options)


def _both(combine):
    image = keras.Input((13, 11, 3))
    left = keras.layers.Conv2D(3, 3, padding="same")(image)
    x = L.Flatten()(L.MaxPooling2D()(combine(left, image)))
    return keras.Model(image, L.Dense(4)(x))


L = keras.layers
CASES = {
    "dense without bias": lambda: _chain(
        L.Flatten(), L.Dense(5, use_bias=False, activation="tanh")
    ),
    "dense on places": lambda: _end(L.Dense(5, activation="silu"), L.Dense(2, use_bias=False)),
    "strided convolution": lambda: _end(L.Conv2D(4, (5, 3), strides=2, padding="same")),
    "valid convolution": lambda: _end(L.Conv2D(4, 3, strides=(1, 2), activation="gelu")),
    "dilated convolution": lambda: _end(L.Conv2D(4, 3, dilation_rate=2, padding="same")),
    "convolution in groups": lambda: _end(L.Conv2D(6, 3, groups=3, use_bias=False)),
    "depthwise": lambda: _end(L.DepthwiseConv2D(3, depth_multiplier=2, padding="same")),
    "batch normalisation": lambda: _end(
        L.BatchNormalization(), L.Conv2D(3, 2), L.BatchNormalization()
    ),
    "bare normalisations": lambda: _end(
        L.BatchNormalization(center=False), L.BatchNormalization(scale=False)
    ),
    "layer normalisation": lambda: _end(L.LayerNormalization(epsilon=1e-2), L.LayerNormalization()),
    "maximum": lambda: _end(L.MaxPooling2D(2), L.MaxPooling2D(3, strides=2, padding="same")),
    "average": lambda: _end(
        L.AveragePooling2D(3, strides=2, padding="same"), L.AveragePooling2D(2)
    ),
    "global average": lambda: _chain(L.Conv2D(5, 3), L.GlobalAveragePooling2D()),
    "global maximum": lambda: _end(L.Conv2D(5, 3), L.GlobalMaxPooling2D(keepdims=True)),
    "reduced": lambda: _chain(L.Conv2D(5, 3), lambda x: keras.ops.mean(x, axis=(1, 2))),
    "padding": lambda: _end(L.ZeroPadding2D(((0, 1), (2, 3))), L.Conv2D(3, 3)),
    "rescaling": lambda: _end(L.Rescaling(2.0, offset=-1.0), L.Rescaling([1, 2, 3], [0, 1, 2])),
    "normalisation": lambda: _end(L.Normalization(mean=[0.1, 0.2, 0.3], variance=[1, 4, 9])),
    "activations": lambda: _end(
        *(
            L.Activation(name)
            for name in ("sigmoid", "elu", "softplus", "hard_sigmoid", "hard_silu", "relu6")
        )
    ),
    "relu": lambda: _end(L.Rescaling(9.0, offset=-2.0), L.ReLU(), L.ReLU(6.0), L.Dropout(0.5)),
    "reshape": lambda: _end(L.Conv2D(4, 3), L.Reshape((9, 22, 2)), L.Conv2D(2, 3)),
    "sum": lambda: _both(lambda a, b: L.Add()([a, b])),
    "difference": lambda: _both(lambda a, b: L.Subtract()([a, b])),
    "product": lambda: _both(lambda a, b: L.Multiply()([a, b])),
    "numbers": lambda: _both(lambda a, b: (a + 1.5) * 0.5 - b / 3),
    "number on the left": lambda: _both(lambda a, b: 1.5 - a + 2.0 / (b + 1)),
    "side by side": lambda: _both(lambda a, b: L.Concatenate()([a, b, a])),
    "gate": lambda: _both(
        lambda a, b: L.Multiply()([a, L.GlobalAveragePooling2D(keepdims=True)(b)])
    ),
    "sequential": lambda: keras.Sequential(
        [keras.Input((13, 11, 3)), L.Conv2D(2, 3), L.Flatten(), L.Dense(3)]
    ),
    "nested": lambda: _end(_chain(L.Conv2D(2, 3, activation="relu")), L.MaxPooling2D()),
    "lengths kept": lambda: _chain(L.Flatten(), networks.UnitNorm(3.0), shape=(4, 4)),
    "gray": lambda: networks.conv((28, 28), widths=(4, 8), embedding=6, seed=0),
    "colour": lambda: networks.conv((33, 37, 3), widths=(4, 8), dropout=0.1, seed=0),
    "mlp": lambda: networks.mlp((6, 5), units=(8, 4), normalize=True, linear=True, seed=0),
    "called on its own": lambda: _repeated(L.Dense(6, activation="relu")),
    "called twice": lambda: _mirrored(L.Conv2D(3, 3), L.Flatten(), L.Dense(4, activation="relu")),
    "called twice, a model": lambda: _mirrored(networks.conv((12, 11, 3), widths=(4,), seed=0)),
}


def _repeated(layer):
    return _chain(L.Flatten(), L.Dense(6), layer, layer, shape=(4, 4))


def _mirrored(*chain, shape=(12, 11, 3)):
    image = keras.Input(shape)
    sides = []
    for x in (image, keras.ops.flip(image, axis=2)):
        for layer in chain:
            x = layer(x)
        sides.append(x)
    return keras.Model(image, L.Add()([sides[0], L.Rescaling(2.0)(sides[1])]))


@pytest.mark.parametrize("case", CASES)
def test_layers_are_written_exactly(case):
    encoder = _spread(CASES[case]())
    shape = tuple(encoder.inputs[0].shape[1:])
    assert _difference(encoder, layers.write(encoder, shape), shape) < 1e-5


def little(include_top, weights, input_shape):
    """A network as `keras.applications` has them, of the layers of VGG16 but fewer."""
    image = keras.Input(input_shape)
    x = L.Conv2D(4, 3, padding="same", activation="relu")(image)
    x = L.MaxPooling2D(2, strides=2)(x)
    return keras.Model(image, L.Conv2D(6, 3, padding="same", activation="relu")(x))


preprocess_input = keras.applications.vgg16.preprocess_input  # found beside it


def test_a_network_of_others_is_written(monkeypatch):
    """With pooling by maximum, preprocessing, gray images, a frozen network inside."""
    monkeypatch.setattr(keras.applications, "VGG16", little)
    encoder = networks.pretrained((32, 32), "VGG16", weights="none", embedding=8, seed=0)
    assert _difference(encoder, layers.write(encoder, (32, 32)), (32, 32)) < 1e-4


def test_a_layer_that_was_called_elsewhere_first():
    dense = L.Dense(3)
    _chain(L.Flatten(), dense, shape=(2, 2))
    encoder = _chain(L.Flatten(), dense, L.Activation("tanh"), shape=(2, 2))
    assert _difference(encoder, layers.write(encoder, (2, 2)), (2, 2)) < 1e-5


def test_a_layer_that_is_called_on_what_came_of_it():
    layer = L.Dense(6, activation="relu")
    encoder = _chain(L.Flatten(), L.Dense(6), layer, L.Dense(6), layer, shape=(4, 4))
    assert _difference(encoder, layers.write(encoder, (4, 4)), (4, 4)) < 1e-5


def test_a_graph_holds_each_layer_once():
    """However often the layers were called while the model was put together."""
    encoder = keras.Sequential([keras.Input((4, 4)), L.Flatten()])
    for _ in range(3):  # Keras calls all layers anew each time
        encoder.add(L.Dense(5, activation="relu"))
    kinds = [node.op_type for node in layers.write(encoder, (4, 4)).graph.node]
    assert kinds.count("Relu") == 3


def test_a_zero_embedding_stays_zero():
    encoder = _chain(L.Flatten(), networks.UnitNorm(), shape=(2, 2))
    session = open_session(layers.write(encoder, (2, 2)).SerializeToString())
    images = np.zeros((2, 2, 2), np.uint8)
    images[1, 0, 0] = 3
    assert session.run(None, {"images": images})[0].tolist() == [[0] * 4, [1, 0, 0, 0]]


class Own(keras.layers.Dense):
    """Another layer that is called as one of Keras'."""


UNWRITABLE = {
    r"the layer \w+\.Own \(own(_\d+)?\)": lambda: _chain(L.Flatten(), Own(3), shape=(4, 4)),
    "the activation": lambda: _chain(
        L.Flatten(), L.Dense(3, activation=lambda x: keras.ops.sin(x)), shape=(4, 4)
    ),
    "the activation relu": lambda: _chain(
        L.Flatten(), L.Dense(3, activation=_relu_of_ones_own), shape=(4, 4)
    ),
    "a slope": lambda: _chain(L.Flatten(), L.ReLU(negative_slope=0.1), shape=(4, 4)),
    "channels_first": lambda: _end(
        L.Permute((3, 1, 2)), L.ZeroPadding2D(1, data_format="channels_first"), shape=(4, 4, 3)
    ),
    "in mixed_bfloat16|in bfloat16": lambda: _chain(
        L.Flatten(), L.Dense(3, dtype="mixed_bfloat16"), shape=(4, 4)
    ),
    "a reduction along": lambda: _end(lambda x: keras.ops.max(x, axis=2), shape=(4, 4, 3)),
    "axis 1": lambda: _end(L.BatchNormalization(axis=1), shape=(4, 4, 3)),
    "together": lambda: _chain(
        lambda x: L.Add()([x, L.GlobalAveragePooling2D()(x)]), L.Flatten(), shape=(4, 4, 3)
    ),
}


def _relu_of_ones_own(x):
    return keras.ops.relu(x) + 1


_relu_of_ones_own.__name__ = "relu"


@pytest.mark.parametrize("words", UNWRITABLE)
def test_what_is_not_written(words):
    encoder = UNWRITABLE[words]()
    with pytest.raises(UnwritableError, match=words.replace("channels_first", "Permute|cha")):
        layers.write(encoder, encoder.inputs[0].shape[1:])


# --- by way of JAX


@pytest.mark.any_backend  # others leave it to a process with JAX, as below
def test_what_is_not_written_is_traced():
    """An unusual activation, and poolings by maximum as jax2onnx writes them."""
    encoder = _chain(
        L.Conv2D(4, 3, padding="same"),
        L.MaxPooling2D(2),
        L.MaxPooling2D(3, strides=(2, 1), padding="same"),
        L.Flatten(),
        L.Dense(6, activation="softsign"),
    )
    with pytest.raises(UnwritableError, match="the activation"):
        layers.write(encoder, (13, 11, 3))
    graph = export.trace(encoder, (13, 11, 3))
    kinds = [node.op_type for node in graph.graph.node]
    assert kinds.count("MaxPool") == 2
    assert _difference(encoder, graph, (13, 11, 3)) < 1e-5


def test_what_jax2onnx_cannot(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(UnwritableError, match="Expected jax2onnx to be installed"):
        export.trace(_chain(L.Flatten(), shape=(2, 2)), (2, 2))


def test_another_back_end_leaves_it_to_a_process_of_its_own(monkeypatch):
    """Its script runs here, where JAX is imported; and the reason of a failure is told."""
    backend, elsewhere = keras.backend.backend(), subprocess.run
    monkeypatch.setattr(keras.backend, "backend", lambda: "tensorflow")
    encoder = _chain(L.Flatten(), L.Dense(3, activation="softsign"), shape=(2, 2))

    def run(command, *, env, **more):
        assert env["KERAS_BACKEND"] == "jax"
        if "9" in command:
            return subprocess.CompletedProcess(command, 1, "", "a\nthe reason\n")
        if backend != "jax":
            return elsewhere(command, env=env, **more)
        with monkeypatch.context() as inside:
            inside.setattr(keras.backend, "backend", lambda: backend)
            inside.setattr(sys, "argv", ["-c", *command[3:]])
            exec(command[2], {})
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    graph = export.trace(encoder, (2, 2))
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)
    assert _difference(encoder, graph, (2, 2)) < 1e-5
    monkeypatch.setattr(keras.backend, "backend", lambda: "tensorflow")
    with pytest.raises(UnwritableError, match="with jax, in a process of its own: the reason"):
        export.trace(encoder, (2, 9))


# --- 8 bits


def test_8_bits_are_a_model_of_their_own(trained, fashion_mnist):
    from twinset.exporters.graph import quantised

    model = trained["conv"]
    graph, _ = export.export_graph(model)
    small = quantised(graph, fashion_mnist[0].images[:64])
    scales = {node.input[1] for node in small.graph.node if node.op_type == "DequantizeLinear"}
    sizes = {tuple(each.dims) for each in small.graph.initializer if each.name in scales}
    assert {(8,), (16,)} <= sizes, "one scale for each channel of a convolution"
    content = export.described(small, model, digest="another")
    assert len(content) < 0.6 * len(graph)
    found = OnnxModel.of_graph(content)
    assert (found.digest, found.threshold) == ("another", model.threshold)
    images = fashion_mnist[1].images[:500]
    off = np.abs(found.embed(images) - model.embed(images))
    assert 1e-5 < off.mean() < 0.02  # it is quantised, and not far off


def test_a_card_that_replaces_another(trained):
    model = trained["mlp"]
    graph = onnx.ModelProto.FromString(export.export_graph(model)[0])
    other = replace(model, threshold=twinset.Threshold(0.25, "by hand"))
    found = OnnxModel.of_graph(export.described(graph, other))
    assert found.threshold == other.threshold
    assert found.digest == model.digest
