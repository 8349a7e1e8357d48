"""A loss."""

from typing import Any

from keras import ops

from twinset.losses.batch import BatchLoss, Rows, by_anchor, count, log_sum_exp, mean_over
from twinset.settings import Positive


class AlignUniform(BatchLoss):
    """A loss that draws classes together and spreads everything else over the sphere.

    L = mean of d² over positive pairs + mean over i of log Σ_{j ≠ i} exp(−t d_ij²) / (b − 1)

    Args:
        t: how far it looks; large ones see the nearest images only. Defaults to 2.
        **common: as for `BatchLoss`.

    Reference:
        Wang, Isola (2020), Understanding Contrastive Representation Learning.
    """

    def __init__(self, t: Positive = 2.0, **common: Any) -> None:
        super().__init__(**common)
        self.t = t

    def per_image(self, labels: Any, embeddings: Any) -> Any:
        pull, pairs, spread = by_anchor(self._terms, labels, embeddings)
        return mean_over(pull, pairs) + spread

    def _terms(self, rows: Rows) -> tuple[Any, ...]:
        squared = rows.squared_distance()
        others = ops.logical_not(rows.itself)
        spread = log_sum_exp(-self.t * squared, others) - ops.log(count(others))
        pull = ops.sum(ops.where(rows.positive, squared, 0.0), axis=1)
        return pull, count(rows.positive), spread
