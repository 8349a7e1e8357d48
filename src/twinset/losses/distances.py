"""Losses over distances, with a margin: of given pairs, of all pairs of a batch, of triplets."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import keras
import numpy as np
from keras import ops

from twinset.decision import truth
from twinset.losses.batch import NEVER, BatchLoss, Rows, by_anchor, centred, count, mean_over
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


# Either way is right on every back end. At b = 1,024 and 10 classes XLA takes 0.3 s for one sort
# of all rows and 0.1 s for all turns; PyTorch and TensorFlow take seconds for the turns.
SORT = keras.backend.backend() != "jax"


@keras.saving.register_keras_serializable("twinset")
@named("triplet")
class Triplet(BatchLoss):
    """A loss that wants each anchor a closer to positives p than to negatives n, by a margin.

    t(a, p, n) = max(d(a, p) − d(a, n) + margin, 0), or log(1 + exp(d(a, p) − d(a, n))) if soft

    d is the Euclidean distance (FaceNet squares it). Which triplets of the batch count:

    - "all": every one; the mean over those above 0 (Hermans et al.). If soft, over all.
    - "semi-hard": for each (a, p) the nearest negative that is farther than p; where none is,
      the farthest negative. The mean over all (a, p) (Schroff et al.).
    - "hard": for each anchor the farthest positive and the nearest negative. The mean over
      anchors that have both (Hermans et al.). Prone to collapse early in a training.

    A batch without a triplet costs 0. When all embeddings are equal, each triplet costs the
    margin (log 2 if soft). Memory is (b, b), never (b, b, b). On JAX "all" and "semi-hard" go
    over the positives of all anchors one by one, so their time grows with the largest class of
    the batch; elsewhere rows are sorted, except for "all" if soft.

    Args:
        margin: how much closer, ≥ 0; without effect if soft. Defaults to 0.2.
        mining: "all", "semi-hard" or "hard". Defaults to "semi-hard".
        soft: whether the hinge is a softplus. Defaults to False.
        **common: these and the arguments of a call are those of `BatchLoss`.

    Reference:
        Hermans, Beyer, Leibe (2017), In Defense of the Triplet Loss for Person Re-Identification.
        Schroff, Kalenichenko, Philbin (2015), FaceNet.

    Example:
        >>> import numpy as np
        >>> points = np.array([[1, 0], [0, 1], [-1, 0]])  # at 0°, 90°, 180°
        >>> loss = Triplet(margin=0.5, mining="all")
        >>> # from 0°: √2 − 2 + ½ < 0, which does not count; from 90°: √2 − √2 + ½
        >>> float(loss(np.array([0, 0, 1]), points))
        0.5
    """

    any_length: ClassVar[bool] = True

    def __init__(
        self,
        margin: NotNegative = 0.2,
        mining: Literal["all", "semi-hard", "hard"] = "semi-hard",
        soft: bool = False,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.margin = margin
        self.mining = mining
        self.soft = soft

    def per_image(self, labels: Any, embeddings: Any) -> Any:
        """Compute the sum of each anchor's triplets, scaled to their mean, of shape (b,)."""
        points = embeddings if self.normalize else centred(embeddings)
        if self.mining == "hard":
            return mean_over(*by_anchor(self._hardest, labels, points))
        if SORT and self.mining == "semi-hard":
            return mean_over(*by_anchor(self._semi_hard_by_sorting, labels, points))
        if SORT and not self.soft:
            return mean_over(*by_anchor(self._all_by_sorting, labels, points))
        order = ops.argsort(labels)
        members = ops.cast(order, "int32")
        ranks = ops.cast(ops.argsort(order), "int32")

        def terms(rows: Rows) -> tuple[Any, ...]:
            return self._over_positives(rows, labels, members, ranks)

        return mean_over(*by_anchor(terms, labels, points))

    def _hardest(self, rows: Rows) -> tuple[Any, ...]:
        distance, positive, negative = rows.distance(), rows.positive, rows.negative
        farthest = ops.max(ops.where(positive, distance, 0.0), axis=1)  # (m,)
        nearest = ops.min(ops.where(negative, distance, -NEVER), axis=1)  # (m,)
        valid = ops.logical_and(ops.any(positive, axis=1), ops.any(negative, axis=1))
        cost, _ = self._hinge(ops.where(valid, farthest - nearest, 0.0))
        return ops.where(valid, cost, 0.0), ops.cast(valid, "float32")

    def _over_positives(self, rows: Rows, labels: Any, members: Any, ranks: Any) -> tuple[Any, ...]:
        # The r-th turn takes the r-th image of each anchor's class as its positive. It works on
        # constants, and collects the slopes ∂cost/∂distance beside the cost; a loop of unknown
        # length need not be differentiated. `members` are the images sorted by label, `ranks` each
        # image's place among them.
        distance = rows.distance()
        fixed = ops.stop_gradient(distance)  # (m, b)
        others = ops.where(rows.same, -NEVER, fixed)  # (m, b), negatives only
        below = labels[None, :] < rows.classes[:, None]
        first = ops.sum(ops.cast(below, "int32"), axis=1)  # (m,), where the class begins
        inside = ops.sum(ops.cast(rows.same, "int32"), axis=1)  # (m,), its size
        last = ops.shape(members)[0] - 1
        farthest = ops.max(ops.where(rows.same, NEVER, fixed), axis=1)  # (m,), of the negatives

        def turn(r: Any, state: tuple[Any, ...]) -> tuple[Any, ...]:
            cost, counted, away, pull = state
            place = ops.take(members, ops.minimum(first + r, last))  # (m,)
            usable = ops.logical_and(r < inside, ops.cast(place, "float32") != rows.places)
            near = ops.take_along_axis(fixed, place[:, None], axis=1)[:, 0]  # (m,)
            near = ops.where(usable, near, NEVER)
            if self.mining == "all":
                added, number, slopes, pulled = self._all(near, others)
            else:
                added, number, slopes, pulled = self._semi_hard(near, others, farthest)
            pull = ops.slice_update(pull, (r, 0), pulled[None, :])  # row r, (b, m)
            return cost + added, counted + number, away + slopes, pull

        none = ops.zeros_like(fixed[:, 0])
        start = (none, none, ops.zeros_like(fixed), ops.transpose(ops.zeros_like(fixed)))
        state = ops.fori_loop(0, ops.max(inside), turn, start)
        cost, counted, away, pull = (ops.stop_gradient(part) for part in state)
        # the positive j of an anchor had its turn at j's place within their class
        at = ops.clip(ranks[None, :] - first[:, None], 0, last)  # (m, b)
        toward = ops.take_along_axis(ops.transpose(pull), at, axis=1)
        slopes = ops.where(rows.positive, toward, -away)
        # distance − fixed is 0: it only carries the slopes
        return cost + ops.sum(slopes * (distance - fixed), axis=1), counted

    def _all(self, near: Any, others: Any) -> tuple[Any, ...]:
        # every negative: cost (m,), number (m,), slopes (m, b) and their sum (m,)
        cost, slopes = self._hinge(near[:, None] - others)  # (m, b) both
        total = ops.sum(slopes, axis=1)
        real = ops.where(near > NEVER, count(others < -NEVER), 0.0)
        return ops.sum(cost, axis=1), real if self.soft else total, slopes, total

    def _semi_hard(self, near: Any, others: Any, farthest: Any) -> tuple[Any, ...]:
        # one negative: cost (m,), number (m,), slopes (m, b) and their sum (m,)
        beyond = ops.min(ops.where(others > near[:, None], others, -NEVER), axis=1)  # (m,)
        chosen = ops.where(beyond < -NEVER, beyond, farthest)
        usable = ops.logical_and(near > NEVER, chosen > NEVER)
        cost, slope = self._hinge(ops.where(usable, near - chosen, NEVER))
        hit = ops.cast(others == chosen[:, None], "float32")
        share = slope / ops.maximum(ops.sum(hit, axis=1), 1.0)  # equals share it
        return cost, ops.cast(usable, "float32"), hit * share[:, None], slope

    def _all_by_sorting(self, rows: Rows) -> tuple[Any, ...]:
        # cost = Σ_p Σ_n max(d_p + margin − d_n, 0) = Σ_p k_p (d_p + margin) − Σ_n k_n d_n, where
        # k_p is how many negatives come before d_p + margin, and k_n how many such d_p + margin
        # after d_n: a sorted row gives both by counting.
        distance, positive, negative = rows.distance(), rows.positive, rows.negative
        fixed = ops.stop_gradient(distance)
        keys = ops.where(positive, fixed + self.margin, ops.where(negative, fixed, -NEVER))
        order = ops.argsort(keys, axis=1)
        near = ops.take_along_axis(ops.cast(positive, "float32"), order, axis=1)
        away = ops.take_along_axis(ops.cast(negative, "float32"), order, axis=1)
        after = ops.sum(near, axis=1, keepdims=True) - ops.cumsum(near, axis=1)
        slopes = near * ops.cumsum(away, axis=1) - away * after
        slopes = ops.take_along_axis(slopes, ops.argsort(order, axis=1), axis=1)
        counted = ops.sum(ops.where(positive, slopes, 0.0), axis=1)
        return ops.sum(slopes * distance, axis=1) + self.margin * counted, counted

    def _semi_hard_by_sorting(self, rows: Rows) -> tuple[Any, ...]:
        distance, positive, negative = rows.distance(), rows.positive, rows.negative
        fixed = ops.stop_gradient(distance)
        nearest = ops.argsort(ops.where(negative, fixed, -NEVER), axis=1)  # negatives, then others
        order = ops.argsort(fixed, axis=1)
        away = ops.take_along_axis(ops.cast(negative, "int32"), order, axis=1)
        passed = ops.take_along_axis(
            ops.cumsum(away, axis=1), ops.argsort(order, axis=1), axis=1
        )  # (m, b), how many negatives are nearer than each positive
        total = ops.sum(away, axis=1, keepdims=True)
        at = ops.maximum(ops.minimum(passed, total - 1), 0)  # the farthest, where all are nearer
        chosen = ops.take_along_axis(nearest, at, axis=1)
        usable = ops.logical_and(positive, total > 0)
        cost, _ = self._hinge(distance - ops.take_along_axis(distance, chosen, axis=1))
        return ops.sum(ops.where(usable, cost, 0.0), axis=1), count(usable)

    def _hinge(self, excess: Any) -> tuple[Any, Any]:
        # the cost of d(a, p) − d(a, n), and its slope
        if self.soft:
            return ops.softplus(excess), ops.sigmoid(excess)
        cost = ops.maximum(excess + self.margin, 0.0)
        return cost, ops.cast(cost > 0, cost.dtype)
