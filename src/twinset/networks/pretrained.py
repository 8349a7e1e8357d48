"""Networks that others trained on millions of photos, with a new embedding on top."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import keras
import numpy as np
from keras import ops
from pydantic import Field

from twinset.backbones import onnx_file
from twinset.backbones.backbone import Backbone
from twinset.errors import DownloadError, ModelError, RecipeError, require
from twinset.networks.dense import embed
from twinset.networks.layers import Frozen, Scaling, expect_images, from_function
from twinset.networks.seeded import Seeds, redraw, reseed
from twinset.registry import suggestion
from twinset.settings import Count, CountOrNone, NotNegative, Number, Positive, Share, named

HUB = "keras_hub:"


@named("pretrained")
def pretrained(
    input_shape: Sequence[int],
    model: Annotated[str, Field(min_length=1)] = "MobileNetV3Small",
    *,
    weights: Annotated[str, Field(min_length=1)] = "imagenet",
    embedding: Count = 128,
    freeze: bool = True,
    pooling: Literal["avg", "max"] = "avg",
    units: tuple[Count, ...] = (),
    dropout: Share = 0.0,
    normalize: bool = True,
    seed: int | None = None,
) -> keras.Model:
    """Put an embedding on a network of `keras.applications` or KerasHub.

    Takes floats in [0, 1] of shape (n, *input_shape), returns (n, embedding). The network's own
    preprocessing is a layer of the graph; gray images become three equal channels.

    Args:
        input_shape: shape of one image, (h, w) or (h, w, 3); most networks want 32 × 32 at least,
            and do well from 96 × 96 on.
        model: "MobileNetV3Small", "EfficientNetV2B0", "ResNet50V2" or another of `names()`; or
            "keras_hub:" and a preset, where KerasHub is installed. Defaults to
            "MobileNetV3Small".
        weights: "imagenet" (for KerasHub: the preset's), from Keras' cache or its download; the
            path of a file that `save_weights` wrote for this network without its top; or "none"
            for random ones. Defaults to "imagenet".
        embedding: size d. Defaults to 128.
        freeze: train the embedding alone, so that each image is encoded once; the network then
            does not learn, and its normalisation and dropout are at rest. Defaults to True.
        pooling: "avg" or "max", over all places of the image. Defaults to "avg".
        units: size of each hidden layer between the network and the embedding. Defaults to none.
        dropout: share of the last features dropped while training. Defaults to 0.
        normalize: make the embeddings' length 1. Defaults to True.
        seed: of the weights that are drawn. Defaults to random.

    Raises:
        RecipeError: a value out of range, no such network, or not for images of this shape.
        ModelError: the file is missing or holds other weights.
        DownloadError: the weights are not there and cannot be downloaded.

    Example:
        >>> encoder = pretrained((32, 32), "VGG16", weights="none", embedding=8, seed=0)
        >>> encoder.output_shape, len(encoder.trainable_variables)
        ((None, 8), 3)
    """
    expect_images(input_shape, "pretrained")
    shape = tuple(input_shape)
    colour = (*shape[:2], 3)
    if weights not in ("imagenet", "none") and not Path(weights).is_file():
        raise ModelError(
            f'Expected "imagenet", "none" or the path of a file of weights. Received {weights!r}, '
            "and there is no such file."
        )
    if model.startswith(HUB):
        preprocess, backbone = _from_hub(model.removeprefix(HUB), colour, weights)
    else:
        preprocess, backbone = _from_keras(model, colour, weights)
    reseed(backbone, seed)
    if weights == "none":  # what Keras drew differs between back ends
        redraw(backbone, seed)
    elif weights != "imagenet":
        _load(backbone, weights, model)
    image = keras.Input(shape, name="image")
    network = Frozen(backbone, name="network") if freeze else backbone
    x = _pooled(network(preprocess(image)), pooling)
    x = embed(
        x, Seeds(seed), embedding=embedding, dropout=dropout, normalize=normalize, units=units
    )
    return keras.Model(image, x, name="pretrained")


def names() -> list[str]:
    """List the networks of `keras.applications`."""
    functions = inspect.getmembers(keras.applications, inspect.isfunction)
    return [name for name, make in functions if "include_top" in inspect.signature(make).parameters]


def _from_keras(name: str, shape: tuple[int, ...], weights: str) -> tuple[Scaling, keras.Model]:
    if name not in names():
        hint = suggestion(name, names()) or f": take one of {names()}"
        raise RecipeError(f"Expected a network of keras.applications. Received {name!r}{hint}.")
    make = getattr(keras.applications, name)
    family = sys.modules[make.__module__]
    downloaded = "imagenet" if weights == "imagenet" else None
    try:
        with warnings.catch_warnings():
            # that weights of 224 × 224 are taken for other sizes: meant so
            warnings.filterwarnings("ignore", message=".*`input_shape` is undefined")
            backbone = make(include_top=False, weights=downloaded, input_shape=shape)
    except ValueError as error:  # of the shape, before any weight is looked for
        raise RecipeError(
            f"Expected a shape of images that {name} takes. Received {shape[:2]}: {error}"
        ) from None
    except Exception as error:
        if downloaded is None:
            raise
        raise _no_download(name, error) from error
    return from_function(family.preprocess_input), backbone


def _from_hub(preset: str, shape: tuple[int, ...], weights: str) -> tuple[Scaling, keras.Model]:
    require("keras_hub", "", "encoders whose names begin with 'keras_hub:'", RecipeError)
    hub = importlib.import_module("keras_hub")
    try:
        backbone = hub.models.Backbone.from_preset(
            preset, load_weights=weights == "imagenet", image_shape=shape
        )
        converter = hub.layers.ImageConverter.from_preset(preset)
    except ValueError as error:
        raise RecipeError(
            f"Expected a preset of a KerasHub backbone for images of {shape[:2]}. "
            f"Received {preset!r}: {error}"
        ) from None
    except Exception as error:
        raise _no_download(HUB + preset, error) from error
    return from_function(converter), backbone


def _no_download(name: str, error: Exception) -> DownloadError:
    return DownloadError(
        f"Expected the weights of {name} in Keras' cache or from its download. {error}: connect "
        "to the network once, or copy ~/.keras from a machine that has them, or give the path of "
        "a file as `weights`."
    )


def _load(backbone: keras.Model, path: str, name: str) -> None:
    try:
        backbone.load_weights(path)
    except Exception as error:  # noqa: BLE001 - HDF5, zip and Keras each raise their own
        raise ModelError(
            f"{path}: expected weights of {name} without its top, as its "
            f"`save_weights` writes them. {type(error).__name__}: {error}"
        ) from None


def _pooled(x: Any, pooling: str) -> Any:
    # (n, h, w, c) of convolutions, (n, tokens, c) of transformers; a KerasHub backbone may have
    # pooled already
    places = tuple(range(1, len(x.shape) - 1))
    if not places:
        return x
    return ops.mean(x, axis=places) if pooling == "avg" else ops.max(x, axis=places)


@named("onnx", backbone=onnx_file.backbone, provenance=onnx_file.provenance)
def onnx(
    input_shape: Sequence[int],
    *,
    file: Annotated[str, Field(min_length=1)],
    size: CountOrNone = 0,
    mean: tuple[Number, ...] = (),
    std: tuple[Positive, ...] = (),
    rescale: NotNegative = 0.0,
    layout: onnx_file.Layout = "auto",
    output: str = "",
    pooling: onnx_file.Pooling = "auto",
    freeze: Literal[True] = True,
    embedding: Count = 128,
    units: tuple[Count, ...] = (),
    dropout: Share = 0.0,
    normalize: bool = True,
    seed: int | None = None,
) -> keras.Model:
    """Put an embedding on an ONNX file that takes images: DINOv2, CLIP, SigLIP, one of your own.

    Takes floats in [0, 1] of shape (n, *input_shape), returns (n, embedding). The file's network
    does not learn, and ONNX Runtime computes it, with 8 bits a pixel as images have them. The model
    holds a copy of it, so the file is needed for the training alone.

    What is not said about its preprocessing comes from a `preprocessor_config.json`, in the format
    of Hugging Face, beside the file or in the folder above, and from the shapes in the file. The
    whole image is resized to what the network takes, bilinear, nothing is cropped: have images
    read at that size (images.size), which is sharper.

    Args:
        input_shape: shape of one image, (h, w) or (h, w, 3).
        file: the path of the .onnx file, whose one input is images.
        size: side of what the network takes. Defaults to 0: as the file or its configuration says.
        mean: of pixels times `rescale`, which is subtracted: one number, or one for each channel.
            Defaults to []: from the configuration.
        std: their standard deviation, by which they are divided. Likewise.
        rescale: factor for pixels from 0 to 255. Defaults to 0: the configuration's, or
            1/255.
        layout: "NCHW" where channels come first, or "NHWC". Defaults to "auto": by the shape in
            the file.
        output: name of the output to take. Defaults to "": the only one, "image_embeds" or
            "pooler_output", or else the first.
        pooling: of an output with one vector for each token, "cls" takes the first, "mean" their
            mean; one of maps is averaged. Defaults to "auto", which is "cls".
        freeze: always true, so that each image is encoded once.
        embedding: size d. Defaults to 128.
        units: size of each hidden layer between the network and the embedding. Defaults to none.
        dropout: share of the features dropped while training. Defaults to 0.
        normalize: make the embeddings' length 1. Defaults to True.
        seed: of the weights that are drawn. Defaults to random.

    Raises:
        ModelError: no such file, or no graph of one input of images.
        RecipeError: it is not known how images are to be prepared, or a setting contradicts the
            file.

    Example:
        >>> import tempfile
        >>> from onnx import TensorProto, helper, save
        >>> node = helper.make_node("ReduceMean", ["x"], ["y"], axes=[2, 3], keepdims=0)
        >>> ends = [("x", ["n", 3, 8, 8]), ("y", ["n", 3])]
        >>> values = [[helper.make_tensor_value_info(v, TensorProto.FLOAT, s)] for v, s in ends]
        >>> graph = helper.make_graph([node], "means", *values)
        >>> version = helper.make_opsetid("", 17)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(helper.make_model(graph, opset_imports=[version]), f"{folder}/means.onnx")
        ...     onnx((16, 16), file=f"{folder}/means.onnx", mean=[0.5], embedding=2).output_shape
        (None, 2)
    """
    expect_images(input_shape, "onnx")
    del freeze
    shape = tuple(input_shape)
    backbone = onnx_file.backbone(
        shape,
        file=file,
        size=size,
        mean=mean,
        std=std,
        rescale=rescale,
        layout=layout,
        output=output,
        pooling=pooling,
    )
    image = keras.Input(shape, name="image")
    x = OnnxTrunk.of(backbone, name="network")(image)
    x = embed(
        x, Seeds(seed), embedding=embedding, dropout=dropout, normalize=normalize, units=units
    )
    return keras.Model(image, x, name="onnx")


@keras.saving.register_keras_serializable("twinset")
class OnnxTrunk(keras.layers.Layer):
    """A layer that calls a frozen network on ONNX Runtime; no gradient passes it.

    From floats in [0, 1], (n, *image_shape), to features (n, dim). A saved model holds the graph.

    Args:
        network: what people call it.
        image_shape: (h, w) or (h, w, 3).
        dim: size of the features.
        pixels: of an image as the network sees it.
        sha256: of the graph, which tells it from others.
        **kwargs: as for any Keras layer.

    Raises:
        ModelError: it is called without a graph, as it was made of its settings alone.

    Example:
        >>> import numpy as np
        >>> from twinset.backbones import lite0
        >>> layer = OnnxTrunk.of(lite0.backbone((8, 8), size=32, features=("16",)))
        >>> layer(np.zeros((3, 8, 8), "float32")).shape, layer.sha256[:4] == layer.backbone.key[:4]
        ((3, 16), True)
    """

    _FILE = "graph.onnx"

    def __init__(
        self,
        network: str,
        image_shape: Sequence[int],
        dim: int,
        pixels: int,
        sha256: str,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{**kwargs, "trainable": False, "dtype": "float32"})
        self.network = network
        self.image_shape = tuple(image_shape)
        self.dim = int(dim)
        self.pixels = int(pixels)
        self.sha256 = sha256
        self._backbone: Backbone | None = None

    @classmethod
    def of(cls, backbone: Backbone, **kwargs: Any) -> OnnxTrunk:
        """Make the layer of a backbone."""
        digest = hashlib.sha256(backbone.graph).hexdigest()
        about = (backbone.name, backbone.image_shape, backbone.dim, backbone.pixels)
        layer = cls(*about, digest, **kwargs)
        layer._backbone = backbone
        return layer

    @property
    def backbone(self) -> Backbone:
        """The network, from uint8 images to features."""
        if self._backbone is None:
            raise ModelError(
                f"Expected the graph of {self.network}, which a saved model holds. Received a "
                "layer that was made of its settings alone: load the model from its file."
            )
        return self._backbone

    def call(self, inputs: Any) -> Any:
        """Compute the features of a batch."""
        backbone = self.backbone
        # exactly the pixels that were divided by 255
        pixels = ops.cast(ops.round(inputs * 255), "uint8")
        return _called(lambda images: backbone.encode(np.asarray(images)), pixels, backbone.dim)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, int]:
        """Tell the shape of the result."""
        return (input_shape[0], self.dim)

    def save_assets(self, inner_path: str) -> None:
        """Write the graph into a saved model."""
        (Path(inner_path) / self._FILE).write_bytes(self.backbone.graph)

    def load_assets(self, inner_path: str) -> None:
        """Read the graph out of a saved model."""
        graph = (Path(inner_path) / self._FILE).read_bytes()
        if hashlib.sha256(graph).hexdigest() != self.sha256:
            raise ModelError(f"Expected the graph of {self.network}. Received another: save again.")
        self._backbone = Backbone(self.network, graph, self.image_shape, self.dim, self.pixels)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        names = ("network", "image_shape", "dim", "pixels", "sha256")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def _called(function: Any, inputs: Any, dim: int) -> Any:
    # plain Python within a compiled program
    name = keras.backend.backend()
    if name == "jax":
        import jax

        like = jax.numpy.zeros((inputs.shape[0], dim), np.float32)
        return jax.pure_callback(function, like, inputs)
    if name == "tensorflow":
        import tensorflow

        found = tensorflow.numpy_function(function, [inputs], tensorflow.float32)
        found.set_shape((inputs.shape[0], dim))
        return found
    return ops.convert_to_tensor(function(ops.convert_to_numpy(inputs)))
