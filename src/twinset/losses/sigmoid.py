"""Sigmoid: each pair of a batch is a yes-or-no question, answered with a probability."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from twinset.losses.batch import BatchLoss, Rows, by_anchor
from twinset.settings import Number, Positive, named


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
        super().__init__(**{"dtype": "float32", "name": "logistic_scale", **kwargs})
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

    def probability(self, distance: Any) -> Any:
        """Turn Euclidean distances between unit embeddings into the probability of "same".

        P = sigmoid(t (1 − d²/2) + c), since s = 1 − d²/2 on the unit sphere

        It holds for the share of same pairs in the training batches, and for training images,
        which are nearer than new ones. Where it must hold elsewhere, calibrate on other images
        and name the prior (`twinset.metrics.calibration`).

        Args:
            distance: in [0, 2], of any shape.

        Returns:
            Probabilities of the same shape, in (0, 1).

        Example:
            >>> loss = SigmoidPairs(scale=2, bias=-1)
            >>> round(float(ops.convert_to_numpy(loss.probability(1.0))), 6)  # sigmoid(2 · ½ − 1)
            0.5
        """
        distance = ops.convert_to_tensor(distance, dtype="float32")
        return ops.sigmoid(self.head(1 - ops.square(distance) / 2))


def _terms(rows: Rows, slope: Any, bias: Any) -> tuple[Any, ...]:
    logits = slope * rows.similarity + bias
    # −log sigmoid(x) = log(1 + e^−x)
    cost = ops.softplus(ops.where(rows.same, -logits, logits))
    return (ops.sum(ops.where(rows.itself, 0.0, cost), axis=1),)
