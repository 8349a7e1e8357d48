"""Parameters of the URL of an index that all databases share: how items are kept, a time-out."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass

from twinset.errors import StoreError
from twinset.search.checked import checked_text

# Milvus takes no more; Postgres plans slowly with more.
MOST_PARTITIONS = 1024
# Where only the column is named, as Milvus has it.
PARTITIONS = 16
# Kinds of vectors; what every database has is taken where none is named.
FLOAT32, FLOAT16, INT8 = "float32", "float16", "int8"


@dataclass(frozen=True)
class Layout:
    """What was asked for: `partitions=8`, `partition_by=label`, `vectors=float16`.

    Each part holds the items with the same hash of their id, or of one value of their metadata, so
    that a condition `label=…` has to look into one part only. None is what was not asked for.
    """

    partitions: int | None = None  # 1 to 1,024; 1 by default, or 16 with `partition_by`
    partition_by: str | None = None  # a name of the metadata; the id by default
    vectors: str | None = None  # float32 by default

    def filled(self) -> Layout:
        """Return what is made of it: what was not asked for is at its default."""
        many = self.partitions or (1 if self.partition_by is None else PARTITIONS)
        return Layout(many, self.partition_by, self.vectors or FLOAT32)

    def parameters(self) -> dict[str, str]:
        """Return it as parameters of a URL; also what a catalogue keeps, read by `taken_from`."""
        given = dataclasses.asdict(self).items()
        return {name: str(value) for name, value in given if value is not None}

    def check_kept(self, kept: Layout, shown: str) -> None:
        """See that an index that is opened was made as this asks for."""
        made = kept.parameters()
        for name, value in self.parameters().items():
            if made.get(name) != value:
                raise StoreError(
                    f"Expected {shown} as it was made, with "
                    f"{' '.join(f'{n}={v}' for n, v in made.items())}. Received {name}={value}: "
                    "leave such parameters out to open it, or make it again with --overwrite."
                )


def taken_from(options: dict[str, str], vectors: Sequence[str], shown: str) -> Layout:
    """Take what is about the layout out of a URL's parameters; `vectors` is what the store has."""
    many, column, kind = (options.pop(f.name, None) for f in dataclasses.fields(Layout))
    if many is not None and not (
        many.isascii() and many.isdigit() and 1 <= int(many[:9]) <= MOST_PARTITIONS
    ):
        raise StoreError(
            f"Expected partitions={{1 to {MOST_PARTITIONS:,}}} for {shown}. Received "
            f"partitions={many}."
        )
    if column is not None:
        checked_text(column, "partition_by, a name of the metadata,")
    if kind is not None and kind not in vectors:
        raise StoreError(
            f"Expected vectors={' or '.join(vectors)} for {shown}. Received vectors={kind}."
        )
    return Layout(None if many is None else int(many), column, kind)


def timeout_from(options: dict[str, str], default: float, shown: str) -> float:
    """Take out for how many seconds a call waits: for other writers, for a server that is gone."""
    text = options.pop("timeout", f"{default:g}")
    if not re.fullmatch(r"(?=.*[1-9])\d{1,6}(\.\d{1,3})?", text, re.ASCII):
        raise StoreError(
            f"Expected timeout={{seconds}}, more than 0, for {shown}. Received timeout={text}."
        )
    return float(text)
