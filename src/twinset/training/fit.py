"""`fit`: labelled images and a recipe in, a trained `SiameseModel` out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import keras
from numpy.typing import ArrayLike

from twinset import losses, networks
from twinset.data.data_set import labelled
from twinset.data.decoding.decode import ImageLike, Preprocessing
from twinset.data.labelled import Labelled, LabelledImages, VectorInput
from twinset.data.pair_parts import pairs_to_fit
from twinset.data.pairs import Pairs
from twinset.decision import Threshold
from twinset.errors import DataError, RecipeError
from twinset.models.card import TrainedOn
from twinset.models.keras_model import SiameseModel, identity, refuse_fork
from twinset.progress import Report, Wanted, reporting
from twinset.recipe import AUGMENTATION, OPTIMIZER, Recipe
from twinset.settings import Section
from twinset.training import frozen_trunk as features
from twinset.training import processes
from twinset.training import validation as validating
from twinset.training.blend import blended
from twinset.training.callbacks import Callbacks
from twinset.training.checkpoints import Keeper, facts_of
from twinset.training.monitor import Monitor
from twinset.training.one_step import (
    attached,
    begin_with_head,
    check_frozen,
    head_for,
    in_one_step,
)
from twinset.training.tasks import BatchTask, Job, PairTask, Task, labels_for

# Of the section of "own": what is another's once a network is handed over.
_UNSEEN = {"path": "", "digest": ""}


def fit(
    data: Labelled | ArrayLike | Sequence[ImageLike],
    labels: ArrayLike | str | Path | Recipe | None = None,
    recipe: str | Path | Recipe = "tutorial",
    *,
    encoder: keras.Model | Mapping[str, Any] | None = None,
    pairs: Pairs | str | None = None,
    validation: Labelled | tuple[Any, ArrayLike] | None = None,
    progress: Wanted = True,
    checkpoint: str | Path | None = None,
    keep_checkpoint: bool = False,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    **overrides: Any,
) -> SiameseModel:
    """Train a siamese network: `fit(data, recipe)`, or `fit(images, labels, recipe)`.

    On the JAX back end the images stay on the device as uint8, or come a few steps ahead where
    there are too many, and many steps run in one compiled loop; on TensorFlow and PyTorch Keras'
    `fit` does the same work. Batches, initial weights, dropout and augmentation are functions of
    the recipe's seed, so a training that was killed goes on from its checkpoint to the same
    weights. (A network of your own brings weights and dropout itself: build it from a seed.)

    Ctrl-C ends the training after the current steps and returns what was trained; the model's
    `interrupted` tells.

    Args:
        data: the training images, or vectors that another model made of them: labelled ones;
            arrays as `LabelledImages` and `LabelledFeatures` take them; a list of images or of
            their files, which may be of several sizes; or what `load_batches` takes, such as a
            generator or a `tf.data.Dataset`, which is read once, into a file. With a frozen
            network each image is encoded once, into a cache, and a head is trained on that.
        labels: of these, as for `LabelledImages`, where the data has none itself. Else the recipe
            may stand here.
        recipe: a built-in name, the path of a TOML file, or a `Recipe`. Defaults to "tutorial".
        encoder: a network of your own in place of the recipe's: any `keras.Model` from floats in
            [0, 1], (n, *shape), to (n, d). It is trained itself, not a copy, and from the weights
            that it has; its embeddings get length 1, unless `encoder.normalize` is overridden. Or
            settings of the recipe's section. Defaults to the recipe's.
        pairs: which images to pair, for recipes of pairs = "tutorial". Defaults to what that rule
            draws from the labels; or to the pairs that were judged, with what follows from them. A
            text is the recipe's own field.
        validation: images, or vectors, that nothing is learned from; arrays come as a tuple
            (images, labels). After each epoch the network is judged on them, or on at most 1,000
            of them, drawn by the seed so that it costs no more than a twentieth of an epoch:
            recall@1, and AUC over all pairs. Both stand in the progress, the history and the
            report. The recipe's section `stopping` says whether the best epoch's weights are kept,
            and when the training ends early. Their classes may be others than those of `data`. Do
            not read the best epoch's numbers as those of new images, as it was chosen by them; of
            few images they are known to some digits only. Defaults to none.
        progress: True for a bar on stderr, or a line per epoch where that is no terminal; False
            for nothing; or a function of one `twinset.progress.Progress`, whose numbers are the
            loss, images/s, and the validation and health of the last epoch. Defaults to True.
        checkpoint: a file to save the state in, about twice a minute, and to go on from if it is
            there; removed at the end. Where it cannot be written, on a full disk for example, the
            training says so and goes on, with the one before. Defaults to none.
        keep_checkpoint: leave it there at the end, for who removes it when the model is saved.
            Defaults to False.
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
        ModelError: the checkpoint is of another training; the encoder does not fit the data.
        TrainingError: the loss is not finite, rose or moves nothing, or all embeddings are equal.

    Example:
        >>> import numpy as np
        >>> black, white = np.zeros((8, 4, 4), np.uint8), np.full((8, 4, 4), 255, np.uint8)
        >>> images, labels = np.concatenate([black, white]), ["black"] * 8 + ["white"] * 8
        >>> model = fit(images, labels, epochs=30, encoder={"units": [8]}, progress=False)
        >>> model.compare(black[0], white[0]).same, model.class_names
        (False, ('black', 'white'))
    """
    data, recipe, validation = _labelled(data, labels, recipe, validation)
    if isinstance(pairs, str):
        overrides, pairs = overrides | {"pairs": pairs}, None
    chosen, built = _chosen(data, recipe, encoder, overrides)
    validating.fitting(data, validation, chosen.stopping)
    check_frozen(chosen)
    processes.check(callbacks)
    if in_one_step(chosen):
        return _in_one_step(chosen, built, data, progress)
    task = _task(chosen, data, pairs, int(built.output_shape[-1]))
    blend = _blend(chosen, data)
    if not blend.nothing:
        blended(built, blend)  # one that cannot be made is no news for after the training
    trunk = _trunk(chosen, built)
    with reporting(progress) as tell:
        if chosen.head.kind != "trained":
            at_rest = features.features_of(chosen.encoder, data, tell, encoder=built)
            begin_with_head(chosen, built, at_rest, data.labels)
        rows, trained = _rows(chosen, built, data, tell), _trained(chosen, built)
        batches = task.draw(0)
        augmentation = AUGMENTATION.make(chosen.augment, mirrors=data.mirrors)
        shown = partial(augmentation.apply, seed=chosen.seed) if augmentation.settings else None
        job = Job(
            encoder=trained,
            optimizer=_optimizer(chosen, trunk, len(batches.positions)),
            task=task,
            rows=rows,
            labels=data.labels,
            augment=shown,
            epochs=chosen.epochs,
            micro_batch=chosen.micro_batch,
            trunk=trunk,
        )
        kept = None
        if validation is not None:
            judged = _blended(built, blend) if trained is built and not blend.nothing else trained
            own = _rows(chosen, built, validation, tell)
            kept = _kept_out(chosen, validation, own, (judged, trained), batches.positions.size)
        facts = facts_of(chosen, data, validation, pairs, built, augmentation)
        keeper = _keeper(checkpoint, facts)
        told = Callbacks(callbacks, trained, job.optimizer, chosen.epochs) if callbacks else None
        monitor = Monitor(
            epochs=chosen.epochs,
            sizes=batches.sizes,
            images=batches.positions.shape[1],
            scale=chosen.scale,
            tell=tell,
            listener=told,
            validation=kept,
        )
        with told.training() if told else nullcontext(), monitor.watch():
            _engine().train(job, monitor, keeper)
    if kept is not None:
        kept.put_back()
    finished = _finished(chosen, built, trained, blend)
    if not (monitor.interrupted or keep_checkpoint):
        keeper.remove()
    return _model(
        chosen, finished, data, history=tuple(monitor.history), interrupted=monitor.interrupted
    )


def _labelled(
    data: Any, labels: Any, recipe: Any, validation: Any
) -> tuple[Labelled, str | Path | Recipe, Labelled | None]:
    # what stands second is the recipe, where the data has its labels itself
    if isinstance(labels, str | Path | Recipe):
        recipe, labels = labels, None
    validation = None if validation is None else labelled(validation, use="validate on")
    return labelled(data, labels), recipe, validation


def _kept_out(
    recipe: Recipe,
    images: Labelled,
    rows: Any,
    both: tuple[keras.Model, keras.Model],
    epoch: int,
) -> validating.Validation:
    stopping: Any = recipe.stopping
    return validating.Validation(rows, images.labels, both, stopping, epoch=epoch, seed=recipe.seed)


def _optimizer(recipe: Recipe, trunk: keras.Model | None, steps: int) -> keras.optimizers.Optimizer:
    made: keras.optimizers.Optimizer = OPTIMIZER.make(
        recipe.optimizer,
        steps=recipe.epochs * steps,
        precision=recipe.precision,
        trunk=() if trunk is None else trunk.trainable_variables,
    )
    return made


def _keeper(checkpoint: str | Path | None, facts: Callable[[], dict[str, str]]) -> Keeper:
    if processes.count() > 1:
        processes.agree({**facts(), "checkpoint": "" if checkpoint is None else "kept"})
    path = None if checkpoint is None else Path(checkpoint)
    return Keeper(path, lambda: json.dumps(facts(), sort_keys=True))


def _model(recipe: Recipe, encoder: keras.Model, data: Labelled, **more: Any) -> SiameseModel:
    return SiameseModel(
        encoder=encoder,
        preprocessing=data.preprocessing or Preprocessing(data.row_shape),
        threshold=Threshold(recipe.threshold, rule="fixed by the recipe, not calibrated on data"),
        recipe=recipe,
        # of a part that whole classes were held out of, those that it has
        class_names=tuple(
            name for name, count in zip(data.class_names, data.class_counts, strict=False) if count
        ),
        trained_on=TrainedOn(data.name, data.digest, len(data)),
        provenance=networks.provenance(recipe.encoder),
        **more,
    )


def _in_one_step(
    recipe: Recipe, built: keras.Model, data: Labelled, progress: Wanted
) -> SiameseModel:
    # no epochs: what a frozen network finds, and a head in closed form
    rows = data.rows
    if isinstance(data, LabelledImages):
        with reporting(progress) as tell:
            rows = features.features_of(recipe.encoder, data, tell, encoder=built)
    head = head_for(recipe, rows, data.labels)
    return _model(recipe, attached(features.trunk_of(built), head), data)


def _chosen(
    data: Labelled,
    recipe: str | Path | Recipe,
    encoder: keras.Model | Mapping[str, Any] | None,
    overrides: Mapping[str, Any],
) -> tuple[Recipe, keras.Model]:
    refuse_fork()  # before Keras builds anything
    network = encoder if isinstance(encoder, keras.Model) else None
    if encoder is not None:  # first, as others may change single values of it
        section = encoder if network is None else {"name": "own", **_UNSEEN}
        overrides = {"encoder": section, **overrides}
    chosen = Recipe.load(recipe, **overrides)
    chosen = features.fitting(chosen, data)
    # what a frozen network finds is kept, and is the same for a head of any precision
    with _precision("float32" if features.learns_once(chosen) else chosen.precision):
        built = networks.build(chosen.encoder, data.row_shape, seed=chosen.seed, network=network)
    return _known(chosen, built), built


def _known(recipe: Recipe, encoder: keras.Model) -> Recipe:
    # which network of the user's own it was goes into the recipe; another one is refused
    section = recipe.encoder
    if section.name != "own":
        return recipe
    shape = encoder.inputs[0].shape[1:]
    how = Preprocessing(shape) if len(shape) > 1 else VectorInput(shape[0])
    found = identity(encoder, how)
    if section.digest not in ("", found):
        raise RecipeError(
            f"Expected the network that the recipe was used with, of encoder.digest "
            f"{section.digest!r}. Received one of {found!r}: give that network, or leave "
            "encoder.digest out of the recipe."
        )
    return recipe.model_copy(update={"encoder": section.model_copy(update={"digest": found})})


def _rows(recipe: Recipe, encoder: keras.Model, data: Labelled, tell: Report) -> Any:
    # what is learned from: the images, or the features that a frozen network finds in them
    if features.learns_once(recipe):
        return features.features_of(recipe.encoder, data, tell, encoder=encoder)
    return data.rows


def _trained(recipe: Recipe, encoder: keras.Model) -> keras.Model:
    # what is to learn from it: the encoder, or a head
    if not features.learns_once(recipe):
        return encoder
    section: Any = recipe.encoder
    with _precision(recipe.precision):
        return features.head_of(encoder, section, recipe.seed)


def _trunk(recipe: Recipe, encoder: keras.Model) -> keras.Model | None:
    # of a pretrained network that learns, which may have its own rate, and be at rest
    trunk = features.trunk_of(encoder) if features.tunes(recipe) else None
    if recipe.micro_batch and trunk is None:
        from twinset.training.gradient_cache import refuse

        refuse(encoder)
    return trunk


def _blend(recipe: Recipe, data: Labelled) -> Section:
    # only the data can say whether mirror images show the same
    if recipe.blend.mirror != "auto":
        return recipe.blend
    return recipe.blend.model_copy(update={"mirror": data.mirrors})


def _finished(
    recipe: Recipe, encoder: keras.Model, trained: keras.Model, blend: Section
) -> keras.Model:
    # what was trained becomes the model's encoder: whole, in 32 bits, blended
    if trained is not encoder:
        features.join(encoder, trained)
    elif recipe.precision != "float32":
        encoder = _in_32_bits(encoder, recipe.precision)
    return encoder if blend.nothing else _blended(encoder, blend)


def _blended(encoder: keras.Model, blend: Section) -> keras.Model:
    with _precision("float32"):
        return blended(encoder, blend)


def _task(recipe: Recipe, data: Labelled, pairs: Pairs | None, dim: int) -> Task:
    if recipe.pairs == "tutorial":
        listed = pairs_to_fit(data, seed=recipe.seed) if pairs is None else pairs
        return PairTask(
            losses.create(recipe.loss, dim=dim, seed=recipe.seed),
            listed,
            batch_size=recipe.batch_size,
            seed=recipe.seed,
        )
    if pairs is not None:
        raise DataError(
            "Expected no list of pairs for a recipe of all pairs in a batch. Received one: leave "
            'it out, or take pairs = "tutorial".'
        )
    labels, classes = labels_for(data, recipe.name)
    return BatchTask(
        losses.create(
            recipe.loss,
            classes=classes,
            dim=dim,
            seed=recipe.seed,
            normalize=recipe.unit_length,
        ),
        labels,
        batch_size=recipe.batch_size,
        per_class=recipe.per_class,
        seed=recipe.seed,
    )


@contextmanager
def _precision(policy: str) -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _in_32_bits(encoder: keras.Model, policy: str) -> keras.Model:
    # Its weights always were, and graphs and other code compute so. By way of its own description,
    # which every registered layer has; to build it anew by the recipe would read a pretrained
    # network's file a second time.
    whole = keras.models.model_from_json(encoder.to_json().replace(f'"{policy}"', '"float32"'))
    whole.set_weights(encoder.get_weights())
    return whole


def _engine() -> Any:
    if keras.backend.backend() == "jax":
        from twinset.training import jax_engine

        return jax_engine
    from twinset.training import keras_engine

    return keras_engine
