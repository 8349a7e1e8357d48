"""A batch that processors share, on JAX: each embeds its own images, and slopes go as one array."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import keras
from jax import lax
from numpy.typing import NDArray

from twinset.networks.seeded import rows_of
from twinset.training.batch_moments import PARTS
from twinset.training.exchange import same, summed
from twinset.training.feed import AXIS, Devices
from twinset.training.gradient_cache import Embed

# What between processors is told in one exchange goes array by array, each with its own waiting:
# of the ten of the recipe `tutorial` that is ten times what one takes. So each device has weights
# of its own to the eye of JAX, whose slopes nobody has summed yet when they are laid side by side.


def possible(encoder: keras.Model) -> bool:
    """Tell whether all that a network keeps while it learns is the same on every device."""
    layers = encoder._flatten_layers(include_self=False)
    return all(_known(each) or not each.non_trainable_variables for each in layers)


def _known(layer: keras.Layer) -> bool:
    kind: Any = keras.layers.BatchNormalization
    if isinstance(layer, kind):  # not one that has moments of its own
        own: Any = type(layer)
        return bool(own.call is kind.call and own._moments is kind._moments)
    return isinstance(layer, keras.layers.Dropout)


def own_shares(embedded: Embed, devices: Devices, places: NDArray[Any]) -> Embed:
    """Embed the images of each device apart; `places` says where in the batch they are, (w,)."""
    count = len(devices)
    placed: Any = lax.with_sharding_constraint  # JAX types it not
    divided = devices.sharding(AXIS)

    @jax.custom_vjp
    def copies(weights: Sequence[Any]) -> Any:
        return [placed(jnp.broadcast_to(each, (count, *each.shape)), divided) for each in weights]

    def back(_: None, slopes: Sequence[Any]) -> Any:
        flat = jnp.concatenate([jnp.reshape(each, (count, -1)) for each in slopes], axis=1)
        total = summed(placed(flat, divided), devices)
        found, first = [], 0
        for each in slopes:
            size = each[0].size
            found.append(jnp.reshape(total[first : first + size], each.shape[1:]))
            first += size
        return (found,)

    copies.defvjp(lambda weights: (copies(weights), None), back)

    def embed(weights: Any, others: Any, images: Any) -> Any:
        def of_device(weights: Any, rows: Any, images: Any) -> Any:
            with rows_of(rows):
                return embedded(weights, others, images)

        mapped: Callable[..., Any] = jax.vmap(of_device, axis_name=PARTS, spmd_axis_name=AXIS)
        rows = jnp.asarray(places.reshape(count, -1))
        parts = placed(jnp.reshape(images, (count, -1, *images.shape[1:])), divided)
        (found, penalty), moved = mapped(copies(weights), rows, parts)
        moved = [same(each, devices) for each in moved]
        return (jnp.reshape(found, (-1, *found.shape[2:])), penalty / count), moved

    return embed
