"""What processors tell each other in a training on JAX, as messages from one to another."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec

from twinset.training.feed import AXIS, Devices

_SPEC: Any = PartitionSpec  # JAX types none of its calls
_WHOLE, _DIVIDED = _SPEC(), _SPEC(AXIS)

# As JAX itself sums or gathers over processes, a thread of gloo does the work, and the one that
# computes waits for it by spinning. Where all cores are taken, gloo's turn comes when the kernel's
# time slice ends, up to 3 ms later. A message from one to another needs no other thread for long: a
# sum of few numbers over two processes takes a tenth of a millisecond or some, in place of 2.


def gathered(mine: Any, devices: Devices) -> Any:
    """Give each device what all have, in their order, (n, ...); within a map over devices."""
    return _by_hand(partial(_gathered, count=len(devices)), devices)(mine)


def summed(parts: Any, devices: Devices) -> Any:
    """Sum vectors over the devices that have one each, (n, w), for all of them, (w,).

    In the order of the devices, so that all have the same bits.
    """
    count = len(devices)

    def sum_of(mine: Any) -> Any:
        if count == 2:
            return jnp.sum(_gathered(mine[0], count), axis=0)
        # each sums a stretch and tells it to the others: it is sent 2 (n - 1) / n of a vector
        size = mine.shape[1]
        stretches = jnp.reshape(jnp.pad(mine[0], (0, -size % count)), (count, -1))
        total = jnp.sum(_exchanged(lambda to: stretches[to], count), axis=0)
        return jnp.reshape(_gathered(total, count), -1)[:size]

    return _by_hand(sum_of, devices, _DIVIDED)(parts)


def of_whole_batch(differentiate: Callable[..., Any], devices: Devices) -> Callable[..., Any]:
    """Have each device differentiate by the embeddings of all, told once, and keep its own slopes.

    What differentiates takes them first, (b, d), and returns a value and a tuple of slopes.
    """

    def by_all(mine: Any, *others: Any) -> Any:
        count = len(devices)
        every = jnp.reshape(_gathered(mine, count), (-1, *mine.shape[1:]))
        found, (slope, *slopes) = differentiate(every, *others)
        # of weights of the loss, those of the first: processors of several kinds round differently
        slopes = jax.tree.map(lambda each: _gathered(each, count)[0], slopes)
        first = lax.axis_index(AXIS) * len(mine)
        return found, (lax.dynamic_slice_in_dim(slope, first, len(mine)), *slopes)

    def apply(embeddings: Any, *others: Any) -> Any:
        given = (_DIVIDED, *(_WHOLE for _ in others))
        made = (_WHOLE, (_DIVIDED, _WHOLE))
        return _by_hand(by_all, devices, given, made)(embeddings, *others)

    return apply


def same(copies: Any, devices: Devices) -> Any:
    """Take each device's own of what is the same on all of them, (n, ...), without asking."""
    return _by_hand(lambda own: own[0], devices, _DIVIDED)(copies)


def _by_hand(
    action: Callable[..., Any], devices: Devices, given: Any = _WHOLE, made: Any = _WHOLE
) -> Any:
    mapped: Any = jax.shard_map
    return mapped(action, mesh=devices.mesh, in_specs=given, out_specs=made, check_vma=False)


def _gathered(mine: Any, count: int) -> Any:
    return _exchanged(lambda _: mine, count)


def _exchanged(give: Callable[[Any], Any], count: int) -> Any:
    # `give(k)` is what device k is to have of this one; returns what each device has for this one,
    # in their order
    sent: Any = lax.ppermute  # JAX types it not
    here = lax.axis_index(AXIS)
    came = [give(here)]
    for far in range(1, count):
        to = [(one, (one + far) % count) for one in range(count)]
        came.append(sent(give((here + far) % count), AXIS, to))
    order = (here - jnp.arange(count)) % count  # row r came from r: over a distance of here - r
    return jnp.stack(came)[order]
