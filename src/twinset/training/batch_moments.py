"""Batch normalisation on JAX over a batch that devices share: one exchange for both moments."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import keras
from jax import lax

from twinset.training.exchange import gathered
from twinset.training.feed import AXIS, Devices

PARTS = "parts"  # the axis of devices that embed each its own images


@contextmanager
def exchanged_once(devices: Devices, *, own: bool) -> Iterator[None]:
    """Have devices tell each other mean and variance at once, in what is traced within."""
    # As Keras has it, the variance waits for the mean: of six normalisations XLA makes 24 exchanges
    # there and back, a third of a millisecond each between processes. By way of each part's own
    # moments (Chan, Golub, LeVeque, 1983) there are 12, and nothing cancels, as it would in a mean
    # of squares: Var x = E Var(x | part) + Var E(x | part).
    if len(devices) == 1:
        yield
        return
    layer: Any = keras.layers.BatchNormalization
    usual = layer._moments
    placed: Any = lax.with_sharding_constraint  # JAX types it not

    def of_all(each: Any) -> Any:
        mean, within = jnp.mean(each, axis=0)
        return mean, within + jnp.mean(jnp.square(each[:, 0] - mean), axis=0)

    def moments(self: Any, x: Any, mask: Any) -> Any:
        if own:
            return of_all(gathered(jnp.stack(usual(self, x, mask)), devices))
        if mask is not None or x.shape[0] % len(devices) or 0 not in self._reduction_axes:
            return usual(self, x, mask)
        parts = jnp.reshape(x, (len(devices), -1, *x.shape[1:]))
        parts = placed(parts, devices.sharding(AXIS))
        each = jnp.stack(jax.vmap(partial(usual, self, mask=None))(parts), axis=1)
        return of_all(placed(each, devices.sharding()))  # (parts, 2, c)

    layer._moments = moments
    try:
        yield
    finally:
        layer._moments = usual
