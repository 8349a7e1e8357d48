"""A loss over given pairs that guesses which clusters, such as classes, their images fall into."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, TypeAlias

import keras
from keras import ops
from pydantic import Field

from twinset.distance import euclidean
from twinset.losses.batch import unit, wide
from twinset.losses.distances import Contrastive
from twinset.losses.proxies import Proxies
from twinset.settings import Count, Positive, config_of, named

Several: TypeAlias = Annotated[Count, Field(ge=2)]
# Keeps the logarithms of 1 − q and of an empty cluster's share finite. To cut 1 − q off there would
# leave a wrong pair that the classifier is sure of without a gradient.
TINY = 1e-6


@keras.saving.register_keras_serializable("twinset")
@named("pair_clusters")
class PairClusters(keras.losses.Loss):
    """A contrastive loss on given pairs, beside a classifier of clusters that nobody has named.

    L_i = contrastive(y_i, d_i) − y_i log q_i − (1 − y_i) log(1 − q_i) + log C − H(p̄)

    p = softmax(s cos θ_c) is the probability that an image falls into cluster c, with θ_c the angle
    between its embedding and a learned proxy; q = Σ_c p_c(left) p_c(right) that both images of a
    pair fall into the same; H(p̄) the entropy of the mean of p over the batch, which keeps clusters
    from staying empty. To 1 − q and p̄, 10⁻⁶ is added. d is the distance of embeddings as they come.
    The loss is 0 at best; log C comes on top where all images fall into one cluster. Judgements
    then say something of images that nobody compared: what is alike falls into one cluster. It
    suits judgements that are spread thinly over many images of few kinds.

    Args:
        clusters: C, ≥ 2; at least the number of kinds. Defaults to 20.
        margin: of the contrastive loss, see `Contrastive`. Defaults to 1.4, about the distance of a
            right angle.
        scale: s > 0, the inverse of a temperature. Defaults to 8.
        dim: embedding size d, ≥ 1.
        seed: of the proxies. Defaults to 0.
        reduction: as for any Keras loss. Defaults to "sum_over_batch_size", the mean over pairs.
        name: of the loss. Defaults to "pair_clusters".

    Call arguments:
        y_true: 1 for same, 0 for different, of shape (n,) or (n, 1). Another value gives NaN.
        y_pred: embeddings of the left and the right image of each pair, of shape (n, 2, d).

    Raises:
        RecipeError: a setting is out of range.

    Reference:
        Hsu, Lv, Schlosser, Odom, Kira (2019), Multi-class Classification without Multi-class
        Labels. Krause, Perona, Gomes (2010), Discriminative Clustering by Regularized Information
        Maximization.

    Example:
        >>> import numpy as np
        >>> loss = PairClusters(clusters=2, dim=2, scale=1)
        >>> loss.head.directions.assign(np.eye(2)) is not None  # proxies at 0° and 90°
        True
        >>> points = np.array([[[1, 0], [0, 1]]])  # p is (0.731, 0.269) and (0.269, 0.731), p̄ even
        >>> round(float(loss(np.array([1]), points)), 4)  # 2 − log(2 · 0.731 · 0.269)
        2.9334
    """

    over: ClassVar[tuple[str, ...]] = ("pairs",)
    # Its call takes both embeddings of each pair, and not their distance.
    sides: ClassVar[bool] = True

    def __init__(
        self,
        clusters: Several = 20,
        margin: Positive = 1.4,
        scale: Positive = 8.0,
        *,
        dim: Count,
        seed: int = 0,
        reduction: str | None = "sum_over_batch_size",
        name: str = "pair_clusters",
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype="float32")
        self.clusters, self.margin, self.scale = clusters, margin, scale
        self.dim, self.seed = dim, seed
        self.head: Proxies = Proxies(clusters, dim, seed=seed)
        self._contrastive = Contrastive(margin)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Compute the loss of each pair, unreduced."""
        pairs = wide(y_pred)
        left, right = pairs[:, 0], pairs[:, 1]  # (n, d)
        same = ops.reshape(ops.cast(y_true, pairs.dtype), (-1,))
        both = [self._log_shares(side) for side in (left, right)]  # (n, C) each
        log_q = ops.logsumexp(both[0] + both[1], axis=-1)
        log_other = ops.log(1 - ops.exp(log_q) + TINY)
        mean = ops.mean(ops.exp(ops.concatenate(both)), axis=0)  # (C,)
        empty = math.log(self.clusters) + ops.sum(mean * ops.log(mean + TINY))
        apart = self._contrastive.call(same, euclidean(left, right, xp=ops))
        return apart - same * log_q - (1 - same) * log_other + empty

    def _log_shares(self, embeddings: Any) -> Any:
        return ops.log_softmax(self.scale * self.head(unit(embeddings)), axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return config_of(self)
