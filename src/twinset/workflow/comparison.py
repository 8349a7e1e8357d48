"""Two trained models on the same labelled images: A against B."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twinset.data.labelled import Labelled
from twinset.errors import DataError
from twinset.evaluate.comparison import Comparison, differences
from twinset.evaluate.protocol import Part

if TYPE_CHECKING:
    from twinset.embed.model import SiameseModel


def compare_models(
    a: SiameseModel,
    b: SiameseModel,
    data: Labelled,
    *,
    names: tuple[str, str] = ("A", "B"),
) -> Comparison:
    """Tell, number by number, which of two models is better on the same test images.

    Each difference a − b has a 95% interval over images: what both models find hard cancels out.
    Where the interval holds 0, one cannot tell. To ask whether two *images* show the same, there
    is `SiameseModel.compare`.

    A claim about two recipes takes several trainings of each: the intervals hold these two models
    fixed, and another seed gives another model.

    Args:
        a: the first model.
        b: the second; its recipe, width and image size may be others.
        data: images that neither was fitted or calibrated on, of two classes at least.
        names: what to call the models in the summary. Defaults to ("A", "B").

    Raises:
        DataError: no `LabelledImages`, no pairs of both kinds, or a model was fitted or
            calibrated on these very images.

    Example:
        >>> import numpy as np
        >>> from twinset import LabelledImages, fit
        >>> labels = np.arange(60) % 3
        >>> pixels = np.full((60, 4, 4), 60 * labels[:, None, None], np.uint8)
        >>> train, test = (LabelledImages(pixels + i, labels, tuple("abc")) for i in range(2))
        >>> model = fit(train, epochs=1, encoder={"units": [4]}, progress=False)
        >>> same = compare_models(model, model, test)
        >>> same["auc"].interval.value, same["auc"].verdict
        (0.0, 'cannot tell')
    """
    if not isinstance(data, Labelled):
        raise DataError(
            f"Expected LabelledImages to compare on. Received {type(data).__name__}: "
            "wrap arrays as `LabelledImages(images, labels, class_names)`."
        )
    for name, model in zip(names, (a, b), strict=True):
        used = {"fitted": model.trained_on.digest, "calibrated": model.threshold.data}
        for verb, digest in used.items():
            if digest == data.digest:
                raise DataError(
                    f"Expected images that neither model has seen. Received {data.name!r}, which "
                    f"{name} was {verb} on: compare on other images."
                )
    of_a, of_b = (Part(model.embed(data), data.labels) for model in (a, b))
    count = len(data)
    return Comparison(
        names=names,
        differences=differences(of_a, of_b, (a.threshold.value, b.threshold.value)),
        images=count,
        pairs=count * (count - 1) // 2,
        facts={
            "A": _facts(a),
            "B": _facts(b),
            "Data": {"test set": data.name, "test digest": data.digest},
        },
    )


def _facts(model: SiameseModel) -> dict[str, Any]:
    return {
        "recipe": model.recipe.name,
        "seed": model.recipe.seed,
        "epochs": len(model.history),
        "threshold": model.threshold.value,
        "threshold rule": model.threshold.rule,
        "training set": model.trained_on.name,
        "training digest": model.trained_on.digest,
    }
