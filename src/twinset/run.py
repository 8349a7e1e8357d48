"""A whole run, from the name of a data set to a folder with model, scores, pictures and report."""

from __future__ import annotations

import platform
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from twinset import distance as distances
from twinset import figures
from twinset.data.images import LabelledImages
from twinset.data.pairs import Pairs, tutorial_pairs
from twinset.errors import DataError
from twinset.evaluate.report import Picture, Report
from twinset.evaluate.thresholds import parse_rule
from twinset.evaluate.verification import (
    PairScores,
    best_accuracy_threshold,
    hardest_mistakes,
    score_pairs,
)
from twinset.holdout import calibrated, held_out
from twinset.recipe import Recipe

if TYPE_CHECKING:
    from twinset.embed.model import SiameseModel

DATA_SETS = ("fashion-mnist",)
SHOWN_PAIRS = 10
_WRITTEN = (
    "report.json",
    "report.html",
    "evaluation.json",
    "evaluation.html",
    "evaluation.md",
    "loss.png",
    "distances.png",
    "test_pairs.png",
    "mistakes.png",
    "training_pairs.png",
    "network.png",
    "plot_model.png",
)


@dataclass(frozen=True)
class Run:
    """What `train` made: the folder, the model in it, and the report on it."""

    folder: Path
    model: SiameseModel
    report: Report


def train(
    data: str = "fashion-mnist",
    recipe: str | Path | Recipe = "tutorial",
    *,
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: bool | None = None,
    **overrides: Any,
) -> Run:
    """Train on a data set, score on its test pairs, and write everything to a folder.

    The folder holds the model (see `SiameseModel.save`), `report.html`, `report.json` and the
    pictures. The model is saved as soon as it is trained: whatever fails later loses nothing.

    Args:
        data: the name of a data set: "fashion-mnist".
        recipe: a built-in name, the path of a TOML file, or a `Recipe`. Defaults to "tutorial".
        out: the folder. Defaults to a new one, `runs/<recipe's name>` or that with a number.
        overwrite: replace the run in `out`, if there is one. Defaults to False.
        progress: as for `fit`.
        **overrides: fields of the recipe to replace, as in `Recipe.load`.

    Raises:
        DataError: an unknown data set, or `out` exists or cannot be written.
        RecipeError: the recipe or an override is wrong.
        TrainingError: the training broke down.
    """
    chosen = Recipe.load(recipe, **overrides)
    parse_rule(chosen.rule)  # a wrong one costs no epoch
    images, test = load_data(data, progress)
    fitted, kept = held_out(images, chosen)
    folder = _prepare(out, chosen.name, overwrite)

    from twinset.embed.training import fit

    pairs = tutorial_pairs(fitted.labels, seed=chosen.seed)
    started = time.perf_counter()
    try:
        model = fit(fitted, chosen, pairs=pairs, progress=progress)
    except BaseException:
        if not any(folder.iterdir()):  # leave no empty folder behind
            folder.rmdir()
        raise
    seconds = time.perf_counter() - started
    if kept is not None:
        model = calibrated(model, kept)
    for name in _WRITTEN:  # by an earlier run, of another model
        (folder / name).unlink(missing_ok=True)
    model.save(folder)
    report = score(model, fitted, test, pairs, fit_seconds=seconds)
    report.write_json(folder / "report.json")
    report.write_html(folder / "report.html")
    for picture in report.pictures:
        picture.write(folder)
    _plot_model(model, folder)
    return Run(folder, model, report)


def score(
    model: SiameseModel,
    images: LabelledImages,
    test: LabelledImages,
    pairs: Pairs,
    *,
    fit_seconds: float,
) -> Report:
    """Score a model on the tutorial's test pairs, beside raw pixels on the same pairs.

    Args:
        model: a trained model.
        images: the training images; the raw pixels' threshold is chosen on their pairs.
        test: images that neither the model nor a threshold has seen.
        pairs: training pairs, positions in `images`.
        fit_seconds: wall-clock time of the training, for the report.
    """
    test_pairs = tutorial_pairs(test.labels, seed=model.recipe.seed)
    apart = model.distances(test, test_pairs)
    scores = score_pairs(apart, test_pairs.same, model.threshold.value)
    return Report(
        title=f"twinset run: {model.recipe.name} on {images.name}",
        scores=scores,
        floor=_raw_pixel_scores(images, pairs, test, test_pairs),
        threshold_rule=model.threshold.rule,
        pictures=tuple(_pictures(model, images, pairs, test, test_pairs, apart)),
        facts=_facts(model, test, test_pairs, fit_seconds),
    )


def load_data(name: str, progress: bool | None) -> tuple[LabelledImages, LabelledImages]:
    """Load the training and the test part of a data set by its name.

    Args:
        name: "fashion-mnist".
        progress: show the download's progress; None shows it on terminals only.

    Raises:
        DataError: no data set has this name.
        DownloadError: no source could provide it.
    """
    if name not in DATA_SETS:
        raise DataError(f"Expected a data set out of {list(DATA_SETS)}. Received {name!r}.")
    from twinset.data.fashion_mnist import load_fashion_mnist

    return load_fashion_mnist(progress=progress)


