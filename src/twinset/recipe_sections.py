"""The sections of a recipe: what each part of a run can be told, with ranges and defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from twinset.registry import suggestion
from twinset.settings import (
    Count,
    CountOrNone,
    NotNegative,
    Positive,
    Section,
    Share,
    Units,
    read,
    table,
    wrong,
)


class ImagesRecipe(Section):
    """What the user's own images become; the built-in data has its shape already.

    Args:
        size: "auto", one number for squares, or (h, w); as for `read_images`.
        colour: "auto", "gray" or "rgb".
        resize: "pad", "stretch" or "crop".
        background: gray level for padding and behind transparency, 0 to 255.
    """

    size: Literal["auto"] | Count | tuple[Count, Count] = "auto"
    colour: Literal["auto", "gray", "rgb"] = "auto"
    resize: Literal["pad", "stretch", "crop"] = "pad"
    background: Annotated[int, Field(ge=0, le=255, strict=True)] = 0


class SplitRecipe(Section):
    """Shares of the user's own images, where the data names no parts itself.

    Args:
        test: share of the images, or groups, that the model is judged on.
        calib: share that thresholds are chosen on, if the recipe's `holdout` asks for any.
        tune: share kept for the choice of epochs and settings.
    """

    test: Annotated[float, Field(gt=0, lt=1, strict=True)] = 0.2
    calib: Annotated[float, Field(gt=0, lt=1, strict=True)] = 0.1
    tune: Share = 0.0


class AugmentRecipe(Section):
    """Random views of the training images, drawn on the device.

    Args:
        flip: mirror left and right. "auto": where the data says that a mirror image shows the
            same; clothes do, digits do not.
        shift: by up to so many pixels, each way.
        erase: share of the images in which a rectangle is erased.
        brightness: factor from 1 − b to 1 + b.
        contrast: likewise, about the image's mean.
        crop: cut a random rectangle out, each side up to this share shorter, and stretch it to
            the whole.
        saturation: of colours, likewise from 1 − s to 1 + s.
        hue: turn the colours by up to so many half circles, each way.
    """

    flip: Literal["auto"] | bool = False
    shift: CountOrNone = 0
    erase: Share = 0.0
    brightness: Share = 0.0
    contrast: Share = 0.0
    crop: Share = 0.0
    saturation: Share = 0.0
    hue: Share = 0.0


class MlpRecipe(Section):
    """Flatten, then Dense layers with ReLU, dropout between them.

    Args:
        name: "mlp".
        units: size of each Dense layer; the last is the embedding size d.
        dropout: share of activations dropped between layers while training, in [0, 1).
        linear: no ReLU after the last layer.
        normalize: embeddings of length 1.
    """

    name: Literal["mlp"] = "mlp"
    units: Units = (128, 128, 128)
    dropout: Share = 0.1
    linear: bool = False
    normalize: bool = False

    @property
    def embedding_size(self) -> int:
        """The number of coordinates d."""
        return self.units[-1]


class ConvRecipe(Section):
    """A small convolutional network.

    Args:
        name: "conv".
        widths: channels of each stage.
        blocks: residual convolutions of each stage; [] stands for [0, 1, 1, …].
        embedding: size d.
        dropout: before the embedding.
        normalize: embeddings of length 1.
    """

    name: Literal["conv"] = "conv"
    widths: Units = (32, 64, 128)
    blocks: tuple[CountOrNone, ...] = ()
    embedding: Count = 64
    dropout: Share = 0.0
    normalize: bool = True

    @property
    def embedding_size(self) -> int:
        """The number of coordinates d."""
        return self.embedding


class PretrainedRecipe(Section):
    """A network from `keras.applications` or KerasHub with an embedding on top.

    Args:
        name: "pretrained".
        model: "MobileNetV3Small", …, or "keras_hub:<preset>".
        weights: "imagenet", the path of a file, or "none".
        embedding: size d.
        freeze: train the head alone: each image is encoded once, and the rest takes seconds.
        pooling: "avg" or "max".
        units: size of each hidden layer of the head, between network and embedding.
        dropout: before the embedding.
        normalize: embeddings of length 1.
    """

    name: Literal["pretrained"] = "pretrained"
    model: Annotated[str, Field(min_length=1)] = "MobileNetV3Small"
    weights: Annotated[str, Field(min_length=1)] = "imagenet"
    embedding: Count = 128
    freeze: bool = True
    pooling: Literal["avg", "max"] = "avg"
    units: tuple[Count, ...] = ()
    dropout: Share = 0.0
    normalize: bool = True

    @property
    def embedding_size(self) -> int:
        """The number of coordinates d."""
        return self.embedding


class HeadRecipe(Section):
    """An encoder of features that were made elsewhere, so of vectors and not of images.

    Args:
        name: "head".
        units: size of each hidden layer.
        embedding: size d.
        dropout: before the embedding.
        normalize: embeddings of length 1.
    """

    name: Literal["head"] = "head"
    units: tuple[Count, ...] = ()
    embedding: Count = 128
    dropout: Share = 0.0
    normalize: bool = True

    @property
    def embedding_size(self) -> int:
        """The number of coordinates d."""
        return self.embedding


class OwnRecipe(Section):
    """A network of the user's own: any `keras.Model`, in a file or handed to `fit`.

    Args:
        name: "own".
        path: of the `.keras` file. Empty for a model that was handed to `fit`.
        normalize: embeddings of length 1; adds a layer where the network does not see to it.
        embedding: size d, found by `fit`; 0 before.
        digest: of the network as the training began, found by `fit`: where the recipe is used
            again, the network must be the same one. Empty before.
    """

    name: Literal["own"] = "own"
    path: str = ""
    normalize: bool = True
    embedding: CountOrNone = 0
    digest: str = ""

    @property
    def embedding_size(self) -> int:
        """The number of coordinates d; 0 where no network was seen yet."""
        return self.embedding


class _Encoders:
    # until networks are `Makers`
    kinds: Mapping[str, type[Section]] = {
        "mlp": MlpRecipe,
        "conv": ConvRecipe,
        "pretrained": PretrainedRecipe,
        "head": HeadRecipe,
        "own": OwnRecipe,
    }

    def read(self, values: Any, at: str) -> Section:
        values = table(values, at)
        name = str(values.get("name", "mlp"))
        if name not in self.kinds:
            hint = suggestion(name, self.kinds)
            kinds = list(self.kinds)
            raise wrong(f"{at}.name: Expected one out of {kinds}. Received {name!r}{hint}.")
        return read(self.kinds[name], values, at)


ENCODERS = _Encoders()


class BlendRecipe(Section):
    """What the embedding is made of when training has ended: parts of length 1, and their weights.

    With `features` or `pixels` the embedding also keeps what the objective had no use for, and
    so serves classes that training did not see; see `twinset.training.blend`. At their defaults the
    embedding is the trained one.

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
    def _something(self) -> BlendRecipe:
        if not (self.learned or self.features or self.pixels):
            raise ValueError("blend: one weight at least must be above 0")
        return self

    @property
    def nothing(self) -> bool:
        """Whether the embedding stays the trained one."""
        return not (self.features or self.pixels or self.mirror)


class OptimizerRecipe(Section):
    """The optimiser.

    Args:
        name: "rmsprop", "adam", "adamw", "sgd" (with Nesterov momentum 0.9) or "muon", as Keras
            has them.
        learning_rate: step size; with a schedule its highest.
        schedule: "constant", "cosine" (down to 0) or "linear" (likewise).
        warmup: share of all steps over which the rate first rises from 0.
        weight_decay: decoupled; for "adamw", "sgd" and "muon".
        epsilon: added to the size of past gradients before dividing by it; not for "sgd".
    """

    name: Literal["rmsprop", "adam", "adamw", "sgd", "muon"] = "rmsprop"
    learning_rate: Positive = 0.001
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    warmup: Share = 0.0
    weight_decay: NotNegative = 0.0
    epsilon: Positive = 1e-7
