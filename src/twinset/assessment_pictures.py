"""The pictures of an assessment: curves, distances, probability, and the hardest mistakes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from twinset import distance as distances
from twinset import figures
from twinset.data.images import LabelledImages
from twinset.evaluate.protocol import FPRS
from twinset.evaluate.report import Picture
from twinset.evaluate.verification import hardest_mistakes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from twinset.assessment import Assessment
    from twinset.embed.model import SiameseModel

SAMPLE = 200_000
SHOWN_MISTAKES = 10


def pictures(
    assessment: Assessment, model: SiameseModel, data: LabelledImages
) -> tuple[Picture, ...]:
    """Draw all pictures of an assessment.

    Distances and mistakes come from all pairs, or from 200,000 random ones where there are more;
    the same ones each time.

    Args:
        assessment: of this model on this data.
        model: the model.
        data: the test images.
    """
    return tuple(
        Picture(name, caption, figures.png_bytes(figure))
        for name, caption, figure in (
            *_curves(assessment),
            *_classes(assessment),
            *_pairs(model, data),
        )
    )


def sampled_pairs(images: int, limit: int = SAMPLE) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw pairs of different images, all of them if there are no more than the limit.

    Args:
        images: how many there are, two or more.
        limit: how many pairs at the most. Defaults to 200,000.

    Returns:
        Positions of the left and of the right images, left < right; no pair twice.

    Example:
        >>> left, right = sampled_pairs(3)
        >>> left.tolist(), right.tolist()
        ([0, 0, 1], [1, 2, 2])
    """
    if images * (images - 1) // 2 <= limit:
        left, right = np.triu_indices(images, 1)
        return left.astype(np.int64), right.astype(np.int64)
    drawn = np.random.default_rng(0).integers(0, images, (2, 2 * limit))
    low, high = drawn.min(axis=0), drawn.max(axis=0)
    codes = np.unique((low * images + high)[low < high])
    chosen = np.random.default_rng(1).permutation(codes)[:limit]
    return chosen // images, chosen % images


def _curves(assessment: Assessment) -> Iterator[tuple[str, str, Figure]]:
    judgements = {name: each.to_dict() for name, each in assessment.judgements.items()}
    curves = {
        name: (each["curve"]["fmr"], each["curve"]["fnmr"]) for name, each in judgements.items()
    }
    numbers = [(fpr, assessment.model.numbers[f"tpr@fpr={fpr:g}"]) for fpr in FPRS]
    known = [(fpr, n.low, n.high) for fpr, n in numbers if np.isfinite([n.low, n.high]).all()]
    bands: Any = tuple(zip(*known, strict=True)) if known else None
    yield (
        "roc",
        "True against false match rate as the threshold moves; up and left is better. Bars are "
        "95% intervals.",
        figures.roc(curves, bands),
    )
    yield (
        "det",
        "Both error rates as the threshold moves; down and left is better. The grey line meets "
        "each curve at its equal error rate.",
        figures.det(curves),
    )
    table = assessment.model.reliability
    if table is not None:
        yield (
            "reliability",
            "How often pairs are the same, of those promised to be with a given probability, if "
            "half of all pairs were. On the grey line the promise is kept.",
            figures.reliability(table.predicted, table.observed, table.mass),
        )


def _classes(assessment: Assessment) -> Iterator[tuple[str, str, Figure]]:
    errors = assessment.model.class_errors
    if errors is not None:
        names = [assessment.class_names[label] for label in errors.classes]
        yield (
            "class_errors",
            "Who is taken for whom at the model's threshold: how many of the pairs of two classes "
            "match, and on the diagonal how many of a class' own do not.",
            figures.class_matrix(names, errors.fmr, errors.fnmr),
        )


def _pairs(model: SiameseModel, data: LabelledImages) -> Iterator[tuple[str, str, Figure]]:
    left, right = sampled_pairs(len(data))
    same = data.labels[left] == data.labels[right]
    apart = distances.of_pairs(model.embed(data), left, right, distance=model.recipe.distance)
    threshold = model.threshold.value
    whole = len(data) * (len(data) - 1) // 2
    of_them = "all pairs" if len(left) == whole else f"{len(left):,} random pairs"
    if not (same.any() and (~same).any()):  # rare in a sample of many classes
        return
    yield (
        "distances",
        f"Distances of {of_them}. A match is a distance at or below the threshold.",
        figures.distance_histogram(apart, same, threshold),
    )
    worst = hardest_mistakes(apart, same, threshold, SHOWN_MISTAKES)
    if len(worst):
        names, labels = data.class_names, data.labels
        yield (
            "hardest_mistakes",
            f"The hardest among {of_them}: false matches that lie closest, then false non-matches "
            "that lie farthest.",
            figures.pairs(
                data.images[left[worst]],
                data.images[right[worst]],
                same[worst],
                distances=apart[worst],
                threshold=threshold,
                titles=[f"{names[labels[left[i]]]} / {names[labels[right[i]]]}" for i in worst],
            ),
        )
