"""Encoders in ONNX files, against the same sums in NumPy; and models on them."""

import json
import shutil

import keras
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import twinset
from twinset import networks
from twinset.backbones import onnx_file
from twinset.backbones.session import open_session
from twinset.errors import ModelError, RecipeError
from twinset.exporters import onnx_layers
from twinset.models.card import read_card
from twinset.models.keras_model import declared
from twinset.models.keras_model import encode as encode_by_keras
from twinset.models.onnx_model import OnnxModel
from twinset.training.blend import Blend, blended
from twinset.training.frozen_trunk import trunk_of

KERNEL = np.random.default_rng(0).normal(size=(5, 3, 4, 4)).astype(np.float32)
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def write(
    path,
    *,
    batch="n",
    size=8,
    layout="NCHW",
    opset=17,
    kind=TensorProto.FLOAT,
    outputs=("tokens",),
    channels=3,
    named=None,
    weights_as_inputs=False,
    branches=False,
):
    """A network of patches: 4 × 4 pixels become one token of 5 numbers; 8 × 8 images have four."""
    shape = [batch, channels, size, size]
    if layout == "NHWC":
        shape = [batch, size, size, channels]
    shape = named or shape
    nodes, x = [], "x"

    def add(op, *inputs, **attributes):
        nodes.append(helper.make_node(op, inputs, [f"{op}_{len(nodes)}"], **attributes))
        return nodes[-1].output[0]

    if kind not in (TensorProto.FLOAT,):
        x = add("Cast", x, to=TensorProto.FLOAT)
    if layout == "NHWC":
        x = add("Transpose", x, perm=[0, 3, 1, 2])
    x = add("Conv", x, "kernel", strides=[4, 4])
    if branches:  # both ways, the same: one names a weight, the other a value from outside
        result = helper.make_tensor_value_info("r", TensorProto.FLOAT, None)
        ways = [
            helper.make_graph([helper.make_node(op, [x, "zero"], ["r"])], op, [], [result])
            for op in ("Add", "Sub")
        ]
        x = add("If", "yes", then_branch=ways[0], else_branch=ways[1])
    tokens = add("Transpose", add("Reshape", x, "sizes"), perm=[0, 2, 1])
    if opset >= 18:
        mean = add("ReduceMean", tokens, "ones", keepdims=0)
    else:
        mean = add("ReduceMean", tokens, axes=[1], keepdims=0)
    values = {
        "tokens": (tokens, [batch, 4, 5], "last_hidden_state"),
        "mean": (mean, [batch, 5], "pooler_output"),
        "map": (x, [batch, 5, 2, 2], "map"),
        "unknown": (tokens, [batch, "t", "d"], "last_hidden_state"),
        "flat": (add("Reshape", mean, "none"), [20], "flat"),
    }
    given = []
    for name in outputs:
        value, dims, called = values[name]
        nodes.append(helper.make_node("Identity", [value], [called]))
        given.append(helper.make_tensor_value_info(called, TensorProto.FLOAT, dims))
    constants = {
        "kernel": KERNEL[:, :channels],
        "sizes": np.array([0, 5, 4]),
        "ones": np.array([1]),
        "none": np.array([-1]),
        "yes": np.array(True),
        "zero": np.float32(0),
    }
    taken = [helper.make_tensor_value_info("x", kind, shape)]
    if weights_as_inputs:  # as older exporters list them
        taken.append(helper.make_tensor_value_info("kernel", TensorProto.FLOAT, KERNEL.shape))
    graph = helper.make_graph(
        nodes, "net", taken, given, [numpy_helper.from_array(v, n) for n, v in constants.items()]
    )
    imports = [helper.make_opsetid("", opset)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=8), path)
    return str(path)


def tokens_of(images, mean=MEAN, std=STD, factor=1 / 255):
    """The tokens (n, 4, 5) of colour images (n, 8, 8, 3), as sums in the order of the formula."""
    x = (images.astype(np.float64) * factor - np.array(mean)) / np.array(std)
    patches = x.reshape(len(x), 2, 4, 2, 4, 3)
    return np.einsum("naybxc,dcyx->nabd", patches, KERNEL).reshape(-1, 4, 5)


