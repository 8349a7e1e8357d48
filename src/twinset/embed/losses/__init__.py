"""Objectives: `keras.losses.Loss` classes, defined and finite for every batch.

`Contrastive` takes labels and distances of given pairs. All others are a `BatchLoss`: they take
the class of each image (b,) and its embedding (b, d), and learn from all pairs of the batch.
Weights that an objective learns itself are in its `head`, a Keras layer, or None.
"""

from __future__ import annotations

from twinset.embed.losses.batch import BatchLoss
from twinset.embed.losses.contrastive import AllPairsContrastive, Contrastive
from twinset.embed.losses.cross_entropy import NTXent, SupCon
from twinset.embed.losses.matryoshka import Matryoshka
from twinset.embed.losses.proxies import NormalizedSoftmax, Proxies, ProxyAnchor
from twinset.embed.losses.registry import LOSSES, build, create, names, settings_of
from twinset.embed.losses.sigmoid import LogisticScale, SigmoidPairs
from twinset.embed.losses.triplet import Triplet
from twinset.embed.losses.weighted_pairs import Circle, MultiSimilarity

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
