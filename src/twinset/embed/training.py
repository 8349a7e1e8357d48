"""`fit`: labelled images and a recipe in, a trained `SiameseModel` out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import keras

from twinset.data.decoding.decode import Preprocessing
from twinset.data.labelled import Labelled
from twinset.data.pairs import Pairs, tutorial_pairs
from twinset.decision import Threshold
from twinset.embed import averaging, features, losses, networks
from twinset.embed.augment import Augment
from twinset.embed.blend import blended
from twinset.embed.callbacks import Callbacks
from twinset.embed.card import TrainedOn
from twinset.embed.checkpoint import Keeper
from twinset.embed.model import SiameseModel
from twinset.embed.monitor import Monitor
from twinset.embed.optimizers import build as build_optimizer
from twinset.embed.tasks import BatchTask, Job, PairTask, Task
from twinset.errors import DataError
from twinset.recipe import Recipe


def fit(
    data: Labelled,
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
        data: the training images, or vectors that another model made of them. With a frozen
            network each image is encoded once, into a cache, and a head is trained on that.
        recipe: a built-in name, the path of a TOML file, or a `Recipe`. Defaults to "tutorial".
        pairs: which images to pair, for recipes of pairs = "tutorial". Defaults to what that rule
            draws from the labels. A text is the recipe's own field.
        progress: show a bar, or a line per epoch where stderr is no terminal. Defaults to a bar
            on terminals only.
        checkpoint: a file to save the state in, about twice a minute, and to go on from if it is
            there; removed at the end. Defaults to none.
        callbacks: ordinary Keras callbacks, such as TensorBoard's. They are told when each epoch
            begins and ends, with the numbers of its record as logs, and may read, save or change
            weights and learning rate, or stop the training; not of single batches. Defaults to
            none.
        **overrides: fields of the recipe to replace, as in `Recipe.load`.

    Returns:
        The model, with its history and the recipe's threshold.

    Raises:
        RecipeError: the recipe or an override is wrong, or not for this data.
        DataError: the images cannot be paired.
        ModelError: the checkpoint is of another training.
        TrainingError: the loss is not finite, rose or moves nothing, or all embeddings are equal.

    Example:
        >>> import numpy as np
        >>> from twinset import LabelledImages
        >>> black, white = np.zeros((8, 4, 4), np.uint8), np.full((8, 4, 4), 255, np.uint8)
        >>> data = LabelledImages(np.concatenate([black, white]), [0] * 8 + [1] * 8, ("b", "w"))
        >>> model = fit(data, epochs=30, encoder={"units": [8]})
        >>> model.compare(black[0], white[0]).same
        False
    """
    if isinstance(pairs, str):
        overrides, pairs = overrides | {"pairs": pairs}, None
    chosen = Recipe.load(recipe, **overrides)
    if not isinstance(data, Labelled):
        raise DataError(
            f"Expected LabelledImages to train on. Received {type(data).__name__}: "
            "wrap arrays as `LabelledImages(images, labels, class_names)`."
        )
    chosen = features.fitting(chosen, data)
    task = _task(chosen, data, pairs)
    # what a frozen network finds is kept, and is the same for a head of any precision
    with _precision("float32" if features.learns_once(chosen) else chosen.precision):
        encoder = networks.build(chosen.encoder, data.row_shape, seed=chosen.seed)
    trained, rows = _learning(chosen, encoder, data, progress)
    batches = task.draw(0)
    steps = chosen.epochs * len(batches.positions)
    averaging.check(chosen.optimizer, steps)
    job = Job(
        encoder=trained,
        optimizer=build_optimizer(chosen.optimizer, steps, precision=chosen.precision),
        task=task,
        rows=rows,
        labels=data.labels,
        views=_views(chosen, data),
        epochs=chosen.epochs,
    )
    key = _key(chosen, data, pairs)
    keeper = Keeper(None if checkpoint is None else Path(checkpoint), key)
    told = Callbacks(callbacks, trained, job.optimizer, chosen.epochs) if callbacks else None
    monitor = Monitor(
        epochs=chosen.epochs,
        sizes=batches.sizes,
        images=batches.positions.shape[1],
        scale=chosen.scale,
        progress=progress,
        listener=told,
    )
    with told.training() if told else nullcontext(), monitor.watch():
        _engine().train(job, monitor, keeper)
        # before the callbacks' last word: they may put weights of their own back
        averaging.settle(job)
    encoder = _finished(chosen, encoder, trained, data)
    if not monitor.interrupted:
        keeper.remove()
    return SiameseModel(
        encoder=encoder,
        preprocessing=data.preprocessing or Preprocessing(data.row_shape),
        threshold=Threshold(chosen.threshold, rule="fixed by the recipe, not calibrated on data"),
        recipe=chosen,
        class_names=data.class_names,
        trained_on=TrainedOn(data.name, data.digest, len(data)),
        history=tuple(monitor.history),
        interrupted=monitor.interrupted,
    )


def _learning(
    recipe: Recipe, encoder: keras.Model, data: Labelled, progress: bool | None
) -> tuple[keras.Model, Any]:
    """Find what is to learn from what: the encoder from the images, or a head from features."""
    if not features.learns_once(recipe):
        return encoder, data.rows
    section: Any = recipe.encoder
    rows = features.encode_once(encoder, data, progress=progress)
    with _precision(recipe.precision):
        return features.head_of(encoder, section, recipe.seed), rows


def _finished(
    recipe: Recipe, encoder: keras.Model, trained: keras.Model, data: Labelled
) -> keras.Model:
    """Make the model's encoder of what was trained: whole, in 32 bits, blended."""
    if trained is not encoder:
        features.join(encoder, trained)
    elif recipe.precision != "float32":
        encoder = _in_32_bits(encoder, recipe.precision)
    blend = recipe.blend
    if blend.mirror == "auto":
        blend = blend.model_copy(update={"mirror": data.mirrors})
    if blend.nothing:
        return encoder
    with _precision("float32"):
        return blended(encoder, blend)


def _task(recipe: Recipe, data: Labelled, pairs: Pairs | None) -> Task:
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


def _views(recipe: Recipe, data: Labelled) -> Callable[[Any, Any], Any] | None:
    settings = recipe.augment.model_dump()
    if settings["flip"] == "auto":
        settings["flip"] = data.mirrors
    augment = Augment(**settings)
    return None if augment.nothing else augment.views(recipe.seed)


def _key(recipe: Recipe, data: Labelled, pairs: Pairs | None) -> str:
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


def _in_32_bits(encoder: keras.Model, policy: str) -> keras.Model:
    """Have an encoder compute in 32 bits: its weights always did, and so do graphs and other code.

    By way of its own description, which every registered layer has; to build it anew by the recipe
    would read a pretrained network's file a second time.
    """
    whole = keras.models.model_from_json(encoder.to_json().replace(f'"{policy}"', '"float32"'))
    whole.set_weights(encoder.get_weights())
    return whole


def _engine() -> Any:
    if keras.backend.backend() == "jax":
        from twinset.embed import scanned

        return scanned
    from twinset.embed import keras_fit

    return keras_fit
