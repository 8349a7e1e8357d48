"""The model that an index answers for: it embeds the queries, and a folder keeps a copy of it."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

from filelock import FileLock

from twinset.errors import ModelError, StoreError
from twinset.files import write_bytes
from twinset.models.card import CARD, GRAPH, read_card
from twinset.models.embedder import Embedder
from twinset.models.onnx_model import OnnxModel
from twinset.search.items import Signature
from twinset.search.sqlite.database import told
from twinset.search.store import scheme_of

# The folder in an index's own: in it one for each copy, and for each a file that names it.
KEPT, CURRENT = "model", "current"

Model: TypeAlias = Embedder | str | os.PathLike[str]


def loaded(model: Model) -> Embedder:
    """Return a model, from its folder if need be."""
    if isinstance(model, str | os.PathLike):
        from twinset.models.onnx_model import load_model

        return load_model(Path(model))
    return model


def kept(url: str, digest: str) -> Embedder | None:
    """Load the copy that an index keeps of a model; None where it keeps none."""
    while (folder := _kept_in(url, digest)) is not None:
        try:
            return loaded(folder)
        except (ModelError, OSError):
            if _kept_in(url, digest) == folder:  # else another took its place meanwhile
                raise
    return None


def _home(url: str) -> Path | None:
    return None if scheme_of(url) else Path(url) / KEPT  # a server holds no files


def _named(digest: str) -> str:
    # a digest of a user's own model may be any text
    return f"{CURRENT}-{hashlib.sha256(digest.encode()).hexdigest()[:16]}"


def _kept_in(url: str, digest: str) -> Path | None:
    home = _home(url)
    # What the items are bound to says which copy is theirs: so one transaction of the store
    # switches both.
    if home is not None:
        with suppress(FileNotFoundError):
            return home / (home / _named(digest)).read_text("utf-8")
    return None


def forget(url: str, alive: Collection[str]) -> None:
    """Remove the copies of all models but these, by digest."""
    home = _home(url)
    if home is not None and home.is_dir():
        with FileLock(home / ".lock"):
            names = {_named(each) for each in alive}
            for path in home.glob(f"{CURRENT}-*"):
                if path.name not in names:
                    path.unlink()
            _sweep(home)


def _sweep(home: Path) -> None:
    named = {path.read_text("utf-8") for path in home.glob(f"{CURRENT}*")}
    for path in home.iterdir():  # what was replaced, and what a kill has left
        if path.is_dir() and path.name not in named:
            shutil.rmtree(path, ignore_errors=True)


def check(model: Embedder, signature: Signature, url: str) -> Embedder:
    """Return a model if it made what an index holds."""
    if model.digest != signature.model:
        raise StoreError(
            f"{url} was made by the model {signature.model[:12]}, and this one is "
            f"{model.digest[:12]}. Distances between embeddings of two models mean nothing: use "
            "the model that made the index, switch it with `twinset switch`, or make it again."
        )
    return model


def keep(model: Embedder, url: str) -> None:
    """Put a copy of a model into the folder of an index, in one step; on a server nothing is kept.

    As a graph for ONNX Runtime, so that whoever opens the index needs no Keras; a model that
    cannot be one is kept as Keras has it.
    """
    home = _home(url)
    # a class of the user's own may have no way to be kept: it is passed when the index is opened
    if home is None or not (isinstance(model, OnnxModel) or hasattr(model, "save")):
        return
    with told(home.parent):
        home.mkdir(parents=True, exist_ok=True)
        with FileLock(home / ".lock"):
            _keep(model, home, _kept_in(url, model.digest))


def _keep(model: Embedder, home: Path, before: Path | None) -> None:
    draft = home / secrets.token_hex(8)
    draft.mkdir()
    try:
        if isinstance(model, OnnxModel):
            _copy(model, draft)
        else:
            _write(model, draft)
        if before is not None and before.is_dir() and _equal(before, draft):
            return
        for path in filter(Path.is_file, draft.rglob("*")):  # on disk before it is named
            with path.open("rb+") as file:
                os.fsync(file.fileno())
        # A folder cannot take the place of another in one step, but a file that names one can: at
        # any moment, whoever looks finds a whole model.
        write_bytes(home / _named(model.digest), draft.name.encode())
    finally:
        _sweep(home)


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
        from twinset.exporters.graph import export_graph

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