def some(shape=(8, 8, 3), count=3):
    return np.random.default_rng(1).integers(0, 256, (count, *shape), np.uint8)


def encode(file, images=None, **settings):
    images = some() if images is None else images
    settings = {"mean": MEAN, "std": STD, **settings}
    return onnx_file.backbone(images.shape[1:], file=str(file), **settings).encode(images)


@pytest.mark.parametrize("opset", [11, 14, 17, 18, 21])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_layouts_and_opsets(tmp_path, opset, layout):
    file = write(tmp_path / "net.onnx", opset=opset, layout=layout)
    np.testing.assert_allclose(encode(file), tokens_of(some())[:, 0], atol=1e-3)
    np.testing.assert_allclose(
        encode(file, pooling="mean"), tokens_of(some()).mean(axis=1), atol=1e-3
    )


@pytest.mark.parametrize(
    ("outputs", "settings", "expected"),
    [
        (("mean",), {}, "mean"),
        (("tokens", "mean"), {}, "mean"),
        (("tokens", "mean"), {"output": "last_hidden_state"}, "cls"),
        (("unknown",), {}, "cls"),
        (("unknown",), {"pooling": "mean"}, "mean"),
        (("map",), {}, "mean"),
        (("map", "tokens"), {}, "mean"),
    ],
)
def test_which_output_and_what_becomes_of_it(tmp_path, outputs, settings, expected):
    file = write(tmp_path / "net.onnx", outputs=outputs)
    tokens = tokens_of(some())
    wanted = tokens[:, 0] if expected == "cls" else tokens.mean(axis=1)
    np.testing.assert_allclose(encode(file, **settings), wanted, atol=1e-3)


def test_types_batches_and_weights_among_the_inputs(tmp_path):
    expected = tokens_of(some())[:, 0]
    half = write(tmp_path / "half.onnx", kind=TensorProto.FLOAT16)
    np.testing.assert_allclose(encode(half), expected, atol=0.02)
    fixed = write(tmp_path / "fixed.onnx", batch=1)
    np.testing.assert_allclose(encode(fixed), expected, atol=1e-3)
    old = write(tmp_path / "old.onnx", weights_as_inputs=True)
    np.testing.assert_allclose(encode(old), expected, atol=1e-3)
    whole = write(tmp_path / "whole.onnx", kind=TensorProto.UINT8)
    raw = tokens_of(some(), (0, 0, 0), (1, 1, 1), 1)[:, 0]
    np.testing.assert_allclose(encode(whole, mean=(), std=()), raw, rtol=1e-4, atol=1e-2)


def test_graphs_with_branches_and_with_weights_in_files_beside_them(tmp_path):
    expected = tokens_of(some())[:, 0]
    whole = write(tmp_path / "net.onnx", branches=True)
    np.testing.assert_allclose(encode(whole), expected, atol=1e-3)
    (tmp_path / "apart").mkdir()
    apart = tmp_path / "apart" / "net.onnx"
    onnx.save(onnx.load(whole), apart, save_as_external_data=True, size_threshold=0)
    assert len(list(apart.parent.iterdir())) == 2
    np.testing.assert_allclose(encode(apart), expected, atol=1e-3)


@pytest.mark.parametrize(
    ("named", "layout"),
    [
        (["batch_size", "num_channels", "height", "width"], "NCHW"),
        (["batch", "height", "width", "channels"], "NHWC"),
        (["a", "b", "c", "d"], "NCHW"),
    ],
)
def test_where_channels_are_in_shapes_of_names(tmp_path, named, layout):
    """By what the axes are called; else as Hugging Face has them, where it is one of theirs."""
    file = write(tmp_path / "net.onnx", named=named, layout=layout)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(CLIP))
    found = encode(file, mean=(), std=())
    np.testing.assert_allclose(found, tokens_of(some())[:, 0], atol=1e-3)


