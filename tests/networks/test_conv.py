"""Convolutions on JAX on a CPU: by products of patches, or a step at a time."""

import sys

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

import twinset
from twinset import networks
from twinset.networks.conv import by_product, by_shifts
from twinset.training import keras_engine as host_memory
from twinset.training.keras_engine import FreedMemory

LAYER = sys.modules[by_product.__module__]  # `networks.conv` is the function
JAX = keras.backend.backend() == "jax"


def slow(x, kernel, strides, padding):
    """One pixel and one weight at a time, as the formula has it."""
    (b, h, w, _), (u, v, _, d) = x.shape, kernel.shape
    before, counts = [], []
    for length, size, stride in zip((h, w), (u, v), strides, strict=True):
        if padding == "valid":
            before.append(0)
            counts.append((length - size) // stride + 1)
        else:
            counts.append(-(-length // stride))
            before.append(max((counts[-1] - 1) * stride + size - length, 0) // 2)
    found = np.zeros((b, *counts, d))
    for i, j, p, q in np.ndindex(*counts, u, v):
        y, z = i * strides[0] + p - before[0], j * strides[1] + q - before[1]
        if 0 <= y < h and 0 <= z < w:
            found[:, i, j] += x[:, y, z].astype(np.float64) @ kernel[p, q].astype(np.float64)
    return found


@given(
    st.tuples(st.integers(5, 9), st.integers(5, 9)),
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.sampled_from(["same", "valid"]),
    st.integers(0, 9),
)
@settings(max_examples=12)  # XLA compiles each
def test_a_product_is_the_convolution(size, kernel, strides, padding, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2, *size, 3)).astype("float32")
    weights = rng.normal(size=(*kernel, 3, 4)).astype("float32")
    found = ops.convert_to_numpy(by_product(ops.convert_to_tensor(x), weights, strides, padding))
    expected = slow(x, weights, strides, padding)
    assert found.shape == expected.shape
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-4)
    keras_own = ops.convert_to_numpy(ops.conv(x, weights, strides=strides, padding=padding))
    np.testing.assert_allclose(found, keras_own, atol=1e-4)


@pytest.mark.parametrize("kernel", [(3, 3), (5, 2)])
@pytest.mark.parametrize(("stride", "padding"), [(1, "same"), (2, "same"), (2, "valid")])
def test_shifts_are_the_depthwise_convolution(kernel, stride, padding):
    """Each channel by the slow convolution, on its own."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 7, 6, 3)).astype("float32")
    weights = rng.normal(size=(*kernel, 3, 1)).astype("float32")
    strides = (stride, stride)
    found = ops.convert_to_numpy(by_shifts(ops.convert_to_tensor(x), weights, strides, padding))
    for c in range(3):
        alone = slow(x[..., c : c + 1], weights[:, :, c : c + 1], strides, padding)
        np.testing.assert_allclose(found[..., c : c + 1], alone, atol=1e-4)


@pytest.mark.parametrize(
    "more",
    [{}, {"use_bias": False, "strides": 2, "padding": "same"}, {"activation": "relu"}],
)
def test_the_depthwise_layer_is_keras_own(more, monkeypatch):
    x = np.random.default_rng(0).normal(size=(2, 6, 5, 3)).astype("float32")
    layer = networks.DepthwiseConvolution(3, bias_initializer="ones", **more)
    at_rest = ops.convert_to_numpy(layer(x))
    monkeypatch.setattr(LAYER, "_on_cpu_by_jax", lambda: True)
    asked = []
    monkeypatch.setattr(LAYER, "by_shifts", lambda *given: (asked.append(1), by_shifts(*given))[1])
    np.testing.assert_allclose(ops.convert_to_numpy(layer(x, training=True)), at_rest, atol=1e-5)
    layer(x)
    assert len(asked) == 1, "at rest it is Keras' own way"
    many = networks.DepthwiseConvolution(2, depth_multiplier=2)
    np.testing.assert_allclose(many(x, training=True), many(x), atol=1e-6)
    assert len(asked) == 1, "a sum of shifts does not do that"


@pytest.mark.parametrize(
    "more", [{}, {"use_bias": False}, {"activation": "relu", "padding": "same"}]
)
def test_the_layer_is_keras_own(more, monkeypatch):
    x = np.random.default_rng(0).normal(size=(2, 6, 5, 3)).astype("float32")
    layer = networks.Convolution(4, 3, bias_initializer="ones", **more)
    at_rest = ops.convert_to_numpy(layer(x))
    monkeypatch.setattr(LAYER, "_on_cpu_by_jax", lambda: True)
    asked = []
    monkeypatch.setattr(
        LAYER, "by_product", lambda *given: (asked.append(1), by_product(*given))[1]
    )
    np.testing.assert_allclose(ops.convert_to_numpy(layer(x, training=True)), at_rest, atol=1e-5)
    layer(x)
    assert len(asked) == 1, "at rest it is Keras' own way"
    dilated = networks.Convolution(4, 2, dilation_rate=2)
    np.testing.assert_allclose(
        ops.convert_to_numpy(dilated(x, training=True)), ops.convert_to_numpy(dilated(x)), atol=1e-6
    )
    assert len(asked) == 1, "a product does not do that"


@pytest.mark.skipif(not JAX, reason="how XLA is asked")
def test_a_step_at_a_time_takes_the_same_steps(stripes, monkeypatch):
    from twinset.training import jax_engine as scanned

    recipe = {"encoder": {"name": "conv", "widths": [4]}, "epochs": 2, "pairs": "batch"}
    recipe |= {"loss": {"name": "supcon"}, "batch_size": 12, "optimizer.name": "adam"}
    network = networks.conv((6, 5), widths=(4,))
    assert not scanned._slow_within_loops(network)
    assert not scanned._slow_within_loops(networks.efficientnet_lite0((8, 8), features=("16",)))
    own = keras.Sequential([keras.Input((6, 5, 1)), keras.layers.Conv2D(3, 3)])
    assert scanned._slow_within_loops(own)
    looped = twinset.fit(stripes, **recipe)
    with monkeypatch.context() as patched:
        patched.setattr(scanned, "_slow_within_loops", lambda encoder: True)
        alone = twinset.fit(stripes, **recipe)
    with monkeypatch.context() as patched:
        patched.setattr(LAYER, "_on_cpu_by_jax", lambda: False)
        direct = twinset.fit(stripes, **recipe)
    for other in (alone, direct):
        assert [r.steps for r in other.history] == [r.steps for r in looped.history]
        for a, b in zip(looped.encoder.get_weights(), other.encoder.get_weights(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


class Libc:
    def __init__(self):
        self.told = []

    def mallopt(self, what, value):
        self.told.append((what, value))

    def malloc_trim(self, pad):
        self.told.append(("trim", pad))


def test_freed_memory_is_kept_and_handed_back(monkeypatch):
    for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_ARENA_MAX", "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)
    libc = Libc()
    monkeypatch.setattr(host_memory, "_has_glibc", lambda: True)
    monkeypatch.setattr(host_memory.ctypes, "CDLL", lambda name: libc)
    keeping = [(-1, 2**31 - 1), (-3, 2**31 - 1)]

    def broken():
        with FreedMemory().kept():
            assert libc.told == keeping
            raise KeyError("broken")

    with pytest.raises(KeyError, match="broken"):
        broken()
    assert libc.told[2:] == [(-1, 2**17), (-3, 2**25), ("trim", 0)]
    libc.told.clear()
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.trim_threshold=1")
    with FreedMemory().kept():
        pass
    monkeypatch.delenv("GLIBC_TUNABLES")
    monkeypatch.setattr(host_memory, "_has_glibc", lambda: False)
    with FreedMemory().kept():
        pass
    assert libc.told == [], "the user's own settings count, and other C libraries have none"
