"""Which store a URL names: opened, or created."""

from __future__ import annotations

import re
from typing import Any

from twinset.errors import StoreError
from twinset.search.items import (
    Signature,
)
from twinset.search.store import Store


def open_store(url: str) -> Store:
    """Open a store that is there.

    Args:
        url: the path of a folder; `postgresql://user@host/database?index=NAME`;
            `milvus://host:19530?index=NAME`, or `milvus:///path/of/file.db?index=NAME`.

    Raises:
        StoreError: there is none, it is damaged, or its package is not installed.
    """
    return _engine(url).open(str(url))


def create_store(url: str, signature: Signature, *, overwrite: bool = False) -> Store:
    """Make a new, empty store.

    Args:
        url: as for `open_store`.
        signature: what it is bound to.
        overwrite: replace what is there. Defaults to False.

    Raises:
        StoreError: there is one already, and not `overwrite`.
    """
    return _engine(url).create(str(url), signature, overwrite=overwrite)


def _engine(url: Any) -> type[Store]:
    # imported where wanted: most users need neither of the databases' packages
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", str(url))
    name = scheme[1].lower() if scheme else "a folder"
    if name == "a folder":
        from twinset.search.sqlite import SqliteStore

        return SqliteStore
    if name in ("postgresql", "postgres"):
        from twinset.search.postgres import PostgresStore

        return PostgresStore
    if name == "milvus":
        from twinset.search.milvus import MilvusStore

        return MilvusStore
    raise StoreError(
        "Expected an index as the path of a folder, postgresql://… or milvus://…. "
        f"Received {str(url)!r}."
    )
