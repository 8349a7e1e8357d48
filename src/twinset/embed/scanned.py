"""The training engine on JAX: images on the device as uint8, many steps in one compiled loop."""

from __future__ import annotations

import time
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax import lax

from twinset import distance as distances
from twinset.data.batches import PADDING, shuffled_batches
from twinset.data.images import LabelledImages
from twinset.data.pairs import Pairs
from twinset.embed.monitor import Monitor
from twinset.recipe import Recipe

# How long the device works before the host looks at the losses: often enough for a lively
# progress bar and a prompt Ctrl-C, seldom enough to cost nothing.
SECONDS_PER_LOOK = 0.25
FIRST_STEPS = 16


def train(
    encoder: keras.Model,
    loss: keras.losses.Loss,
    optimizer: keras.optimizers.Optimizer,
    data: LabelledImages,
    pairs: Pairs,
    recipe: Recipe,
    monitor: Monitor,
) -> None:
    """Train the encoder in place, until the recipe's epochs are done or the monitor is interrupted.

    A batch is a row of indices. The loop gathers the pairs' images on the device, scales them to
    [0, 1], embeds left and right as one batch, and steps the optimiser. Its length is an argument
    and not a shape, so one compiled program serves looks of any length.

    Args:
        encoder: as `networks.build` returns it.
        loss: of (same, distance).
        optimizer: a Keras optimiser, not yet built.
        data: the images, kept on the device whole.
        pairs: positions in `data`.
        recipe: gives distance, batch size, epochs and seed.
        monitor: is told of every step; its errors end the training.
    """
    optimizer.build(encoder.trainable_variables)
    state = _read(encoder, optimizer)
    held = (
        jnp.asarray(data.images),
        jnp.asarray(pairs.left),
        jnp.asarray(pairs.right),
        jnp.asarray(pairs.same),
    )
    loop = None
    steps_per_look = FIRST_STEPS
    try:
        for epoch in range(recipe.epochs):
            batches = jnp.asarray(
                shuffled_batches(len(pairs), recipe.batch_size, seed=recipe.seed, epoch=epoch)
            )
            if loop is None:
                loop = _compile(encoder, loss, optimizer, recipe, state, held, batches)
            first = 0
            while first < len(batches):
                if monitor.interrupted:
                    return
                last = min(first + steps_per_look, len(batches))
                started = time.perf_counter()
                state, seen = loop(state, held, batches, first, last)
                seen = np.asarray(seen)[first:last]  # (steps, 2), waits for the device
                per_step = (time.perf_counter() - started) / (last - first)
                monitor.steps(seen[:, 0], seen[:, 1])
                steps_per_look = max(1, round(SECONDS_PER_LOOK / per_step))
                first = last
    finally:
        _write(encoder, optimizer, state)


def _compile(
    encoder: keras.Model,
    loss: keras.losses.Loss,
    optimizer: keras.optimizers.Optimizer,
    recipe: Recipe,
    state: Any,
    held: Any,
    batches: jax.Array,
) -> Any:
    measure = distances.by_name(recipe.distance)

    def objective(trainable: Any, other: Any, images: Any, same: Any, weight: Any) -> Any:
        embeddings, other = encoder.stateless_call(trainable, other, images, training=True)
        left, right = jnp.split(embeddings, 2)  # (b, d) each
        apart = _settled(measure(left, right, xp=keras.ops))  # (b,)
        total = jnp.sum(weight)
        mean_loss = jnp.sum(weight * loss.call(same, apart)) / total
        return mean_loss, (other, jnp.sum(weight * apart) / total)

    def step(i: Any, carry: Any, held: Any, batches: Any) -> Any:
        (trainable, other, slots), seen = carry
        images, left, right, same = held
        rows = batches[i]  # (b,)
        weight = (rows != PADDING).astype("float32")
        rows = jnp.maximum(rows, 0)
        both = jnp.concatenate([left[rows], right[rows]])  # (2b,)
        # One pass for both branches: larger matrix products, and half as many.
        pixels = images[both].astype("float32") * np.float32(1 / 255)
        gradient = jax.value_and_grad(objective, has_aux=True)
        (mean_loss, (other, apart)), slopes = gradient(trainable, other, pixels, same[rows], weight)
        trainable, slots = optimizer.stateless_apply(slots, slopes, trainable)
        seen = seen.at[i].set(jnp.stack([mean_loss, apart]))
        return (trainable, other, slots), seen

    def loop(state: Any, held: Any, batches: Any, first: Any, last: Any) -> Any:
        seen = jnp.zeros((len(batches), 2), "float32")
        return lax.fori_loop(first, last, lambda i, c: step(i, c, held, batches), (state, seen))

    # The old state's buffers are reused for the new: it must not be read again.
    return jax.jit(loop, donate_argnums=0).lower(state, held, batches, 0, 1).compile()


@jax.custom_vjp
def _settled(apart: Any) -> Any:
    """Return the distances unchanged, and have their slopes computed once.

    XLA's CPU compiler would fuse the slope of a pair (loss, weight, distance) into the gradient of
    its embeddings, and so compute it again for each of their coordinates: 5 % of the step. It
    fuses nothing across a sum, hence the sum with zeros.
    """
    return apart


def _settled_forward(apart: Any) -> Any:
    return apart, None


def _settled_backward(_: None, slopes: Any) -> Any:
    return (jnp.sum(jnp.stack([slopes, jnp.zeros_like(slopes)]), axis=0),)


_settled.defvjp(_settled_forward, _settled_backward)


def _read(encoder: keras.Model, optimizer: keras.optimizers.Optimizer) -> Any:
    # Copies: the loop consumes its state, and the model must stay whole if training fails.
    return jax.tree.map(
        jnp.copy,
        (
            [variable.value for variable in encoder.trainable_variables],
            [variable.value for variable in encoder.non_trainable_variables],
            [variable.value for variable in optimizer.variables],
        ),
    )


def _write(encoder: keras.Model, optimizer: keras.optimizers.Optimizer, state: Any) -> None:
    variables = (
        encoder.trainable_variables,
        encoder.non_trainable_variables,
        optimizer.variables,
    )
    for group, values in zip(variables, state, strict=True):
        for variable, value in zip(group, values, strict=True):
            variable.assign(value)
