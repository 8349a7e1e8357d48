"""Train one recipe over seeds, and over folds of classes, groups or images; can be resumed.

    units = [Unit(0, fold) for fold in deal(data, by="class")]
    results = run_units(data, units, recipe, judge, "runs/first/folds", train=fit)

`judge(model, unit, kept, held)` says what is worth keeping of one training: of the images that it
was fitted on (`kept`), and of those that were held out (`held`, None where none were). Its answer,
plain values for JSON, goes to a file of its own in the folder, with all that the unit is in fields.
A unit whose file is there is not trained again: what is stopped goes on where it was.

The protocol (`study`) is one configuration of it. To choose among candidates, run each recipe in a
folder of its own over the same folds, and compare the answers fold by fold.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from twinset.data.labelled import Labelled
from twinset.errors import DataError
from twinset.files import plain, write_json
from twinset.progress import Progress, Wanted, reporting
from twinset.recipe import Recipe

SCHEMA = 3
By: TypeAlias = Literal["class", "group", "image"]


@dataclass(frozen=True)
class Fold:
    """What one training never sees, to be judged on it."""

    by: By
    held_out: tuple[int | str, ...]  # labels of classes, names of groups, or positions of images
    block: str = ""  # of folds that belong together, for people; "" is the only one
    number: int = 1  # of the fold in its block, from 1
    # whether means are taken over the block: each class, group or image is held out once in it
    averaged: bool = True

    @property
    def title(self) -> str:
        """What people call it."""
        return f"{self.block}, fold {self.number}" if self.block else f"fold {self.number}"

    def holds(self, data: Labelled) -> NDArray[np.bool_]:
        """Tell of each image whether it is held out."""
        if self.by == "image":
            held = np.zeros(len(data), bool)
            held[np.array(self.held_out, np.int64)] = True
            return held
        values = data.labels if self.by == "class" else data.groups
        if values is None:
            raise DataError(f"{data.name}: expected groups, as a fold holds some out. It has none.")
        return np.isin(values, self.held_out)


@dataclass(frozen=True)
class Unit:
    """One training and what was found of it: a seed on all images, or one with a fold held out."""

    seed: int = 0
    fold: Fold | None = None

    def to_dict(self, class_names: Sequence[str]) -> dict[str, Any]:
        """Return its fields for JSON, held-out classes by label and by name."""
        if self.fold is None:
            return {"kind": "seed", "seed": self.seed}
        fold = self.fold
        names = [class_names[int(label)] for label in fold.held_out] if fold.by == "class" else []
        return {
            "kind": "fold",
            "seed": self.seed,
            **asdict(fold),
            "title": fold.title,
            "held_out": list(fold.held_out),  # as JSON gives it back, to be compared with
            "names": names,
        }

    @property
    def file(self) -> str:
        """The name of its file; what the unit is stands in the file, and is not read from this."""
        if self.fold is None:
            return f"seed-{self.seed}.json"
        held = json.dumps([self.fold.by, plain(self.fold.held_out)])
        return f"{self.fold.by}-{hashlib.sha256(held.encode()).hexdigest()[:12]}-{self.seed}.json"


# A trained model, the unit, the images it was fitted on, those held out → plain values for JSON.
Judge: TypeAlias = Callable[[Any, Unit, Labelled, Labelled | None], Mapping[str, Any]]
Train: TypeAlias = Callable[[Labelled, Recipe], Any]


def deal(data: Labelled, by: By = "class", *, folds: int = 5, seed: int = 0) -> tuple[Fold, ...]:
    """Deal classes, groups or images into folds at random, so that each is held out once."""
    # A fold of classes has two or more of two images, as a test needs, and leaves two or more to
    # train on: there are fewer folds of fewer than ten such classes, and none of fewer than four.
    if folds < 2 or by not in get_args(By):
        raise DataError(
            f"Expected 2 folds or more, by one of {get_args(By)}. Received {folds} by {by!r}."
        )
    rng = np.random.default_rng(seed)
    if by == "class":
        kinds = np.flatnonzero(np.bincount(data.labels) > 1)
        count = min(folds, len(kinds) // 2)
        parts = np.array_split(rng.permutation(kinds), count) if count > 1 else []
    elif by == "group":
        if data.groups is None:
            raise DataError(f"{data.name}: expected groups to deal into folds. It has none.")
        parts = np.array_split(rng.permutation(np.unique(data.groups)), folds)
    else:
        # one class after the other, dealt in turns: each fold has its share of each class
        order = rng.permutation(len(data))
        order = order[np.argsort(data.labels[order], kind="stable")]
        parts = [order[start::folds] for start in range(folds)]
    if any(not len(part) for part in parts):
        raise DataError(f"{data.name}: expected enough for {folds} folds by {by}: ask for fewer.")
    return tuple(
        Fold(by, tuple(np.sort(part).tolist()), number=number)
        for number, part in enumerate(parts, 1)
    )


# Of `LabelledImages` of the official test set. Known by its content: a folder of the same name may
# hold other classes, or the same in another order.
DIGEST = "42ad7b2c22d3efdc8a1e22b242ee685ec561f09069e0d3b53ace1b85b47826ce"

TOPS, SHOES = (0, 2, 3, 4, 6), (5, 7, 9)
NEAR, COURSE, HALVES = "U1", "U2", "U3"
# U1: pairs of near classes; every class is unseen once. U2: the split of the course IFN680.
# U3: halves, both ways.
FOLDS = (
    *(
        Fold("class", pair, NEAR, number)
        for number, pair in enumerate(((0, 6), (2, 4), (5, 7), (1, 3), (8, 9)), 1)
    ),
    Fold("class", (3, 6, 7, 8), COURSE, 1, averaged=False),
    Fold("class", (0, 4, 5, 6, 7), HALVES, 1, averaged=False),
    Fold("class", (1, 2, 3, 8, 9), HALVES, 2, averaged=False),
)


def is_fashion_mnist(test: Labelled) -> bool:
    """Tell whether images are Fashion-MNIST's test set."""
    return test.digest == DIGEST


