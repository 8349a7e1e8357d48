"""A trained model on test pairs: scores, pictures and facts of one report."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from twinset import distance as distances
from twinset import figures
from twinset.data.labelled import Labelled, LabelledImages
from twinset.data.pair_parts import pairs_to_score
from twinset.data.pairs import Pairs
from twinset.data.parts import Parts
from twinset.errors import no_drawing
from twinset.evaluation.baselines import SIDE, baseline_of, untaught
from twinset.evaluation.chosen import Choice
from twinset.evaluation.crossfit import CrossFitted
from twinset.metrics.pairs import PairScores, best_accuracy_threshold, hardest_mistakes, score_pairs
from twinset.recipe import AUGMENTATION, Recipe
from twinset.report.page import Picture
from twinset.report.run_report import Report, health_picture

if TYPE_CHECKING:
    from twinset.models.keras_model import SiameseModel

SHOWN_PAIRS = 10
SHOWN_IMAGES, SHOWN_TIMES = 8, 7
CHUNK = 2**18  # pixels at a time, for the baseline: they stay in the processor's cache
PAIRS = 256  # of large images at a time: shrunk and subtracted they take 150 MB


@dataclass(frozen=True, eq=False)
class Judged:
    """What a model is judged on: images, pairs of them by position, and their distances."""

    images: Labelled
    pairs: Pairs
    apart: NDArray[np.float32]
    across: str = ""  # what was left out in turn, where these are no test images


def judged_on(parts: Parts, found: CrossFitted | None, model: SiameseModel) -> Judged:
    """Take the test part, or without one the images that were left out of the fit in turn."""
    seed = model.recipe.seed
    if parts.test is None:
        assert found is not None, "a division has one of the two"
        return Judged(parts.fit, *found.pairs(seed=seed), found.across)
    pairs = pairs_to_score(parts.test, seed=seed)
    return Judged(parts.test, pairs, model.distances(parts.test, pairs))


def score(
    model: SiameseModel,
    images: Labelled,
    judged: Judged,
    pairs: Pairs,
    *,
    fit_seconds: float,
    choice: Choice | None = None,
) -> Report:
    """Score a model on test pairs, beside raw pixels or features on the same."""
    return Report(
        title=f"twinset run: {model.recipe.name} on {images.name}",
        scores=score_pairs(judged.apart, judged.pairs.same, model.threshold.value),
        baseline=_raw_scores(images, pairs, judged),
        threshold_rule=model.threshold.origin,
        pictures=tuple(_pictures(model, images, pairs, judged)),
        facts={**_facts(model, judged, fit_seconds), **({} if choice is None else choice.facts())},
        baseline_name=baseline_of(images),
        across=judged.across,
    )


def _raw_scores(images: Labelled, pairs: Pairs, judged: Judged) -> PairScores:
    # the baseline of an evaluation, at the best threshold for training pairs
    threshold = best_accuracy_threshold(_raw_distances(images, pairs), pairs.same)
    apart = _raw_distances(judged.images, judged.pairs)
    return score_pairs(apart, judged.pairs.same, threshold)


def _raw_distances(images: Labelled, pairs: Pairs) -> NDArray[np.float32]:
    # some at a time: they may not fit into memory
    found = np.empty(len(pairs), np.float32)
    at_once = max(1, CHUNK // int(np.prod(images.row_shape)))
    pixels = images.rows.dtype == np.uint8
    small = pixels and max(images.row_shape[:2]) <= SIDE
    step = PAIRS if pixels and not small else at_once
    for start in range(0, len(pairs), step):
        part = pairs[start : start + step]
        if small:
            apart = _of_pixels(images.rows[part.left], images.rows[part.right])
        else:  # an image is in several pairs, and to shrink it takes longest
            used, places = np.unique([part.left, part.right], return_inverse=True)
            blocks = (used[k : k + at_once] for k in range(0, len(used), at_once))
            rows = np.concatenate([untaught(images.rows[block]) for block in blocks])
            apart = distances.euclidean(*rows[places.reshape(2, -1)])
        found[start : start + step] = apart
    return found


def _of_pixels(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> NDArray[np.float64]:
    # The same distance from whole numbers, in an eighth of the time: ‖a/|a| − b/|b|‖² = 2 − 2 cos,
    # and 1 where one is all black. Exact: the products of 256 pixels stay below 2²⁴, up to where
    # float32 has every whole number.
    a, b = (each.reshape(len(left), -1).astype(np.float32) for each in (left, right))
    whole = a.shape[1] // 256 * 256

    def product(x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float64]:
        parts = (each[:, :whole].reshape(len(left), -1, 256) for each in (x, y))
        found = np.einsum("ijk,ijk->ij", *parts).sum(axis=1, dtype=np.float64)
        return np.asarray(found + np.einsum("ij,ij->i", x[:, whole:], y[:, whole:]))

    of_a, of_b = product(a, a), product(b, b)
    cosines = product(a, b) / np.sqrt(np.maximum(of_a * of_b, 1))
    squares = np.sign(of_a) + np.sign(of_b) - 2 * cosines
    return np.sqrt(np.maximum(squares, 0))


def _pictures(
    model: SiameseModel, images: Labelled, pairs: Pairs, judged: Judged
) -> Iterator[Picture]:
    if model.history:  # a head in closed form has none
        yield from _of_the_training(model)
    if no_drawing():
        return
    yield _picture(
        "distances",
        "Distances of the test pairs. A match is a distance at or below the threshold.",
        figures.distance_histogram(judged.apart, judged.pairs.same, model.threshold.value),
    )
    if isinstance(images, LabelledImages) and isinstance(judged.images, LabelledImages):
        yield from _pair_pictures(model, images, pairs, judged)
    yield _picture(
        "network",
        "The network: both images pass through one and the same encoder.",
        figures.network(_layers(model), heading="The siamese network"),
    )


def _of_the_training(model: SiameseModel) -> Iterator[Picture]:
    epochs, losses = zip(*((record.epoch, record.loss) for record in model.history), strict=True)
    if not no_drawing():
        yield _picture(
            "loss", "Mean loss of each epoch, while training.", figures.loss_curve(epochs, losses)
        )
    choice = model.recipe.stopping
    yield health_picture(
        model.history, scale=model.recipe.scale, by=choice.by, best=choice.keep == "best"
    )


def _pair_pictures(
    model: SiameseModel, images: LabelledImages, pairs: Pairs, judged: Judged
) -> Iterator[Picture]:
    test, test_pairs, apart = judged.images, judged.pairs, judged.apart
    threshold = model.threshold.value
    first = slice(0, SHOWN_PAIRS)
    worst = hardest_mistakes(apart, test_pairs.same, threshold, SHOWN_PAIRS)
    yield _picture(
        "test_pairs",
        f"The first {SHOWN_PAIRS} test pairs, their distances and the verdicts.",
        _drawn(test, test_pairs[first], apart[first], threshold),
    )
    if len(worst):
        yield _picture(
            "mistakes",
            "The hardest mistakes: different pairs that lie closest, same pairs that lie farthest.",
            _drawn(test, test_pairs[worst], apart[worst], threshold),
        )
    yield _picture(
        "training_pairs", f"The first {SHOWN_PAIRS} training pairs.", _drawn(images, pairs[first])
    )
    yield from _augmented(model.recipe, images)


def _augmented(recipe: Recipe, images: LabelledImages) -> Iterator[Picture]:
    # some training images, each beside what the network saw of it, if that differs
    from keras import ops

    augmentation = AUGMENTATION.make(recipe.augment, mirrors=images.mirrors)
    if not augmentation.settings:
        return
    shown = np.unique(np.linspace(0, len(images) - 1, SHOWN_IMAGES).round().astype(int))
    pixels = images.images[shown]
    seen = [pixels]
    for step in range(SHOWN_TIMES):
        found = ops.convert_to_numpy(augmentation.apply(pixels, step, seed=recipe.seed))
        seen.append(np.rint(255 * found).astype(np.uint8))
    rows = np.stack(seen, axis=1)  # (images, 1 + times, ...)
    yield _picture(
        "augmentation",
        "Training images (left), and random augmentations of each: what the network learns from.",
        figures.contact_sheet(
            rows.reshape(-1, *pixels.shape[1:]),
            np.repeat(np.arange(len(shown)), len(seen)),
            _titles(images, shown),
            per_class=len(seen),
            counts=False,
        ),
    )


def _picture(name: str, caption: str, figure: Any) -> Picture:
    return Picture(name, caption, figures.png_bytes(figure))


def _drawn(
    data: Labelled,
    pairs: Pairs,
    apart: NDArray[np.float32] | None = None,
    threshold: float | None = None,
) -> Any:
    left, right = _titles(data, pairs.left), _titles(data, pairs.right)
    return figures.pairs(
        data.rows[pairs.left],
        data.rows[pairs.right],
        pairs.same,
        distances=apart,
        threshold=threshold,
        titles=[f"{a} / {b}".strip(" /") for a, b in zip(left, right, strict=True)],
    )


def _titles(data: Labelled, chosen: NDArray[Any]) -> list[str]:
    # what was judged in pairs may have no class
    names = data.class_names
    return [names[label] if label < len(names) else "" for label in data.labels[chosen].tolist()]


def _layers(model: SiameseModel) -> list[figures.LayerRow]:
    import keras

    return [
        figures.LayerRow(
            name=layer.name,
            kind=type(layer).__name__,
            # of the first, where a layer has several
            output_shape=tuple(keras.tree.flatten(layer.output)[0].shape[1:]),
            weights=layer.count_params(),
        )
        for layer in model.encoder.layers
    ]


def _facts(
    model: SiameseModel, judged: Judged, fit_seconds: float
) -> dict[str, dict[str, str | int | float]]:
    from twinset.models.keras_model import versions

    test = judged.images
    recipe = model.recipe.model_dump(mode="json")
    return {
        "Data": {
            "training set": model.trained_on.name,
            "training images": model.trained_on.images,
            "training digest": model.trained_on.digest,
            "test set": f"cross-fitted over {judged.across}" if judged.across else test.name,
            "test images": len(test),
            "test digest": test.digest,
            "test pairs": len(judged.pairs),
        },
        "Training": {
            "seconds": round(fit_seconds, 2),
            **_of_the_epochs(model),
            "embedding size": model.encoder.output_shape[-1],
            "weights": model.encoder.count_params(),
        },
        "Recipe": {key: value for key, value in recipe.items() if not isinstance(value, dict)}
        | {
            f"{section}.{key}": value if not isinstance(value, list) else str(value)
            for section, values in recipe.items()
            if isinstance(values, dict)
            for key, value in values.items()
        },
        "Versions": {**versions(), "machine": platform.machine()},
    }


def _of_the_epochs(model: SiameseModel) -> dict[str, str | int | float]:
    if not model.history:
        return {"head": f"{model.recipe.head.kind}, in closed form"}
    last = model.history[-1]
    return {
        "epochs": last.epoch,
        "interrupted": "yes" if model.interrupted else "no",
        "loss in the last epoch": last.loss,
        "images per second in the last epoch": round(last.images_per_second),
    }
