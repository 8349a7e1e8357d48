import keras
import numpy as np
import pytest
from keras import ops

import gradients
from twinset import networks
from twinset.errors import ModelError, RecipeError
from twinset.networks.dense import MOMENTUM
from twinset.networks.layers import UnitNorm
from twinset.networks.seeded import HeNormal, redraw

SHAPES = [(28, 28), (20, 17, 3)]

# Every encoder that learns from nothing: its maker, and the shapes of what it takes.
ENCODERS = {
    "mlp": (lambda shape, **more: networks.mlp(shape, units=(8, 6), **more), SHAPES),
    "mlp, linear and normalised": (
        lambda shape, **more: networks.mlp(
            shape, units=(8, 6), linear=True, normalize=True, **more
        ),
        SHAPES,
    ),
    "conv": (
        lambda shape, **more: networks.conv(shape, widths=(4, 8), embedding=6, **more),
        SHAPES,
    ),
    "conv, plain": (
        lambda shape, **more: networks.conv(
            shape, widths=(4,), embedding=6, normalize=False, dropout=0.5, **more
        ),
        SHAPES[:1],
    ),
    "head": (lambda shape, **more: networks.head(shape, embedding=6, **more), [(9,)]),
    "head, deep": (
        lambda shape, **more: networks.head(
            shape, units=(7, 5), embedding=6, dropout=0.5, normalize=False, **more
        ),
        [(9,)],
    ),
}
CASES = [(name, shape) for name, (_, shapes) in ENCODERS.items() for shape in shapes]
NORMALISED = {"mlp, linear and normalised", "conv", "head"}


def make(name, shape, seed=0):
    return ENCODERS[name][0](shape, seed=seed)


def some(shape, count=8, seed=0):
    return np.random.default_rng(seed).random((count, *shape), np.float32)


def embed(encoder, x):
    """At rest, as one compiled program: eagerly, JAX would compile each operation on its own."""
    return encoder.predict_on_batch(x)


def weights(model):
    return [ops.convert_to_numpy(weight) for weight in model.weights]


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_shape_type_and_length(name, shape):
    encoder = make(name, shape)
    found = embed(encoder, some(shape))
    assert found.shape == (8, 6)
    assert found.dtype == np.float32
    lengths = np.linalg.norm(found, axis=1)
    assert (np.abs(lengths - 1).max() < 1e-6) == (name in NORMALISED)
    assert np.ptp(found, axis=0).max() > 1e-3, "images are told apart"
    assert networks.check_encoder(encoder, shape) == 6


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_the_gradient_reaches_each_weight(name, shape):
    """By moving each: a step along one weight's random direction changes some embedding."""
    encoder, x = make(name, shape), some(shape)
    before = embed(encoder, x)
    rng = np.random.default_rng(1)
    for variable in encoder.trainable_variables:
        old = ops.convert_to_numpy(variable)
        variable.assign(old + 0.1 * rng.standard_normal(old.shape).astype(np.float32))
        assert np.abs(embed(encoder, x) - before).max() > 1e-6, variable.path
        variable.assign(old)


@pytest.mark.parametrize("name", ENCODERS)
def test_a_file_holds_the_whole(name, tmp_path):
    shape = ENCODERS[name][1][-1]
    encoder = make(name, shape)
    encoder(some(shape), training=True)  # moves what batch normalisation holds
    encoder.save(tmp_path / "encoder.keras")
    again = keras.saving.load_model(tmp_path / "encoder.keras", safe_mode=True)
    np.testing.assert_array_equal(embed(again, some(shape)), embed(encoder, some(shape)))


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_weights_are_a_function_of_the_seed(name, shape):
    first, again, other = (weights(make(name, shape, seed)) for seed in (3, 3, 4))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    kernels = [i for i, weight in enumerate(first) if weight.ndim > 1]
    assert all((first[i] != other[i]).any() for i in kernels)


def test_without_a_seed_weights_differ():
    first, other = (weights(networks.conv((8, 8), widths=(2,)))[0] for _ in range(2))
    assert (first != other).any()


