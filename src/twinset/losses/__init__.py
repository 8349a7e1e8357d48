"""Objectives: `keras.losses.Loss` classes, defined and finite for every batch.

`Contrastive` takes labels and distances of given pairs, `PairClusters` labels and the embeddings of
both sides. All others are a `BatchLoss`: they take the class of each image (b,) and its embedding
(b, d), and learn from all pairs of the batch.
Weights that an objective learns itself are in its `head`, a Keras layer, or None.

Public are all losses and layers that the modules of this folder define; a loss that is `named`
there is one that recipes can name.
"""

from __future__ import annotations

from typing import Any

import keras

from twinset.errors import RecipeError
from twinset.recipe import LOSSES
from twinset.settings import Section, absent, defined_in, parameters


def _public(value: Any) -> bool:
    kinds = keras.losses.Loss | keras.layers.Layer
    return isinstance(value, type) and issubclass(value, kinds)


_PUBLIC = defined_in(__name__, _public)
globals().update(_PUBLIC)

__all__ = sorted([*_PUBLIC, "LOSSES", "create"])


def __getattr__(name: str) -> Any:  # what is missing; and type checkers take it for the rest
    raise absent(__name__, name, __all__)


def __dir__() -> list[str]:
    return list(__all__)


def create(
    loss: str | Section,
    *,
    classes: int | None = None,
    dim: int | None = None,
    seed: int = 0,
    normalize: bool = True,
    **settings: Any,
) -> keras.losses.Loss:
    """Create an objective as a recipe does.

    Args:
        loss: its name, out of `LOSSES.names()`, or the section of a recipe.
        classes: number of classes, for a loss over all pairs of a batch. Defaults to None: a loss
            of given pairs.
        dim: embedding size, for a loss over a batch, and for one that has proxies.
        seed: of what is drawn at random. Defaults to 0.
        normalize: whether embeddings are compared at length 1. Defaults to True.
        **settings: those of the loss, when it is named; see `LOSSES.section(name)`.

    Raises:
        RecipeError: an unknown name or setting, a value out of range, a loss of the other sort, or
            no `dim` where it is needed.

    Example:
        >>> create("supcon", classes=10, dim=64, temperature=0.2).temperature
        0.2
        >>> type(create("contrastive")).__name__
        'Contrastive'
    """
    section = LOSSES.parse(loss, settings) if isinstance(loss, str) else loss
    kind = LOSSES.load(section.name)
    wanted = "pairs" if classes is None else "batch"
    # Keras' own contract, and so what another package's loss is taken for: same or not, distance
    if wanted not in getattr(kind, "over", ("pairs",)):
        raise RecipeError(
            f"Expected a loss over {'given pairs' if wanted == 'pairs' else 'a batch'}. Received "
            f"{section.name!r}: take another loss, or the other value of `pairs` in the recipe."
        )
    if dim is None and (wanted == "batch" or "dim" in parameters(kind)):
        raise RecipeError(
            f"Expected dim, how many numbers an embedding has, for the loss {section.name!r}. "
            "Received none: give it."
        )
    made = LOSSES.make(section, classes=classes, dim=dim, seed=seed, normalize=normalize)
    if wanted == "batch":
        made = made.over_batch(normalize=normalize) if hasattr(made, "over_batch") else made
        made.check_size(dim)
    return made
