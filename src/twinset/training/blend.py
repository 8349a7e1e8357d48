"""An embedding for classes that training did not see: what was learned, and what came before."""

from __future__ import annotations

import math
from typing import Any, Literal

import keras
from keras import ops
from pydantic import model_validator

from twinset.errors import RecipeError
from twinset.networks.dense import cells
from twinset.networks.layers import UnitNorm
from twinset.networks.seeded import Dropout
from twinset.settings import NotNegative, Section

# Larger images are averaged down to at most so many cells each way.
SIDE = 32


class Blend(Section):
    """The weights of an embedding's parts, as `blended` has them; by default the trained one.

    Args:
        learned: of the trained embedding.
        features: of what goes into the network's last linear layer.
        pixels: of the square roots of the image's pixels.
        mirror: mean of the image's embedding and its mirror image's, for twice the time. "auto":
            where the data says that a mirror image shows the same.
    """

    learned: NotNegative = 1.0
    features: NotNegative = 0.0
    pixels: NotNegative = 0.0
    mirror: Literal["auto"] | bool = False

    @model_validator(mode="after")
    def _something(self) -> Blend:
        if not (self.learned or self.features or self.pixels):
            raise ValueError("blend: one weight at least must be above 0")
        return self

    @property
    def nothing(self) -> bool:
        """Whether the embedding stays the trained one."""
        return not (self.features or self.pixels or self.mirror)


def blended(encoder: keras.Model, recipe: Section) -> keras.Model:
    """Widen a trained encoder's embedding by what its last layer threw away.

    e = unit([a · unit(z), b · unit(h), c · unit(√x)])

    with z the trained embedding, h what goes into its last linear layer, x the pixels, averaged
    down to 32 × 32 at most (vectors are taken as they are, without the root), and a, b and c the
    recipe's weights. Squared distances of e are weighted means of the parts'. With `mirror` it is
    unit(e(image) + e(mirror image)), and takes twice the time.

    An objective over classes removes what does not tell the seen ones apart; of others its
    embedding can be worse than the pixels. What goes into the last layer has lost less, the pixels
    nothing. The price is the size, and distances that say less of the seen classes.

    Chen et al. (2020), A Simple Framework for Contrastive Learning, found the layer before the last
    to transfer better; Papyan, Han, Donoho (2020), Prevalence of Neural Collapse, say why.
    """
    # The encoder's layers are used, not copied. `mirror` is no "auto" here: only data can say that.
    (image,) = encoder.inputs
    if taken := [layer.name for layer in encoder.layers if layer.name.startswith("blend_")]:
        raise RecipeError(
            f"Expected an encoder that can be blended. Received {encoder.name!r}, which is a blend "
            f"already: it has a layer {taken[0]!r}."
        )
    parts = []
    if recipe.learned:
        parts.append(("learned", recipe.learned, encoder.outputs[0]))
    if recipe.features:
        parts.append(("features", recipe.features, _before_the_last(encoder)))
    if recipe.pixels:
        parts.append(("pixels", recipe.pixels, _looks(image)))
    length = math.hypot(*(weight for _, weight, _ in parts))
    weighed = [
        keras.layers.Rescaling(weight / length, name=f"blend_{name}")(
            UnitNorm(name=f"blend_{name}_unit")(tensor)
        )
        for name, weight, tensor in parts
    ]
    x = keras.layers.Concatenate(name="blend")(weighed) if len(weighed) > 1 else weighed[0]
    # once more: of a black image the pixels have no direction, and no part in the length
    whole = keras.Model(image, UnitNorm(name="blend_unit")(x), name=encoder.name)
    return _with_mirror_images(whole) if recipe.mirror is True else whole


def _with_mirror_images(encoder: keras.Model) -> keras.Model:
    shape = encoder.inputs[0].shape[1:]
    if len(shape) == 1:
        raise RecipeError(
            "Expected images for blend.mirror = true. Received vectors, which have no mirror "
            "image: leave it out."
        )
    image = keras.Input(shape, name="image")
    sides = [encoder(image), encoder(ops.flip(image, axis=2))]
    both = keras.layers.Add(name="blend_both")(sides)
    return keras.Model(image, UnitNorm(name="blend_both_unit")(both), name=encoder.name)


# What may stand between the last linear layer and the embedding, or the layer's features and it.
_AFTER = (UnitNorm, keras.layers.UnitNormalization, keras.layers.Activation, keras.layers.ReLU)
_BEFORE = (keras.layers.BatchNormalization, keras.layers.Dropout, Dropout)


def _before_the_last(encoder: keras.Model) -> Any:
    # what goes into the last linear layer, and into the normalisation that stands before
    tensor = _back(encoder.outputs[0], _AFTER)
    if isinstance(tensor._keras_history.operation, keras.layers.Dense):
        tensor = _back(_given(tensor), _BEFORE)
        start = _back(tensor, (keras.layers.Flatten, keras.layers.Reshape))
        pixels = isinstance(start._keras_history.operation, keras.layers.InputLayer)
        if len(tensor.shape) == 2 and not pixels:
            return tensor
    raise RecipeError(
        "Expected an encoder with a layer before its last linear one, to blend in what goes "
        f"into that. Received {encoder.name!r} with none: leave blend.features at 0."
    )


def _back(tensor: Any, layers: tuple[type, ...]) -> Any:
    while isinstance(tensor._keras_history.operation, layers):
        tensor = _given(tensor)
    return tensor


def _given(tensor: Any) -> Any:
    # what the layer was called on to make this tensor; it may have been called elsewhere
    made = tensor._keras_history
    return made.operation._inbound_nodes[made.node_index].input_tensors[0]


def _looks(image: Any) -> Any:
    if len(image.shape) == 2:
        return image
    # Of roots the cosine is the Bhattacharyya coefficient of where two images are bright, so that a
    # few very bright pixels do not decide it alone (Arandjelović, Zisserman 2012). Nothing trains
    # through them: the slope at 0 is infinite.
    roots = ops.sqrt(ops.maximum(cells(image, SIDE, "blend_"), 0))
    return keras.layers.Flatten(name="blend_flatten")(roots)
