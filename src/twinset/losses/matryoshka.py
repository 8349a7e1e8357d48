"""Matryoshka: embeddings whose first numbers are embeddings too."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import keras

from twinset.errors import RecipeError
from twinset.losses.batch import BatchLoss, not_negative


@keras.saving.register_keras_serializable("twinset")
class Matryoshka(BatchLoss):
    """Applies one objective to several prefixes of the embedding, so that each can stand alone.

    L = Σ_k w_k · loss(labels, embeddings[:, :k])

    Each prefix is moved to the unit sphere by the objective itself. Where the objective has
    proxies, all prefixes share them (the paper's efficient form): prefix k is compared with the
    first k numbers of each proxy. Costs one more product of (b, k) with (k, b) for each prefix.

    Args:
        loss: any objective over a batch but this one.
        prefixes: lengths k, rising; the last should be d. Defaults to (8, 16, 32, 64).
        weights: w_k ≥ 0, not all 0. Defaults to 1 for each, as in the paper.
        reduction: as for any Keras loss. Defaults to "sum_over_batch_size", the mean.
        name: of the loss. Defaults to "matryoshka".

    Call arguments:
        y_true: class of each image, of shape (b,) or (b, 1).
        y_pred: embeddings of shape (b, d).

    Raises:
        RecipeError: a setting is out of range, or a prefix is longer than the embedding.

    Reference:
        Kusupati et al. (2022), Matryoshka Representation Learning.

    Example:
        >>> import numpy as np
        >>> from twinset.losses import SupCon
        >>> points, labels = np.array([[1, 0], [0, 1], [-1, 0]]), np.array([0, 0, 1])
        >>> nested = Matryoshka(SupCon(temperature=1), prefixes=(1, 2))
        >>> # the first numbers alone are 1, 0, −1 on a line: the same cosines as in the plane
        >>> round(float(nested(labels, points)), 6)  # 2 · 0.503204
        1.006409
    """

    def __init__(
        self,
        loss: BatchLoss | dict[str, Any],
        prefixes: Sequence[int] = (8, 16, 32, 64),
        weights: Sequence[float] | None = None,
        *,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "matryoshka",
    ) -> None:
        if isinstance(loss, dict):
            loss = keras.saving.deserialize_keras_object(loss)
        if not isinstance(loss, BatchLoss) or isinstance(loss, Matryoshka):
            raise RecipeError(
                f"Expected an objective over a batch, such as SupCon(). Received {loss!r}: "
                "a loss on the distances of pairs never sees the embedding."
            )
        lengths = tuple(prefixes)
        rising = all(a < b for a, b in pairwise(lengths))
        whole = all(isinstance(k, int) and k > 0 for k in lengths)
        if not (lengths and whole and rising):
            raise RecipeError(f"Expected rising prefixes such as (8, 16). Received {prefixes!r}.")
        shares = (1.0,) * len(lengths) if weights is None else tuple(weights)
        not_negative(**{f"weights[{k}]": share for k, share in enumerate(shares)})
        if len(shares) != len(lengths) or not any(shares):
            raise RecipeError(
                f"Expected one weight for each of {len(lengths)} prefixes, not all 0. "
                f"Received {weights!r}."
            )
        super().__init__(normalize=loss.normalize, reduction=reduction, name=name)
        self.loss = loss
        self.prefixes = lengths
        self.weights = tuple(float(share) for share in shares)
        self.head = loss.head

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Compute the weighted sum over prefixes of each image's values, of shape (b,)."""
        size = y_pred.shape[1]
        if size < self.prefixes[-1]:
            raise RecipeError(
                f"Expected embeddings of at least {self.prefixes[-1]} numbers, the longest of "
                f"prefixes={self.prefixes}. Received {size}: shorten the prefixes."
            )
        values = [self.loss.call(y_true, y_pred[:, :length]) for length in self.prefixes]
        return sum(share * value for share, value in zip(self.weights, values, strict=True))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        config = super().get_config()
        del config["normalize"]  # the objective's own
        return {
            **config,
            "loss": keras.saving.serialize_keras_object(self.loss),
            "prefixes": list(self.prefixes),
            "weights": list(self.weights),
        }
