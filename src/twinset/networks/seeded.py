"""What a seed draws, the same on every back end: initial weights, dropout, random bits."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

# What Keras' layers call their kernels.
KERNELS = ("kernel", "depthwise_kernel", "pointwise_kernel")
DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
# The standard deviation of a normal variable that is cut off at ±2.
CUT = 0.8796


@keras.saving.register_keras_serializable("twinset")
class HeNormal(keras.initializers.Initializer):
    """An initialiser by He's rule (He et al., 2015), drawn by numpy.

    w ~ N(0, 2 / fan-in), cut off at two standard deviations by drawing again.
    """

    # Keras' own gives other numbers on each back end, and compiles a program for each shape on
    # JAX: a second for ten layers.
    def __init__(self, seed: Sequence[int]) -> None:
        self.seed = [int(number) for number in seed]

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        """Draw the kernel, whose last axis counts the outputs."""
        values = _draw(np.random.default_rng(self.seed), tuple(shape), math.prod(shape[:-1]))
        return ops.convert_to_tensor(values, dtype=dtype or keras.config.floatx())

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"seed": self.seed}


@keras.saving.register_keras_serializable("twinset")
class Filled(keras.initializers.Initializer):
    """An initialiser with one number, made by numpy, for which JAX compiles nothing."""

    def __init__(self, value: float) -> None:
        self.value = float(value)

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        """Fill an array."""
        values = np.full(tuple(shape), self.value, np.float32)
        return ops.convert_to_tensor(values, dtype=dtype or keras.config.floatx())

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"value": self.value}


class Seeds:
    """The seeds of a network's layers, in their order; None stands for fresh entropy."""

    def __init__(self, seed: int | None) -> None:
        self.seed = seed
        self._drawn = int(np.random.default_rng().integers(2**63)) if seed is None else seed
        self._count = 0

    def kernel(self) -> HeNormal:
        """Make the next initialiser."""
        self._count += 1
        return HeNormal([self._drawn, self._count - 1])


def redraw(model: keras.Model, seed: int | None) -> None:
    """Overwrite the kernels of a network that others designed, by He's rule."""
    # biases and what normalisation layers hold stay as they are
    rng = np.random.default_rng(seed)
    for layer in _layers(model):
        for name in KERNELS:
            kernel = getattr(layer, name, None)
            if kernel is not None:
                shape = tuple(kernel.shape)
                # a depthwise kernel mixes no channels
                alone = name == "depthwise_kernel" or isinstance(layer, DEPTHWISE)
                kernel.assign(_draw(rng, shape, math.prod(shape[: -2 if alone else -1])))


def reseed(model: keras.Model, seed: int | None) -> None:
    """Have a network's own random layers, such as its dropout, draw by a seed."""
    # those of `keras.applications` take none, and would drop other activations in each process
    if seed is None:
        return
    generators = [each for layer in model._flatten_layers() for each in layer._seed_generators]
    for number, generator in enumerate(generators):
        (word,) = np.random.SeedSequence([seed, number]).generate_state(1)
        # the other counts the draws; PyTorch's are of 31 bits and a sign
        generator.state.assign(np.array([word, 0], np.uint32).astype(generator.state.dtype))


def _layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    for layer in model.layers:
        yield from _layers(layer) if isinstance(layer, keras.Model) else [layer]


def _draw(rng: np.random.Generator, shape: tuple[int, ...], inputs: int) -> NDArray[np.float32]:
    values = rng.standard_normal(shape, np.float32)
    while (far := np.abs(values) > 2).any():
        values[far] = rng.standard_normal(int(far.sum()), np.float32)
    return values * np.float32(math.sqrt(2 / inputs) / CUT)


