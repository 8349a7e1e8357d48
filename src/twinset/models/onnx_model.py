"""`OnnxModel`: a trained model on ONNX Runtime; neither Keras nor a back end is loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from twinset.backbones.session import INPUT, OUTPUT, Provenance, name_of, open_session
from twinset.data.decoding.decode import Preprocessing
from twinset.data.image_sources import StoredPixels
from twinset.data.labelled import VectorInput
from twinset.decision import Calibrator, ErrorCurve, Threshold
from twinset.errors import ModelError
from twinset.files import write_bytes
from twinset.models.card import (
    CARD,
    ENCODER,
    GRAPH,
    HISTORY,
    RECIPE,
    Card,
    Essentials,
    TrainedOn,
    parse_essentials,
    read_card,
)
from twinset.models.embedder import Embedder, batch_size_for
from twinset.models.hub import local_folder

if TYPE_CHECKING:
    from twinset.models.history import EpochRecord
    from twinset.recipe import Recipe

# Under this name a graph says what it is.
ABOUT = "twinset"


@dataclass(frozen=True)
class Encoder:
    """A graph that is ready to run, what it says of itself, and the file or content it is from."""

    session: Any
    about: Essentials
    source: Path | bytes

    def __deepcopy__(self, memo: Any) -> Self:
        return self  # nothing in it changes, and a session runs for many threads at once

    def __reduce__(self) -> Any:
        # A session cannot be pickled. The content goes along and not the path, which another
        # machine may not have and a later training may have replaced.
        graph = self.source if isinstance(self.source, bytes) else _content(self.source)
        return _reopened, (graph, self.about)


class Origin:
    """Where a model comes from: its recipe and history, read from its folder when asked for."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder

    @cached_property
    def recipe(self) -> Recipe | None:
        """The recipe that trained the model."""
        # here, as the check of a recipe takes longer to import than a model to load
        from twinset.recipe import Recipe

        return None if self.folder is None else Recipe.load(self.folder / RECIPE)

    @cached_property
    def history(self) -> tuple[EpochRecord, ...]:
        """One record per epoch."""
        # here, as a verdict needs no metrics
        from twinset.models.history import read_history

        return () if self.folder is None else read_history(self.folder)

    def __getstate__(self) -> dict[str, Any]:
        # the folder may not be where this goes, so what is in it goes along
        return {"folder": None, "recipe": self.recipe, "history": self.history}


@dataclass(frozen=True, eq=False)
class OnnxModel(Embedder):
    """A trained encoder as an ONNX graph, with all that is needed to use it on other images.

    Its fields are those of `Embedder`, and where the model comes from.
    """

    encoder: Encoder
    preprocessing: Preprocessing | VectorInput
    threshold: Threshold
    class_names: tuple[str, ...]
    trained_on: TrainedOn
    alternatives: tuple[Threshold, ...] = ()
    calibrator: Calibrator | None = None
    error_curve: ErrorCurve | None = None
    provenance: tuple[Provenance, ...] = ()
    origin: Origin = field(default_factory=Origin)

    @property
    def digest(self) -> str:
        """Identity of the embeddings; see `Embedder.digest`."""
        return self.encoder.about.digest

    @property
    def dim(self) -> int:
        """Size d of an embedding."""
        return self.encoder.about.dim

    @property
    def recipe(self) -> Recipe | None:  # type: ignore[override]  # which is an attribute there
        """The recipe that trained the model; None for a graph alone."""
        return self.origin.recipe

    @property
    def history(self) -> tuple[EpochRecord, ...]:  # type: ignore[override]
        """One record per epoch; none for a graph alone."""
        return self.origin.history

    def encode(self, pixels: NDArray[np.uint8] | StoredPixels) -> NDArray[np.float32]:
        """Embed pixels of the model's own size with ONNX Runtime; see `Embedder.encode`."""
        result = np.empty((len(pixels), self.dim), np.float32)
        size = batch_size_for(pixels.shape[1:])
        for start in range(0, len(pixels), size):
            part = np.ascontiguousarray(pixels[start : start + size])
            result[start : start + len(part)] = self.encoder.session.run([OUTPUT], {INPUT: part})[0]
        return result

    @property
    def home(self) -> Path | None:  # type: ignore[override]
        """The folder that it was read from; None for a graph alone."""
        return self.origin.folder

    def save(self, folder: str | Path) -> None:
        """Write the model to a folder: its graph, and what else the folder has that it is from.

        Raises:
            ModelError: what it was read from is gone or of another model by now, or a graph alone
                was calibrated anew, which holds its own threshold.
        """
        target, home, graph = Path(folder), self.home, self.encoder.source
        content = graph if isinstance(graph, bytes) else _content(graph)
        card = None if home is None else read_card(home)
        own = self.encoder.about if card is None else card
        if own.digest != self.digest or (card is None and Essentials.of(self) != own):
            raise ModelError(
                f"{name_of(graph)}: expected the folder that this model was read from, unchanged. "
                "Received another: load the model again, from the folder of its run."
            )
        write_bytes(target / GRAPH, content)
        if home is not None and card is not None:
            for path in (home / name for name in (ENCODER, RECIPE, HISTORY)):
                if path.is_file():
                    write_bytes(target / path.name, path.read_bytes())
            replace(card, **vars(Essentials.of(self))).write(target)

    @classmethod
    def load(cls, source: str | Path) -> OnnxModel:
        """Read a model's folder, one that `twinset export` wrote, or an .onnx file of such alone.

        Thresholds come from model.json where there is one, else from the graph.

        Raises:
            ModelError: there is no graph, it is damaged, or it is not of the model in the folder.
        """
        path = local_folder(source)
        card = None
        if path.suffix != ".onnx":
            if (path / CARD).is_file() or not (path / GRAPH).is_file():
                card = read_card(path)
            path = path / GRAPH
        return cls._of(path, card)

    @classmethod
    def of_graph(cls, graph: bytes) -> OnnxModel:
        """Read an exported model from the content of an .onnx file."""
        return cls._of(graph, None)

    @classmethod
    def _of(cls, source: Path | bytes, card: Card | None) -> OnnxModel:
        session = open_session(source)
        name = name_of(source)
        own = _about(session, name)
        if card is not None and card.digest != own.digest:
            raise ModelError(
                f"{name}: expected the encoder that {CARD} describes. Received that of another "
                "training: write it anew with `twinset export`."
            )
        _check_signature(session, own, name)
        return cls(
            encoder=Encoder(session, own, source),
            **(card or own).settings(),
            origin=Origin(source.parent if card is not None and isinstance(source, Path) else None),
        )


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"{path}: expected the graph that this model was read from, to pickle the model. "
            f"{error.strerror}: load the model again."
        ) from None


