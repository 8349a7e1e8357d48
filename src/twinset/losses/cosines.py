"""Losses over the cosines of all pairs of a batch, each against the others or on its own."""

from __future__ import annotations

import math
from typing import Annotated, Any

import keras
from keras import ops
from pydantic import Field

from twinset.losses.batch import NEVER, BatchLoss, Rows, by_anchor, count, log_sum_exp
from twinset.settings import Number, Positive, Share, named


@keras.saving.register_keras_serializable("twinset")
@named("supcon")
class SupCon(BatchLoss):
    """A loss that lets each anchor find its positives P among all other images A, all of P at once.

    L_i = −1/|P(i)| Σ_{p ∈ P(i)} log( exp(s_ip/τ) / Σ_{a ∈ A(i)} exp(s_ia/τ) )

    s is the cosine. The mean over P stands outside the logarithm (L_out, the better one of the
    paper's two). Other positives stay in the denominator, so the loss has a floor above 0 in
    which all positives of an anchor are equally close: classes contract to points. The mean is
    over anchors with a positive; the others count 0.

    Args:
        temperature: τ > 0; small ones look at the nearest images only. Defaults to 0.1.
        **common: these and the arguments of a call are those of `BatchLoss`.

    Reference:
        Khosla et al. (2020), Supervised Contrastive Learning, equation 2.

    Example:
        >>> import numpy as np
        >>> points = np.array([[1, 0], [0, 1], [-1, 0]])  # at 0°, 90°, 180°
        >>> # from 0°: log(1 + e⁻¹) = 0.313262; from 90°: log 2 = 0.693147
        >>> round(float(SupCon(temperature=1)(np.array([0, 0, 1]), points)), 6)
        0.503204
    """

    def __init__(self, temperature: Positive = 0.1, **common: Any) -> None:
        super().__init__(**common)
        self.temperature = temperature

    def _terms(self, rows: Rows) -> tuple[Any, ...]:
        logits, positive = rows.similarity * (1 / self.temperature), rows.positive
        number = count(positive)  # (m,)
        valid = number > 0
        bound = 1 / self.temperature if self.normalize else None
        everyone = log_sum_exp(logits, ops.logical_not(rows.itself), bound=bound)  # (m,)
        found = ops.sum(ops.where(positive, logits, 0.0), axis=1) / ops.maximum(number, 1.0)
        return ops.where(valid, everyone - found, 0.0), ops.cast(valid, "float32")


@keras.saving.register_keras_serializable("twinset")
@named("nt_xent")
class NTXent(BatchLoss):
    """A loss that lets each anchor tell one positive at a time from its negatives N.

    L_ip = −log( exp(s_ip/τ) / (exp(s_ip/τ) + Σ_{n ∈ N(i)} exp(s_in/τ)) ), mean over all (i, p)

    s is the cosine. Where each class has two images in the batch, this is SimCLR's loss and equals
    `SupCon`. With more, `SupCon` keeps an anchor's other positives in the denominator, as if they
    were rivals, and gives each anchor one vote; here positives do not compete, each *pair* has one
    vote, and the floor is 0. Pairs without a negative cost 0.

    Args:
        temperature: τ > 0. Defaults to 0.1.
        **common: these and the arguments of a call are those of `BatchLoss`.

    Reference:
        Chen, Kornblith, Norouzi, Hinton (2020), A Simple Framework for Contrastive Learning.
        Sohn (2016), Improved Deep Metric Learning with Multi-class N-pair Loss Objective.

    Example:
        >>> import numpy as np
        >>> points = np.array([[1, 0], [0, 1], [-1, 0]])  # at 0°, 90°, 180°
        >>> # from 0°: log(1 + e⁻¹) = 0.313262; from 90°: log 2 = 0.693147
        >>> round(float(NTXent(temperature=1)(np.array([0, 0, 1]), points)), 6)
        0.503204
    """

    def __init__(self, temperature: Positive = 0.1, **common: Any) -> None:
        super().__init__(**common)
        self.temperature = temperature

    def _terms(self, rows: Rows) -> tuple[Any, ...]:
        logits, positive = rows.similarity * (1 / self.temperature), rows.positive
        bound = 1 / self.temperature if self.normalize else None
        rivals = log_sum_exp(logits, rows.negative, bound=bound)[:, None]  # (m, 1)
        # −log(e^s / (e^s + e^r)) = log(1 + e^(r − s)); 0 where there is no rival
        cost = ops.softplus(rivals - logits)
        return ops.sum(ops.where(positive, cost, 0.0), axis=1), count(positive)


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