@keras.saving.register_keras_serializable("twinset")
class Dropout(keras.layers.Dropout):
    """A `keras.layers.Dropout` from cheaper random bits.

    y = x · keep / (1 − rate), keep ~ Bernoulli(1 − rate), a fresh mask for each call.

    JAX's threefry takes about a tenth of the tutorial recipe's whole step on a CPU to draw the
    masks. On JAX this layer hashes a counter instead (`random_bits`); the mask is still a pure
    function of the layer's seed and the number of calls before. Elsewhere it is Keras' own layer.

    Args:
        rate: share of the activations to drop, in [0, 1].
        seed: of the masks. Defaults to one that Keras draws.
        **kwargs: as for `keras.layers.Dropout`.

    Reference:
        Srivastava et al. (2014), Dropout: A Simple Way to Prevent Neural Networks from
        Overfitting.

    Example:
        >>> import numpy as np
        >>> y = Dropout(0.5, seed=1)(np.ones((100, 100), "float32"), training=True)
        >>> y = keras.ops.convert_to_numpy(y)
        >>> sorted(set(y.ravel().tolist())), bool(abs(y.mean() - 1) < 0.05)
        ([0.0, 2.0], True)
    """

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Drop, if training; else return the inputs unchanged."""
        ordinary = not training or not 0 < self.rate < 1 or self.noise_shape is not None
        if ordinary or keras.backend.backend() != "jax":
            return super().call(inputs, training=training)
        seed, draw = self.seed_generator.next()
        keep = random_bits(seed, draw, inputs.shape) >= np.uint32(round(self.rate * 2**32))
        scale = keras.ops.cast(1 / (1 - self.rate), inputs.dtype)
        return keras.ops.where(keep, inputs * scale, 0)


# JAX multiplies uint32 modulo 2³². PyTorch multiplies none, so elsewhere int64 hold the 32 bits.
_NATIVE = keras.backend.backend() == "jax"
_WORD = "uint32" if _NATIVE else "int64"
_ROUNDS = ((17, 0xED5AD4BB), (11, 0xAC4C1B51), (15, 0x31848BAB))


def random_bits(seed: Any, draw: Any, shape: Sequence[Any]) -> Any:
    """Draw words uniform on [0, 2³²) by a seed in that range and the number of the draw.

    Reference:
        The mixer "triple32" and its constants: Wellons (2018), Prospecting for Hash Functions;
        the construction: Salmon et al. (2011), Parallel Random Numbers: As Easy as 1, 2, 3.
    """
    # Not for cryptography. Word i is mix(k₀ + i · k₁), with k₀ and k₁ (odd) mixed from seed and
    # draw: a stride of its own keeps two keys from walking through the same words at an offset, as
    # they would if only the start differed.
    start = _mix(_low(_word(draw) + _mix(_word(seed))))
    stride = ops.bitwise_or(_mix(ops.bitwise_xor(start, _word(0x9E3779B9))), _word(1))
    counter = ops.reshape(ops.arange(math.prod(shape), dtype=_WORD), tuple(shape))
    if len(_places) and len(_places) == shape[0]:  # row i is that of another place
        row = math.prod(shape[1:])
        own = ops.reshape(counter, (shape[0], row))[:, 0]
        away = _word(ops.cast(_places, _WORD)) * _word(row) - own
        counter = counter + ops.reshape(away, (-1, *(1 for _ in shape[1:])))
    return _mix(_low(start + _times(counter, stride)))


_places: Any = np.empty(0, np.int64)


@contextmanager
def rows_of(places: Any) -> Iterator[None]:
    """Have row i of what is drawn within be row `places[i]`, as a batch is in another order."""
    global _places
    before, _places = _places, places
    try:
        yield
    finally:
        _places = before


def random_words(seed: Any, draw: Any, shape: Sequence[Any]) -> Any:
    """Draw the upper 16 of `random_bits`, as int32 in [0, 2¹⁶) on every back end."""
    return ops.cast(ops.right_shift(random_bits(seed, draw, shape), _word(16)), "int32")


def _mix(x: Any) -> Any:
    # bijective, and each input bit flips each output bit half the time
    for shift, factor in _ROUNDS:
        x = _times(ops.bitwise_xor(x, ops.right_shift(x, _word(shift))), _word(factor))
    return ops.bitwise_xor(x, ops.right_shift(x, _word(14)))


def _times(x: Any, factor: Any) -> Any:
    if _NATIVE:
        return x * factor
    # the product of 32 and 32 bits does not fit in 63: 16 bits of the factor at a time
    low = ops.bitwise_and(factor, _word(0xFFFF))
    high = ops.bitwise_and(x * ops.right_shift(factor, _word(16)), _word(0xFFFF))
    return _low(x * low + ops.left_shift(high, _word(16)))


def _low(x: Any) -> Any:
    return x if _NATIVE else ops.bitwise_and(x, _word(0xFFFFFFFF))


def _word(value: Any) -> Any:
    return ops.convert_to_tensor(value, _WORD)
