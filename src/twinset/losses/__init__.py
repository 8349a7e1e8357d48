"""Objectives: `keras.losses.Loss` classes, defined and finite for every batch.

`Contrastive` takes labels and distances of given pairs. All others are a `BatchLoss`: they take
the class of each image (b,) and its embedding (b, d), and learn from all pairs of the batch.
Weights that an objective learns itself are in its `head`, a Keras layer, or None.
"""

from __future__ import annotations

from twinset.losses.batch import BatchLoss
from twinset.losses.contrastive import AllPairsContrastive, Contrastive
from twinset.losses.cross_entropy import NTXent, SupCon
from twinset.losses.matryoshka import Matryoshka
from twinset.losses.proxies import NormalizedSoftmax, Proxies, ProxyAnchor
from twinset.losses.registry import LOSSES, build, create, names, settings_of
from twinset.losses.sigmoid import LogisticScale, SigmoidPairs
from twinset.losses.triplet import Triplet
from twinset.losses.weighted_pairs import Circle, MultiSimilarity

__all__ = [
    "LOSSES",
    "AllPairsContrastive",
    "BatchLoss",
    "Circle",
    "Contrastive",
    "LogisticScale",
    "Matryoshka",
    "MultiSimilarity",
    "NTXent",
    "NormalizedSoftmax",
    "Proxies",
    "ProxyAnchor",
    "SigmoidPairs",
    "SupCon",
    "Triplet",
    "build",
    "create",
    "names",
    "settings_of",
]
