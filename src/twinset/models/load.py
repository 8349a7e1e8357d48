"""A trained model from its folder, on the engine that starts fastest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from twinset.errors import ModelError
from twinset.models.card import CARD, read_card
from twinset.models.embedder import Embedder
from twinset.models.onnx_model import OnnxModel

Engine: TypeAlias = Literal["auto", "onnx", "keras"]


def load_model(
    folder: str | Path,
    *,
    engine: Engine = "auto",
    tell: Callable[[str], None] | None = None,
) -> Embedder:
    """Load a trained model to use it: to embed and compare images, to index and search them.

    Args:
        folder: as `twinset train` or `SiameseModel.save` wrote it; or what `twinset export` wrote,
            the folder or the .onnx file alone.
        engine: "onnx" for ONNX Runtime, which needs no Keras and starts in a fraction of its time;
            "keras"; or "auto": ONNX Runtime where the folder holds a graph of this very model,
            else Keras. Both give the same embeddings, up to the last digits. Defaults to "auto".
        tell: is told why Keras is used, where "auto" has to. Defaults to none.

    Raises:
        ModelError: the folder holds no model, a damaged one, or none for this engine.

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
    source = Path(folder)
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
