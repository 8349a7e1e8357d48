"""Objectives: `keras.losses.Loss` classes, defined and finite for every batch."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from twinset.errors import RecipeError
from twinset.recipe import LossRecipe


@keras.saving.register_keras_serializable("twinset")
class Contrastive(keras.losses.Loss):
    """Pulls the pairs of one class together and pushes others apart, up to a margin.

    L(y, d) = y · d² + (1 − y) · max(margin − d, 0)², y = 1 for same

    The paper writes ½ before both terms and counts Y = 1 as different; this is the tutorial's
    form. With margin 1 and as many same as different pairs: 0.5 when all embeddings are equal
    (collapse), 0.25 when every distance is 0.5 (no information), 0 at best.

    Args:
        margin: distance beyond which different pairs cost nothing, > 0. Defaults to 1.0.
        reduction: as for any Keras loss. Defaults to "sum_over_batch_size", the mean over pairs.
        name: of the loss. Defaults to "contrastive".
        dtype: of the computation. Defaults to Keras' float type.

    Call arguments:
        y_true: 1 or True for same, 0 for different, of shape (n,) or (n, 1).
        y_pred: distances of the same shape, ≥ 0.

    Raises:
        RecipeError: the margin is not positive.

    Reference:
        Hadsell, Chopra, LeCun (2006), Dimensionality Reduction by Learning an Invariant Mapping.

    Example:
        >>> import numpy as np
        >>> loss = Contrastive(margin=1.0)  # (0.5² + (1 − 0.25)² + 0) / 3
        >>> round(float(loss(np.array([1, 0, 0]), np.array([0.5, 0.25, 2.0]))), 6)
        0.270833
    """

    def __init__(
        self,
        margin: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str = "contrastive",
        dtype: Any = None,
    ) -> None:
        if not margin > 0:
            raise RecipeError(f"Expected a margin above 0. Received {margin}.")
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.margin = float(margin)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Compute the loss of each pair, unreduced."""
        # Keras hands over labels (n,) with distances (n, 1): they would broadcast to (n, n)
        same = ops.reshape(ops.cast(y_true, y_pred.dtype), ops.shape(y_pred))
        push = ops.square(ops.maximum(self.margin - y_pred, 0))
        return same * ops.square(y_pred) + (1 - same) * push

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "margin": self.margin}


def build(recipe: LossRecipe) -> Contrastive:
    """Build the loss that a recipe names.

    Raises:
        RecipeError: no loss has this name.
    """
    if recipe.name == "contrastive":
        return Contrastive(margin=recipe.margin)
    raise RecipeError(f"Expected a loss out of ['contrastive']. Received {recipe.name!r}.")
