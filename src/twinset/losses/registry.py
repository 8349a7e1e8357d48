"""Objectives by name, as a recipe calls them."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Sequence
from typing import Any

import keras

from twinset.errors import RecipeError
from twinset.losses.batch import BatchLoss
from twinset.losses.contrastive import AllPairsContrastive, Contrastive
from twinset.losses.cross_entropy import NTXent, SupCon
from twinset.losses.matryoshka import Matryoshka
from twinset.losses.proxies import NormalizedSoftmax, ProxyAnchor
from twinset.losses.sigmoid import SigmoidPairs
from twinset.losses.triplet import Triplet
from twinset.losses.weighted_pairs import Circle, MultiSimilarity
from twinset.recipe_sections import LossRecipe

# Objectives over all pairs of a batch. The loss on given pairs is `Contrastive`.
LOSSES: dict[str, type[BatchLoss]] = {
    "circle": Circle,
    "contrastive": AllPairsContrastive,
    "multi_similarity": MultiSimilarity,
    "nt_xent": NTXent,
    "proxy_anchor": ProxyAnchor,
    "sigmoid": SigmoidPairs,
    "softmax": NormalizedSoftmax,
    "supcon": SupCon,
    "triplet": Triplet,
}

# What `create` fills in itself, or what is Keras' business.
_NOT_SETTINGS = {"self", "classes", "dim", "seed", "reduction", "name"}


def names() -> list[str]:
    """List the objectives over a batch.

    Example:
        >>> names()[:4]
        ['circle', 'contrastive', 'multi_similarity', 'nt_xent']
    """
    return sorted(LOSSES)


def settings_of(name: str) -> dict[str, Any]:
    """List the settings that an objective accepts, with their defaults.

    Raises:
        RecipeError: no objective has this name.

    Example:
        >>> settings_of("supcon")
        {'temperature': 0.1, 'normalize': True}
    """
    if name not in LOSSES:
        near = difflib.get_close_matches(str(name), LOSSES, 1)
        hint = f": did you mean {near[0]!r}?" if near else ""
        raise RecipeError(f"Expected a loss out of {names()}. Received {name!r}{hint}.")
    return {
        key: parameter.default
        for key, parameter in inspect.signature(LOSSES[name].__init__).parameters.items()
        if key not in _NOT_SETTINGS
    }


def create(
    name: str,
    *,
    classes: int,
    dim: int,
    seed: int = 0,
    prefixes: Sequence[int] | None = None,
    weights: Sequence[float] | None = None,
    **settings: Any,
) -> BatchLoss:
    """Create an objective over all pairs of a batch.

    Args:
        name: out of `names()`.
        classes: number of classes, for objectives that have proxies.
        dim: embedding size, for the same.
        seed: of what is drawn at random. Defaults to 0.
        prefixes: lengths for `Matryoshka`, or None or () for the whole embedding only.
        weights: of the prefixes. Defaults to 1 for each.
        **settings: out of `settings_of(name)`.

    Raises:
        RecipeError: an unknown name or setting, or a value out of range.

    Example:
        >>> create("supcon", classes=10, dim=64, temperature=0.2).temperature
        0.2
    """
    accepted = settings_of(name)
    for key in settings:
        if key not in accepted:
            near = difflib.get_close_matches(key, accepted, 1)
            hint = f": did you mean {near[0]!r}?" if near else ""
            raise RecipeError(
                f"Expected settings of loss {name!r} out of {sorted(accepted)}. "
                f"Received {key!r}{hint}."
            )
    if "classes" in inspect.signature(LOSSES[name].__init__).parameters:
        settings |= {"classes": classes, "dim": dim, "seed": seed}
    loss = LOSSES[name](**settings)
    if not prefixes:
        if weights is not None:
            raise RecipeError(f"Expected prefixes beside weights. Received weights={weights!r}.")
        return loss
    if max(prefixes) > dim:
        raise RecipeError(
            f"Expected prefixes of at most the embedding size {dim}. Received {tuple(prefixes)}."
        )
    return Matryoshka(loss, prefixes, weights)


def build(
    recipe: LossRecipe,
    *,
    classes: int | None = None,
    dim: int | None = None,
    seed: int = 0,
    normalize: bool = True,
) -> keras.losses.Loss:
    """Build the objective that a recipe names.

    Args:
        recipe: its name and settings.
        classes: number of classes, or None for a loss on the distances of given pairs.
        dim: embedding size, or None likewise.
        seed: of what is drawn at random. Defaults to 0.
        normalize: whether embeddings are compared at length 1, by the loss as by the model.
            Defaults to True.

    Raises:
        RecipeError: the loss needs a batch and was asked for pairs; a value is out of range.

    Example:
        >>> from twinset.recipe import Recipe
        >>> recipe = Recipe.load("tutorial").loss
        >>> type(build(recipe)).__name__, type(build(recipe, classes=10, dim=64)).__name__
        ('Contrastive', 'AllPairsContrastive')
    """
    settings = recipe.model_dump(exclude={"name"})
    if classes is None or dim is None:
        if recipe.name == "contrastive":
            return Contrastive(margin=settings["margin"])
        raise RecipeError(
            f"Expected a loss out of ['contrastive'] for given pairs. Received {recipe.name!r}: "
            'take pairs = "batch".'
        )
    if recipe.name == "contrastive":
        settings["negative_margin"] = settings.pop("margin")
    return create(recipe.name, classes=classes, dim=dim, seed=seed, normalize=normalize, **settings)
