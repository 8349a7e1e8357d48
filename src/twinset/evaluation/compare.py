"""Two trained models on the same labelled images: A against B."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twinset.data.labelled import Labelled
from twinset.evaluation.evaluate import check_unseen, facts_of
from twinset.metrics.comparison import Comparison, differences
from twinset.metrics.measured import Part

if TYPE_CHECKING:
    from twinset.models.embedder import Embedder


def compare_models(
    a: Embedder,
    b: Embedder,
    data: Labelled,
    *,
    names: tuple[str, str] = ("A", "B"),
    allow_seen: bool = False,
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
        allow_seen: as for `evaluate`. Defaults to False.

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
    check_unseen(dict(zip(names, (a, b), strict=True)), data, allow_seen=allow_seen)
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


def _facts(model: Embedder) -> dict[str, Any]:
    trained_on = model.trained_on
    return facts_of(model) | {
        "training set": trained_on.name,
        "training digest": trained_on.digest,
    }
