"""A frozen network encodes each image once; a head learns from what it found."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from twinset import networks
from twinset.data.decoding.decode import Preprocessing
from twinset.data.feature_cache import encoded_once
from twinset.data.labelled import Labelled, LabelledImages
from twinset.errors import RecipeError
from twinset.models.identity import identity
from twinset.models.keras_model import encode
from twinset.progress import Report
from twinset.recipe import Recipe
from twinset.recipe_sections import HeadRecipe, PretrainedRecipe
from twinset.training.augment import Augment

# What the first layer of a head is called, with hidden layers and without.
FIRST = ("norm_1", "features_norm")


def fitting(recipe: Recipe, data: Labelled) -> Recipe:
    """Make a recipe one for its data, or refuse: images and features want different encoders.

    For features that were made elsewhere, the frozen network that a recipe names has done its
    work: what is left of it is the head.

    Args:
        recipe: as the user wrote it.
        data: images or features.

    Raises:
        RecipeError: the encoder takes the other kind, or views are wanted of what has none.

    Example:
        >>> from twinset.data.features import LabelledFeatures
        >>> data = LabelledFeatures(np.eye(4), [0, 0, 1, 1], ("a", "b"))
        >>> fitting(Recipe.load(encoder={"name": "pretrained", "embedding": 3}), data).encoder
        HeadRecipe(name='head', units=(), embedding=3, dropout=0.0, normalize=True)
    """
    encoder = recipe.encoder
    if isinstance(data, LabelledImages):
        if isinstance(encoder, HeadRecipe):
            raise RecipeError(
                "Expected an encoder of images. Received encoder.name = 'head', which takes "
                "vectors: 'pretrained' makes them of images, and trains a head."
            )
        if learns_once(recipe) and _views(recipe, data):
            raise RecipeError(
                "Expected no augmentation for a frozen network: it sees each image once. Received "
                f"{_views(recipe, data)}: leave it out, or take encoder.freeze = false."
            )
        return recipe
    if isinstance(encoder, PretrainedRecipe):
        if not encoder.freeze:
            raise RecipeError(
                "Expected images for encoder.freeze = false: the network is to learn. Received "
                "features: take encoder.freeze = true."
            )
        kept = {name: getattr(encoder, name) for name in HeadRecipe.model_fields if name != "name"}
        recipe = recipe.model_copy(update={"encoder": HeadRecipe(**kept)})
    if _views(recipe, data):
        raise RecipeError(
            f"Expected no augmentation of features. Received {_views(recipe, data)}: leave it out."
        )
    return recipe


def learns_once(recipe: Recipe) -> bool:
    """Tell whether a recipe's network is frozen, so that images need to be encoded but once.

    Args:
        recipe: any.
    """
    return isinstance(recipe.encoder, PretrainedRecipe) and recipe.encoder.freeze


def _views(recipe: Recipe, data: Labelled) -> str:
    """Name the views that a recipe wants of this data."""
    usual, wanted = asdict(Augment()), asdict(Augment.of(recipe.augment, mirrors=data.mirrors))
    return ", ".join(f"augment.{k} = {v}" for k, v in wanted.items() if v != usual[k])


def encode_once(
    encoder: keras.Model, data: Labelled, tell: Report, *, folder: Path | None = None
) -> NDArray[np.float32]:
    """Find what the frozen part of an encoder finds in images, in the cache where it is there.

    Args:
        encoder: as `networks.pretrained` builds it, frozen.
        data: the images.
        tell: is told how far it is.
        folder: holds the caches. Defaults to `twinset/features` in the user's cache folder.

    Returns:
        float32 of shape (n, f).

    Raises:
        DataError: the cache cannot be written.
    """
    trunk = trunk_of(encoder)
    # one program on one back end: rows made at different times are the same numbers
    name = identity(trunk, Preprocessing(data.row_shape), "euclidean")
    key = f"{name[:32]}-{keras.backend.backend()}"
    return encoded_once(
        lambda positions: encode(trunk, data.rows[positions]),
        data.fingerprints,
        key=key,
        dim=int(trunk.output_shape[-1]),
        folder=folder,
        progress=tell,
    )


def trunk_of(encoder: keras.Model) -> keras.Model:
    """Cut off an encoder's head.

    Args:
        encoder: as `networks.pretrained` builds it.

    Returns:
        A model from the images to the head's inputs, over the same layers.
    """
    names = [layer.name for layer in encoder.layers]
    first = next(name for name in FIRST if name in names)
    return keras.Model(encoder.inputs, encoder.get_layer(first).input, name="trunk")


def head_of(encoder: keras.Model, recipe: PretrainedRecipe, seed: int) -> keras.Model:
    """Build the head of an encoder as a model of its own, with the weights it begins with.

    Args:
        encoder: as `networks.pretrained` builds it.
        recipe: that it was built by.
        seed: likewise.
    """
    head = networks.head(
        int(trunk_of(encoder).output_shape[-1]),
        units=recipe.units,
        embedding=recipe.embedding,
        dropout=recipe.dropout,
        normalize=recipe.normalize,
        seed=seed,
    )
    _copy(encoder, head, head)
    return head


def join(encoder: keras.Model, head: keras.Model) -> None:
    """Put a trained head into its encoder, which then is what `fit` would have trained whole.

    Args:
        encoder: that `head_of` took.
        head: that it returned.
    """
    _copy(head, encoder, head)


def _copy(source: keras.Model, target: keras.Model, named: keras.Model) -> None:
    for layer in named.layers:
        if layer.weights:
            weights = source.get_layer(layer.name).get_weights()
            target.get_layer(layer.name).set_weights(weights)
