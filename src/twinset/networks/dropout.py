"""Dropout whose mask costs next to nothing on JAX: bits from a hash of (seed, step, position)."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from twinset.networks.random_bits import random_bits


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
