"""Batches larger than memory, on JAX: a few images at a time go through the network, twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax import lax

from twinset.errors import RecipeError
from twinset.training.tasks import Job

# (weights that learn, other variables, images (n, ...)) → ((embeddings (n, d), penalty), others)
Embed: TypeAlias = Callable[[Any, Any, Any], Any]


def refuse(network: keras.Model) -> None:
    """Refuse a network in which an image's embedding depends on the others of its batch."""
    for layer in network._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable:
            raise RecipeError(
                f"Expected a network without normalisation over the batch for micro_batch > 0, as "
                f"a part of a batch has other means. Received {layer.name!r}: take micro_batch = "
                "0, or a pretrained network with freeze = false, whose normalisation is at rest."
            )


def embedder(job: Job, *, unroll: bool) -> Embed:
    """Make what embeds a batch for the gradient; `unroll` where loops are slow."""
    if not job.micro_batch:
        return lambda weights, others, images: _embedded(job.encoder, weights, others, images)
    if job.trunk is None:
        return _in_parts(job.encoder, job, unroll=unroll)
    # The trunk is at rest, so that its normalisation does not depend on the batch. Of the head the
    # whole batch is in memory, and its normalisation may look at all of it.
    trunk = _in_parts(job.trunk, job, unroll=unroll, training=False)
    head = keras.Model(job.trunk.output, job.encoder.outputs)

    def embed(weights: Any, others: Any, images: Any) -> Any:
        (features, below), others = trunk(weights, others, images)
        with _holding(job.encoder, weights, others) as held:
            found = head(features, training=True)
            penalty = below + sum(head.losses, start=jnp.zeros(()))
        return (found, penalty), _values(job.encoder, held)

    return embed


def _in_parts(network: keras.Model, job: Job, *, unroll: bool, training: bool = True) -> Embed:
    # Gao et al. (2021), Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup:
    # embed all without keeping activations; the gradient at the embeddings is that of the whole
    # batch; embed part by part again, now for the gradient of the weights. This is what a scan
    # over recomputed parts does, so that JAX derives it and nothing can differ.
    most = job.micro_batch

    def embed(weights: Any, others: Any, images: Any) -> Any:
        count = -(-len(images) // most)
        size = -(-len(images) // count)
        # filled up with images of the batch, whose embeddings are cut off: no gradient
        rows = jnp.arange(count * size) % len(images)
        parts = images[rows] if count * size > len(images) else images
        # Part i has every image whose place is i modulo the count: of devices that share a batch
        # each then has its share of every part, where neighbours would be on one of them.
        parts = jnp.swapaxes(jnp.reshape(parts, (size, count, *images.shape[1:])), 0, 1)

        def of_part(others: Any, part: Any) -> Any:
            with _holding(job.encoder, weights, others) as held:
                found = network(_floats(part), training=training)
                penalty = sum(network.losses, start=jnp.zeros(()))
            return _values(job.encoder, held), (found, penalty)

        others, (found, penalties) = lax.scan(
            jax.checkpoint(of_part),
            others,
            parts,
            unroll=count if unroll else 1,
        )
        found = jnp.swapaxes(found, 0, 1)
        found = jnp.reshape(found, (count * size, *found.shape[2:]))[: len(images)]
        # a penalty on weights is that of any part, one on activations a mean over images
        return (found, jnp.mean(penalties)), others

    return embed


def _embedded(network: keras.Model, weights: Any, others: Any, images: Any) -> Any:
    found, others, penalties = network.stateless_call(
        weights, others, _floats(images), training=True, return_losses=True
    )
    # of regularisers, where the user's own layers have some
    return (found, sum(penalties, start=jnp.zeros(()))), others


def _floats(rows: Any) -> Any:
    # here, as of a large batch bytes take a quarter of the memory
    return rows.astype("float32") * np.float32(1 / 255) if rows.dtype == "uint8" else rows


@contextmanager
def _holding(encoder: keras.Model, weights: Any, others: Any) -> Iterator[Any]:
    # the encoder's variables have these values within
    learned = zip(encoder.trainable_variables, weights, strict=True)
    state = zip(encoder.non_trainable_variables, others, strict=True)
    with keras.StatelessScope(state_mapping=[*learned, *state], collect_losses=True) as held:
        yield held


def _values(encoder: keras.Model, held: Any) -> list[Any]:
    return [held.get_current_value(variable) for variable in encoder.non_trainable_variables]
