"""`SiameseModel`: a trained model on Keras, in memory and as one folder."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from twinset.backbones.backbone import Backbone
from twinset.backbones.session import Provenance
from twinset.data.decoding.decode import Preprocessing
from twinset.data.image_sources import StoredPixels
from twinset.data.labelled import LabelledImages, VectorInput
from twinset.decision import Calibrator, ErrorCurve, Threshold
from twinset.errors import ModelError, reason
from twinset.files import write_bytes
from twinset.models.card import (
    CARD,
    ENCODER,
    HISTORY,
    RECIPE,
    Card,
    Essentials,
    TrainedOn,
    read_card,
)
from twinset.models.embedder import Embedder, Images, batch_size_for
from twinset.models.history import EpochRecord, read_history, to_csv
from twinset.models.hub import local_folder
from twinset.networks.layers import Frozen
from twinset.networks.own import encoder_bytes, load_encoder
from twinset.networks.pretrained import OnnxTrunk
from twinset.progress import Wanted
from twinset.recipe import ENCODERS, Recipe
from twinset.settings import Section, parameters


@dataclass(frozen=True, eq=False)
class SiameseModel(Embedder):
    """A trained encoder with all that is needed to use it on other images.

    Its fields are those of `Embedder`; `encoder`, a Keras model from floats in [0, 1], (n, *shape),
    to embeddings (n, d); and `interrupted`, whether training ended early, by Ctrl-C.

    Example:
        >>> import tempfile, numpy as np, twinset
        >>> rows = np.array([[1, 0.1], [1, 0.2], [0.1, 1], [0.2, 1]])
        >>> model = twinset.fit(rows, list("aabb"), "head", head={"kind": "plain"})
        >>> model.embed(rows).shape, model.encode(np.float32(rows)).shape, model.class_names
        ((4, 2), (4, 2), ('a', 'b'))
        >>> strict = model.calibrate(rows + 0.01, list("aabb"), rule="FPR <= 0.01")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(folder)
        ...     strict.save_decision(folder)  # the threshold alone: the encoder is the same
        ...     SiameseModel.load(folder).threshold.rule
        'FPR <= 0.01'
    """

    encoder: keras.Model
    preprocessing: Preprocessing | VectorInput
    threshold: Threshold
    recipe: Recipe = field()  # or the class would have the base's default
    class_names: tuple[str, ...]
    trained_on: TrainedOn
    history: tuple[EpochRecord, ...] = ()
    interrupted: bool = False
    alternatives: tuple[Threshold, ...] = ()
    calibrator: Calibrator | None = None
    error_curve: ErrorCurve | None = None
    provenance: tuple[Provenance, ...] = ()

    @cached_property
    def digest(self) -> str:
        """Identity of the embeddings, of the weights as they were when it was first asked for."""
        return identity(self.encoder, self.preprocessing)

    @property
    def dim(self) -> int:
        """Size d of an embedding."""
        return int(self.encoder.output_shape[-1])

    def encode(self, pixels: NDArray[np.uint8] | StoredPixels) -> NDArray[np.float32]:
        """Embed pixels of the model's own size; see `Embedder.encode`.

        With Keras, but for a frozen network that has a graph: ONNX Runtime computes that in a third
        of the time.
        """
        if self._halves is None:
            return encode(self.encoder, pixels)
        return encode(self._halves.head, self._halves.backbone.encode(pixels))

    def embed(
        self, images: Images, *, batch_size: int | None = None, progress: Wanted = False
    ) -> NDArray[np.float32]:
        """Embed images; see `Embedder.embed`. What a frozen network finds in a data set is kept."""
        halves = self._halves
        if (
            halves is None
            or batch_size is not None
            or not isinstance(images, LabelledImages)
            or images.row_shape != self.preprocessing.shape
        ):
            return super().embed(images, batch_size=batch_size, progress=progress)
        return encode(halves.head, halves.backbone.encode_once(images, progress=progress))

    @cached_property
    def _halves(self) -> Halves | None:
        return halves_of(self.encoder, self.recipe.encoder)

    def __getstate__(self) -> dict[str, Any]:
        # a copy makes its own, over its own layers
        return {key: value for key, value in self.__dict__.items() if key != "_halves"}

    def save(self, folder: str | Path) -> None:
        """Write the model to a folder: encoder.keras, recipe.toml, history.csv, model.json."""
        target = Path(folder)
        encoder = encoder_bytes(self.encoder)
        self.__dict__.pop("digest", None)  # the weights may have been changed since
        # Each whole or not at all, the card last: it holds the encoder's digest, so that a save cut
        # short, or an old card beside a new encoder, is recognised and never loaded.
        write_bytes(target / ENCODER, encoder)
        write_bytes(target / RECIPE, self.recipe.to_toml().encode())
        write_bytes(target / HISTORY, to_csv(self.history).encode())
        self._write_card(target, hashlib.sha256(encoder).hexdigest())

    def save_decision(self, folder: str | Path) -> None:
        """Write what was chosen since `save`, threshold and probability: model.json alone."""
        self._write_card(Path(folder), read_card(folder).encoder_sha256)

    def _write_card(self, folder: Path, encoder_sha256: str) -> None:
        card = Card(
            **vars(Essentials.of(self)),
            encoder_sha256=encoder_sha256,
            interrupted=self.interrupted,
            backend=keras.backend.backend(),
            versions=versions(),
        )
        card.write(folder)

    @classmethod
    def load(cls, folder: str | Path) -> SiameseModel:
        """Read a model that `save` wrote, by any back end.

        Raises:
            ModelError: the folder holds no model, a damaged one, or one of another format.
        """
        refuse_fork()
        source = local_folder(folder)
        card = read_card(source)
        try:
            encoder = (source / ENCODER).read_bytes()
            recipe, history = Recipe.load(source / RECIPE), read_history(source)
        except OSError as error:
            lacking = f"{Path(error.filename or source).name}: {reason(error)}"
            raise ModelError(f"{source}: expected a whole model. {lacking}.") from None
        except ValueError as error:
            raise ModelError(f"{source}: expected a whole model. {error}") from None
        # before Keras reads it: of half a file it says something about zip or HDF5
        if hashlib.sha256(encoder).hexdigest() != card.encoder_sha256:
            raise ModelError(
                f"{source}: {ENCODER} is not the one that {CARD} describes: a save was cut short "
                "or a file was replaced. Train again, or restore the folder."
            )
        own: dict[str, Any] = {
            "recipe": recipe,
            "history": history,
            "interrupted": card.interrupted,
        }
        model = cls(encoder=load_encoder(source / ENCODER), **own, **card.settings())
        # what is in an index was embedded under this one, whatever a later Keras calls its settings
        model.__dict__.update(digest=card.digest, home=source)
        return model


def versions() -> dict[str, str]:
    """List the versions that a run depends on: Python, twinset, Keras, the back end, numpy."""
    found = {"python": platform.python_version()}
    for package in ("twinset", "keras", keras.backend.backend(), "numpy"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # tensorflow has several packages
            found[package] = str(getattr(__import__(package), "__version__", "unknown"))
    return found


@cache
def _first_process() -> int:
    return os.getpid()  # which a fork inherits


def refuse_fork() -> None:
    """Refuse Keras in a fork of a process that has computed with it: there it waits for ever."""
    if _first_process() != os.getpid():
        raise ModelError(
            "Expected Keras in the process that used it first. Received a fork of that process, "
            "where Keras would wait for ever: start processes by "
            "`multiprocessing.get_context('spawn')`, or load an exported model, which may fork."
        )


def encode(encoder: keras.Model, images: NDArray[Any] | StoredPixels) -> NDArray[np.float32]:
    """Embed with the network at rest, in order and in bounded memory.

    The encoder takes floats in [0, 1]: uint8 images (n, ...) are scaled here, a batch at a time,
    float32 vectors (n, d) are taken as they are.
    """
    refuse_fork()
    result = np.empty((len(images), encoder.output_shape[-1]), np.float32)
    batch = batch_size_for(images.shape[1:])
    for start in range(0, len(images), batch):
        part = images[start : start + batch]
        # Every new batch size is compiled anew: a few sizes serve all.
        room = min(batch, 1 << (len(part) - 1).bit_length())
        pixels = np.zeros((room, *images.shape[1:]), np.float32)
        pixels[: len(part)] = part * np.float32(1 / 255) if part.dtype == np.uint8 else part
        found = keras.ops.convert_to_numpy(encoder.predict_on_batch(pixels))
        result[start : start + len(part)] = found[: len(part)]
    return result


NETWORK = "network"  # what the layer is called that others trained


@dataclass(frozen=True, eq=False)
class Halves:
    """The frozen network, and all that follows it, from features (n, f) to embeddings (n, d)."""

    backbone: Backbone
    head: keras.Model


def halves_of(encoder: keras.Model, section: Section) -> Halves | None:
    """Cut an encoder behind its frozen network; None where there is none, or none with a graph."""
    layer = next((each for each in encoder.layers if each.name == NETWORK), None)
    backbone = _backbone(layer, section, encoder.input_shape[1:])
    if layer is None or backbone is None:
        return None
    try:
        return Halves(backbone, keras.Model(layer.output, encoder.outputs, name="head"))
    except (AttributeError, ValueError):
        return None  # a blend looks at the pixels as well, or twice


def _backbone(layer: Any, section: Section, shape: tuple[int, ...]) -> Backbone | None:
    if isinstance(layer, OnnxTrunk):
        return layer.backbone
    return declared(section, shape) if isinstance(layer, Frozen) else None


def declared(section: Section, shape: tuple[int, ...]) -> Backbone | None:
    """Make the graph that a network of a recipe brings along; None where it has none."""
    make = getattr(ENCODERS.load(section.name), "backbone", None)
    if make is None:
        return None
    settings = {key: value for key, value in section if key in parameters(make)}
    try:
        found: Backbone = make(shape, **settings)
    except ModelError:  # the package or the file is gone, but a saved model has the weights
        return None
    return found


# What a layer is called, how it began, and how it learns: nothing of it is in the embeddings.
_ASIDE = {
    *("activity_regularizer", "autocast", "batch_shape", "dtype", "layers", "input_layers"),
    *("momentum", "name", "network", "output_layers", "rate", "ragged", "seed", "sparse"),
    *("synchronized", "trainable"),
}
_SUFFIXES = ("_initializer", "_regularizer", "_constraint")


def identity(encoder: keras.Model, preprocessing: Preprocessing | VectorInput) -> str:
    """Compute the digest of what determines embeddings, and whether they can be compared."""
    # Names are left out: Keras numbers layers anew in each process. So are dates and versions,
    # which a saved file holds as well.
    about = {
        "layers": list(_settings(encoder)),
        "preprocessing": [list(preprocessing.shape), preprocessing.resize],
        "background": preprocessing.background,
    }
    sha = hashlib.sha256(json.dumps(about, sort_keys=True, default=_plain).encode())
    for weight in encoder.weights:
        values = np.asarray(keras.ops.convert_to_numpy(weight))
        sha.update(f"{values.shape} {values.dtype}".encode())
        sha.update(values.tobytes())  # .data knows no 16-bit type but numpy's own
    return sha.hexdigest()


def beginning(network: keras.Model) -> Callable[[], str]:
    """Compute the digest of how a network learns, before it does: values now, the rest if asked."""
    # to list settings Keras imports TensorFlow where it is installed, which takes seconds
    sha = hashlib.sha256()
    for variable in network.variables:
        values = np.asarray(keras.ops.convert_to_numpy(variable))
        sha.update(f"{values.shape} {values.dtype} {variable.trainable}".encode())
        sha.update(values.tobytes())

    def digest() -> str:
        layers = list(network._flatten_layers())
        places = {id(layer): place for place, layer in enumerate(layers)}
        about = [[type(layer).__name__, _nameless(_config(layer))] for layer in layers]
        about += [_wiring(layer, places) for layer in layers if isinstance(layer, keras.Model)]
        whole = sha.copy()
        whole.update(json.dumps(about, sort_keys=True, default=_plain).encode())
        return whole.hexdigest()

    return digest


def _config(layer: Any) -> dict[str, Any]:
    if isinstance(layer, keras.Model):  # lists its layers anew, by name
        return {}
    try:
        found: dict[str, Any] = layer.get_config()
    except NotImplementedError:  # a layer of the user's own that says nothing of itself
        return {}
    return found


def _wiring(model: Any, places: dict[int, int]) -> list[Any]:
    # the calls of a graph: of what, on what came of what; none of a subclass
    calls = getattr(model, "_nodes_by_depth", {})

    def place(operation: Any) -> list[Any]:
        return [type(operation).__name__, places.get(id(operation))]

    return [
        [place(call.operation), [place(x._keras_history.operation) for x in call.input_tensors]]
        for depth in sorted(calls, reverse=True)
        for call in calls[depth]
    ]


def _nameless(config: Any) -> Any:
    if isinstance(config, dict):
        if "output_layers" in config:  # a network within: its layers are listed themselves
            return None
        return {key: _nameless(value) for key, value in config.items() if key != "name"}
    if isinstance(config, list | tuple):
        return [_nameless(value) for value in config]
    return config


def _settings(layer: Any) -> Any:
    inner = getattr(layer, "layers", None) or [
        each for each in [getattr(layer, "network", None)] if isinstance(each, keras.Model)
    ]
    if inner:
        for each in inner:
            yield from _settings(each)
        return
    if isinstance(layer, keras.layers.InputLayer):
        return
    config = layer.get_config() if isinstance(layer, keras.layers.Layer) else {}
    kept = {
        key: value
        for key, value in config.items()
        if key not in _ASIDE and not key.endswith(_SUFFIXES) and value is not None
    }
    yield [type(layer).__name__, kept]


def _plain(value: Any) -> Any:
    # a setting that is an object of its own: what kind it is says enough, and is stable
    return type(value).__name__
