"""Running averages of the weights, which the trained model gets in place of the last ones."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from twinset.embed.optimizers import inner
from twinset.embed.tasks import Job
from twinset.errors import RecipeError
from twinset.recipe_sections import OptimizerRecipe

# So many batches give the statistics of batch normalisation anew.
BATCHES = 32
# What the first weights may still count in the average at the end.
FORGOTTEN = 0.05


def check(recipe: OptimizerRecipe, steps: int) -> None:
    """Refuse an average that remembers more steps than there are.

    Args:
        recipe: of the optimiser.
        steps: of the whole training.

    Raises:
        RecipeError: the weights of the first step would be more than 5 % of the average.
    """
    share = recipe.average ** max(steps - 1, 0)
    if recipe.average and share > FORGOTTEN:
        largest = FORGOTTEN ** (1 / max(steps - 1, 1))
        raise RecipeError(
            f"Expected optimizer.average of at most {largest:.3f} for {steps} steps. Received "
            f"{recipe.average}: the weights of the first step would still be {share:.0%} of the "
            "average. Take a smaller one, or more epochs."
        )


def settle(job: Job) -> None:
    """Put the averaged weights into the encoder, and the statistics that belong to them.

    With the momentum m of the recipe's `optimizer.average`, after each step

    w̄ ← m · w̄ + (1 − m) · w, from w̄ = w after the first.

    Batch normalisation has gathered its statistics under the last weights, not under these: some
    batches of the last epoch pass the network again, and their plain mean takes the place. The
    weights of a loss are averaged likewise.

    Args:
        job: whose training has ended; its optimiser keeps averages, or nothing happens.

    Reference:
        Polyak, Juditsky (1992), Acceleration of Stochastic Approximation by Averaging; Izmailov et
        al. (2018), Averaging Weights Leads to Wider Optima (the statistics).
    """
    optimizer = inner(job.optimizer)
    if not optimizer.use_ema or not int(optimizer.iterations):
        return
    learned, _, _ = job.variables()
    optimizer.finalize_variable_values(learned)
    norms = [
        layer
        for layer in job.encoder._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
    ]
    if not norms:
        return
    batches = job.task.draw(job.epochs - 1)
    count = len(batches.positions)
    offset = (job.epochs - 1) * count
    momenta = [norm.momentum for norm in norms]
    try:
        for step in range(BATCHES):
            for norm in norms:
                norm.momentum = step / (step + 1)
            pixels: Any = job.pixels(batches.positions[step % count])
            if job.views is not None:
                pixels = job.views(pixels, np.int32(offset + step))
            job.encoder(pixels, training=True)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
