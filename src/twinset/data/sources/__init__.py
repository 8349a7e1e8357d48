"""Where labelled images come from: each module declares a `SOURCE`, which `read_listing` finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from twinset.data.listing import Listing
from twinset.errors import DataError
from twinset.progress import Wanted

Classes = Literal["path", "top"]


@dataclass(frozen=True)
class Asked:
    """What the caller of `read_listing` wants of a source.

    Args:
        labelled: True for training; False for an index, which also takes images without labels,
            and keeps what else is known of each: `Listing.columns`. Defaults to True.
        classes: of folders, "path": the class of an image is the whole path of its folder,
            "animals/cat". "top": it is the first folder, and those below it are the groups.
            Defaults to "path".
        image: of tables, the column with paths or encoded images. Defaults to a usual name.
        label: likewise the column with labels.
        group: likewise the column with groups, which may be missing.
        split: likewise the column with the parts, which may be missing.
        progress: as for `reporting`. Defaults to False.
    """

    labelled: bool = True
    classes: Classes = "path"
    image: str | None = None
    label: str | None = None
    group: str | None = None
    split: str | None = None
    progress: Wanted = False

    def refuse(self, place: str, takes: str, *arguments: str) -> None:
        """Refuse arguments that mean nothing for a source.

        Args:
            place: what is read.
            takes: what the source takes, in words.
            *arguments: names that must be left out.

        Raises:
            DataError: one of these was passed.
        """
        for argument in arguments:
            if (value := getattr(self, argument)) != getattr(Asked, argument):
                raise DataError(
                    f"{place}: expected no `{argument}` for {takes}. Received {value!r}: leave it "
                    "out."
                )


@dataclass(frozen=True)
class Source:
    """A source of labelled images or vectors, which `twinset train`, `check` and `index` take.

    A module in `twinset/data/sources` declares one as `SOURCE`. Another package declares an entry
    point in the group `twinset.sources`; its name is a scheme: with `shop = "shop_data:SOURCE"`,
    `twinset train shop://shoes` is read by it, whatever it claims.

    Args:
        takes: what it reads, in words for messages: "a folder of images".
        claims: tells cheaply whether a place is for this source. Ours are asked first.
        read: lists what is there; `Listing.usable` is called afterwards.
        last: whether all other sources of the same package go before it. Defaults to False.
        is_path: whether its places are paths, and not names. Defaults to True.
    """

    takes: str
    claims: Callable[[str], bool]
    read: Callable[[str, Asked], Listing]
    last: bool = False
    is_path: bool = True
