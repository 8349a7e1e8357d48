"""The candidates of a choice, simplest first: what each is, and how it is fitted to images."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from twinset.backbones import lite0
from twinset.data.labelled import Labelled, LabelledFeatures, LabelledImages
from twinset.data.pair_parts import labels_to_fit, pairs_to_fit
from twinset.data.split import FOLDS
from twinset.errors import RecipeError
from twinset.progress import Report
from twinset.recipe import Recipe
from twinset.settings import NotNegative, Section


class Choosing(Section):
    """Whether the recipe is chosen out of candidates, and for what.

    Args:
        candidates: "all": choose by cross-validation, and train what was chosen. "none": train
            this recipe.
        purpose: "unseen": for things that are not among the training images, so that whole classes
            are left out in turn. "seen": for new images of the same classes. "auto": "unseen" from
            20 classes on.
        budget: seconds after which no further candidate that has to be trained is tried. "auto": a
            second for each 50 images beyond 1,000, up to 300.
    """

    candidates: Literal["none", "all"] = "none"
    purpose: Literal["auto", "unseen", "seen"] = "auto"
    budget: Literal["auto"] | NotNegative = "auto"


# Pixels of the longer side up to which recipes that learn from nothing are tried, and the images
# from which on: below, they lose to raw pixels and take most of the time.
SMALL, ENOUGH = 64, 1000
PRETRAINED = "efficientnet-lite0"
# Its last stage averaged over the image, and over a grid of cells, which tells where things are.
# One pass serves every candidate: a weight of 0 leaves a part out.
_PARTS = {"name": PRETRAINED, "features": ["320", "320-grid3"], "freeze": True}
_POOLED, _GRID = [1.0, 0.0], [0.0, 1.0]
_TRAINED = {"units": [], "embedding": 128}
_TUNED = {
    "encoder": {
        "name": PRETRAINED,
        "features": ["320"],
        "freeze": False,
        "units": [],
        "embedding": 128,
    },
    "head": {"kind": "whitened"},
    "batch_size": 64,
    "epochs": 5,
    "augment": {"flip": "auto", "shift": 2},
    "optimizer": {"learning_rate": 0.001, "trunk_rate": 0.1},
}
# Of judged pairs. Where few were judged, the loss is better than the contrastive one, and seldom
# worse (benchmarks/LEDGER.md).
_PAIRED: dict[str, Any] = {
    "pairs": "tutorial",
    "loss": {"name": "pair_clusters"},
    "batch_size": 128,
}
# Few pairs want as many steps as a longer list takes in the recipe's own epochs, and images that
# are shifted as well as mirrored (benchmarks/judged_pairs.py).
PAIR_STEPS, MOST_EPOCHS = 4000, 100
# Seconds of training for each pixel that the network sees, on two cores: 0.2 for 224 × 224.
STEP = 4e-6
_PIXELS = {"name": "pixels"}


@dataclass(frozen=True)
class Candidate:
    """A recipe to try."""

    name: str
    recipe: Recipe
    trains: bool = False  # goes through epochs, and so takes time
    seconds: float = 0.0  # that its trainings take at least, where that is known before

    def fitter(self, data: Labelled, known: Features) -> tuple[Labelled, Callable[[Labelled], Any]]:
        """Say what it is fitted to, images or their features, and how."""
        from twinset.training.fit import fit
        from twinset.training.frozen_trunk import learns_once
        from twinset.training.one_step import head_for, in_one_step

        if in_one_step(self.recipe):
            rows = known.of(self.recipe.encoder)
            # two heads of the same images of a turn begin with the same directions
            return rows, lambda kept: _Embedding(
                head_for(self.recipe, kept.rows, kept.labels, known.bases)
            )
        if learns_once(self.recipe):
            data = known.of(self.recipe.encoder)
        return data, lambda kept: fit(kept, self.recipe, progress=False)


@dataclass(frozen=True)
class _Embedding:
    head: Callable[[NDArray[np.float32]], NDArray[np.float32]]

    def embed(self, data: Labelled) -> NDArray[np.float32]:
        return self.head(data.rows)


class Features:
    """Features of some images by frozen networks, each computed once."""

    def __init__(self, data: Labelled, report: Report) -> None:
        self._data, self._report = data, report
        self._known: dict[str, Labelled] = {}
        self.bases: dict[tuple[bytes, int], NDArray[np.float32]] = {}

    def of(self, encoder: Section) -> Labelled:
        """Give the features of all images, as data that a head is fitted to."""
        if not isinstance(self._data, LabelledImages):
            return self._data
        key = encoder.model_dump_json()
        if key not in self._known:
            from twinset.training.frozen_trunk import features_of

            rows = features_of(encoder, self._data, self._report)
            self._known[key] = self._labelled(rows)
        return self._known[key]

    def _labelled(self, rows: NDArray[np.float32]) -> LabelledFeatures:
        data = self._data
        facts = data.labels, data.class_names, data.name, data.groups
        return LabelledFeatures(rows, *facts, judged=data.judged)


def candidates_for(recipe: Recipe, data: Labelled) -> list[Candidate]:
    """List the candidates for some images, or features, simplest first."""
    check_own(recipe)
    own = {name: getattr(recipe, name).model_dump() for name in ("images", "split")}
    own |= {name: getattr(recipe, name) for name in ("holdout", "rule", "seed")}
    own["choice"] = recipe.choice.model_dump() | {"candidates": "none"}
    images = isinstance(data, LabelledImages)
    listed = (*_OF_IMAGES, *_of_the_recipe(recipe)) if images else _OF_FEATURES
    found = [
        Candidate(name, Recipe.load(recipe, **{**changes, "name": name, "choice": own["choice"]}))
        for name, changes in listed
    ]
    longer = {}
    if labels_to_fit(data) is None:
        own |= _PAIRED  # nothing else is known
        longer = _longer(len(pairs_to_fit(data, seed=recipe.seed)))
    head = {"encoder": _PARTS | _TRAINED if images else {"name": "head", **_TRAINED}}
    found.append(_trained("trained head", "head", {**own, **head}))
    if images and max(data.row_shape[:2]) <= SMALL and len(data) >= ENOUGH:
        found += [_trained("fast", "fast", own | longer), _trained("conv", "conv", own)]
    if images:
        found.append(_fine_tuned(own, data))
    return found


def _longer(pairs: int) -> dict[str, Any]:
    steps = math.ceil(pairs / _PAIRED["batch_size"])
    epochs = min(max(PAIR_STEPS // steps, Recipe.load("fast").epochs), MOST_EPOCHS)
    return {"epochs": epochs, "augment": {"flip": "auto", "shift": 1}}


def _fine_tuned(own: Mapping[str, Any], data: Labelled) -> Candidate:
    # from the head in closed form on, the network below it slowly
    candidate = _trained("pretrained, fine-tuned", "head", {**own, **_TUNED})
    places = math.prod(lite0.seen_size(data.row_shape))
    seconds = FOLDS * candidate.recipe.epochs * len(data) * places * STEP
    return replace(candidate, seconds=seconds)


# What may differ from the built-in recipe: all else belongs to the candidates.
_OPEN = ("name", "images", "split", "seed", "rule", "holdout", "encoder", "choice")


def check_own(recipe: Recipe) -> None:
    """Refuse settings that no candidate would heed."""
    usual = Recipe.load("auto")
    for name in type(recipe).model_fields:
        if name not in _OPEN and getattr(recipe, name) != getattr(usual, name):
            raise RecipeError(
                f"Expected a recipe that trains, to change {name}. Received {recipe.name!r}, which "
                f"chooses among recipes and heeds {', '.join(_OPEN[1:])} alone: name another with "
                "--recipe."
            )


def _of_the_recipe(recipe: Recipe) -> list[tuple[str, dict[str, Any]]]:
    # an encoder that the user brings stands beside the one that is there
    encoder = recipe.encoder.model_dump()
    if recipe.encoder == Recipe.load("auto").encoder:
        return []
    name = encoder.get("model") or Path(encoder.get("file", "")).stem or encoder["name"]
    kinds = (("", "plain"), (", centred", "centred"), (", whitened", "whitened"), (", LDA", "lda"))
    return [(f"{name}{words}", {"encoder": encoder, "head": _head(kind)}) for words, kind in kinds]


def _trained(name: str, base: str, changes: Mapping[str, Any]) -> Candidate:
    return Candidate(name, Recipe.load(base, **{**changes, "name": name}), trains=True)


def _head(kind: str, weights: Sequence[float] = ()) -> dict[str, Any]:
    return {"kind": kind, "weights": list(weights)}


_OF_IMAGES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("pixels", {"encoder": _PIXELS, "head": _head("plain")}),
    ("pixels, centred", {"encoder": _PIXELS, "head": _head("centred")}),
    ("pixels, Euclidean", {"encoder": _PIXELS, "head": _head("euclidean")}),
    ("pretrained", {"encoder": _PARTS, "head": _head("plain", _POOLED)}),
    ("pretrained, centred", {"encoder": _PARTS, "head": _head("centred", _POOLED)}),
    ("pretrained, whitened", {"encoder": _PARTS, "head": _head("whitened", _POOLED)}),
    ("pretrained, LDA", {"encoder": _PARTS, "head": _head("lda", _POOLED)}),
    ("pretrained grid, whitened", {"encoder": _PARTS, "head": _head("whitened", _GRID)}),
    ("pretrained grid, LDA", {"encoder": _PARTS, "head": _head("lda", _GRID)}),
)
_OF_FEATURES: tuple[tuple[str, dict[str, Any]], ...] = tuple(
    (f"features, {words}", {"encoder": {"name": "head"}, "head": _head(kind)})
    for words, kind in (
        ("as they are", "plain"),
        ("centred", "centred"),
        ("Euclidean", "euclidean"),
        ("whitened", "whitened"),
        ("LDA", "lda"),
    )
)
