"""Proxies: one learned direction per class stands for all of its images."""

from __future__ import annotations

import math
from typing import Annotated, Any

import keras
import numpy as np
from keras import ops
from pydantic import Field

from twinset.errors import RecipeError
from twinset.losses.batch import BatchLoss, log_sum_exp, mean_over, unit
from twinset.settings import Count, NotNegative, Positive, checked, named


@keras.saving.register_keras_serializable("twinset")
@checked
class Proxies(keras.layers.Layer):
    """A layer of one direction per class, which measures the cosine of embeddings to each.

    proxy = multiplier · w, where w is what is trained. An optimiser that divides by the size of
    past gradients (Adam, RMSprop, …) moves w by about its learning rate, whatever the gradient's
    scale, and so moves the proxy by multiplier times as much: this works like a learning rate of
    its own in any optimiser. (Plain SGD moves the proxy multiplier² times as much.)

    Proxies start at random directions with length 1, the same on every back end.

    Args:
        classes: number of classes C, ≥ 1.
        dim: embedding size d, ≥ 1.
        multiplier: of the learning rate, > 0. Defaults to 1.
        seed: of the directions. Defaults to 0.
        **kwargs: as for any Keras layer.

    Call arguments:
        embeddings: unit vectors of shape (b, k), k ≤ d: a shorter prefix is compared with the
            same prefix of the proxies.

    Returns:
        Cosines of shape (b, C).

    Raises:
        RecipeError: a setting is out of range.

    Example:
        >>> import numpy as np
        >>> Proxies(classes=10, dim=4)(np.array([[1.0, 0, 0, 0]])).shape == (1, 10)
        True
    """

    def __init__(
        self, classes: Count, dim: Count, multiplier: Positive = 1.0, seed: int = 0, **kwargs: Any
    ) -> None:
        # never 16 bits, whatever the policy: the cosines of many classes differ by little
        dtype = keras.backend.result_type(keras.config.floatx(), "float32")
        super().__init__(**{"dtype": dtype, "name": "proxies", **kwargs})
        self.classes, self.dim = classes, dim
        self.multiplier, self.seed = multiplier, seed
        drawn = np.random.default_rng(self.seed).normal(size=(self.classes, self.dim))
        drawn /= np.linalg.norm(drawn, axis=1, keepdims=True) * self.multiplier
        self.directions = self.add_weight(
            name="directions",
            shape=drawn.shape,
            initializer=lambda shape, dtype: ops.convert_to_tensor(drawn, dtype=dtype),
        )
        self.built = True

    def call(self, embeddings: Any) -> Any:
        """Measure the cosine of each embedding to each proxy, (b, C)."""
        return ops.matmul(embeddings, ops.transpose(self.proxies(embeddings.shape[1])))

    def proxies(self, size: int) -> Any:
        """Compute the proxies' first numbers, moved to the unit sphere, (C, size)."""
        return unit((ops.convert_to_tensor(self.directions) * self.multiplier)[:, :size])

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        mine = ("classes", "dim", "multiplier", "seed")
        return {**super().get_config(), **{name: getattr(self, name) for name in mine}}


