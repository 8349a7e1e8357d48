"""`fit`: labelled images and a recipe in, a trained `SiameseModel` out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras

from twinset.data.batches import PADDING, shuffled_batches
from twinset.data.decode import Preprocessing
from twinset.data.images import LabelledImages
from twinset.data.pairs import Pairs, tutorial_pairs
from twinset.decision import Threshold
from twinset.embed import losses, networks
from twinset.embed.model import SiameseModel, TrainedOn
from twinset.embed.monitor import Monitor
from twinset.errors import DataError
from twinset.recipe import OptimizerRecipe, Recipe


def fit(
    data: LabelledImages,
    recipe: str | Path | Recipe = "tutorial",
    *,
    pairs: Pairs | None = None,
    progress: bool | None = None,
    **overrides: Any,
) -> SiameseModel:
    """Train a siamese network.

    On the JAX back end the images stay on the device as uint8 and many steps run in one compiled
    loop; on TensorFlow and PyTorch Keras' `fit` does the same work. Pairs, initial weights, order
    and dropout are functions of the recipe's seed.

    Ctrl-C ends the training after the current steps and returns what was trained; the model's
    `interrupted` tells.

    Args:
        data: the training images.
        recipe: a built-in name, the path of a TOML file, or a `Recipe`. Defaults to "tutorial".
        pairs: which images to pair. Defaults to what the recipe's rule draws from the labels.
        progress: show a bar, or a line per epoch where stderr is no terminal. Defaults to a bar
            on terminals only.
        **overrides: fields of the recipe to replace, as in `Recipe.load`.

    Returns:
        The model, with its history and the recipe's threshold.

    Raises:
        RecipeError: the recipe or an override is wrong.
        DataError: the images cannot be paired.
        NonFiniteLossError: the loss became NaN or infinite.
        CollapseError: all embeddings became equal.

    Example:
        >>> import numpy as np
        >>> black, white = np.zeros((8, 4, 4), np.uint8), np.full((8, 4, 4), 255, np.uint8)
        >>> data = LabelledImages(np.concatenate([black, white]), [0] * 8 + [1] * 8, ("b", "w"))
        >>> model = fit(data, epochs=30, encoder={"units": [8]})
        >>> model.compare(black[0], white[0]).same
        False
    """
    chosen = Recipe.load(recipe, **overrides)
    if not isinstance(data, LabelledImages):
        raise DataError(
            f"Expected LabelledImages to train on. Received {type(data).__name__}: "
            "wrap arrays as `LabelledImages(images, labels, class_names)`."
        )
    pairs = tutorial_pairs(data.labels, seed=chosen.seed) if pairs is None else pairs
    encoder = networks.build(chosen.encoder, data.image_shape, seed=chosen.seed)
    batches = shuffled_batches(len(pairs), chosen.batch_size, seed=chosen.seed, epoch=0)
    monitor = Monitor(
        epochs=chosen.epochs,
        sizes=(batches != PADDING).sum(axis=1),
        margin=chosen.loss.margin,
        progress=progress,
    )
    with monitor.watch():
        _engine().train(
            encoder,
            losses.build(chosen.loss),
            _optimizer(chosen.optimizer),
            data,
            pairs,
            chosen,
            monitor,
        )
    return SiameseModel(
        encoder=encoder,
        preprocessing=Preprocessing(data.image_shape),
        threshold=Threshold(chosen.threshold, rule="fixed by the recipe, not calibrated on data"),
        recipe=chosen,
        class_names=data.class_names,
        trained_on=TrainedOn(data.name, data.digest, len(data)),
        history=tuple(monitor.history),
        interrupted=monitor.interrupted,
    )


def _engine() -> Any:
    if keras.backend.backend() == "jax":
        from twinset.embed import scanned

        return scanned
    from twinset.embed import keras_fit

    return keras_fit


def _optimizer(recipe: OptimizerRecipe) -> keras.optimizers.Optimizer:
    return keras.optimizers.get(
        {"class_name": recipe.name, "config": {"learning_rate": recipe.learning_rate}}
    )
