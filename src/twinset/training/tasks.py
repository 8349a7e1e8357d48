"""What a step learns from and how: its batch, what is wanted of the embeddings, the optimiser."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray
from pydantic import Field

from twinset.data.batches import PADDING, class_batches, shuffled_batches
from twinset.data.labelled import Labelled
from twinset.data.pair_parts import labels_to_fit
from twinset.data.pairs import Pairs
from twinset.distance import euclidean
from twinset.errors import RecipeError
from twinset.networks.seeded import Dropout
from twinset.settings import NotNegative, Positive, Share


@dataclass(frozen=True, eq=False)
class Batches:
    """The batches of one epoch."""

    positions: NDArray[np.int32]  # of the images of each batch, (steps, w)
    # what is wanted of them, (steps, t); `PADDING` only fills up its batch and counts nothing
    targets: NDArray[np.int32]
    sizes: NDArray[np.int64]  # how many items count in each batch, (steps,)


class _Learning:
    # what has a loss, which may have weights of its own
    _loss: keras.losses.Loss

    @property
    def head(self) -> keras.layers.Layer | None:
        """The weights that the loss itself learns, such as proxies."""
        return getattr(self._loss, "head", None)


class PairTask(_Learning):
    """A task over a list of pairs, by their distances as in the tutorial, or by their embeddings.

    A batch of b pairs is 2b images, the left ones first: both branches in one pass.
    """

    # of a batch, for as many devices: each has both images of its pairs
    parts = 1

    def __init__(
        self,
        loss: keras.losses.Loss,
        pairs: Pairs,
        *,
        batch_size: int,
        seed: int,
    ) -> None:
        self._loss, self._pairs = loss, pairs
        self._batch_size, self._seed = batch_size, seed
        # A loss of distances needs no other pair, so each device has its own; one of embeddings
        # sees the whole batch.
        self._sides = getattr(loss, "sides", False)
        self.parted = not self._sides

    def draw(self, epoch: int) -> Batches:
        """Draw the batches of an epoch."""
        count = len(self._pairs)
        rows = shuffled_batches(count, self._batch_size, seed=self._seed, epoch=epoch)
        real = rows != PADDING
        # The last batch is filled up with pairs of the first. Their loss counts nothing, but their
        # images are seen by batch normalisation, and by a loss that looks at the whole batch:
        # copies of one pair would make up its statistics.
        rows = np.where(real, rows, rows[0])
        sides = np.concatenate([self._pairs.left[rows], self._pairs.right[rows]], axis=1)
        return Batches(
            sides[:, self.places(sides.shape[1])],
            np.where(real, self._pairs.same[rows], PADDING).astype(np.int32),
            real.sum(axis=1),
        )

    def places(self, width: int) -> NDArray[np.int64]:
        """Tell where in a batch of one part each image of one of all parts is, (w,)."""
        return np.arange(width).reshape(2, self.parts, -1).swapaxes(0, 1).ravel()

    def objective(
        self,
        targets: Any,
        embeddings: Any,
        *,
        settle: Callable[[Any], Any] = lambda x: x,
        whole: Callable[[Any], Any] = lambda x: x,
    ) -> tuple[Any, Any]:
        """Return the mean loss and the mean distance of the pairs that are no padding.

        Of several parts their shares, (parts,), whose sums these are.
        """
        width = embeddings.shape[-1]
        sides = ops.reshape(embeddings, (self.parts, 2, -1, width))
        left, right = (ops.reshape(sides[:, i], (-1, width)) for i in range(2))  # (b, d) each
        apart = settle(euclidean(left, right, xp=ops))  # (b,)
        weight = whole(ops.cast(targets != PADDING, apart.dtype))  # no device need ask for theirs
        compared = ops.stack([left, right], axis=1) if self._sides else apart
        losses = self._loss.call(ops.maximum(targets, 0), compared)
        both = ops.reshape(weight * ops.stack([losses, apart]), (2, self.parts, -1))
        shares = ops.sum(both, axis=-1) / ops.sum(weight)
        if self.parts == 1:
            shares = shares[:, 0]
        return shares[0], shares[1]


class BatchTask(_Learning):
    """A task over all pairs of the images in a batch: several of each of several classes."""

    parted = False

    def __init__(
        self,
        loss: keras.losses.Loss,
        labels: NDArray[np.integer],
        *,
        batch_size: int,
        per_class: int,
        seed: int,
    ) -> None:
        self._loss = loss
        self._labels = np.asarray(labels, np.int32)
        self._batch_size, self._per_class, self._seed = batch_size, per_class, seed

    def draw(self, epoch: int) -> Batches:
        """Draw the batches of an epoch."""
        positions = class_batches(
            self._labels,
            self._batch_size,
            per_class=self._per_class,
            seed=self._seed,
            epoch=epoch,
        )
        sizes = np.full(len(positions), positions.shape[1], np.int64)
        return Batches(positions, self._labels[positions], sizes)

    def objective(self, targets: Any, embeddings: Any, **_: Any) -> tuple[Any, Any]:
        """Return the loss, and the root of the mean squared distance of all pairs."""
        loss = ops.mean(self._loss.call(targets, embeddings))
        offsets = embeddings - ops.mean(embeddings, axis=0, keepdims=True)
        spread = ops.sqrt(2 * ops.mean(ops.sum(ops.square(offsets), axis=-1)))
        return loss, spread


def labels_for(data: Labelled, recipe: str) -> tuple[NDArray[np.int64], int]:
    """Give labels for batches, in which two of them are different, and the number of classes."""
    known = labels_to_fit(data)
    if known is None:
        raise RecipeError(
            f"Expected a recipe that learns from judged pairs. Received {recipe!r}, which takes "
            "images of two labels for different, of which nobody judged enough: take 'auto' or "
            "'tutorial', or set pairs = 'tutorial' and a loss over pairs, such as loss.name = "
            "'pair_clusters'."
        )
    return known


Task: TypeAlias = PairTask | BatchTask


@dataclass(frozen=True, eq=False)
class Job:
    """All that an engine needs for a training; every engine takes the same."""

    encoder: keras.Model  # trained in place
    optimizer: keras.optimizers.Optimizer  # not yet built
    task: Task
    # what the encoder takes: uint8 pixels, an array or `StoredPixels`, which are scaled to [0, 1];
    # or float32 vectors, taken as they are
    rows: Any
    labels: NDArray[np.int64]
    # (floats in [0, 1], number of the step) → the same shape; None: images as they are
    augment: Callable[[Any, Any], Any] | None
    epochs: int
    micro_batch: int = 0  # images that go through the network at once; 0: all of a batch
    # what of the encoder they go through so, in a pretrained one; None: all of it
    trunk: keras.Model | None = None

    def build(self) -> None:
        """Make the optimiser's variables."""
        learned = [*self.encoder.trainable_variables, *self.head_variables(True)]
        self.optimizer.build(learned)

    def share(self, parts: int) -> NDArray[np.int64]:
        """Divide each batch among so many devices; tell where in it the images were before, (w,).

        Empty where nobody may know: other layers that draw at random, and parts of a batch, go by
        the order.
        """
        ordered = self.micro_batch or any(
            layer._seed_generators and not isinstance(layer, Dropout)
            for layer in self.encoder._flatten_layers()
        )
        if parts == 1 or ordered:
            return np.empty(0, np.int64)
        width = self.task.draw(0).positions.shape[1]
        if not (isinstance(self.task, PairTask) and self.task.parted):
            return np.arange(width)
        self.task.parts = parts
        return self.task.places(width)

    def pixels(self, positions: NDArray[np.int32]) -> NDArray[np.float32]:
        """Gather rows on the host, as the encoder takes them: pixels scaled to [0, 1]."""
        rows: NDArray[Any] = self.rows[positions]
        scale = np.float32(1 / 255) if rows.dtype == np.uint8 else np.float32(1)
        scaled: NDArray[np.float32] = np.multiply(rows, scale, dtype=np.float32)
        return scaled

    def head_variables(self, trainable: bool) -> list[keras.Variable]:
        """List the variables of the loss."""
        head = self.task.head
        if head is None:
            return []
        return list(head.trainable_variables if trainable else head.non_trainable_variables)

    def variables(self) -> tuple[list[keras.Variable], list[keras.Variable], list[keras.Variable]]:
        """List all that changes while training: learned, otherwise updated, the optimiser's."""
        return (
            [*self.encoder.trainable_variables, *self.head_variables(True)],
            [*self.encoder.non_trainable_variables, *self.head_variables(False)],
            list(self.optimizer.variables),
        )