def test_gray_images_and_other_sizes(tmp_path):
    """A gray image is three equal channels; where all is flat, the size makes no difference."""
    file = write(tmp_path / "net.onnx")
    gray = some((8, 8))
    colour = np.repeat(gray[..., None], 3, axis=-1)
    np.testing.assert_allclose(encode(file, gray), encode(file, colour), atol=1e-4)
    flat = np.full((1, 4, 6, 3), 99, np.uint8)
    large = np.full((1, 8, 8, 3), 99, np.uint8)
    np.testing.assert_allclose(encode(file, flat), encode(file, large), atol=1e-4)
    one = write(tmp_path / "one.onnx", channels=1)
    assert encode(one, gray, mean=(0.5,), std=(0.5,)).shape == (3, 5)
    with pytest.raises(RecipeError, match="expected gray images, as the graph takes one channel"):
        encode(one, mean=(0.5,), std=(0.5,))


# --- preprocessor_config.json

CLIP = {
    "crop_size": {"height": 8, "width": 8},
    "do_center_crop": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": list(MEAN),
    "image_std": list(STD),
    "rescale_factor": 1 / 255,
    "size": {"shortest_edge": 10},
}


@pytest.mark.parametrize(
    ("changes", "how"),
    [
        ({}, {}),
        ({"crop_size": 8}, {}),
        ({"do_center_crop": False, "size": {"height": 8, "width": 8}}, {}),
        ({"do_center_crop": False, "size": {"shortest_edge": 8}}, {}),
        ({"do_center_crop": False, "size": 8}, {}),
        ({"do_normalize": False}, {"mean": (0, 0, 0), "std": (1, 1, 1)}),
        ({"do_rescale": False}, {"factor": 1}),
        ({"rescale_factor": 1 / 127.5}, {"factor": 1 / 127.5}),
        ({"image_mean": 0.5, "image_std": 0.5}, {"mean": (0.5,) * 3, "std": (0.5,) * 3}),
    ],
)
@pytest.mark.parametrize("below", ["", "onnx"])
def test_the_configuration_of_hugging_face_is_read(tmp_path, changes, how, below):
    (tmp_path / below).mkdir(exist_ok=True)
    file = write(tmp_path / below / "net.onnx", size="s")
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(CLIP | changes))
    found = encode(file, mean=(), std=())
    expected = tokens_of(some(), **how)[:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


def test_settings_go_before_the_configuration(tmp_path):
    file = write(tmp_path / "net.onnx", size="s")
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(CLIP | {"crop_size": 4}))
    found = encode(file, mean=(0.1,), std=(0.5,), size=8, rescale=1 / 127.5)
    expected = tokens_of(some(), (0.1,) * 3, (0.5,) * 3, 1 / 127.5)[:, 0]
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize(
    ("graph", "settings", "words"),
    [
        ({}, {"mean": (), "std": ()}, "how pixels are scaled. .*give encoder.mean and encoder.std"),
        ({"size": "s"}, {}, "a size of images in the graph or in a preprocessor_config.json"),
        ({}, {"size": 16}, "encoder.size = 0, as it takes 8 × 8 pixels and no others. Received 16"),
        ({}, {"output": "y"}, r"one of \['last_hidden_state'\]. Received 'y'"),
        ({}, {"mean": (1, 2)}, "one number or three for encoder.mean"),
        ({"channels": 3, "size": 3}, {}, "whether channels come first. It does not say"),
    ],
)
def test_what_is_not_known_is_asked_for(tmp_path, graph, settings, words):
    file = write(tmp_path / "net.onnx", **graph)
    with pytest.raises(RecipeError, match=words):
        encode(file, **settings)


def test_other_graphs_are_refused(tmp_path):
    with pytest.raises(ModelError, match="path of an .onnx file as encoder.file. Received '.*a"):
        encode(tmp_path / "a.onnx")
    (tmp_path / "b.onnx").write_text("no graph")
    with pytest.raises(ModelError, match="b.onnx: expected an ONNX graph"):
        encode(tmp_path / "b.onnx")
    (tmp_path / "preprocessor_config.json").write_text("{")
    file = write(tmp_path / "c.onnx")
    with pytest.raises(ModelError, match="preprocessor_config.json: expected JSON"):
        encode(file)
    (tmp_path / "preprocessor_config.json").unlink()
    graph = onnx.load(file)
    graph.graph.input.append(helper.make_tensor_value_info("ids", TensorProto.INT64, ["n", 7]))
    onnx.save(graph, tmp_path / "d.onnx")
    with pytest.raises(ModelError, match="Received the inputs x, ids: of a model of images a"):
        encode(tmp_path / "d.onnx")
    with pytest.raises(RecipeError, match="vectors .* Received 1 axes"):
        encode(write(tmp_path / "e.onnx", outputs=("flat",)))