def near_classes(test: Labelled) -> tuple[tuple[int, ...], ...]:
    """List the labels of classes that are alike, where that is known."""
    return (TOPS, SHOES) if is_fashion_mnist(test) else ()


def run_units(
    data: Labelled,
    units: Sequence[Unit],
    recipe: Recipe,
    judge: Judge,
    folder: str | Path,
    *,
    train: Train,
    key: Mapping[str, Any] | None = None,
    progress: Wanted = True,
) -> list[dict[str, Any]]:
    """Train and judge every unit; skip those whose file is there already."""
    # `key` is what else the answers depend on, such as digests of the images that `judge` uses: a
    # folder with units of another recipe or of other data is refused.
    # Returns what is in each unit's file: `schema`, `key`, `unit` (its fields), and what `judge`
    # said.
    asked = plain({"recipe": recipe_key(recipe), "data": data.digest, **(key or {})})
    results = []
    with reporting(progress) as tell:
        for number, unit in enumerate(units):
            tell(Progress("train and evaluate", number, len(units), "trainings"))
            path = Path(folder) / unit.file
            told = unit.to_dict(data.class_names)
            result = _stored(path, asked, told)
            if result is None:
                found = _run(data, unit, recipe, judge, train)
                result = plain({"schema": SCHEMA, "key": asked, "unit": told, **found})
                write_json(path, result)
            results.append(result)
        tell(Progress("train and evaluate", len(units), len(units), "trainings"))
    return results


def recipe_key(recipe: Recipe) -> dict[str, Any]:
    """Say which recipe it is: all of it but seed, holdout and name."""
    return recipe.model_dump(mode="json", exclude={"seed", "holdout", "name"})


def _run(
    data: Labelled, unit: Unit, recipe: Recipe, judge: Judge, train: Train
) -> Mapping[str, Any]:
    kept, held = data, None
    if unit.fold is not None:
        out = unit.fold.holds(data)
        kept, held = data.subset(np.flatnonzero(~out)), data.subset(np.flatnonzero(out))
    model = train(kept, Recipe.load(recipe, seed=unit.seed))
    return judge(model, unit, kept, held)


def _stored(path: Path, key: Mapping[str, Any], unit: Mapping[str, Any]) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        same, schema = found["key"] == key and found["unit"] == unit, found["schema"]
    except (ValueError, KeyError, TypeError):
        found, same, schema = {}, False, None
    if schema != SCHEMA:
        raise DataError(
            f"{path}: expected a unit of schema {SCHEMA}. It is damaged, or of another version of "
            "twinset: choose another folder, or remove the file."
        )
    if not same:
        raise DataError(
            f"{path}: expected a unit of this recipe and this data. It is of another one: "
            "choose another folder, or remove the old files."
        )
    return found
