"""Weighted pairs: the farther a pair is from where it belongs, the harder it is pulled."""

from __future__ import annotations

import math
from typing import Annotated, Any

import keras
from keras import ops
from pydantic import Field

from twinset.losses.batch import NEVER, BatchLoss, Rows, by_anchor, log_sum_exp
from twinset.settings import Positive, Share, named


@keras.saving.register_keras_serializable("twinset")
@named("multi_similarity")
class MultiSimilarity(BatchLoss):
    """A loss that weighs each pair by its cosine and by how the anchor's other pairs compare.

    L_i = 1/alpha log(1 + Σ_{p ∈ P} e^(−alpha (s_ip − λ)))
        + 1/beta log(1 + Σ_{n ∈ N} e^(beta (s_in − λ)))

    s is the cosine. Mining keeps a negative in N if s_in > min_p s_ip − ε, and a positive in P if
    s_ip < max_n s_in + ε, with the extremes of the anchor's own pairs; then an anchor that has no
    positive or no negative costs 0. With epsilon = inf all pairs count. The mean is
    over all images of the batch, as in the paper.

    Args:
        alpha: steepness for positives, > 0. Defaults to 2.
        beta: steepness for negatives, > 0. Defaults to 40; the paper takes 50.
        base: the cosine λ between near and far, in [−1, 1]. Defaults to 0.5.
        epsilon: slack of the mining, ≥ 0; inf for no mining. Defaults to 0.1.
        **common: these and the arguments of a call are those of `BatchLoss`.

    Reference:
        Wang et al. (2019), Multi-Similarity Loss with General Pair Weighting, equation 15.

    Example:
        >>> import numpy as np
        >>> points = np.array([[1, 0], [0, 1], [-1, 0]])  # at 0°, 90°, 180°
        >>> # 0° loses its negative and then its positive; 90° keeps both: log(1 + e⁰) twice
        >>> loss = MultiSimilarity(alpha=1, beta=1, base=0)
        >>> round(float(loss(np.array([0, 0, 1]), points)), 6)  # 2 log 2 / 3
        0.462098
    """

    def __init__(
        self,
        alpha: Positive = 2.0,
        beta: Positive = 40.0,
        base: Annotated[float, Field(ge=-1, le=1, strict=True)] = 0.5,
        epsilon: Annotated[float, Field(ge=0, strict=True)] = 0.1,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.alpha = alpha
        self.beta = beta
        self.base = base
        self.epsilon = epsilon

    def per_image(self, labels: Any, embeddings: Any) -> Any:
        """Compute the loss of each anchor, of shape (b,)."""
        return by_anchor(self._terms, labels, embeddings)[0]

    def _terms(self, rows: Rows) -> tuple[Any, ...]:
        similarity, positive, negative = rows.similarity, rows.positive, rows.negative
        fixed = ops.stop_gradient(similarity)
        lowest = ops.min(ops.where(positive, fixed, -NEVER), axis=1, keepdims=True)
        highest = ops.max(ops.where(negative, fixed, NEVER), axis=1, keepdims=True)
        positive = ops.logical_and(positive, fixed < highest + self.epsilon)
        negative = ops.logical_and(negative, fixed > lowest - self.epsilon)
        apart = similarity - self.base
        reach = 1 + abs(self.base) if self.normalize else math.inf
        pull = log_sum_exp(-self.alpha * apart, positive, bound=self.alpha * reach, and_one=True)
        push = log_sum_exp(self.beta * apart, negative, bound=self.beta * reach, and_one=True)
        return (pull / self.alpha + push / self.beta,)


@keras.saving.register_keras_serializable("twinset")
@named("circle")
class Circle(BatchLoss):
    """A loss that pulls each pair the stronger, the farther it is from its optimum.

    L_i = log(1 + Σ_n exp(gamma aₙ (sₙ − m)) · Σ_p exp(−gamma aₚ (sₚ − 1 + m)))
    aₙ = max(sₙ + m, 0), aₚ = max(1 + m − sₚ, 0), both held constant for the gradient

    s is the cosine. The mean is over anchors that have a positive and a negative; the others
    count 0.

    Args:
        margin: m, how far from its optimum (1, or 0 for a negative) a cosine may be, in [0, 1).
            Defaults to 0.25; 0.4 for fine-grained classes.
        gamma: the scale, > 0. Defaults to 80; 256 for faces.
        **common: these and the arguments of a call are those of `BatchLoss`.

    Reference:
        Sun et al. (2020), Circle Loss: A Unified Perspective of Pair Similarity Optimization.

    Example:
        >>> import numpy as np
        >>> points = np.array([[1, 0], [0, 1], [-1, 0]])  # at 0°, 90°, 180°
        >>> # from 0°: aₙ = 0, aₚ = 1.25, log(1 + e^(1.25·0.75)) = 1.267958
        >>> # from 90°: aₙ = 0.25, log(1 + e^(−0.25·0.25 + 1.25·0.75)) = 1.223447
        >>> round(float(Circle(gamma=1)(np.array([0, 0, 1]), points)), 5)
        1.2457
    """

    def __init__(self, margin: Share = 0.25, gamma: Positive = 80.0, **common: Any) -> None:
        super().__init__(**common)
        self.margin = margin
        self.gamma = gamma

    def _terms(self, rows: Rows) -> tuple[Any, ...]:
        similarity, positive, negative = rows.similarity, rows.positive, rows.negative
        fixed = ops.stop_gradient(similarity)
        repel = ops.maximum(fixed + self.margin, 0.0) * (similarity - self.margin)
        attract = ops.maximum(1 + self.margin - fixed, 0.0) * (1 - self.margin - similarity)
        apart = log_sum_exp(self.gamma * repel, negative)  # (m,)
        together = log_sum_exp(self.gamma * attract, positive)  # (m,)
        valid = ops.logical_and(ops.any(positive, axis=1), ops.any(negative, axis=1))
        cost = ops.softplus(ops.where(valid, apart + together, 0.0))
        return ops.where(valid, cost, 0.0), ops.cast(valid, "float32")
