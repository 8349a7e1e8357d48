"""All pairs of a batch: what the objectives over a batch share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, ClassVar, TypeAlias

import keras
from keras import ops
from pydantic import AfterValidator

from twinset.errors import RecipeError
from twinset.settings import Count, config_of

# Up to this batch size, matrices of (b, b) are formed whole: 16.8 MB each in float32.
WHOLE = 2048
# Beyond it, anchors are taken a block at a time, so that such a matrix never exceeds this.
BLOCK_ELEMENTS = WHOLE * WHOLE
# exp() of a float32 is finite and normal in ±87; sums of a batch need some room.
SAFE_EXPONENT = 40.0
# What exp() makes 0, but what, unlike -inf, can be multiplied by 0.
NEVER = -1e30


def _rising(prefixes: tuple[int, ...]) -> tuple[int, ...]:
    if any(a >= b for a, b in pairwise(prefixes)):
        raise ValueError("expected rising sizes, such as 8, 16, 32")
    return prefixes


# The sizes of the embeddings in an embedding.
Prefixes: TypeAlias = Annotated[tuple[Count, ...], AfterValidator(_rising)]


class BatchLoss(keras.losses.Loss):
    """An objective over all pairs of a batch: one value per image, whose mean is the loss.

    An interface; each objective implements `per_image` (of ours, most give the sums that it is the
    mean of), and keeps each argument as an attribute of the same name. `call` takes labels and
    embeddings of any float type, computes in float32 or wider, and moves the embeddings to the
    unit sphere first. A zero vector has no direction: it stays where it is, without a gradient.

    With `prefixes` (Kusupati et al. 2022, Matryoshka) the first numbers of an embedding are an
    embedding too: L = Σ_k loss(labels, embeddings[:, :k]), each prefix moved to the unit sphere by
    itself. Proxies are shared: prefix k is compared with the first k numbers of each proxy.

    Args:
        prefixes: sizes k of the embeddings in the embedding, rising; the last should be d.
            Defaults to none: the whole embedding alone.
        normalize: whether to divide each embedding by its length. Defaults to True.
        reduction: as for any Keras loss. Defaults to "sum_over_batch_size", the mean.
        name: of the loss. Defaults to its name in recipes.

    Call arguments:
        y_true: class of each image, integers below 2²⁴, of shape (b,) or (b, 1).
        y_pred: embeddings of shape (b, d).

    Raises:
        RecipeError: an argument is out of range, or a prefix is longer than the embedding.
    """

    # Weights that are trained with the encoder's, where an objective has some.
    head: keras.layers.Layer | None = None
    # What its call takes: the classes of a batch, and not whether given pairs are the same.
    over: ClassVar[tuple[str, ...]] = ("batch",)
    # Whether it means the same for embeddings of any length, as distances do and cosines do not.
    any_length: ClassVar[bool] = False

    def __init__(
        self,
        *,
        prefixes: Prefixes = (),
        normalize: bool = True,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
    ) -> None:
        # float32 whatever Keras' float type: bfloat16 cannot tell label 256 from 257
        name = name or getattr(self, "recipe_name", None)
        super().__init__(name=name, reduction=reduction, dtype="float32")
        self.prefixes = prefixes
        self.normalize = normalize

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Compute one value per image, of shape (b,), unreduced."""
        embeddings = wide(y_pred)
        labels = ops.reshape(y_true, (-1,))
        if not self.prefixes:
            return self._of(labels, embeddings)
        self.check_size(embeddings.shape[1])
        return sum(self._of(labels, embeddings[:, :length]) for length in self.prefixes)

    def check_size(self, size: int) -> None:
        """Check that embeddings are as long as the longest prefix."""
        if self.prefixes and size < self.prefixes[-1]:
            raise RecipeError(
                f"Expected embeddings of at least {self.prefixes[-1]} numbers, the longest of "
                f"prefixes={self.prefixes}. Received {size}: shorten the prefixes."
            )

    def _of(self, labels: Any, embeddings: Any) -> Any:
        return self.per_image(labels, unit(embeddings) if self.normalize else embeddings)

    def per_image(self, labels: Any, embeddings: Any) -> Any:
        """Compute one value per image from labels (b,) and wide embeddings (b, d)."""
        return mean_over(*by_anchor(self._terms, labels, embeddings))

    def _terms(self, rows: Rows) -> tuple[Any, ...]:
        # some anchors' costs (m,) and how many each is the sum of (m,): the loss is their mean
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return config_of(self)


@dataclass(frozen=True)
class Rows:
    """The pairs of m anchors with all b images of the batch."""

    anchors: Any  # embeddings, (m, d)
    images: Any  # embeddings, (b, d)
    similarity: Any  # inner products, (m, b)
    same: Any  # whether the labels agree, (m, b)
    itself: Any  # whether the image is the anchor, (m, b)
    classes: Any  # labels of the anchors, (m,)
    places: Any  # of the anchors in the batch, (m,), as floats

    @property
    def positive(self) -> Any:
        """Whether the image is another one of the anchor's class, (m, b)."""
        return ops.logical_and(self.same, ops.logical_not(self.itself))

    @property
    def negative(self) -> Any:
        """Whether the image is of another class, (m, b)."""
        return ops.logical_not(self.same)

    def squared_distance(self) -> Any:
        """Measure ‖a − b‖² = ‖a‖² + ‖b‖² − 2 a·b, never below 0, (m, b)."""
        lengths = ops.sum(ops.square(self.anchors), axis=1)[:, None]
        others = ops.sum(ops.square(self.images), axis=1)[None, :]
        return ops.maximum(lengths + others - 2 * self.similarity, 0.0)

    def distance(self) -> Any:
        """Measure ‖a − b‖, with the gradient 0 at 0, where it has none, (m, b)."""
        # The subtraction leaves an error of about 10⁻⁷ (‖a‖² + ‖b‖²) in the square: distances below
        # 5·10⁻⁴ of the length are noise, and the gradient there is bounded by 1/√noise.
        squared = self.squared_distance()
        apart = squared > 1e-12
        return ops.where(apart, ops.sqrt(ops.where(apart, squared, 1.0)), 0.0)


