"""Contrastive: positives together, negatives apart up to a margin; of given or of all pairs."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import keras
import numpy as np
from keras import ops

from twinset.decision import truth
from twinset.losses.batch import BatchLoss, Rows, by_anchor, centred, count, mean_over
from twinset.settings import NotNegative, Positive, checked, config_of, named


@keras.saving.register_keras_serializable("twinset")
@named("contrastive")
class Contrastive(keras.losses.Loss):
    """A loss on given pairs that pulls same ones together and others apart, up to a margin.

    L(y, d) = y · max(d − m₊, 0)² + (1 − y) · max(margin − d, 0)², y = 1 for same

    The paper writes ½ before both terms, counts Y = 1 as different, and has no m₊; by default this
    is the tutorial's form. With margin 1 and as many same as different pairs: 0.5 when all
    embeddings are equal (collapse), 0.25 when every distance is 0.5 (no information), 0 at best.

    In a recipe of pairs = "batch" it stands for `AllPairsContrastive` with the same margins.

    Args:
        margin: distance beyond which different pairs cost nothing, > 0. Defaults to 1.0.
        positive_margin: m₊, distance up to which same pairs cost nothing, ≥ 0. Defaults to 0.
        reduction: as for any Keras loss. Defaults to "sum_over_batch_size", the mean over pairs.
        name: of the loss. Defaults to "contrastive".
        dtype: of the computation. Defaults to Keras' float type.

    Call arguments:
        y_true: 1 or True for same, 0 or False for different, of shape (n,) or (n, 1).
        y_pred: distances of the same shape, ≥ 0.

    Raises:
        RecipeError: a margin is out of range.
        DataError: a label is another value. Where the loss is compiled, it is NaN instead.

    Reference:
        Hadsell, Chopra, LeCun (2006), Dimensionality Reduction by Learning an Invariant Mapping.

    Example:
        >>> import numpy as np
        >>> loss = Contrastive(margin=1.0)  # (0.5² + (1 − 0.25)² + 0) / 3
        >>> round(float(loss(np.array([1, 0, 0]), np.array([0.5, 0.25, 2.0]))), 6)
        0.270833
    """

    over: ClassVar[tuple[str, ...]] = ("pairs", "batch")
    any_length: ClassVar[bool] = True

    def __init__(
        self,
        margin: Positive = 1.0,
        positive_margin: NotNegative = 0.0,
        *,
        reduction: str | None = "sum_over_batch_size",
        name: str = "contrastive",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.margin = margin
        self.positive_margin = positive_margin

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Compute the loss of a batch of pairs."""
        values = _known(y_true)
        return super().__call__(y_true if values is None else truth(values), y_pred, sample_weight)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Compute the loss of each pair, unreduced."""
        # Keras hands over labels (n,) with distances (n, 1): they would broadcast to (n, n)
        same = ops.reshape(ops.cast(y_true, y_pred.dtype), ops.shape(y_pred))
        # what is compiled cannot raise: a NaN, which every training notices, instead of a loss that
        # falls for ever, as with labels of −1
        same = ops.where(ops.equal(same, ops.square(same)), same, float("nan"))
        pull = ops.square(ops.maximum(y_pred - self.positive_margin, 0))
        push = ops.square(ops.maximum(self.margin - y_pred, 0))
        return same * pull + (1 - same) * push

    def over_batch(self, *, normalize: bool) -> AllPairsContrastive:
        """Make the loss of the same margins over all pairs of a batch."""
        return AllPairsContrastive(self.positive_margin, self.margin, normalize=normalize)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return config_of(self)


def _known(labels: Any) -> Any:
    # None where a backend compiles, and has no values yet: each refuses with an error of its own
    try:
        return ops.convert_to_numpy(labels) if ops.is_tensor(labels) else np.asarray(labels)
    except Exception:  # noqa: BLE001
        return None


@keras.saving.register_keras_serializable("twinset")
@checked
class AllPairsContrastive(BatchLoss):
    """A loss that pulls all pairs of one class in a batch together and all others apart.

    L = mean of max(d − m₊, 0)^power over the active positive pairs
      + mean of max(m₋ − d, 0)^power over the active negative pairs

    d is the Euclidean distance, in [0, 2] on the unit sphere. A pair is active where its term is
    above 0: the many pairs that are right already do not thin out the few that are wrong. The
    paper squares (power 2); power 1 keeps its full force up to the margin. Without any positive
    pair the negative pairs still push, and the other way round.

    Args:
        positive_margin: distance up to which a positive pair costs nothing, ≥ 0. Defaults to 0.
        negative_margin: distance from which a negative pair costs nothing, > 0. Defaults to 0.5.
        power: 1 or 2. Defaults to 2.
        **common: these and the arguments of a call are those of `BatchLoss`.

    Reference:
        Hadsell, Chopra, LeCun (2006), Dimensionality Reduction by Learning an Invariant Mapping.

    Example:
        >>> import numpy as np
        >>> loss = AllPairsContrastive(negative_margin=2, power=1)
        >>> points = np.array([[1, 0], [0, 1], [-1, 0]])  # at 0°, 90°, 180°
        >>> round(float(loss(np.array([0, 0, 1]), points)), 6)  # √2 + (2 − √2); (0°, 180°) rests
        2.0
    """

    any_length: ClassVar[bool] = True

    def __init__(
        self,
        positive_margin: NotNegative = 0.0,
        negative_margin: Positive = 0.5,
        power: Literal[1, 2] = 2,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.positive_margin = positive_margin
        self.negative_margin = negative_margin
        self.power = power

    def per_image(self, labels: Any, embeddings: Any) -> Any:
        """Compute each image's share of both means, of shape (b,)."""
        points = embeddings if self.normalize else centred(embeddings)
        pull, pulled, push, pushed = by_anchor(self._terms, labels, points)
        return mean_over(pull, pulled) + mean_over(push, pushed)

    def _terms(self, rows: Rows) -> tuple[Any, ...]:
        distance = rows.distance()
        far = ops.where(rows.positive, ops.maximum(distance - self.positive_margin, 0.0), 0.0)
        near = ops.where(rows.negative, ops.maximum(self.negative_margin - distance, 0.0), 0.0)
        terms: tuple[Any, ...] = ()
        for excess in (far, near):
            cost = ops.square(excess) if self.power == 2 else excess
            terms += (ops.sum(cost, axis=1), count(excess > 0))
        return terms
