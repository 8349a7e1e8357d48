"""Running averages of the weights, which the trained model gets in place of the last ones."""

from __future__ import annotations

import keras
import numpy as np

from twinset.embed.tasks import Job

# The running statistics of batch normalisation forget all but 0.9³² = 3 % of what they were.
BATCHES = 32


def settle(job: Job) -> None:
    """Put the averaged weights into the encoder, and the statistics that belong to them.

    With the momentum m of the recipe's `optimizer.average`, after each step

    w̄ ← m · w̄ + (1 − m) · w, from w̄ = w after the first.

    Batch normalisation has gathered its statistics under the last weights, not under these: some
    batches of the last epoch pass the network again, where it has such layers. The weights of a
    loss are averaged likewise.

    Args:
        job: whose training has ended; its optimiser keeps averages, or nothing happens.

    Reference:
        Polyak, Juditsky (1992), Acceleration of Stochastic Approximation by Averaging; Izmailov et
        al. (2018), Averaging Weights Leads to Wider Optima (the statistics).
    """
    optimizer = job.optimizer
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        optimizer = optimizer.inner_optimizer
    if not optimizer.use_ema or not int(optimizer.iterations):
        return
    learned, _, _ = job.variables()
    optimizer.finalize_variable_values(learned)
    layers = job.encoder._flatten_layers()
    if not any(isinstance(layer, keras.layers.BatchNormalization) for layer in layers):
        return
    batches = job.task.draw(job.epochs - 1)
    count = len(batches.positions)
    offset = (job.epochs - 1) * count
    for step in range(BATCHES):
        pixels = job.rows[batches.positions[step % count]]
        if pixels.dtype == np.uint8:
            pixels = pixels * np.float32(1 / 255)
        if job.views is not None:
            pixels = job.views(pixels, np.int32(offset + step))
        job.encoder(pixels, training=True)