MOMENTUM = 0.9


@keras.saving.register_keras_serializable("twinset")
class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises over a warm-up, and then falls to 0.

    With p the share of the steps done and w that of the warm-up: peak · p / w up to w; then, with
    q = (p − w) / (1 − w), peak · (1 + cos πq) / 2 for "cosine" and peak · (1 − q) for "linear".

    Args:
        peak: highest rate, > 0.
        steps: of the whole training.
        shape: "constant", "cosine" or "linear".
        warmup: share of the steps, in [0, 1). Defaults to 0.

    Reference:
        Loshchilov, Hutter (2017), SGDR; Goyal et al. (2017), Accurate, Large Minibatch SGD.
    """

    def __init__(self, peak: float, steps: int, shape: str, warmup: float = 0.0) -> None:
        self.peak, self.steps, self.shape, self.warmup = peak, steps, shape, warmup

    def __call__(self, step: Any) -> Any:
        """Compute the rate of a step, counted from 0."""
        step = ops.cast(step, "float32")
        rising = max(self.warmup * self.steps, 1e-9)
        # the very first step would otherwise have no rate at all
        up = ops.minimum((step + 1) / rising, 1.0) if self.warmup else 1.0
        done = ops.clip((step - rising) / max(self.steps - rising, 1), 0.0, 1.0)
        down: Any = 1.0
        if self.shape == "cosine":
            down = (1 + ops.cos(math.pi * done)) / 2
        elif self.shape == "linear":
            down = 1 - done
        return self.peak * up * down

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return dict(vars(self))


def build(
    steps: int,
    *,
    precision: str = "float32",
    trunk: Sequence[keras.Variable] = (),
    name: Literal["rmsprop", "adam", "adamw", "sgd", "muon"] = "rmsprop",
    learning_rate: Positive = 0.001,
    schedule: Literal["constant", "cosine", "linear"] = "constant",
    warmup: Share = 0.0,
    weight_decay: NotNegative = 0.0,
    epsilon: Positive = 1e-7,
    trunk_rate: Annotated[float, Field(gt=0, le=1, strict=True)] = 1.0,
) -> keras.optimizers.Optimizer:
    """Build an optimiser of Keras, with the schedule of its learning rate.

    Args:
        steps: of the whole training, for the schedule.
        precision: of the network. Defaults to "float32".
        trunk: variables of a pretrained network, without its head. Defaults to none.
        name: "rmsprop", "adam", "adamw", "sgd" (with Nesterov momentum 0.9) or "muon", as Keras
            has them. Defaults to "rmsprop".
        learning_rate: step size; with a schedule its highest. Defaults to 0.001.
        schedule: "constant", "cosine" (down to 0) or "linear" (likewise). Defaults to "constant".
        warmup: share of all steps over which the rate first rises from 0. Defaults to 0.
        weight_decay: decoupled; for "adamw", "sgd" and "muon". Defaults to 0.
        epsilon: added to the size of past gradients before dividing by it; not for "sgd".
            Defaults to 1e-7.
        trunk_rate: learning rate of a pretrained network that is not frozen, as a share of its
            head's, in (0, 1]. Defaults to 1.

    Example:
        >>> type(build(100)).__name__
        'RMSprop'
    """
    constant = schedule == "constant" and not warmup
    settings: dict[str, Any] = {
        "learning_rate": learning_rate
        if constant
        else Schedule(learning_rate, steps, schedule, warmup)
    }
    if name == "sgd":
        settings |= {"momentum": MOMENTUM, "nesterov": True}
    else:
        settings["epsilon"] = epsilon
    if weight_decay:
        settings["weight_decay"] = weight_decay
    kind = {
        "rmsprop": keras.optimizers.RMSprop,
        "adam": keras.optimizers.Adam,
        "adamw": keras.optimizers.AdamW,
        "sgd": keras.optimizers.SGD,
        "muon": keras.optimizers.Muon,
    }[name]
    if trunk_rate < 1:
        kind = _slower(kind, trunk, trunk_rate)
    built = kind(**settings)
    if precision == "mixed_float16":
        # The loss is scaled, since small gradients would become 0: up while all gradients are
        # finite, down after one that is not, whose step is left out.
        return keras.optimizers.LossScaleOptimizer(built, name="loss_scale")
    return built


def _slower(kind: Any, variables: Sequence[keras.Variable], share: float) -> Any:
    # A step is proportional to the rate in every optimiser, with momentum and decay: so a share of
    # the step is a step of a share of the rate, and the sizes of past gradients stay what they are.
    class Slower(kind):
        def apply(self, grads: Any, trainable_variables: Any = None) -> None:
            before = [ops.copy(variable) for variable in variables]
            super().apply(grads, trainable_variables)
            for variable, old in zip(variables, before, strict=True):
                variable.assign(old + share * (ops.convert_to_tensor(variable) - old))

    return Slower


def loss_scale(optimizer: keras.optimizers.Optimizer, values: Sequence[Any]) -> Any:
    """Find by what an optimiser, of whose variables these are the values, multiplies the loss."""
    if not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return 1.0
    variables = enumerate(optimizer.variables)
    return values[next(i for i, each in variables if each is optimizer.dynamic_scale)]