def _prepare(out: str | Path | None, name: str, overwrite: bool) -> Path:
    """Make the folder before the training, so that a wrong path costs no epoch."""
    folder = Path(out) if out is not None else _fresh(Path("runs") / _file_name(name))
    try:
        if folder.exists() and not folder.is_dir():
            raise DataError(f"{folder}: expected a folder to write to. Received a file.")
        if folder.is_dir() and any(folder.iterdir()) and not overwrite:
            raise DataError(
                f"{folder}: expected a new or empty folder. This one holds files: choose another "
                "--out, or allow --overwrite."
            )
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".probe"
        probe.touch()
        probe.unlink()
    except DataError:
        raise
    except (OSError, ValueError) as error:  # a NUL in the name is a ValueError
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{folder}: expected a folder to write to. {reason}.") from None
    return folder


def _file_name(name: str) -> str:
    """Make a recipe's name that of a folder: it must not lead elsewhere, nor be too long."""
    return re.sub(r"[^\w.-]+", "-", name)[:60].strip("-.") or "run"


def _fresh(folder: Path) -> Path:
    candidate, number = folder, 2
    while candidate.exists():
        candidate, number = folder.with_name(f"{folder.name}-{number}"), number + 1
    return candidate


def _raw_pixel_scores(
    images: LabelledImages, pairs: Pairs, test: LabelledImages, test_pairs: Pairs
) -> PairScores:
    """Score Euclidean distances of pixels in [0, 1], at the best threshold for training pairs."""
    known = distances.of_pairs(images.images, pairs.left, pairs.right) / 255
    threshold = best_accuracy_threshold(known, pairs.same)
    apart = distances.of_pairs(test.images, test_pairs.left, test_pairs.right) / 255
    return score_pairs(apart, test_pairs.same, threshold)


def _pictures(
    model: SiameseModel,
    images: LabelledImages,
    pairs: Pairs,
    test: LabelledImages,
    test_pairs: Pairs,
    apart: NDArray[np.float32],
) -> Iterator[Picture]:
    threshold = model.threshold.value
    first = slice(0, SHOWN_PAIRS)
    worst = hardest_mistakes(apart, test_pairs.same, threshold, SHOWN_PAIRS)
    yield Picture(
        "loss",
        "Mean loss of each epoch, while training.",
        figures.png_bytes(
            figures.loss_curve(
                [record.epoch for record in model.history],
                [record.loss for record in model.history],
            )
        ),
    )
    yield Picture(
        "distances",
        "Distances of the test pairs. A match is a distance at or below the threshold.",
        figures.png_bytes(figures.distance_histogram(apart, test_pairs.same, threshold)),
    )
    yield Picture(
        "test_pairs",
        f"The first {SHOWN_PAIRS} test pairs, their distances and the verdicts.",
        figures.png_bytes(_drawn(test, test_pairs[first], apart[first], threshold)),
    )
    if len(worst):
        yield Picture(
            "mistakes",
            "The hardest mistakes: different pairs that lie closest, same pairs that lie farthest.",
            figures.png_bytes(_drawn(test, test_pairs[worst], apart[worst], threshold)),
        )
    yield Picture(
        "training_pairs",
        f"The first {SHOWN_PAIRS} training pairs.",
        figures.png_bytes(_drawn(images, pairs[first])),
    )
    yield Picture(
        "network",
        "The network: both images pass through one and the same encoder.",
        figures.png_bytes(figures.network(_layers(model), heading="The siamese network")),
    )


def _drawn(
    data: LabelledImages,
    pairs: Pairs,
    apart: NDArray[np.float32] | None = None,
    threshold: float | None = None,
) -> Any:
    names = data.class_names
    return figures.pairs(
        data.images[pairs.left],
        data.images[pairs.right],
        pairs.same,
        distances=apart,
        threshold=threshold,
        titles=[
            f"{names[data.labels[left]]} / {names[data.labels[right]]}"
            for left, right in zip(pairs.left, pairs.right, strict=True)
        ],
    )


def _layers(model: SiameseModel) -> list[figures.LayerRow]:
    return [
        figures.LayerRow(
            name=layer.name,
            kind=type(layer).__name__,
            output_shape=tuple(layer.output.shape[1:]),
            weights=layer.count_params(),
        )
        for layer in model.encoder.layers
    ]


def _facts(
    model: SiameseModel, test: LabelledImages, test_pairs: Pairs, fit_seconds: float
) -> dict[str, dict[str, str | int | float]]:
    from twinset.embed.model import versions

    last = model.history[-1]
    recipe = model.recipe.model_dump(mode="json")
    return {
        "Data": {
            "training set": model.trained_on.name,
            "training images": model.trained_on.images,
            "training digest": model.trained_on.digest,
            "test set": test.name,
            "test images": len(test),
            "test digest": test.digest,
            "test pairs": len(test_pairs),
        },
        "Training": {
            "epochs": last.epoch,
            "interrupted": "yes" if model.interrupted else "no",
            "seconds": round(fit_seconds, 2),
            "loss in the last epoch": last.loss,
            "images per second in the last epoch": round(last.images_per_second),
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


def _plot_model(model: SiameseModel, folder: Path) -> None:
    """Draw Keras' own diagram as well, where pydot and graphviz are installed."""
    import keras

    from twinset.embed.siamese import siamese

    try:
        keras.utils.plot_model(
            siamese(model.encoder, model.recipe.distance),
            to_file=folder / "plot_model.png",
            show_shapes=True,
            show_layer_activations=True,
            expand_nested=True,
        )
    except (ImportError, OSError, AssertionError):  # none of them, or a broken graphviz
        return
