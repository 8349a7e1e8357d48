"""What is remembered beside the items of an index: rows of the catalogue, found by a name.

A switch to another model takes the name along and touches no record, so that one that is written
at the same moment is not lost.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from twinset.errors import StoreError
from twinset.search.milvus.address import Address
from twinset.search.milvus.catalogue import CATALOGUE, named

# Characters of records in one row, quotes in them escaped once more.
_RECORD = 30_000


def record(client: Any, place: Address, keeper: str, kind: str, texts: Sequence[str]) -> None:
    """Append records of an index, whole once the last of their rows is seen."""
    parts: list[list[str]] = [[]]
    for text in texts:
        if len(text) > _RECORD:
            raise StoreError(
                f"Milvus takes a record of {_RECORD:,} characters or less, and this one has "
                f"{len(text):,}. Nothing was recorded."
            )
        if sum(map(len, parts[-1])) + len(text) > _RECORD or len(parts[-1]) == _RECORD // 100:
            parts.append([])
        parts[-1].append(text)
    batches = _batches(client, keeper, kind, "Strong")
    number = max((at for at, _ in batches), default=0) + 1
    # two that record at once may take the same number: each has a name of its own, too
    writer = secrets.token_hex(4)
    rows = [
        {
            "key": f"{keeper}/{kind}/{number}/{part}/{writer}",
            "name": f"{keeper}/{kind}",  # no index has such a name
            "embedding": [0.0, 0.0],
            "content": {
                "batch": number,
                "writer": writer,
                "part": part,
                "parts": len(parts),
                "texts": each,
            },
        }
        for part, each in enumerate(parts)
    ]
    client.insert(CATALOGUE, rows)
    _batches(client, keeper, kind, "Strong")  # waits until readers see it
    if place.local:
        client.flush(CATALOGUE)


def records(client: Any, place: Address, keeper: str, kind: str) -> list[str]:
    """Read records of an index."""
    batches = _batches(client, keeper, kind, place.consistency)
    return [
        text
        for _, parts in sorted(batches.items())
        if len(parts) == parts[0]["parts"]  # else a writer was killed, or is not done
        for part in sorted(parts, key=lambda each: each["part"])
        for text in part["texts"]
    ]


def _batches(
    client: Any, keeper: str, kind: str, consistency: str
) -> dict[tuple[int, str], list[Any]]:
    batches: dict[tuple[int, str], list[Any]] = {}
    for row in named(client, f"{keeper}/{kind}", consistency).values():
        batches.setdefault((int(row["batch"]), row.get("writer", "")), []).append(row)
    return batches
