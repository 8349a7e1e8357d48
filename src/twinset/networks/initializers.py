"""Initial weights drawn by numpy: one seed, the same network on every back end."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
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

    Example:
        >>> kernel = HeNormal([0, 1])((3, 2))
        >>> [round(float(value), 2) for value in kernel[0]]
        [0.42, -0.33]
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


class Seeds:
    """The seeds of a network's layers, in their order; None stands for fresh entropy.

    Example:
        >>> following = Seeds(7)
        >>> following.kernel().seed, following.kernel().seed
        ([7, 0], [7, 1])
    """

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
    """Have a network's own random layers, such as its dropout, draw by a seed.

    Example:
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dropout(0.5)])
        >>> reseed(model, seed=7)
        >>> [int(word) for word in keras.ops.convert_to_numpy(model.variables[0])]
        [2083679832, 0]
    """
    # those of `keras.applications` take none, and would drop other activations in each process
    if seed is None:
        return
    generators = [each for layer in model._flatten_layers() for each in layer._seed_generators]
    for number, generator in enumerate(generators):
        (word,) = np.random.SeedSequence([seed, number]).generate_state(1)
        generator.state.assign([word, 0])  # the other counts the draws


def _layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    for layer in model.layers:
        yield from _layers(layer) if isinstance(layer, keras.Model) else [layer]


def _draw(rng: np.random.Generator, shape: tuple[int, ...], inputs: int) -> NDArray[np.float32]:
    values = rng.standard_normal(shape, np.float32)
    while (far := np.abs(values) > 2).any():
        values[far] = rng.standard_normal(int(far.sum()), np.float32)
    return values * np.float32(math.sqrt(2 / inputs) / CUT)
