"""`twinset index`: an index made, or brought up to date, whichever is due."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from twinset.errors import StoreError, TakenError
from twinset.progress import Wanted
from twinset.search import index_model
from twinset.search.index import Index
from twinset.search.index_model import Model
from twinset.search.index_sources import Source, listing_of
from twinset.search.store import open_store, scheme_of


def index_images(
    model: Model,
    source: Source,
    url: str | os.PathLike[str],
    *,
    identity: str | None = None,
    strangers: float | None = None,
    columns: Mapping[str, str] | None = None,
    overwrite: bool = False,
    remove_missing: bool = False,
    progress: Wanted = False,
) -> Index:
    """Make an index of images, or bring the one that is there up to date."""
    if strangers is not None and identity is None:
        raise StoreError(
            "Expected the column of identities beside a share of strangers. Received the share "
            "alone: add --identity COLUMN, such as label."
        )
    embedder = index_model.loaded(model)
    place = os.fspath(url)
    if columns:
        source = listing_of(source, **columns)
    made = there = None if overwrite else _opened(place, embedder)
    if made is None:
        try:
            made = Index.build(embedder, source, place, overwrite=overwrite, progress=progress)
        except TakenError:
            # another process has made it meanwhile, and this one adds what that one has not
            made = there = None if overwrite else _opened(place, embedder)
            if made is None:
                raise
    try:
        if there is not None:
            index_model.keep(embedder, place)  # it may have been calibrated anew
            there.update(source, remove_missing=remove_missing, progress=progress)
        if identity is not None:
            made.identify_by(identity, strangers=strangers)
    except BaseException:
        made.close()
        raise
    return made


def _opened(url: str, model: Model) -> Index | None:
    if not scheme_of(url):
        folder = Path(url)
        return Index.open(url, model) if folder.is_dir() and any(folder.iterdir()) else None
    try:
        store = open_store(url)
    except StoreError:
        return None  # making it tells what is wrong, if it is not just missing
    try:
        return Index(store, model, url)
    except BaseException:
        store.close()
        raise
