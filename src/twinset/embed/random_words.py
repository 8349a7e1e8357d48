"""Random words on the device, the same on every back end: a function of key, step and place."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops


def random_words(key: int, step: Any, count: Any, columns: int) -> Any:
    """Draw 16 random bits for each image and each decision.

    The upper halves of `twinset.embed.dropout.random_bits`, computed here in int64 where a back
    end has it: PyTorch multiplies no uint32.

    Args:
        key: of this purpose and seed; of its lowest 32 bits.
        step: the number of the draw, an integer or a tensor.
        count: how many images, b.
        columns: how many decisions for each.

    Returns:
        int32 in [0, 2¹⁶), of shape (b, columns); row i is the same for every b.
    """
    key %= 2**32
    if keras.backend.backend() == "jax":
        import jax.numpy as jnp

        from twinset.embed.dropout import random_bits

        draw = jnp.asarray(step).astype(jnp.uint32)
        bits = random_bits(jnp.stack([jnp.uint32(key), draw]), (count, columns))
        return (bits >> jnp.uint32(16)).astype(jnp.int32)
    start = _mix(_low(ops.cast(step, "int64") + np.int64(_plain_mix(key))))
    stride = _mix(ops.bitwise_xor(start, np.int64(0x9E3779B9))) | np.int64(1)
    counter = ops.arange(count * columns, dtype="int64")
    words = _mix(_low(start + _times(counter, stride)))
    return ops.reshape(ops.cast(ops.right_shift(words, 16), "int32"), (-1, columns))


def uniform(words: Any, column: int) -> Any:
    """Turn a column of words into floats, uniform on {0, 2⁻¹⁶, …, 1 − 2⁻¹⁶}, (b, 1)."""
    return ops.cast(words[:, column : column + 1], "float32") * np.float32(2**-16)


def below(words: Any, column: int, bound: Any) -> Any:
    """Turn a column of words into integers, uniform on {0, …, bound − 1}, (b, 1).

    Exact up to one part in 2¹⁶ / bound.

    Args:
        words: as from `random_words`.
        column: which.
        bound: an integer below 2¹⁵, or int32 of shape (b, 1).
    """
    return ops.right_shift(words[:, column : column + 1] * bound, 16)


# The hash of `twinset.embed.dropout`, on int64 that hold 32 bits.
_ROUNDS = ((17, 0xED5AD4BB), (11, 0xAC4C1B51), (15, 0x31848BAB))


def _mix(x: Any) -> Any:
    for shift, factor in _ROUNDS:
        x = _times(ops.bitwise_xor(x, ops.right_shift(x, shift)), np.int64(factor))
    return ops.bitwise_xor(x, ops.right_shift(x, 14))


def _times(x: Any, factor: Any) -> Any:
    # The product of 32 and 32 bits does not fit in 63: 16 bits of the factor at a time.
    low, high = factor & np.int64(0xFFFF), ops.right_shift(factor, 16)
    return _low(x * low + ops.left_shift((x * high) & np.int64(0xFFFF), 16))


def _low(x: Any) -> Any:
    return x & np.int64(0xFFFFFFFF)


def _plain_mix(x: int) -> int:
    for shift, factor in _ROUNDS:
        x = (x ^ (x >> shift)) * factor % 2**32
    return x ^ (x >> 14)
