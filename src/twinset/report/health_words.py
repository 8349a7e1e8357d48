"""How healthy a training was: a picture of its statistics, and a sentence on each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from twinset import figures
from twinset.figures import Panel
from twinset.metrics.intervals import share_interval
from twinset.models.history import EpochRecord, best_epoch
from twinset.report.page import Picture
from twinset.training.guards import COLLAPSED, DEAD, PATIENCE

# Rules of thumb beside the guards that stop a training: different pairs so many times as far apart
# as same ones, more than one direction, more than nothing, and no gradient that grows by much.
APART, RANK, LEAST, RISING = 1.5, 1.5, 0.01, 3.0
FELL = 0.02  # of the AUC, which is worth a look


def health_picture(
    history: Sequence[EpochRecord], *, scale: float = 1.0, by: str = "AUC", best: bool = False
) -> Picture:
    """Draw how healthy a training was, and say of each statistic what is healthy."""
    # by what the best epoch is found, and whether the model has its weights
    rows = [record.flat() for record in history]
    values = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    panels = [
        Panel(
            "mean distance",
            {"same": values["positive_distance"], "different": values["negative_distance"]},
            COLLAPSED * scale,
        ),
        Panel("active share of a batch", {"active": values["active"]}, 0.0, share=True),
        Panel("effective rank", {"rank": values["effective_rank"]}),
        Panel("dead coordinates", {"dead": values["dead_share"]}, DEAD, share=True),
        Panel(
            "on the unit sphere",
            {"alignment": values["alignment"], "uniformity": values["uniformity"]},
            zero=False,
        ),
        Panel("gradient norm", {"norm": values["gradient_norm"]}, 0.0),
    ]
    if "validation_auc" in values:
        scores = {"recall@1": values["validation_recall_at_1"], "AUC": values["validation_auc"]}
        panels.append(Panel("validation images", scores, share=True, zero=False))
    return Picture(
        "health",
        "Statistics of the last batch of each epoch; active share and gradient norm are means "
        "over its steps. A dashed grey line is where a guard stops the training.",
        figures.png_bytes(figures.training_health(values["epoch"], panels)),
        notes=(*validation_sentences(history, by, best), *sentences(history)),
    )


def validation_sentences(history: Sequence[EpochRecord], by: str, best: bool) -> tuple[str, ...]:
    """Say which epoch was best on the validation images, and how much these can tell."""
    top, last = best_epoch(history, by), history[-1]
    if top is None or top.validation is None or last.validation is None:
        return ()
    scores = top.validation
    sure = share_interval(scores.recall_at_1, int(scores.images))
    text = (
        f"epoch {top.epoch} of {last.epoch} was the best by {by} on {scores.images:.0f} "
        f"validation images: AUC {scores.auc:.4f}, recall@1 {scores.recall_at_1:.1%}, which so "
        f"many images tell to lie between {sure.low:.0%} and {sure.high:.0%}."
    )
    if best:
        return (f"Healthy: {text} The model has its weights.",)
    fell = sure.low > last.validation.recall_at_1 or scores.auc - last.validation.auc > FELL
    advice = ' The last epochs made it worse: take stopping.keep = "best".' if fell else ""
    return (f"{'Look here' if fell else 'Healthy'}: {text}{advice}",)


def sentences(history: Sequence[EpochRecord]) -> tuple[str, ...]:
    """Say what each statistic was in the last epoch, and what is healthy."""
    # Each begins with "Healthy:" or "Look here:"; nothing is said of what is not known.
    last, batch = history[-1], history[-1].statistics
    ratio = batch.negative_distance / max(batch.positive_distance, 1e-12)
    usual = float(np.median([record.gradient_norm for record in history]))
    found = [
        (
            ratio,
            ratio >= APART,
            f"different pairs are {ratio:.1f} times as far apart as same ones "
            f"({batch.negative_distance:.3g} and {batch.positive_distance:.3g}).",
        ),
        (
            last.active,
            last.active >= LEAST,
            f"the loss moves {last.active:.0%} of the embeddings of a batch. It falls as the "
            f"network learns; at 0 in {PATIENCE} batches the training stops.",
        ),
        (
            batch.effective_rank,
            batch.effective_rank >= RANK,
            f"embeddings of a batch spread over {batch.effective_rank:.1f} of "
            f"{batch.dimensions:.0f} dimensions. "
            "About the number of classes less one is usual; 1 is a line, 0 a single point.",
        ),
        (
            batch.dead_share,
            batch.dead_share <= DEAD / 2,
            f"{batch.dead_share:.0%} of the coordinates are constant. Above {DEAD:.0%} after two "
            "epochs in a row the training stops.",
        ),
        (
            batch.uniformity,
            batch.uniformity < -LEAST,
            f"alignment {batch.alignment:.3g}, how far apart same pairs are on the unit sphere, "
            f"and uniformity {batch.uniformity:.3g}, 0 where all is one point, -4 where it is "
            "spread evenly. Lower is better in both.",
        ),
        (
            last.gradient_norm,
            0 < last.gradient_norm <= RISING * usual,
            f"the gradient's norm at the embeddings is {last.gradient_norm:.3g}, over all epochs "
            f"{usual:.3g} in the median. It should not rise by much, nor vanish.",
        ),
    ]
    return tuple(
        f"{'Healthy' if healthy else 'Look here'}: {text}"
        for value, healthy, text in found
        if np.isfinite(value)
    )