@keras.saving.register_keras_serializable("twinset")
@named("softmax")
class NormalizedSoftmax(BatchLoss):
    """A classifier by the cosine to one learned proxy per class, with or without a margin.

    L_i = −log( e^(s cos(θ_y + m)) / (e^(s cos(θ_y + m)) + Σ_{c ≠ y} e^(s cos θ_c)) )

    θ_c is the angle between the embedding and the proxy of class c. With m = 0 this is the
    normalised softmax (a cosine classifier); with m > 0 it is ArcFace. Where θ_y + m > π the
    cosine would rise again: cos θ_y − m sin m stands in its place, as in the authors' code.
    A label outside 0 … C − 1 has no proxy and counts 0. The mean is over the others.

    Args:
        classes: number of classes C.
        dim: embedding size d.
        scale: s > 0, the inverse of a temperature. Defaults to 16; 64 for thousands of classes.
        margin: m in radians, in [0, π/2). Defaults to 0; ArcFace takes 0.5 for faces.
        learning_rate_multiplier: see `Proxies`. Defaults to 1.
        seed: of the proxies. Defaults to 0.
        **common: these and the arguments of a call are those of `BatchLoss`; without `normalize`
            an embedding's length scales the logits, and the margin must be 0.

    Reference:
        Zhai, Wu (2019), Classification is a Strong Baseline for Deep Metric Learning.
        Deng, Guo, Xue, Zafeiriou (2019), ArcFace: Additive Angular Margin Loss.

    Example:
        >>> import numpy as np
        >>> loss = NormalizedSoftmax(classes=2, dim=2, scale=1)
        >>> loss.head.directions.assign(np.eye(2)) is not None  # proxies at 0° and 90°
        True
        >>> points = np.array([[1, 0], [1, 1]])  # log(1 + e⁻¹) and log 2
        >>> round(float(ops.convert_to_numpy(loss(np.array([0, 1]), points))), 6)
        0.503204
    """

    def __init__(
        self,
        classes: Count,
        dim: Count,
        scale: Positive = 16.0,
        margin: Annotated[float, Field(ge=0, lt=math.pi / 2, strict=True)] = 0.0,
        *,
        learning_rate_multiplier: Positive = 1.0,
        seed: int = 0,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        if margin and not self.normalize:
            raise RecipeError("Expected normalize=True with a margin: it is an angle. Set one.")
        self.scale = scale
        self.margin = margin
        self.classes, self.dim, self.seed = classes, dim, seed
        self.learning_rate_multiplier = learning_rate_multiplier
        self.head: Proxies = Proxies(classes, dim, learning_rate_multiplier, seed)

    def per_image(self, labels: Any, embeddings: Any) -> Any:
        """Compute the cross entropy of each image, scaled to the mean over valid ones, (b,)."""
        cosines = self.head(embeddings)  # (b, C)
        mine = _is_class(labels, self.head.classes)  # (b, C)
        target = ops.sum(ops.where(mine, cosines, 0.0), axis=1)  # (b,)
        if self.margin:
            target = self._with_margin(target, labels, embeddings)
            cosines = ops.where(mine, target[:, None], cosines)
        everyone = ops.logsumexp(self.scale * cosines, axis=1)
        known = ops.any(mine, axis=1)
        cost = ops.where(known, everyone - self.scale * target, 0.0)
        return mean_over(cost, ops.cast(known, "float32"))

    def _with_margin(self, cosine: Any, labels: Any, embeddings: Any) -> Any:
        # cos(θ + m) = cos θ cos m − sin θ sin m; sin θ has no slope at 0. It is half the product of
        # the chords ‖x − p‖ and ‖x + p‖, as of 1 − cos² few digits are left near 0 and π.
        places = ops.clip(ops.cast(labels, "int32"), 0, self.head.classes - 1)
        own = ops.take(self.head.proxies(embeddings.shape[1]), places, axis=0)  # (b, d)
        chords = [
            ops.sum(ops.square(each), axis=1) for each in (embeddings - own, embeddings + own)
        ]
        squared = chords[0] * chords[1] / 4
        slanted = squared > 1e-12
        sine = ops.where(slanted, ops.sqrt(ops.where(slanted, squared, 1.0)), 0.0)
        turned = cosine * math.cos(self.margin) - sine * math.sin(self.margin)
        beyond = cosine < math.cos(math.pi - self.margin)
        return ops.where(beyond, cosine - self.margin * math.sin(self.margin), turned)


@keras.saving.register_keras_serializable("twinset")
@named("proxy_anchor")
class ProxyAnchor(BatchLoss):
    """A loss in which each class's proxy is the anchor: it pulls its images, pushes all others.

    L = 1/|P⁺| Σ_{p ∈ P⁺} log(1 + Σ_{x of class p} e^(−alpha (s(x, p) − δ)))
      + 1/|P| Σ_{p ∈ P} log(1 + Σ_{x not of class p} e^(alpha (s(x, p) + δ)))

    s is the cosine, P are all proxies, P⁺ those whose class is in the batch. The values per image
    share each proxy's first term equally among the images of its class, and the second among all.
    A label outside 0 … C − 1 is of no class: it is pushed by all.

    The proxies learn faster than the encoder: the paper takes a hundredfold learning rate beside
    10⁻⁴ for the encoder. Here the multiplier is part of the loss and works in any adaptive
    optimiser; with a learning rate of 10⁻³, 10 keeps the paper's steps.

    Args:
        classes: number of classes C.
        dim: embedding size d.
        alpha: the scale, > 0. Defaults to 32.
        delta: δ ≥ 0, the margin. Defaults to 0.1.
        learning_rate_multiplier: see `Proxies`. Defaults to 100.
        seed: of the proxies. Defaults to 0.
        **common: these and the arguments of a call are those of `BatchLoss`.

    Reference:
        Kim, Kim, Cho, Kwak (2020), Proxy Anchor Loss for Deep Metric Learning, equation 4.

    Example:
        >>> import numpy as np
        >>> loss = ProxyAnchor(classes=2, dim=2, alpha=1, delta=0)
        >>> loss.head.directions.assign(np.eye(2)) is not None  # proxies at 0° and 90°
        True
        >>> # one image at 0°: it pulls log(1 + e⁻¹) and is pushed by the other, ½ log(1 + e⁰)
        >>> round(float(ops.convert_to_numpy(loss(np.array([0]), np.array([[1, 0]])))), 6)
        0.659835
    """

    def __init__(
        self,
        classes: Count,
        dim: Count,
        alpha: Positive = 32.0,
        delta: NotNegative = 0.1,
        *,
        learning_rate_multiplier: Positive = 100.0,
        seed: int = 0,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.alpha = alpha
        self.delta = delta
        self.classes, self.dim, self.seed = classes, dim, seed
        self.learning_rate_multiplier = learning_rate_multiplier
        self.head: Proxies = Proxies(classes, dim, learning_rate_multiplier, seed)

    def per_image(self, labels: Any, embeddings: Any) -> Any:
        """Compute each image's share of the loss, of shape (b,)."""
        cosines = ops.transpose(self.head(embeddings))  # (C, b): proxies are the anchors
        mine = ops.transpose(_is_class(labels, self.head.classes))  # (C, b)
        bound = self.alpha * (1 + self.delta) if self.normalize else None
        pull = log_sum_exp(
            -self.alpha * (cosines - self.delta), mine, bound=bound, and_one=True
        )  # (C,)
        push = log_sum_exp(
            self.alpha * (cosines + self.delta), ops.logical_not(mine), bound=bound, and_one=True
        )  # (C,)
        members = ops.sum(ops.cast(mine, "float32"), axis=1)  # (C,)
        present = ops.sum(ops.cast(members > 0, "float32"))
        share = pull / ops.maximum(members, 1.0) / ops.maximum(present, 1.0)  # (C,)
        size = ops.cast(ops.shape(labels)[0], "float32")
        return ops.matmul(share, ops.cast(mine, "float32")) * size + ops.mean(push)


def _is_class(labels: Any, classes: int) -> Any:
    # (b,) → (b, C)
    return labels[:, None] == ops.arange(classes, dtype=labels.dtype)[None, :]