def _reopened(graph: bytes, about: Essentials) -> Encoder:
    session = open_session(graph)
    if _about(session, "the pickled model").digest != about.digest:
        raise ModelError(
            "Expected the graph that the pickled model was read from. Received that of another "
            "training, which had replaced it: load the model again, and pickle that."
        )
    return Encoder(session, about, graph)


def _about(session: Any, name: str) -> Essentials:
    text = session.get_modelmeta().custom_metadata_map.get(ABOUT)
    if text is None:
        raise ModelError(
            f"{name}: expected a graph that twinset exported, with its card in it. Received "
            "another one: make it with `twinset export`."
        )
    return parse_essentials(text, name)


def _check_signature(session: Any, about: Essentials, name: str) -> None:
    # ONNX Runtime would say so at the first image, in its own words
    found = [
        (each.name, each.type, list(each.shape))
        for each in (*session.get_inputs(), *session.get_outputs())
    ]
    expected = [
        (INPUT, "tensor(uint8)", ["batch", *about.preprocessing.shape]),
        (OUTPUT, "tensor(float)", ["batch", about.dim]),
    ]
    if found != expected:
        raise ModelError(
            f"{name}: expected a graph of {expected}. Received {found}: export the model again."
        )


Engine: TypeAlias = Literal["auto", "onnx", "keras"]


def load_model(
    folder: str | Path,
    *,
    engine: Engine = "auto",
    token: str | None = None,
    tell: Callable[[str], None] | None = None,
) -> Embedder:
    """Load a trained model to use it: to embed and compare images, to index and search them.

    Args:
        folder: as `twinset train` or `SiameseModel.save` wrote it; or what `twinset export` wrote,
            the folder or the .onnx file alone; or "hf://user/name" for a model on the Hugging Face
            Hub, with "@" and a branch, tag or commit after it where that counts. It is fetched
            once, into the cache of the package huggingface_hub; without a network, what was
            fetched is used. Of a repository no code is loaded, whatever it holds.
        engine: "onnx" for ONNX Runtime, which needs no Keras and starts in a fraction of its time;
            "keras"; or "auto": ONNX Runtime where the folder holds a graph of this very model,
            else Keras. Both give the same embeddings, up to the last digits. Defaults to "auto".
        token: for a private repository. Defaults to $HF_TOKEN, or that of `hf auth login`.
        tell: is told why Keras is used, where "auto" has to. Defaults to none.

    Raises:
        ModelError: the folder holds no model, a damaged one, or none for this engine; the hub has
            none of this name, or may not be read, or cannot be reached.

    Example:
        >>> import tempfile, numpy as np, twinset
        >>> pixels = np.stack([np.full((4, 4), 85 * i, np.uint8) for i in range(4)])
        >>> data = twinset.LabelledImages(pixels, [0, 0, 1, 1], ("dark", "bright"))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     twinset.fit(data, epochs=1, encoder={"units": [8]}).save(folder)
        ...     _ = twinset.export(folder)
        ...     model = load_model(folder)
        >>> type(model).__name__, model.embed(pixels).shape
        ('OnnxModel', (4, 8))
    """
    if engine not in get_args(Engine):
        raise ModelError(f"Expected an engine out of {get_args(Engine)}. Received {engine!r}.")
    source = local_folder(folder, token=token)
    if engine == "keras" and source.suffix == ".onnx":
        raise ModelError(
            f"{source}: expected a model's folder for the engine keras. Received a graph."
        )
    if engine != "keras":
        # a graph of another training is refused as well, and Keras used then
        try:
            return OnnxModel.load(source)
        except ModelError as error:
            if engine == "onnx" or not (source / CARD).is_file():
                raise
            read_card(source)  # a damaged card is told at once, not after Keras has been loaded
            if tell is not None:
                tell(f"on Keras, which starts more slowly, as the graph cannot be used: {error}")
    from twinset.models.keras_model import SiameseModel

    return SiameseModel.load(source)
