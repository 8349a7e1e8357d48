"""The sections of a recipe that say what the objective is."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from twinset.recipe_sections import Count, NotNegative, Positive, Section


class ContrastiveRecipe(Section):
    """Contrastive loss (Hadsell, Chopra, LeCun 2006), of pairs or over all pairs of a batch.

    Args:
        name: "contrastive".
        margin: distance beyond which different pairs cost nothing.
        positive_margin: distance up to which same pairs cost nothing; over all pairs only.
    """

    name: Literal["contrastive"] = "contrastive"
    margin: Positive = 1.0
    positive_margin: NotNegative = 0.0


class TripletRecipe(Section):
    """Triplet loss (Schroff 2015, Hermans 2017).

    Args:
        name: "triplet".
        margin: by how much a negative must be farther than a positive.
        mining: "all", "semi-hard" or "hard".
        soft: log(1 + exp(·)) in place of the hinge.
        prefixes: sizes of Matryoshka prefixes (Kusupati 2022); none by default.
    """

    name: Literal["triplet"] = "triplet"
    margin: Positive = 0.2
    mining: Literal["all", "semi-hard", "hard"] = "semi-hard"
    soft: bool = False
    prefixes: tuple[Count, ...] = ()


class SupConRecipe(Section):
    """Supervised contrastive loss (Khosla 2020).

    Args:
        name: "supcon"; "nt_xent" leaves other positives out of the denominator.
        temperature: of the softmax.
        prefixes: as for "triplet".
    """

    name: Literal["supcon", "nt_xent"] = "supcon"
    temperature: Positive = 0.1
    prefixes: tuple[Count, ...] = ()


class MultiSimilarityRecipe(Section):
    """Multi-similarity loss (Wang 2019).

    Args:
        name: "multi_similarity".
        alpha: weight of positives.
        beta: weight of negatives.
        base: similarity around which both are weighed.
        epsilon: margin of the mining.
        prefixes: as for "triplet".
    """

    name: Literal["multi_similarity"] = "multi_similarity"
    alpha: Positive = 2.0
    beta: Positive = 40.0
    base: NotNegative = 0.5
    epsilon: NotNegative = 0.1
    prefixes: tuple[Count, ...] = ()


class CircleRecipe(Section):
    """Circle loss (Sun 2020).

    Args:
        name: "circle".
        margin: relaxation of both optima.
        gamma: scale.
        prefixes: as for "triplet".
    """

    name: Literal["circle"] = "circle"
    margin: Positive = 0.25
    gamma: Positive = 80.0
    prefixes: tuple[Count, ...] = ()


class SoftmaxRecipe(Section):
    """Normalised softmax; with a margin it is ArcFace (Deng 2019).

    Args:
        name: "softmax".
        scale: of the cosines.
        margin: additive, in radians.
        learning_rate_multiplier: by how much faster than the encoder the proxies learn.
        prefixes: as for "triplet".
    """

    name: Literal["softmax"] = "softmax"
    scale: Positive = 16.0
    margin: NotNegative = 0.0
    learning_rate_multiplier: Positive = 1.0
    prefixes: tuple[Count, ...] = ()


class ProxyAnchorRecipe(Section):
    """Proxy-anchor loss (Kim 2020).

    Args:
        name: "proxy_anchor".
        alpha: scale.
        delta: margin.
        learning_rate_multiplier: by how much faster than the encoder the proxies learn.
        prefixes: as for "triplet".
    """

    name: Literal["proxy_anchor"] = "proxy_anchor"
    alpha: Positive = 32.0
    delta: NotNegative = 0.1
    learning_rate_multiplier: Positive = 100.0
    prefixes: tuple[Count, ...] = ()


class SigmoidRecipe(Section):
    """Sigmoid loss of all pairs (Zhai 2023, SigLIP), with a learned scale and bias.

    Args:
        name: "sigmoid".
        scale: at first.
        bias: at first.
        prefixes: as for "triplet".
    """

    name: Literal["sigmoid"] = "sigmoid"
    scale: Positive = 10.0
    bias: Annotated[float, Field(allow_inf_nan=False, strict=True)] = -2.5
    prefixes: tuple[Count, ...] = ()


LossRecipe: TypeAlias = Annotated[
    ContrastiveRecipe
    | TripletRecipe
    | SupConRecipe
    | MultiSimilarityRecipe
    | CircleRecipe
    | SoftmaxRecipe
    | ProxyAnchorRecipe
    | SigmoidRecipe,
    Field(discriminator="name"),
]
