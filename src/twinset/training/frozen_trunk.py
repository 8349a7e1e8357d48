"""A frozen network encodes each image once, into a file; a head learns from what it found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from twinset import networks
from twinset.backbones.backbone import Backbone, encoded_once
from twinset.backbones.onnx_writer import UnwritableError
from twinset.data.decoding.decode import Preprocessing
from twinset.data.labelled import Labelled, LabelledImages
from twinset.errors import RecipeError
from twinset.exporters import onnx_layers
from twinset.models.keras_model import declared, encode, identity
from twinset.progress import Report
from twinset.recipe import AUGMENTATION, ENCODERS, Recipe
from twinset.settings import Section

# What the first layer of a head is called, with hidden layers and without.
FIRST = ("norm_1", "features_norm")


def fitting(recipe: Recipe, data: Labelled) -> Recipe:
    """Make a recipe one for its data, or refuse: images and features want different encoders."""
    augmentation = _augmentation(recipe, data)
    if recipe.optimizer.trunk_rate < 1 and not tunes(recipe):
        raise RecipeError(
            "Expected a pretrained network with freeze = false for optimizer.trunk_rate < 1, the "
            f"rate of what is below its head. Received {recipe.encoder.name!r}: leave it out."
        )
    if recipe.micro_batch and keras.backend.backend() != "jax":
        raise RecipeError(
            f"Expected the back end jax for micro_batch = {recipe.micro_batch}. Received "
            f"{keras.backend.backend()}: take micro_batch = 0 and smaller batches, or --backend "
            "jax."
        )
    if recipe.micro_batch and learns_once(recipe):
        raise RecipeError(
            "Expected micro_batch = 0 for a frozen network: it sees each image once, a few at a "
            "time. Received another: leave it out."
        )
    if isinstance(data, LabelledImages):
        if learns_once(recipe) and augmentation:
            raise RecipeError(
                "Expected no augmentation for a frozen network: it sees each image once. Received "
                f"{augmentation}: leave it out, or take encoder.freeze = false."
            )
        return recipe
    if augmentation:
        raise RecipeError(
            f"Expected no augmentation of features. Received {augmentation}: leave it out."
        )
    if not begins_trained(recipe.encoder):
        return recipe
    # For features that were made elsewhere, the frozen network has done its work: what is left of
    # it is the head.
    if not recipe.encoder.freeze:
        raise RecipeError(
            "Expected images for encoder.freeze = false: the network is to learn. Received "
            "features: take encoder.freeze = true."
        )
    head = ENCODERS.parse("head", _of_the_head(recipe.encoder))
    return recipe.model_copy(update={"encoder": head})


def learns_once(recipe: Recipe) -> bool:
    """Tell whether a recipe's network is frozen, so that images need to be encoded but once."""
    return begins_trained(recipe.encoder) and bool(recipe.encoder.freeze)


def tunes(recipe: Recipe) -> bool:
    """Tell whether a recipe's network is one that others trained, and learns all the same."""
    return begins_trained(recipe.encoder) and not recipe.encoder.freeze


def begins_trained(encoder: Section) -> bool:
    """Tell whether an encoder is a network that others trained, and a head on it."""
    return {"freeze", *_head_settings()} <= set(type(encoder).model_fields)


def _head_settings() -> set[str]:
    return set(ENCODERS.section("head").model_fields) - {"name"}


def _augmentation(recipe: Recipe, data: Labelled) -> str:
    wanted = AUGMENTATION.make(recipe.augment, mirrors=data.mirrors).settings
    return ", ".join(f"augment.{name} = {value}" for name, value in wanted.items())


def _of_the_head(encoder: Section) -> dict[str, Any]:
    return {name: getattr(encoder, name) for name in _head_settings()}


def features_of(
    section: Section,
    data: Labelled,
    tell: Report,
    *,
    encoder: keras.Model | None = None,
    folder: Path | None = None,
) -> NDArray[np.float32]:
    """Find what the frozen part of a network finds in images, (n, f), each of them once.

    On ONNX Runtime where there is a graph: on a CPU it takes a small part of the time that XLA
    does, and a network that brings its graph need not be built. `encoder` is it, where it is built
    already.
    """
    assert isinstance(data, LabelledImages), "`fitting` made it a head else"
    if (graph := declared(section, data.row_shape)) is not None:
        return graph.encode_once(data, folder=folder, progress=tell)
    trunk = trunk_of(encoder or networks.build(section, data.row_shape, seed=0))
    if (graph := graph_of(section, trunk)) is not None:
        return graph.encode_once(data, folder=folder, progress=tell)
    # one program on one back end: rows made at different times are the same numbers
    name = identity(trunk, Preprocessing(data.row_shape))
    key = f"{name[:32]}-{keras.backend.backend()}"
    return encoded_once(
        lambda positions: encode(trunk, data.rows[positions]),
        data.fingerprints,
        key=key,
        dim=int(trunk.output_shape[-1]),
        folder=folder,
        progress=tell,
    )


def graph_of(section: Section, trunk: keras.Model) -> Backbone | None:
    """Write the graph of a network, layer by layer; None where a layer cannot be written."""
    shape = trunk.input_shape[1:]
    try:
        graph = onnx_layers.write(trunk, shape).SerializeToString()
    except UnwritableError:
        return None
    return Backbone(section.name, graph, shape, int(trunk.output_shape[-1]))


def trunk_of(encoder: keras.Model) -> keras.Model:
    """Cut off an encoder's head: from the images to the head's inputs, over the same layers."""
    names = [layer.name for layer in encoder.layers]
    first = next((name for name in FIRST if name in names), None)
    if first is None:
        return encoder
    return keras.Model(encoder.inputs, encoder.get_layer(first).input, name="trunk")


def head_of(encoder: keras.Model, section: Section, seed: int) -> keras.Model:
    """Build the head of an encoder as a model of its own, with the weights it begins with."""
    head = networks.build(
        "head", trunk_of(encoder).output_shape[1:], seed=seed, **_of_the_head(section)
    )
    _copy(encoder, head, head)
    return head


def join(encoder: keras.Model, head: keras.Model) -> None:
    """Put a trained head into its encoder, which then is what `fit` would have trained whole."""
    _copy(head, encoder, head)


def _copy(source: keras.Model, target: keras.Model, named: keras.Model) -> None:
    for layer in named.layers:
        if layer.weights:
            weights = source.get_layer(layer.name).get_weights()
            target.get_layer(layer.name).set_weights(weights)