# --- the tutorial's


def test_the_tutorials_encoder_is_as_it_was():
    encoder = networks.mlp((28, 28), seed=0)
    kinds = [type(layer).__name__ for layer in encoder.layers]
    assert kinds == ["InputLayer", "Flatten", "Dense", "Dropout", "Dense", "Dropout", "Dense"]
    assert encoder.layers[-1].activation is keras.activations.relu
    for i, layer in enumerate(layer for layer in encoder.layers if hasattr(layer, "kernel")):
        expected = keras.initializers.GlorotUniform(seed=2 * i)(layer.kernel.shape)
        np.testing.assert_array_equal(
            ops.convert_to_numpy(layer.kernel), ops.convert_to_numpy(expected)
        )


def test_options_of_the_tutorials_encoder_keep_its_weights():
    plain = networks.mlp((4, 4), units=(5, 3), seed=7)
    more = networks.mlp((4, 4), units=(5, 3), linear=True, normalize=True, seed=7)
    assert all((a == b).all() for a, b in zip(weights(plain), weights(more), strict=True))
    linear = networks.mlp((4, 4), units=(5, 3), linear=True, seed=7)
    x = some((4, 4), 40)
    y = embed(linear, x)
    assert y.min() < -0.05
    np.testing.assert_allclose(embed(plain, x), np.maximum(y, 0), atol=1e-6)
    np.testing.assert_allclose(
        embed(more, x), y / np.linalg.norm(y, axis=1, keepdims=True), atol=1e-6
    )


# --- the convolutional one


def test_the_published_size():
    assert networks.conv((28, 28)).count_params() == 418208


@pytest.mark.parametrize(
    ("shape", "grid"),
    [((28, 28), (4, 4)), ((64, 64, 3), (4, 4)), ((9, 8), (2, 1)), ((100, 20, 3), (4, 3))],
)
def test_the_last_stage_becomes_a_small_grid(shape, grid):
    encoder = networks.conv(shape, widths=(2, 2, 3), embedding=5)
    assert encoder.get_layer("flatten").output.shape == (None, grid[0] * grid[1] * 3)
    assert embed(encoder, some(shape)).shape == (8, 5)


def test_the_stages_add_what_they_found():
    """A residual convolution of zero weights leaves its input, up to the ReLU that follows."""
    encoder = networks.conv((8, 8), widths=(3, 4), seed=0)
    inner = encoder.get_layer("stage_2_inner")
    inner.kernel.assign(0 * inner.kernel)
    down, after = (encoder.get_layer(f"stage_2_{name}").output for name in ("down_relu", "relu"))
    before, after = embed(keras.Model(encoder.input, [down, after]), some((8, 8)))
    assert before.max() > 0.1
    np.testing.assert_allclose(after, before, atol=1e-6)


def test_blocks_say_how_deep_each_stage_is():
    usual, same = (networks.conv((8, 8), widths=(3, 4), blocks=b, seed=0) for b in ((), (0, 1)))
    assert usual.get_config() == same.get_config()
    deep = networks.conv((8, 8), widths=(3, 4), blocks=(1, 2), seed=0)
    # kernels of 3 × 3, and four numbers of normalisation for each channel
    assert deep.count_params() - usual.count_params() == 9 * (3 * 3 + 4 * 4) + 4 * (3 + 4)
    names = [layer.name for layer in deep.layers if layer.name.endswith("inner")]
    assert names == ["stage_1_inner", "stage_2_inner", "stage_2_2_inner"]
    with pytest.raises(RecipeError, match=r"blocks for each of the 2 widths\. Received 1: \[1\]\."):
        networks.conv((8, 8), widths=(3, 4), blocks=(1,))


