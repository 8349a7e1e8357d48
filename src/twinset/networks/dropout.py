"""Dropout whose mask costs next to nothing on JAX: bits from a hash of (seed, step, position)."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np


@keras.saving.register_keras_serializable("twinset")
class Dropout(keras.layers.Dropout):
    """Drops activations while training, as `keras.layers.Dropout` does, from cheaper random bits.

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
        bits = random_bits(self.seed_generator.next(), inputs.shape)
        keep = bits >= np.uint32(round(self.rate * 2**32))
        scale = keras.ops.cast(1 / (1 - self.rate), inputs.dtype)
        return keras.ops.where(keep, inputs * scale, 0)


def random_bits(key: Any, shape: tuple[int, ...]) -> Any:
    """Draw uint32 words from a counter on JAX: word i is mix(k₀ + i · k₁).

    k₀ and k₁ (odd) are mixed from the key. A stride of its own for each key keeps two keys from
    walking through the same words at an offset, as they would if only the start differed.
    It is not for cryptography.

    Args:
        key: uint32 of shape (2,): the seed, and the number of the draw.
        shape: of the result, fewer than 2³² words.

    Returns:
        uint32 words, uniform on [0, 2³²).

    Reference:
        The mixer "triple32" and its constants: Wellons (2018), Prospecting for Hash Functions;
        the construction: Salmon et al. (2011), Parallel Random Numbers: As Easy as 1, 2, 3.

    Example:
        >>> import numpy as np
        >>> bits = random_bits(np.array([1, 0], np.uint32), (2,))
        >>> [int(word) for word in bits]
        [2548464587, 606763922]
    """
    import math

    import jax.numpy as jnp
    from jax import lax

    seed, draw = jnp.asarray(key, jnp.uint32)
    start = _mix(draw + _mix(seed))
    stride = _mix(start ^ jnp.uint32(0x9E3779B9)) | jnp.uint32(1)
    counter = lax.iota(jnp.uint32, math.prod(shape)).reshape(shape)
    return _mix(start + counter * stride)


def _mix(x: Any) -> Any:
    """Mix uint32 words: bijective, and each input bit flips each output bit half the time."""
    import jax.numpy as jnp

    for shift, factor in ((17, 0xED5AD4BB), (11, 0xAC4C1B51), (15, 0x31848BAB)):
        x = (x ^ (x >> jnp.uint32(shift))) * jnp.uint32(factor)
    return x ^ (x >> jnp.uint32(14))
