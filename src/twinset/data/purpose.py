"""What a recipe is judged on: whole classes that it did not see, or new images of each class."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from twinset.data.split import By
from twinset.recipe import Recipe

MANY_CLASSES = 20


PURPOSES: Mapping[str, By] = {"unseen": "class", "seen": "image"}


def left_out_by(recipe: Recipe, labels: NDArray[np.integer]) -> By | None:
    """Tell what a recipe is judged on: whole classes, or images of each; None: nobody says."""
    wanted = recipe.choice.purpose
    if wanted == "auto" and recipe.choice.candidates == "none":
        return None
    return usually_left_out(labels) if wanted == "auto" else PURPOSES[wanted]


def settled(recipe: Recipe, by: By | None) -> Recipe:
    """Keep with a recipe what it was judged on, for all who divide the data again."""
    # of part of the images the answer may be another one
    found = [purpose for purpose, each in PURPOSES.items() if each == by]
    if recipe.choice.purpose != "auto" or not found:
        return recipe
    return Recipe.load(recipe, choice={"purpose": found[0]})


def usually_left_out(labels: NDArray[np.integer]) -> By:
    """Tell what a model is meant for, where nobody says: things that it has not seen, if many."""
    counts = np.unique(labels, return_counts=True)[1]
    return "class" if int((counts > 1).sum()) >= MANY_CLASSES else "image"
