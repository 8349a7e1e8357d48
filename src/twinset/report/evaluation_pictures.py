"""The pictures of an assessment: curves, distances, probability, the hardest mistakes, folds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from twinset import figures
from twinset.data.labelled import Labelled, LabelledImages
from twinset.metrics.all_pairs import AllPairs
from twinset.report.run_report import Picture
from twinset.report.unseen_section import ACROSS, SCORES, UnseenSection, unseen_section

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from twinset.models.keras_model import SiameseModel

SHOWN_MISTAKES = 10
Drawn = Iterator[tuple[str, str, "Figure"]]


def pictures(
    assessment: Mapping[str, Any],
    model: SiameseModel,
    data: Labelled,
    study: Mapping[str, Any] | None = None,
) -> tuple[Picture, ...]:
    """Draw all pictures of an assessment.

    Args:
        assessment: of this model on this data; what `Assessment.to_dict` returns, or the JSON file
            holds.
        model: the model.
        data: the test images; of features no mistakes are drawn.
        study: of the model's recipe, as `run_study` returns it. Defaults to none.
    """
    names = assessment["class_names"]
    judgement = assessment["judgements"]["model"]
    drawn = [
        *_curves(assessment["judgements"]),
        *_distances(judgement, model, data),
        *_classes(judgement, names),
        *(_mistakes(judgement, data) if isinstance(data, LabelledImages) else ()),
    ]
    if study is not None:
        drawn += _folds(unseen_section(study, names))
    return tuple(
        Picture(name, caption, figures.png_bytes(figure)) for name, caption, figure in drawn
    )


def _curves(judgements: Mapping[str, Any]) -> Drawn:
    curves = {
        name: (each["curve"]["fmr"], each["curve"]["fnmr"]) for name, each in judgements.items()
    }
    model = judgements["model"]
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


def _distances(judgement: Mapping[str, Any], model: SiameseModel, data: Labelled) -> Drawn:
    """Draw all distances, in the bins of the curve: thousands to each bar of the picture."""
    if not judgement["points"]:
        return
    rates = judgement["points"][0]["rates"]
    curve = AllPairs(model.embed(data), data.labels).curve()
    threshold = rates["threshold"]
    # The bin that holds the threshold is cut there, at the exact counts.
    cut = int(np.searchsorted(curve.thresholds, threshold, side="right"))
    at = np.insert(curve.thresholds, cut, threshold)
    matches = (
        (curve.true_matches, rates["positives"] - rates["false_non_matches"]),
        (curve.false_matches, rates["false_matches"]),
    )
    counts = np.concatenate([_per_bin(each, cut, exact) for each, exact in matches])
    kinds, held = np.repeat([1, 0], len(at)), counts > 0
    pairs = judgement["pairs"]
    yield (
        "distances",
        f"Distances of all {pairs:,} pairs. A match is a distance at or below the threshold.",
        figures.distance_histogram(
            np.tile(at, 2)[held], kinds[held], threshold, counts=counts[held]
        ),
    )


def _per_bin(matches: NDArray[np.int64], cut: int, exact: int) -> NDArray[np.int64]:
    """Count each bin's pairs, with one more candidate before position `cut`."""
    # On another machine an embedding may differ in its last digit, and a pair move by a bin.
    within = matches[max(cut - 1, 0)], matches[min(cut, len(matches) - 1)]
    at = np.insert(matches, cut, np.clip(exact, *within))
    return np.asarray(np.diff(at, prepend=0), np.int64)


def _classes(judgement: Mapping[str, Any], class_names: Sequence[str]) -> Drawn:
    errors = judgement["class_errors"]
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


def _mistakes(judgement: Mapping[str, Any], data: LabelledImages) -> Drawn:
    """Draw the worst mistakes, half of each kind, or more of one where the other has few."""
    hardest = judgement.get("hardest")
    if not judgement["points"] or hardest is None:
        return
    rates = judgement["points"][0]["rates"]
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
    names, labels = data.class_names, data.labels
    yield (
        "hardest_mistakes",
        f"The worst of {rates['false_matches']:,} false matches, closest first, then of "
        f"{rates['false_non_matches']:,} false non-matches, farthest first; found among all "
        f"{judgement['pairs']:,} pairs. Only a pair on the wrong side of the threshold is a "
        "mistake.",
        figures.pairs(
            data.images[left],
            data.images[right],
            labels[left] == labels[right],
            distances=[pair[2] for pair in worst],
            threshold=threshold,
            titles=[
                f"{names[labels[i]]} / {names[labels[j]]}" for i, j in zip(left, right, strict=True)
            ],
        ),
    )


def _folds(study: UnseenSection) -> Drawn:
    names = [f"{fold.name.partition('-')[0]} {fold.classes}" for fold in study.folds]
    if not names:
        return

    def column(part: str, key: str) -> NDArray[np.float64]:
        return _numbers([getattr(fold, part).get(key) for fold in study.folds])

    seen = {
        label: study.seen[name]["value"] for name, label in SCORES.items() if name in study.seen
    }
    yield (
        "unseen_classes",
        "The recipe and raw pixels on classes that the training never saw, a training in each row. "
        "The dashed line is what it reaches on seen classes.",
        figures.folds(
            names,
            {
                label: {"trained": column("numbers", key), "raw pixels": column("floor", key)}
                for key, label in SCORES.items()
            },
            marks=seen,
            mark="trained, seen classes",
        ),
    )
    rates, seen = {}, {}
    for key, label in (("fmr", "False match rate"), ("fnmr", "False non-match rate")):
        rates[label] = {
            "realised among unseen": column("transfer", key),
            "promised": column("transfer", f"promised {key}"),
        }
        if study.on_seen(key.upper()):
            seen[label] = study.on_seen(key.upper())["value"]
        if key == "fmr" and study.across:
            rates[label]["realised, unseen with seen"] = column("transfer", ACROSS)
    yield (
        "threshold_transfer",
        "Both errors at the threshold that was chosen on the seen classes: promised there, and "
        "realised on unseen ones; the dashed line is what is realised on seen ones. Where dot and "
        "ring are apart, the threshold does not carry over.",
        figures.folds(names, rates, marks=seen, mark="realised on seen classes"),
    )
