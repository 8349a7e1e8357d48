"""Cross entropy between the images of a batch: which of them is of the anchor's class?"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from twinset.losses.batch import BatchLoss, Rows, count, log_sum_exp
from twinset.settings import Positive, named


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