def test_kernels_are_the_same_on_every_back_end():
    """Drawn by numpy: numbers from one back end hold on the others."""
    kernel = weights(networks.conv((8, 8), widths=(2, 2), seed=5))[0]
    assert kernel.shape == (5, 5, 1, 2)
    rng = np.random.default_rng([5, 0])
    values = rng.standard_normal((5, 5, 1, 2), np.float32)
    while (np.abs(values) > 2).any():
        far = np.abs(values) > 2
        values[far] = rng.standard_normal(far.sum(), np.float32)
    np.testing.assert_allclose(kernel, values / 0.8796 * np.sqrt(2 / 25), rtol=1e-5)


def check_variance(kernel, inputs):
    kernel = ops.convert_to_numpy(kernel)
    assert abs(kernel.std() / np.sqrt(2 / inputs) - 1) < 0.02
    assert abs(kernel.mean()) < 4 * kernel.std() / np.sqrt(kernel.size)
    assert np.abs(kernel).max() <= 2.0001 / 0.8796 * np.sqrt(2 / inputs)


def test_kernels_have_hes_variance():
    check_variance(HeNormal([0])((3, 3, 32, 64)), 9 * 32)
    image = keras.Input((9, 9, 64))
    x = keras.layers.DepthwiseConv2D(9, use_bias=False)(image)
    inner = keras.Sequential([keras.Input((64,)), keras.layers.Dense(300)])
    model = keras.Model(image, inner(keras.layers.Flatten()(x)))
    redraw(model, seed=0)
    depthwise, dense = model.layers[1], inner.layers[0]
    check_variance(depthwise.kernel, 81)
    check_variance(dense.kernel, 64)
    assert not ops.convert_to_numpy(dense.bias).any()


def test_a_copy_of_a_network_has_its_initial_weights():
    encoder = networks.conv((8, 8), widths=(2, 2))
    copy = keras.models.clone_model(encoder)
    assert all((a == b).all() for a, b in zip(weights(encoder), weights(copy), strict=True))
    kernels = [weight for weight in weights(encoder) if weight.ndim > 1]
    assert np.unique([kernel.ravel()[0] for kernel in kernels]).size == len(kernels)


def test_running_averages_are_kept_in_training_alone():
    encoder, x = networks.conv((8, 8), widths=(2,), seed=0), some((8, 8), 64)
    moving = encoder.get_layer("features_norm").moving_mean
    before = ops.convert_to_numpy(moving)
    embed(encoder, x)
    np.testing.assert_array_equal(ops.convert_to_numpy(moving), before)
    features = keras.Model(encoder.input, encoder.get_layer("flatten").output)
    for _ in range(2):
        encoder(x, training=True)
    expected = ops.convert_to_numpy(features(x, training=True)).mean(axis=0) * (1 - MOMENTUM**2)
    np.testing.assert_allclose(ops.convert_to_numpy(moving), expected, rtol=1e-3, atol=1e-5)


def test_images_too_small_for_the_stages():
    with pytest.raises(RecipeError, match="at least 8 pixels each way for 3 stages.* 7 × 28: take"):
        networks.conv((7, 28))


# --- unit length


def test_unit_norm_by_hand():
    x = np.array([[3.0, 4.0], [0.0, 0.0], [-5e-4, 0.0], [1e12, 0.0]], np.float32)
    y = ops.convert_to_numpy(UnitNorm()(x))
    np.testing.assert_allclose(y, [[0.6, 0.8], [0, 0], [-1, 0], [1, 0]], atol=1e-6)


def test_unit_norm_has_a_finite_gradient_everywhere():
    weight = np.array([[1.0, -2.0, 0.5]], np.float32)

    def total(x):
        return ops.sum(ops.multiply(UnitNorm()(x), weight))

    x = np.array([[0.3, -0.2, 0.9], [0.0, 0.0, 0.0]], np.float32)
    slope = gradients.gradient(total, x)
    np.testing.assert_array_equal(slope[1], 0)
    np.testing.assert_allclose(
        slope[:1], gradients.differences(lambda v: total(v), x[:1].copy()), atol=2e-3
    )
    assert np.abs(slope[0]).max() > 0.1


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_unit_norm_of_short_floats(dtype):
    layer = UnitNorm(dtype=dtype)
    y = layer(ops.cast(np.full((1, 4), 300.0), dtype))  # squares beyond float16
    assert keras.backend.standardize_dtype(y.dtype) == dtype
    np.testing.assert_allclose(ops.convert_to_numpy(ops.cast(y, "float32")), 0.5, atol=2e-3)