def wide(values: Any) -> Any:
    """Take floats of 16 bits as 32, and wider ones as they are."""
    values = ops.convert_to_tensor(values)
    return ops.cast(values, keras.backend.result_type(values.dtype, "float32"))


def unit(vectors: Any) -> Any:
    """Divide rows (n, d) by their length; a zero row stays zero, with a zero gradient."""
    squared = ops.sum(ops.square(vectors), axis=-1, keepdims=True)  # (n, 1)
    alive = squared > 1e-24
    # the inner where() keeps 1/√0 out of the gradient, which meets both branches
    return vectors * ops.where(alive, ops.rsqrt(ops.where(alive, squared, 1.0)), 0.0)


def centred(vectors: Any) -> Any:
    """Move rows (n, d) so that their mean is 0: fewer digits cancel, no distance changes."""
    return vectors - ops.mean(vectors, axis=0, keepdims=True)


def by_anchor(
    terms: Callable[..., tuple[Any, ...]], labels: Any, embeddings: Any, *parameters: Any
) -> tuple[Any, ...]:
    """Apply a function of some anchors' rows to all anchors, in bounded memory: m → (b,) each.

    The parameters are tensors that `terms` uses and that need a gradient.
    """
    # Up to WHOLE images all anchors are one block. Beyond, blocks follow one another and are
    # computed anew for the gradient: for b = 8,192 sixteen matrices of 16.8 MB one after the other,
    # where a single whole one would take 268 MB, and an objective needs several.
    size = ops.shape(embeddings)[0]
    if not isinstance(size, int) or size <= WHOLE:  # TensorFlow's graphs may not know the size
        places = ops.arange(size, dtype="float32")
        return terms(_rows(embeddings, labels, embeddings, labels, places), *parameters)
    count = -(-size * size // BLOCK_ELEMENTS)
    block = -(-size // count)
    extra = count * block - size
    anchors = ops.reshape(ops.pad(embeddings, ((0, extra), (0, 0))), (count, block, -1))
    classes = ops.reshape(ops.pad(labels, ((0, extra),)), (count, block))
    # floats: TensorFlow warns of integers among the arguments of what is recomputed
    places = ops.reshape(ops.arange(count * block, dtype="float32"), (count, block))

    # Explicit arguments: TensorFlow finds no gradient of what a recomputed function encloses.
    def of_block(anchors: Any, classes: Any, places: Any, images: Any, *parameters: Any) -> Any:
        return terms(_rows(anchors, classes, images, labels, places), *parameters)

    recomputed = keras.remat(of_block)
    found = ops.map(
        lambda part: recomputed(*part, embeddings, *parameters), (anchors, classes, places)
    )
    return tuple(ops.reshape(term, (-1,))[:size] for term in found)


def _rows(anchors: Any, classes: Any, images: Any, labels: Any, places: Any) -> Rows:
    everywhere = ops.arange(ops.shape(images)[0], dtype=places.dtype)
    return Rows(
        anchors=anchors,
        images=images,
        similarity=ops.matmul(anchors, ops.transpose(images)),
        same=classes[:, None] == labels[None, :],
        itself=places[:, None] == everywhere[None, :],
        classes=classes,
        places=places,
    )


def mean_over(values: Any, counts: Any) -> Any:
    """Scale values (b,) so that their mean is Σ values / Σ counts; 0 where nothing was counted."""
    total = ops.sum(counts)
    size = ops.cast(ops.shape(values)[0], "float32")
    return values * (size / ops.where(total > 0, total, 1.0))


def count(mask: Any) -> Any:
    """Count what is true in each row, as float32."""
    return ops.sum(ops.cast(mask, "float32"), axis=1)


def log_sum_exp(
    exponents: Any, mask: Any, *, bound: float | None = None, and_one: bool = False
) -> Any:
    """Compute log([1 +] Σ_j mask_ij exp(x_ij)) of each row (m, b), for exponents of any size.

    An empty sum gives `NEVER`, with a zero gradient. A small `bound` on the exponents saves the
    search for their maximum.
    """
    if bound is not None and bound <= SAFE_EXPONENT:
        total = ops.sum(ops.where(mask, ops.exp(exponents), 0.0), axis=1)
        if and_one:
            return ops.log1p(total)
        return ops.where(total > 0, ops.log(ops.where(total > 0, total, 1.0)), NEVER)
    held = ops.where(mask, exponents, NEVER)
    top = ops.stop_gradient(ops.max(held, axis=1))  # (m,)
    top = ops.maximum(top, 0.0) if and_one else ops.where(top > NEVER, top, 0.0)
    total = ops.sum(ops.exp(held - top[:, None]), axis=1)
    if and_one:
        return ops.log(total + ops.exp(-top)) + top
    return ops.where(total > 0, ops.log(ops.where(total > 0, total, 1.0)) + top, NEVER)
