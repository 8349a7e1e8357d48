"""`fit`: labelled images and a recipe in, a trained `SiameseModel` out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras

from twinset.data.decoding.decode import Preprocessing
from twinset.data.images import LabelledImages
from twinset.data.pairs import Pairs, tutorial_pairs
from twinset.decision import Threshold
from twinset.embed import losses, networks
from twinset.embed.augment import Augment
from twinset.embed.checkpoint import Keeper
from twinset.embed.model import SiameseModel, TrainedOn
from twinset.embed.monitor import EpochRecord, Monitor
from twinset.embed.optimizers import build as build_optimizer
from twinset.embed.tasks import BatchTask, Job, PairTask, Task
from twinset.errors import DataError
from twinset.recipe import Recipe


def fit(
    data: LabelledImages,
    recipe: str | Path | Recipe = "tutorial",
    *,
    pairs: Pairs | str | None = None,
    progress: bool | None = None,
    checkpoint: str | Path | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    **overrides: Any,
) -> SiameseModel:
    """Train a siamese network.

    On the JAX back end the images stay on the device as uint8, or come a few steps ahead where
    there are too many, and many steps run in one compiled loop; on TensorFlow and PyTorch Keras'
    `fit` does the same work. Batches, initial weights, dropout and views are functions of the
    recipe's seed, so a training that was killed goes on from its checkpoint to the same weights.

    Ctrl-C ends the training after the current steps and returns what was trained; the model's
    `interrupted` tells.

    Args:
        data: the training images.
        recipe: a built-in name, the path of a TOML file, or a `Recipe`. Defaults to "tutorial".
        pairs: which images to pair, for recipes of pairs = "tutorial". Defaults to what that rule
            draws from the labels. A text is the recipe's own field.
        progress: show a bar, or a line per epoch where stderr is no terminal. Defaults to a bar
            on terminals only.
        checkpoint: a file to save the state in, about twice a minute, and to go on from if it is
            there; removed at the end. Defaults to none.
        callbacks: ordinary Keras callbacks, such as TensorBoard's. They are told of each epoch
            with the numbers of its record as logs; `model` is the encoder. Defaults to none.
        **overrides: fields of the recipe to replace, as in `Recipe.load`.

    Returns:
        The model, with its history and the recipe's threshold.

    Raises:
        RecipeError: the recipe or an override is wrong.
        DataError: the images cannot be paired.
        ModelError: the checkpoint is of another training.
        TrainingError: the loss is not finite, rose or moves nothing, or all embeddings are equal.

    Example:
        >>> import numpy as np
        >>> black, white = np.zeros((8, 4, 4), np.uint8), np.full((8, 4, 4), 255, np.uint8)
        >>> data = LabelledImages(np.concatenate([black, white]), [0] * 8 + [1] * 8, ("b", "w"))
        >>> model = fit(data, epochs=30, encoder={"units": [8]})
        >>> model.compare(black[0], white[0]).same
        False
    """
    if isinstance(pairs, str):
        overrides, pairs = overrides | {"pairs": pairs}, None
    chosen = Recipe.load(recipe, **overrides)
    if not isinstance(data, LabelledImages):
        raise DataError(
            f"Expected LabelledImages to train on. Received {type(data).__name__}: "
            "wrap arrays as `LabelledImages(images, labels, class_names)`."
        )
    task = _task(chosen, data, pairs)
    with _precision(chosen.precision):
        encoder = networks.build(chosen.encoder, data.image_shape, seed=chosen.seed)
    batches = task.draw(0)
    job = Job(
        encoder=encoder,
        optimizer=build_optimizer(chosen.optimizer, chosen.epochs * len(batches.positions)),
        task=task,
        images=data.images,
        labels=data.labels,
        views=_views(chosen, data),
        epochs=chosen.epochs,
    )
    key = _key(chosen, data, pairs)
    keeper = Keeper(None if checkpoint is None else Path(checkpoint), key)
    with _listening(callbacks, encoder, chosen.epochs) as listen:
        monitor = Monitor(
            epochs=chosen.epochs,
            sizes=batches.sizes,
            images=batches.positions.shape[1],
            scale=getattr(chosen.loss, "margin", 1.0) if chosen.pairs == "tutorial" else 1.0,
            progress=progress,
            listen=listen,
        )
        with monitor.watch():
            _engine().train(job, monitor, keeper)
    if not monitor.interrupted:
        keeper.remove()
    return SiameseModel(
        encoder=encoder,
        preprocessing=data.preprocessing or Preprocessing(data.image_shape),
        threshold=Threshold(chosen.threshold, rule="fixed by the recipe, not calibrated on data"),
        recipe=chosen,
        class_names=data.class_names,
        trained_on=TrainedOn(data.name, data.digest, len(data)),
        history=tuple(monitor.history),
        interrupted=monitor.interrupted,
    )


def _task(recipe: Recipe, data: LabelledImages, pairs: Pairs | None) -> Task:
    if recipe.pairs == "tutorial":
        listed = tutorial_pairs(data.labels, seed=recipe.seed) if pairs is None else pairs
        return PairTask(
            losses.build(recipe.loss),
            listed,
            distance=recipe.distance,
            batch_size=recipe.batch_size,
            seed=recipe.seed,
        )
    if pairs is not None:
        raise DataError(
            "Expected no list of pairs for a recipe of all pairs in a batch. Received one: leave "
            'it out, or take pairs = "tutorial".'
        )
    return BatchTask(
        losses.build(
            recipe.loss,
            classes=len(data.class_names),
            dim=recipe.encoder.embedding_size,
            seed=recipe.seed,
        ),
        data.labels,
        batch_size=recipe.batch_size,
        per_class=recipe.per_class,
        seed=recipe.seed,
    )


def _views(recipe: Recipe, data: LabelledImages) -> Callable[[Any, Any], Any] | None:
    settings = recipe.augment.model_dump()
    if settings["flip"] == "auto":
        settings["flip"] = data.mirrors
    augment = Augment(**settings)
    return None if augment.nothing else augment.views(recipe.seed)


def _key(recipe: Recipe, data: LabelledImages, pairs: Pairs | None) -> str:
    sha = hashlib.sha256(recipe.model_copy(update={"name": ""}).to_toml().encode())
    sha.update(f"{data.digest} {keras.backend.backend()}".encode())
    if pairs is not None:
        for positions in (pairs.left, pairs.right, pairs.same):
            sha.update(positions.tobytes())
    return sha.hexdigest()


@contextmanager
def _precision(policy: str) -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


@contextmanager
def _listening(
    callbacks: Sequence[keras.callbacks.Callback], encoder: keras.Model, epochs: int
) -> Iterator[Callable[[EpochRecord], None] | None]:
    """Tell Keras callbacks of the epochs; weights reach the encoder when the training ends."""
    if not callbacks:
        yield None
        return
    told = keras.callbacks.CallbackList(list(callbacks), model=encoder, params={"epochs": epochs})
    told.on_train_begin()

    def listen(record: EpochRecord) -> None:
        told.on_epoch_begin(record.epoch - 1)
        told.on_epoch_end(record.epoch - 1, logs=record.flat())

    try:
        yield listen
    finally:
        told.on_train_end()


def _engine() -> Any:
    if keras.backend.backend() == "jax":
        from twinset.embed import scanned

        return scanned
    from twinset.embed import keras_fit

    return keras_fit
