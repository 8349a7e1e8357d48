"""Random bits from a hash of (seed, draw, position): the same on every back end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

# JAX multiplies uint32 modulo 2³². PyTorch multiplies none, so elsewhere int64 hold the 32 bits.
_NATIVE = keras.backend.backend() == "jax"
_WORD = "uint32" if _NATIVE else "int64"
_ROUNDS = ((17, 0xED5AD4BB), (11, 0xAC4C1B51), (15, 0x31848BAB))


def random_bits(seed: Any, draw: Any, shape: Sequence[Any]) -> Any:
    """Draw words of 32 bits from a counter: word i is mix(k₀ + i · k₁).

    k₀ and k₁ (odd) are mixed from seed and draw. A stride of its own for each key keeps two keys
    from walking through the same words at an offset, as they would if only the start differed.
    It is not for cryptography.

    Args:
        seed: from 0 to 2³² − 1; an integer or a tensor, as is the draw.
        draw: the number of the draw, likewise.
        shape: of the result, fewer than 2³² words.

    Returns:
        Words uniform on [0, 2³²): uint32 on JAX, int64 elsewhere.

    Reference:
        The mixer "triple32" and its constants: Wellons (2018), Prospecting for Hash Functions;
        the construction: Salmon et al. (2011), Parallel Random Numbers: As Easy as 1, 2, 3.

    Example:
        >>> [int(word) for word in random_bits(1, 0, (2,))]
        [2548464587, 606763922]
    """
    start = _mix(_low(_word(draw) + _mix(_word(seed))))
    stride = ops.bitwise_or(_mix(ops.bitwise_xor(start, _word(0x9E3779B9))), _word(1))
    counter = ops.reshape(ops.arange(math.prod(shape), dtype=_WORD), tuple(shape))
    return _mix(_low(start + _times(counter, stride)))


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