# --- models on them


def data():
    rng = np.random.default_rng(2)
    labels = np.tile(np.arange(3), 8)
    images = rng.integers(0, 80, (24, 8, 8, 3), dtype=np.uint8)
    images[np.arange(24), :, :, labels] += 120
    return twinset.LabelledImages(images, labels, ("red", "green", "blue"), "colours")


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = write(tmp_path / "net.onnx", opset=18, outputs=("tokens", "mean"))
    encoder = {"name": "onnx", "file": file, "mean": MEAN, "std": STD, "units": [], "embedding": 4}
    return {"recipe": "head", "epochs": 2, "batch_size": 12, "encoder": encoder, "progress": False}


def test_a_model_holds_what_it_needs(recipe, tmp_path):
    """Keras and the joined graph agree, also where the file is gone and the folder moved."""
    images = data()
    model = twinset.fit(images, **recipe)
    expected = encode_by_keras(model.encoder, images.images)
    model.save(tmp_path / "run")
    with pytest.raises(ModelError, match="LiteRT. Received a network out of an ONNX file"):
        twinset.export(model, tmp_path / "litert", format="litert")
    assert twinset.export(tmp_path / "run").difference < 1e-5
    (whose,) = read_card(tmp_path / "run").provenance
    assert (whose.name, whose.source, whose.licence, len(whose.sha256)) == (
        *("net", "net.onnx", ""),
        64,
    )
    (tmp_path / "net.onnx").unlink()
    shutil.move(tmp_path / "run", tmp_path / "moved")
    graph = OnnxModel.load(tmp_path / "moved")
    np.testing.assert_allclose(graph.embed(images), expected, atol=1e-5)
    loaded = twinset.SiameseModel.load(tmp_path / "moved")
    np.testing.assert_allclose(loaded.embed(images), expected, atol=1e-6)
    assert loaded.digest == graph.digest == model.digest
    assert twinset.load_model(tmp_path / "moved").compare(*images.images[:2]).same in (True, False)


def test_features_are_those_of_the_file_and_are_kept(recipe):
    images = data()
    model = twinset.fit(images, **recipe)
    trunk = trunk_of(model.encoder)
    expected = tokens_of(images.images).mean(axis=1)
    found = trunk.predict_on_batch(images.images / np.float32(255))
    np.testing.assert_allclose(found, expected, atol=1e-3)
    backbone = declared(model.recipe.encoder, (8, 8, 3))
    told = []
    backbone.encode_once(images, progress=told.append)
    assert told == [], "the training kept them"
    np.testing.assert_array_equal(backbone.encode_once(images), found)


def test_a_layer_without_its_graph_says_so(recipe):
    settings = {k: v for k, v in recipe["encoder"].items() if k != "name"}
    encoder = networks.onnx((8, 8, 3), **settings)
    bare = networks.OnnxTrunk.from_config(encoder.get_layer("network").get_config())
    with pytest.raises(ModelError, match="Received a layer that was made of its settings alone"):
        bare(np.zeros((1, 8, 8, 3), np.float32))


def test_a_blend_holds_the_weights_once(recipe, tmp_path):
    """Of an image and its mirror image, with pixels beside: two calls, one copy of the kernel."""
    settings = {k: v for k, v in recipe["encoder"].items() if k != "name"}
    encoder = networks.onnx((8, 8, 3), seed=0, **settings)
    both = blended(encoder, Blend(features=1.0, pixels=1.0, mirror=True))
    graph = onnx_layers.write(both, (8, 8, 3))
    images = some()
    found = open_session(graph.SerializeToString()).run(None, {"images": images})[0]
    np.testing.assert_allclose(found, both.predict_on_batch(images / np.float32(255)), atol=1e-5)
    kernels = [each for each in graph.graph.initializer if list(each.dims) == [5, 3, 4, 4]]
    assert len(kernels) == 1
    both.save(tmp_path / "both.keras")
    again = keras.saving.load_model(tmp_path / "both.keras")
    np.testing.assert_allclose(again.predict_on_batch(images / np.float32(255)), found, atol=1e-5)
