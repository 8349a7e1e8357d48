"""The model that an index answers for, kept beside its embeddings: such an index can be moved."""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from twinset.errors import ModelError, StoreError
from twinset.models.card import CARD, GRAPH, read_card
from twinset.models.onnx_model import OnnxModel
from twinset.search.store import Signature

if TYPE_CHECKING:
    from twinset.models.embedder import Embedder

KEPT = "model"

Model: TypeAlias = "Embedder | str | os.PathLike[str]"


def loaded(model: Model) -> Embedder:
    """Return a model, from its folder if need be."""
    if isinstance(model, str | os.PathLike):
        from twinset.models.load import load_model

        return load_model(Path(model))
    return model


def kept_in(url: str) -> Path | None:
    """Return the folder in which an index keeps its model; None for one on a server."""
    return None if "://" in url else Path(url) / KEPT


def check(model: Embedder, signature: Signature, url: str) -> Embedder:
    """Return a model if it made what an index holds."""
    if model.digest != signature.model:
        raise StoreError(
            f"{url}: expected the model that made this index, {signature.model[:12]}. Received "
            f"{model.digest[:12]}: distances between embeddings of two models mean nothing. Use "
            "the model of then, or build the index anew."
        )
    return model


def keep(model: Embedder, url: str) -> None:
    """Put a copy of a model into the folder of an index, whole or not at all.

    As a graph for ONNX Runtime, so that whoever opens the index needs no Keras; a model that
    cannot be one is kept as Keras has it.
    """
    target = kept_in(url)
    # a class of the user's own may have no way to be kept: it is passed when the index is opened
    if target is None or not (isinstance(model, OnnxModel) or hasattr(model, "save")):
        return
    draft = target.with_name(f".{KEPT}-{secrets.token_hex(8)}")
    old = draft.with_name(f"{draft.name}-old")
    try:
        draft.mkdir(parents=True)
        if isinstance(model, OnnxModel):
            _copy(model, draft)
        else:
            _write(model, draft)
        if target.exists():  # the same model, calibrated anew
            if _equal(target, draft):
                return
            target.rename(old)
        draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _copy(model: OnnxModel, target: Path) -> None:
    graph = model.encoder.source
    if isinstance(graph, bytes):
        (target / GRAPH).write_bytes(graph)
        return
    shutil.copyfile(graph, target / GRAPH)
    card = graph.with_name(CARD)
    if card.is_file() and read_card(card.parent).digest == model.digest:
        shutil.copyfile(card, target / CARD)


def _write(model: Any, target: Path) -> None:
    if hasattr(model, "encoder"):
        from twinset.exporters.onnx_export import export_graph

        try:
            graph, _ = export_graph(model)
        except ModelError:
            pass
        else:
            (target / GRAPH).write_bytes(graph)
            return
    model.save(target)


def _equal(one: Path, other: Path) -> bool:
    names = sorted(path.name for path in one.iterdir())
    return names == sorted(path.name for path in other.iterdir()) and all(
        (one / name).read_bytes() == (other / name).read_bytes() for name in names
    )
