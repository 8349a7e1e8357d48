"""The pictures of an evaluation, and of the folds whose classes the training never saw."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from twinset import figures
from twinset.data.labelled import Labelled, LabelledImages
from twinset.errors import no_drawing
from twinset.metrics.table import METRICS
from twinset.report.evaluation_page import UnseenSection, unseen_section
from twinset.report.page import Picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def fold_pictures(study: UnseenSection) -> Iterator[tuple[str, str, Figure]]:
    """Draw the metrics and both errors of each fold: name, caption and figure."""
    names = [fold.heading for fold in study.folds]
    if not names:
        return

    def column(part: str, key: str) -> NDArray[np.float64]:
        return np.array([getattr(fold, part).get(key) for fold in study.folds], np.float64)

    shown = [metric for metric in study.columns if metric.better > 0 and metric.kind == "test"]
    seen = {metric.label: study.on_seen(metric.key) for metric in shown}
    yield (
        "unseen_classes",
        f"The recipe and {study.baseline} on classes that the training never saw, a training in "
        f"each row. The dashed line is what it reaches on {study.tested}.",
        figures.folds(
            names,
            {
                metric.label: {
                    "trained": column("numbers", metric.key),
                    study.baseline: column("baseline", metric.key),
                }
                for metric in shown
            },
            marks={label: each["value"] for label, each in seen.items() if each},
            mark=f"trained, {study.tested}",
        ),
    )
    rates, marks = {}, {}
    for key in ("fmr", "fnmr"):
        label = METRICS[key].label
        rates[label] = {
            "realised among unseen": column("transfer", key),
            "promised": column("transfer", f"promised_{key}"),
        }
        on_seen = study.on_seen(key)
        if on_seen:
            marks[label] = on_seen["value"]
        if key == "fmr" and study.across:
            rates[label]["realised, unseen with seen"] = column("transfer", "cross_fmr")
    yield (
        "threshold_transfer",
        "Both errors at the threshold that was chosen on other classes: promised there, and "
        f"realised on unseen ones; the dashed line is what is realised on {study.tested}. "
        "Where dot and ring are apart, the threshold does not carry over.",
        figures.folds(names, rates, marks=marks, mark=f"realised on {study.tested}"),
    )


SHOWN_MISTAKES = 10
Drawn = Iterator[tuple[str, str, "Figure"]]


def pictures(
    evaluation: Mapping[str, Any], data: Labelled, study: Mapping[str, Any] | None = None
) -> tuple[Picture, ...]:
    """Draw all pictures of an evaluation, as its JSON file holds it, on these test images."""
    if no_drawing():
        return ()
    names = evaluation["class_names"]
    result = evaluation["results"]["model"]
    drawn = [
        *_curves(evaluation["results"]),
        *_distances(result),
        *_classes(result, names),
        *_identification(result),
        *(_mistakes(result, data) if isinstance(data, LabelledImages) else ()),
    ]
    if study is not None:
        drawn += fold_pictures(unseen_section(study))
    return tuple(
        Picture(name, caption, figures.png_bytes(figure)) for name, caption, figure in drawn
    )


def _curves(results: Mapping[str, Any]) -> Drawn:
    curves = {name: (each["curve"]["fmr"], each["curve"]["fnmr"]) for name, each in results.items()}
    model = results["model"]
    known = model.get("bands")
    bands = None
    said = ""
    if known is not None:
        bands = known["fmr"], *(_numbers(known[end]) for end in ("low", "high"))
        said = " The band is the model's 95% interval over images, at each rate by itself."
    yield (
        "roc",
        f"True against false match rate as the threshold moves; up and left is better.{said}",
        figures.roc(curves, bands),
    )
    yield (
        "det",
        "Both error rates as the threshold moves; down and left is better. The grey line meets "
        f"each curve at its equal error rate.{said}",
        figures.det(curves, bands),
    )
    table = model["reliability"]
    if table is not None:
        yield (
            "reliability",
            "How often pairs are the same, of those promised to be with a given probability, if "
            "half of all pairs were. On the grey line the promise is kept.",
            figures.reliability(*(_numbers(table[k]) for k in ("predicted", "observed", "mass"))),
        )


def _numbers(values: Sequence[float | None]) -> NDArray[np.float64]:
    """Read numbers from JSON, where None stands for one that is not finite."""
    return np.array(values, np.float64)


def _distances(result: Mapping[str, Any]) -> Drawn:
    bars = result["distances"]
    if bars is None:
        return
    kinds = [(kind, np.array(bars[name])) for kind, name in ((1, "same"), (0, "different"))]
    yield (
        "distances",
        f"Distances of all {result['pairs']:,} pairs. A match is a distance at or below the "
        "threshold.",
        figures.distance_histogram(
            np.concatenate([_numbers(bars["upper"])[counts > 0] for _, counts in kinds]),
            np.concatenate([np.full((counts > 0).sum(), kind) for kind, counts in kinds]),
            result["points"][0]["rates"]["threshold"],
            counts=np.concatenate([counts[counts > 0] for _, counts in kinds]),
        ),
    )


def _classes(result: Mapping[str, Any], class_names: Sequence[str]) -> Drawn:
    errors = result["class_errors"]
    if errors is not None:
        yield (
            "class_errors",
            "Who is taken for whom at the model's threshold: how many of the pairs of two classes "
            "match, and on the diagonal how many of a class' own do not.",
            figures.class_matrix(
                [class_names[label] for label in errors["classes"]],
                [_numbers(row) for row in errors["fmr"]],
                _numbers(errors["fnmr"]),
            ),
        )


def _identification(result: Mapping[str, Any]) -> Drawn:
    known = result.get("open_set")
    if known is None:
        return
    _, strangers, missed = np.array(known["curve"], np.float64).T
    names = ("false positive identification rate", "false negative identification rate")
    yield (
        "identification",
        "Strangers who are taken for somebody, and known ones who are missed, as the threshold "
        f"moves, in a gallery of {known['identities'] - 1:,} identities.",
        figures.det({"model": (strangers, missed)}, names=names),
    )
    rates = {
        words: [
            [each[key]["low"], each[key]["value"], each[key]["high"]] for each in known["growth"]
        ]
        for words, key in (("strangers matched", "fpir"), ("known missed", "fnir"))
    }
    yield (
        "gallery_size",
        f"Both errors at a threshold of {known['points'][0]['threshold']:.4f} as the gallery "
        "grows, with 95% intervals over identities.",
        figures.growth(
            [each["identities"] for each in known["growth"]], rates, known["identities"] - 1
        ),
    )


def _mistakes(result: Mapping[str, Any], data: LabelledImages) -> Drawn:
    """Draw the worst mistakes, half of each kind, or more of one where the other has few."""
    hardest = result.get("hardest")
    if not result["points"] or hardest is None:
        return
    rates = result["points"][0]["rates"]
    threshold = rates["threshold"]
    # the nearest different pairs are mistakes only if they match, the farthest same ones if not
    matches = [pair for pair in hardest["false_matches"] if pair[2] <= threshold]
    misses = [pair for pair in hardest["false_non_matches"] if pair[2] > threshold]
    half = SHOWN_MISTAKES // 2
    matches = matches[: max(half, SHOWN_MISTAKES - len(misses))]
    worst = matches + misses[: SHOWN_MISTAKES - len(matches)]
    if not worst:
        return
    left, right = np.array([pair[:2] for pair in worst], np.int64).T
    names = [*data.class_names, *[""] * (int(data.labels.max()) + 1)]  # for what has no class
    labels = data.labels
    same = np.arange(len(worst)) >= len(matches)
    yield (
        "hardest_mistakes",
        f"The worst of {rates['false_matches']:,} false matches, closest first, then of "
        f"{rates['false_non_matches']:,} false non-matches, farthest first; found among all "
        f"{result['pairs']:,} pairs. Only a pair on the wrong side of the threshold is a "
        "mistake.",
        figures.pairs(
            data.images[left],
            data.images[right],
            same,
            distances=[pair[2] for pair in worst],
            threshold=threshold,
            titles=[
                f"{names[labels[i]]} / {names[labels[j]]}".strip(" /")
                for i, j in zip(left, right, strict=True)
            ],
        ),
    )
