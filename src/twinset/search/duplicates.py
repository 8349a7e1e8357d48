"""`duplicates`: which items of an index are the same picture or thing, tightest groups first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from twinset import tables
from twinset.data.cache import decode_batches
from twinset.data.decoding.decode import Preprocessing
from twinset.data.image_sources import ImageSource, picture_of
from twinset.decision import Threshold
from twinset.errors import DataError, StoreError
from twinset.progress import Wanted
from twinset.search.answer import for_people
from twinset.search.cut import Pairs, joined, sets_of
from twinset.search.groups import Group, described, find_groups
from twinset.search.index import Index
from twinset.search.items import Neighbour
from twinset.search.store import Store

Kind = Literal["same picture", "same thing"]
PICTURE: Kind = "same picture"
THING: Kind = "same thing"


@dataclass(frozen=True)
class DuplicateGroup:
    """A group of items that are the same picture, or the same thing.

    Example:
        >>> from twinset import Neighbour
        >>> group = DuplicateGroup((Neighbour("a", 0, {}), Neighbour("b", 0.1, {})), 0.1)
        >>> len(group), group.kind
        (2, 'same thing')
    """

    members: tuple[Neighbour, ...]  # the medoid first, then by their distance to it
    diameter: float  # the largest distance between two
    # "same picture": copies by their pixels, mirrored ones too; "same thing": by the threshold
    kind: Kind = THING

    def __len__(self) -> int:
        return len(self.members)


@dataclass(frozen=True)
class Edge:
    """The closest pair of two parts that steps within the threshold connect, and yet no group."""

    left: str
    right: str
    distance: float


@dataclass(frozen=True)
class Duplicates:
    """The groups of duplicates in an index, and the edges that would join some of them.

    Example:
        >>> from twinset import Neighbour, Threshold
        >>> group = DuplicateGroup((Neighbour("a", 0, {}), Neighbour("b", 0.1, {})), 0.1)
        >>> found = Duplicates((group,), Threshold(0.5, "EER"), 7)
        >>> found.sentences()
        ['1 group with 2 of 7 items: same thing, within 0.5 of each other on average (EER)']
        >>> found.to_csv().splitlines()[1], found.to_dict()["groups"][0]["size"]
        ('1,same thing,2,0.100000,a,0.000000,,', 2)
    """

    # of 2 items or more: the same picture, then the same thing; of each the tightest first, of
    # equally wide ones the smallest
    groups: tuple[DuplicateGroup, ...]
    threshold: Threshold  # parts are joined while their mean distance is at most this
    items: int  # how many the index holds
    links: tuple[Edge, ...] = ()  # what would join two parts, the shortest first

    def sentences(self) -> list[str]:
        """Say in sentences how many groups there are, and what to know of them."""
        by_kind = {
            kind: [len(group) for group in self.groups if group.kind == kind]
            for kind in (PICTURE, THING)
        }
        pictures, things = by_kind[PICTURE], by_kind[THING]
        told = []
        if pictures:
            told.append(f"{_groups(pictures)} of {self.items:,} items: {PICTURE}, by their pixels")
        told.append(
            f"{_groups(things)} of {self.items:,} items: {THING}, within "
            f"{self.threshold.value:.4g} of each other on average ({self.threshold.origin})"
        )
        if self.links:
            one = self.links[0]
            told.append(
                f"{len(self.links):,} cut{'s' * (len(self.links) != 1)} between groups that only a "
                "chain of small steps connects, or that you decided are different: the shortest is "
                f"{one.left} - {one.right} at {one.distance:.4g}"
            )
        return told

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return {
            "items": self.items,
            "threshold": {"value": self.threshold.value, "rule": self.threshold.rule},
            "groups": [
                {
                    "kind": group.kind,
                    "size": len(group),
                    "diameter": group.diameter,
                    "members": [
                        {
                            "id": one.id,
                            "distance": one.distance,
                            "metadata": for_people(one.metadata),
                        }
                        for one in group.members
                    ],
                }
                for group in self.groups
            ],
            "links": [asdict(link) for link in self.links],
        }

    def to_csv(self) -> str:
        """Write a table with a row per member: its group, label, path, distance to the middle."""
        rows = [
            (
                *(number, group.kind, len(group), f"{group.diameter:.6f}"),
                *(one.id, f"{one.distance:.6f}"),
                *(one.metadata.get("label"), one.metadata.get("path")),
            )
            for number, group in enumerate(self.groups, start=1)
            for one in group.members
        ]
        names = ["group", "kind", "size", "diameter", "id", "distance", "label", "path"]
        return tables.csv(names, rows)


def _groups(sizes: list[int]) -> str:
    return f"{len(sizes):,} group{'s' * (len(sizes) != 1)} with {sum(sizes):,}"


def duplicates(
    index: Index, threshold: float | None = None, *, pictures: bool = True, progress: Wanted = False
) -> Duplicates:
    """Find groups of items that are the same thing, and of those that are the same picture.

    Two items are connected if their distance is at most the threshold. What connections reach is a
    group if it is no wider than the threshold; else it is cut where it hangs together least: parts
    are joined, the closest first, while the mean distance between two is at most the threshold
    (average linkage), and the edges that would join what was cut are told. Above 2,048 connected
    items the threshold is lowered first until fewer hang together.

    Within these, items with the same or nearly the same pixels, mirrored ones too, are the same
    picture (`data.checks`: thumbnails after the shift, brightness and contrast that suit them
    best); a group that is one picture is told as such and not again as a thing.

    What people decided to be the same (`Index.decide`) is in one group, however far apart; what is
    different never is.

    Args:
        index: of images or embeddings.
        threshold: 0 or more; 0 finds equal embeddings only. Defaults to the index's, which says
            "the same class": for copies and near copies take a smaller one.
        pictures: read the images of what is in a group, where their files are still there, to tell
            copies from the same thing. Defaults to True.
        progress: True for a bar, or a function that is told; see `twinset.progress`. Defaults to
            False.

    Raises:
        StoreError: the threshold is below 0 or NaN; or there is none, and no model to ask.

    Reference:
        Sokal, Michener (1958), A Statistical Method for Evaluating Systematic Relationships.

    Example:
        >>> import numpy as np, twinset
        >>> pixels = np.stack([np.full((4, 4), 85 * i, np.uint8) for i in (0, 0, 3, 3)])
        >>> grays = twinset.LabelledImages(pixels, [0, 0, 1, 1], ("dark", "light"), "grays")
        >>> model = twinset.fit(grays, epochs=1, encoder={"units": [8]})
        >>> with twinset.Index.build(model, grays) as index:
        ...     found = twinset.duplicates(index, 0)
        >>> [[one.id for one in group.members] for group in found.groups]
        [['grays/0', 'grays/1'], ['grays/2', 'grays/3']]
    """
    if threshold is None:
        limit = index.threshold
    elif threshold >= 0:
        limit = Threshold(float(threshold), "as asked for")
    else:
        raise StoreError(f"Expected a threshold of 0 or more. Received {threshold}.")
    ids, vectors = _all(index.store)
    decided = index.settled.among(ids)
    found = find_groups(
        vectors,
        limit.value,
        same=decided["same"],
        different=decided["different"],
        progress=progress,
    )
    rows = [[int(row) for row in group.members] for group in found.groups]
    copies = _copies(index.store, ids, rows, decided["different"]) if pictures else []
    whole = {frozenset(own) for own in copies}
    groups = [(THING, group) for group in found.groups if frozenset(group.members) not in whole]
    pictured = [(PICTURE, group) for group in described(vectors, copies)]
    told = [
        DuplicateGroup(_neighbours(index.store, ids, group), group.diameter, kind)
        for kind, group in [*pictured, *groups]
    ]
    edges = [Edge(ids[link.left], ids[link.right], link.distance) for link in found.links]
    return Duplicates(tuple(told), limit, len(ids), tuple(edges))


def _copies(
    store: Store, ids: list[str], groups: list[list[int]], different: Pairs
) -> list[list[int]]:
    # sets of positions, each the same picture
    rows = sorted({row for group in groups for row in group})
    known = store.get([ids[row] for row in rows]).metadata if rows else ()
    pairs = [(rows[left], rows[right]) for left, right in same_pictures(known)]
    return sets_of(joined(pairs, different)[0])


def _neighbours(store: Store, ids: list[str], group: Group) -> tuple[Neighbour, ...]:
    members = [ids[row] for row in group.members]
    return tuple(map(Neighbour, members, group.distances.tolist(), store.get(members).metadata))


def _all(store: Store) -> tuple[list[str], NDArray[np.float32]]:
    ids: list[str] = []
    parts = []
    for batch in store.batches():
        ids += batch.ids
        parts.append(batch.vectors)
    empty = np.empty((0, store.signature.dim), np.float32)
    return ids, np.concatenate([empty, *parts])


# All that is compared are thumbnails of 32 pixels; stretched, as copies have one shape.
_SMALL = Preprocessing((32, 32, 3), "stretch")


def same_pictures(metadata: Sequence[Mapping[str, Any]]) -> list[tuple[int, int]]:
    """Find pairs of items whose images are copies or near copies, the most alike first."""
    # here, as a server that never looks for copies need not load SciPy
    from twinset.data.checks.near_duplicates import LEAST_SIDE, find_duplicates

    found = [
        (at, source)
        for at, each in enumerate(metadata)
        if (source := picture_of(each)) and _shorter_side(source) >= LEAST_SIDE
    ]
    batches = list(decode_batches([source for _, source in found], _SMALL))
    if not batches or not sum(len(batch.pixels) for batch in batches):
        return []
    pixels = np.concatenate([batch.pixels for batch in batches])
    items = [found[row][0] for batch in batches for row in batch.positions]
    n = len(items)
    plain = find_duplicates(pixels)
    # a second pass, as a mirror would pass for the typical look-alike that the threshold is from
    mirrored = np.concatenate([pixels, pixels[:, :, ::-1]])
    turned = find_duplicates(mirrored, threshold=plain.threshold)
    pairs = [*plain.pairs.tolist(), *(pair for pair in turned.pairs.tolist() if pair[1] >= n)]
    # an image of one colour is a copy of any other of that colour, which says nothing
    return [
        (items[left], items[right % n])
        for left, right in pairs
        if left % n != right % n and left < n and not plain.constant[left]
    ]


def _shorter_side(source: ImageSource) -> int:
    try:
        return min(source.probe()[:2])
    except DataError:  # the file is gone since
        return 0