@keras.saving.register_keras_serializable("twinset")
class LogisticScale(keras.layers.Layer):
    """A layer that turns cosines into log-odds of "same" by a learned scale and bias.

    logit = t · s + c, with t = exp(log_scale)

    Args:
        log_scale: start of log t.
        bias: start of c.
        **kwargs: as for any Keras layer.

    Call arguments:
        cosines: floats of any shape.

    Returns:
        Log-odds of the same shape.

    Example:
        >>> import numpy as np
        >>> logit = LogisticScale(log_scale=0.0, bias=-2.0)(np.array([0.5]))
        >>> ops.convert_to_numpy(logit).tolist()
        [-1.5]
    """

    def __init__(self, log_scale: float, bias: float, **kwargs: Any) -> None:
        dtype = keras.backend.result_type(keras.config.floatx(), "float32")
        super().__init__(**{"dtype": dtype, "name": "logistic_scale", **kwargs})
        self.started = {"log_scale": float(log_scale), "bias": float(bias)}
        self.log_scale, self.bias = (
            self.add_weight(name=name, shape=(), initializer=keras.initializers.Constant(value))
            for name, value in self.started.items()
        )
        self.built = True

    def call(self, cosines: Any) -> Any:
        """Compute the log-odds."""
        return ops.exp(ops.convert_to_tensor(self.log_scale)) * cosines + self.bias

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), **self.started}


@keras.saving.register_keras_serializable("twinset")
@named("sigmoid")
class SigmoidPairs(BatchLoss):
    """A loss that asks of each pair of the batch on its own: the same or not?

    L = mean over pairs i ≠ j of −log sigmoid(y_ij (t s_ij + c)), y = 1 for the same class, else −1

    s is the cosine; t and c are learned (`head`). No pair competes with another, so the loss is
    the log loss of a probability: at best the entropy of what cannot be known. A batch without a
    positive pair still pushes. The paper sums over j, which is b − 1 times as much.

    Args:
        scale: start of t, > 0. Defaults to 10.
        bias: start of c. Defaults to −2.5, about the log-odds of "same" between 10 classes; the
            paper's −10 suits one positive in tens of thousands.
        **common: these and the arguments of a call are those of `BatchLoss`.

    Reference:
        Zhai, Mustafa, Kolesnikov, Beyer (2023), Sigmoid Loss for Language Image Pre-Training.

    Example:
        >>> import numpy as np
        >>> points = np.array([[1, 0], [0, 1], [-1, 0]])  # at 0°, 90°, 180°
        >>> loss = SigmoidPairs(scale=1, bias=0)
        >>> # (0°, 90°) same, (90°, 180°) not: log 2 each; (0°, 180°): log(1 + e⁻¹)
        >>> value = loss(np.array([0, 0, 1]), points)  # (2 · 0.693147 + 0.313262) / 3
        >>> round(float(ops.convert_to_numpy(value)), 6)
        0.566519
    """

    def __init__(self, scale: Positive = 10.0, bias: Number = -2.5, **common: Any) -> None:
        super().__init__(**common)
        self.scale = scale
        self.bias = bias
        self.head: LogisticScale = LogisticScale(math.log(scale), bias)

    def per_image(self, labels: Any, embeddings: Any) -> Any:
        """Compute the mean over each image's pairs, of shape (b,)."""
        slope, bias = ops.exp(ops.convert_to_tensor(self.head.log_scale)), self.head.bias
        total = by_anchor(_terms, labels, embeddings, slope, ops.convert_to_tensor(bias))[0]
        others = ops.cast(ops.shape(labels)[0], "float32") - 1
        return total / ops.maximum(others, 1.0)


def _terms(rows: Rows, slope: Any, bias: Any) -> tuple[Any, ...]:
    logits = slope * rows.similarity + bias
    # −log sigmoid(x) = log(1 + e^−x)
    cost = ops.softplus(ops.where(rows.same, -logits, logits))
    return (ops.sum(ops.where(rows.itself, 0.0, cost), axis=1),)