# --- by recipe


def test_build_passes_everything_on():
    settings = {"units": (5, 4), "dropout": 0.3, "linear": True, "normalize": True}
    encoder = networks.build("mlp", (6, 6), seed=1, **settings)
    twin = networks.mlp((6, 6), seed=1, **settings)
    assert encoder.get_config() == twin.get_config()
    settings = {
        "widths": (2, 3),
        "blocks": (1, 0),
        "embedding": 4,
        "dropout": 0.2,
        "normalize": False,
    }
    encoder = networks.build(networks.ENCODERS.parse("conv", settings), (8, 8), seed=1)
    twin = networks.conv((8, 8), seed=1, **settings)
    assert encoder.get_config() == twin.get_config()
    assert all((a == b).all() for a, b in zip(weights(encoder), weights(twin), strict=True))


def test_what_stands_in_a_recipe_is_the_signature():
    section = networks.ENCODERS.section("conv")
    assert list(section.model_fields) == [
        *("name", "widths", "blocks", "embedding", "dropout", "normalize")
    ]
    assert section().widths == (32, 64, 128)
    assert section.model_fields["embedding"].description == "size d. Defaults to 64."
    with pytest.raises(RecipeError, match=r"conv: dropout: input should be less than 1; received"):
        networks.conv((8, 8), dropout=1.0)
    with pytest.raises(RecipeError, match="Expected a network out of .'conv', 'effi"):
        networks.build("resnet", (8, 8))


# --- models of the user's own


def functional(shape, function):
    image = keras.Input(shape)
    return keras.Model(image, function(image))


def test_own_models_that_will_do():
    assert (
        networks.check_encoder(
            functional((None, None, 3), keras.layers.GlobalMaxPool2D()), (5, 4, 3)
        )
        == 3
    )
    sequential = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(2)])
    assert networks.check_encoder(sequential, (5, 4)) == 2

    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(7)

        def call(self, x):
            return self.dense(ops.reshape(x, (-1, 20)))

    assert networks.check_encoder(Own(), (5, 4)) == 7


def two_inputs():
    left, right = keras.Input((4, 4)), keras.Input((4, 4))
    return keras.Model([left, right], keras.layers.Flatten()(left + right))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda: keras.layers.Dense(3), "Expected a keras.Model as encoder. Received Dense"),
        (two_inputs, "one input. Received one with 2: .*give the shared encoder"),
        (lambda: networks.mlp((5, 4)), r"images of shape \(4, 4\).*shape \(None, 5, 4\)"),
        (lambda: networks.mlp((4, 4, 3)), r"shape \(None, 4, 4, 3\): change the size"),
        (lambda: functional((4, 4), lambda x: 2 * x), r"\(2, d\).*of shape \(2, 4, 4\): end with"),
        (
            lambda: functional((4, 4), lambda x: ops.cast(ops.sum(x, axis=1), "int32")),
            "floats. Received int32 of shape",
        ),
        (lambda: functional((4, 4), lambda x: ops.sum(x, axis=(1, 2))), r"of shape \(2,\)"),
        (
            lambda: functional((4, 4), lambda x: ops.log(ops.sum(x, axis=1))),
            "Expected finite embeddings. Received -inf for black images",
        ),
        (
            lambda: functional((4, 4), lambda x: ops.sqrt(0.01 - ops.sum(x, axis=1))),
            "Received nan for random images",
        ),
        (
            lambda: keras.Sequential([keras.layers.Conv2D(2, 9), keras.layers.Flatten()]),
            r"can be called on floats of shape \(2, 4, 4\)",
        ),
    ],
)
def test_own_models_that_will_not_do(model, words):
    with pytest.raises(ModelError, match=words):
        networks.check_encoder(model(), (4, 4))
