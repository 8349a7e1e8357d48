"""Duplicates of a collection, kept in the user's cache folder: they depend on its pixels alone."""

from __future__ import annotations

import hashlib
import inspect
import io
import zipfile
from contextlib import suppress
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from twinset.cache_folder import cache_folder, prune, tag
from twinset.data.checks import near_duplicates, thumbnails
from twinset.data.checks.near_duplicates import Duplicates, find_duplicates
from twinset.data.labelled import LabelledImages
from twinset.files import write_bytes

# Half a file, or one of something else, is as good as none.
_UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)
FEW = 200  # images below which looking again takes no longer than to read a file


def kept_duplicates(images: LabelledImages, folder: Path | None = None) -> Duplicates:
    """Find duplicates as `find_duplicates` does, or read what an earlier call has found."""
    if len(images) < FEW:
        return find_duplicates(images.images, fingerprints=images.fingerprints)
    base = cache_folder("duplicates") if folder is None else folder
    pixels = hashlib.blake2b(repr((_code(), images.images.shape)).encode(), digest_size=16)
    pixels.update(np.ascontiguousarray(images.fingerprints).data)
    path = base / f"{pixels.hexdigest()}.npz"
    with suppress(*_UNREADABLE), np.load(io.BytesIO(path.read_bytes())) as file:
        read = {each.name: file[each.name] for each in fields(Duplicates)}
        numbers = {"threshold": float(read["threshold"]), "skipped": int(read["skipped"])}
        return Duplicates(**{**read, **numbers})
    found = find_duplicates(images.images, fingerprints=images.fingerprints)
    file_ = io.BytesIO()
    kept: dict[str, Any] = {each.name: getattr(found, each.name) for each in fields(found)}
    np.savez(file_, **kept)
    with suppress(OSError):  # no room, or not allowed: it is found anew next time
        tag(base)
        write_bytes(path, file_.getvalue())
        prune(base, keep=path)
    return found


@cache
def _code() -> str:
    # What is found changes with the code and not with our version: so nobody has to remember it.
    return "".join(inspect.getsource(each) for each in (near_duplicates, thumbnails))
