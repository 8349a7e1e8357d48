"""Models whose head is found in closed form: a frozen network, one linear layer, length 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from twinset.errors import RecipeError
from twinset.networks.layers import UnitNorm
from twinset.networks.seeded import Filled
from twinset.recipe import ENCODERS, Recipe
from twinset.settings import Section
from twinset.training.closed_form import Bases, ClosedForm, fit_head
from twinset.training.frozen_trunk import learns_once, tunes


def in_one_step(recipe: Recipe) -> bool:
    """Tell whether a recipe's head is found in closed form, and nothing goes through epochs."""
    return bool(recipe.head.kind != "trained") and not tunes(recipe)


def check_frozen(recipe: Recipe) -> None:
    """Refuse a head in closed form on a network that is to learn, and no head on one that can't."""
    if recipe.choice.candidates != "none":
        raise RecipeError(
            f"Expected a recipe to train. Received {recipe.name!r}, which is chosen out of "
            "candidates first: take the recipe that `twinset.choose` finds, or `twinset.train`."
        )
    frozen = learns_once(recipe) or recipe.encoder.name == "head" or not learns(recipe.encoder)
    if in_one_step(recipe) and not frozen:
        raise RecipeError(
            "Expected a frozen network, or features, for a head in closed form. Received "
            f"encoder.name = {recipe.encoder.name!r}, which learns: take head.kind = 'trained', or "
            "a pretrained network with encoder.freeze = true."
        )
    kind = recipe.head.kind
    if tunes(recipe) and (
        kind in ("plain", "centred", "euclidean") or (recipe.encoder.units and kind != "trained")
    ):
        raise RecipeError(
            "Expected head.kind = 'whitened' or 'lda', and no encoder.units, to begin the "
            f"training of a network with a head in closed form. Received {kind!r} and units "
            f"{recipe.encoder.units}: or take 'trained'."
        )
    if not (in_one_step(recipe) or learns(recipe.encoder)):
        raise RecipeError(
            f"Expected a head in closed form for encoder.name = {recipe.encoder.name!r}, which has "
            "nothing to train. Received head.kind = 'trained': take 'plain', 'centred', "
            "'euclidean', 'whitened' or 'lda'."
        )


def head_for(
    recipe: Recipe,
    rows: NDArray[np.float32],
    labels: NDArray[np.integer],
    bases: Bases | None = None,
) -> ClosedForm:
    """Fit the head of a recipe to features and labels."""
    settings = {key: value for key, value in recipe.head if key != "kind"}
    sizes = part_sizes(recipe.encoder)
    return fit_head(rows, labels, recipe.head.kind, sizes=sizes, bases=bases, **settings)


def begin_with_head(
    recipe: Recipe, encoder: keras.Model, rows: NDArray[np.float32], labels: NDArray[np.integer]
) -> None:
    """Give the head of a network that is to learn the numbers of a head in closed form.

    The features' normalisation subtracts the head's mean (while it learns, the batch's) and keeps
    their scale, and the linear layer does the rest: the training begins where the head in closed
    form ends.
    """
    norm, linear = encoder.get_layer("features_norm"), encoder.get_layer("embedding")
    kernel, *bias = linear.get_weights()
    settings = {key: value for key, value in recipe.head if key not in ("kind", "dim")}
    head = fit_head(
        rows,
        labels,
        recipe.head.kind,
        dim=kernel.shape[1],
        sizes=part_sizes(recipe.encoder),
        **settings,
    )
    assert head.matrix is not None, "`check_frozen` lets no other pass"
    spread = rows.var(axis=0)
    norm.set_weights([np.sqrt(spread + norm.epsilon), np.zeros_like(spread), head.mean, spread])
    found = np.zeros_like(kernel)  # with few images it has fewer directions
    found[:, : head.matrix.shape[1]] = head.matrix
    linear.set_weights([found, *(np.zeros_like(each) for each in bias)])


def attached(trunk: keras.Model, head: ClosedForm) -> keras.Model:
    """Put a head on a frozen network, as layers with its numbers as weights."""
    x = trunk.outputs[0]
    if head.matrix is not None:
        # no weights are drawn, as for those JAX would compile a program first
        layer = keras.layers.Dense(
            head.matrix.shape[1],
            kernel_initializer=Filled(0),
            bias_initializer=Filled(0),
            name="embedding",
        )
        x = layer(x)
        layer.set_weights([head.matrix, -head.mean @ head.matrix])
    elif head.mean.any():
        # x − μ: a unit matrix would be 9 million numbers for 3,072 pixels
        layer = keras.layers.BatchNormalization(
            center=False, scale=False, epsilon=0, name="centred"
        )
        x = layer(x)
        layer.set_weights([head.mean, np.ones_like(head.mean)])
    encoder = keras.Model(trunk.inputs, UnitNorm(head.beside, name="unit")(x), name=trunk.name)
    encoder.trainable = False
    return encoder


def learns(encoder: Section) -> bool:
    """Tell whether there is anything to train in a network."""
    return bool(getattr(ENCODERS.load(encoder.name), "learns", True))


def part_sizes(encoder: Section) -> Sequence[int]:
    """List the sizes of the features that stand side by side, where a network has several."""
    sizes: Any = getattr(ENCODERS.load(encoder.name), "sizes", None)
    return () if sizes is None else tuple(sizes(encoder.features))
