"""Images that are there twice: in the same pixels, or shifted, compressed, resized, brightened."""

from __future__ import annotations

import hashlib
import inspect
import io
import sys
import zipfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset.cache_folder import cache_folder, prune, tag
from twinset.data.checks.thumbnails import aligned_distances, chunks, signatures, thumbnails
from twinset.data.image_sources import StoredPixels, as_keys
from twinset.data.image_sources import fingerprints as fingerprints_of
from twinset.data.labelled import LabelledImages
from twinset.data.names import shown
from twinset.data.pairs import hanging_together
from twinset.files import write_bytes

FLAT = 2  # gray levels: what varies no more is the noise of a file format
LEAST_SIDE = 8  # pixels; below, many different images are alike by chance
# A near duplicate is at most this share as far as the typical look-alike, and between the bounds.
_SHARE, _LOWEST, _HIGHEST, _UNKNOWN = 0.2, 0.05, 0.25, 0.1
# Cosines of signatures from which a pair is verified: so many that each image has about _MANY.
_LOOSEST, _TIGHTEST, _MANY = 0.96, 0.984, 4
_SAMPLE, _LOOK_ALIKES, _CROWD = 512, 5, 32
_ROWS, _COLUMNS = 1024, 8192

# Share of images of one colour whose class their colour tells; the gray level up to which all is
# black to the eye, and how many images are looked at for that.
TOLD, DARKEST, SWATCHES = 0.9, 2, 100


@dataclass(frozen=True, eq=False)
class Duplicates:
    """The pairs of images that are alike, the most alike first.

    `pairs` (k, 2) are positions i < j, `distances` (k,) what differs in units of the contrast (see
    `aligned_distances`), `exact` (k,) whether the pixels are the same. Of images with the same
    pixels, each later one is paired with the first, `first` (n,), and only that is compared with
    others; so are images of one colour, `constant` (n,), exactly only, of which the pixels have a
    spread, `spreads` (n,), of 2 gray levels at most. Near duplicates have a distance up to the
    `threshold`. `skipped` pairs were left unexamined, because one image had too
    many.

    Example:
        >>> import numpy as np
        >>> pixels = np.random.default_rng(0).integers(0, 256, (4, 28, 28), np.uint8)
        >>> pixels[3], pixels[2, 1:] = pixels[0], pixels[1, :-1]
        >>> found = find_duplicates(pixels)
        >>> found.pairs.tolist(), found.exact.tolist()
        ([[0, 3], [1, 2]], [True, False])
        >>> [group.tolist() for group in found.groups()]
        [[0, 3], [1, 2]]
    """

    pairs: NDArray[np.int64]
    distances: NDArray[np.float64]
    exact: NDArray[np.bool_]
    first: NDArray[np.int64]
    spreads: NDArray[np.uint8]
    threshold: float
    skipped: int

    @property
    def constant(self) -> NDArray[np.bool_]:
        """Whether each image is of one colour all over."""
        return self.spreads <= FLAT

    def colours_tell(self, images: LabelledImages) -> bool:
        """Tell whether the images of one colour are swatches, whose colour tells their class."""
        # as many colours as classes or more, and hardly one of them in two classes
        seen = np.stack([self.first, images.labels], axis=1)[self.constant]
        kinds, counts = np.unique(seen, axis=0, return_counts=True)
        colours, labels = kinds.T
        largest = np.zeros(len(images), np.int64)
        np.maximum.at(largest, colours, counts)
        several = len(np.unique(colours)) >= len(np.unique(labels))
        # 8 bits in files of 16 are next to black all over: chance tells a few classes by that
        some = np.unique(self.first[self.constant])[:SWATCHES]  # an image of each colour
        bright = images.images[some].max(initial=0) > DARKEST
        return bool(bright and several and largest.sum() >= TOLD * len(seen))

    def groups(self) -> list[NDArray[np.int64]]:
        """Join pairs that share an image, whatever a chain's ends: the largest group first."""
        count = len(self.first)
        component = hanging_together(count, self.pairs.T) if count else self.first
        order = np.argsort(component, kind="stable")
        families = np.split(order, np.flatnonzero(np.diff(component[order])) + 1)
        several = [family for family in families if len(family) > 1]
        return sorted(several, key=lambda family: (-len(family), family[0]))

    def together(self) -> NDArray[np.int64]:
        """Number the images so that those of a group have one number."""
        numbers = np.arange(len(self.first))
        for group in self.groups():
            numbers[group] = group[0]
        return numbers


def find_duplicates(
    images: NDArray[np.uint8] | StoredPixels,
    *,
    threshold: float | None = None,
    neighbours: int = 32,
    fingerprints: NDArray[np.uint8] | None = None,
) -> Duplicates:
    """Find the images that are there twice, in the same pixels or nearly so.

    1. Same pixels: equal fingerprints.
    2. Candidates: all pairs of images, by the cosine of their `signatures`, a tile at a time.
    3. Verification: each candidate by `aligned_distances`.

    How far apart near duplicates may be depends on the data: shirts of 28 × 28 pixels are all
    alike, photographs are not. So by default the threshold is a fifth of the distance to the
    typical look-alike (the median over 512 images of the second nearest), from 0.05 to 0.25.

    Of planted copies in JPEG of quality 60, shifted by a pixel, resized to 97% or brightened by
    10%, 99% and more are found; of those cropped by 4.5% and enlarged, 9% in gray 28 × 28 and 77%
    in colour 64 × 64 (`benchmarks/near_duplicates.py`). So do not read an empty list as a proof: a
    mirrored, turned or cropped copy may not be found. Of Fashion-MNIST's 60,000 images, 0.2% are
    flagged though nothing was planted; by eye, most of these pairs show one product.

    Time grows with n², from half a minute for 60,000 images on two cores; memory with n, as
    thumbnails and signatures take 4 kB per image at most.

    Below 8 pixels a side, and with a threshold of 0, only the same pixels are found. At most the
    `neighbours` nearest candidates of each image are verified, which bounds the work where all
    images are alike.
    """
    keys = as_keys(fingerprints_of(images) if fingerprints is None else fingerprints)
    _, at, kind = np.unique(keys, return_index=True, return_inverse=True)
    first = at[kind].astype(np.int64)  # the first position of each image's fingerprint
    small, spreads = thumbnails(images)
    new = first == np.arange(len(first))
    again = np.flatnonzero(~new)
    pairs = np.stack([first[again], again], axis=1)
    distances = np.zeros(len(again))
    skipped = 0
    distinct = np.flatnonzero(new & (spreads > FLAT))
    if threshold != 0 and min(images.shape[1:3]) >= LEAST_SIDE and len(distinct) > 1:
        small = small[distinct]
        known = signatures(small)
        cosine, usual = _look_around(small, known)
        threshold = usual if threshold is None else threshold
        candidates, skipped = _candidates(known, cosine, neighbours)
        d = aligned_distances(small, candidates)
        pairs = np.concatenate([pairs, distinct[candidates[d <= threshold]]])
        distances = np.concatenate([distances, d[d <= threshold]])
    order = np.lexsort((pairs[:, 1], pairs[:, 0], np.arange(len(pairs)) >= len(again), distances))
    return Duplicates(
        pairs[order],
        distances[order],
        order < len(again),
        first,
        spreads,
        threshold or 0.0,
        skipped,
    )


def _look_around(small: NDArray[np.uint8], known: NDArray[np.float32]) -> tuple[float, float]:
    """Choose the cosine of candidates, and the threshold, by how crowded the images are."""
    count = len(known)
    nearest = min(_LOOK_ALIKES, count - 1)
    if nearest < 2:
        return _LOOSEST, _UNKNOWN
    asked = np.unique(np.linspace(0, count - 1, min(_SAMPLE, count)).astype(np.int64))
    looks, best = [], []
    for part in chunks(len(asked), count):
        cosines = known[asked[part]] @ known.T
        cosines[np.arange(len(cosines)), asked[part]] = -1
        order = np.argpartition(-cosines, nearest - 1, axis=1)[:, :nearest]
        looks.append(order)
        crowd = np.partition(-cosines, min(_CROWD, count) - 1, axis=1)[:, :_CROWD]
        best.append(-crowd.ravel())
    pairs = np.stack([np.repeat(asked, nearest), np.concatenate(looks).ravel()], axis=1)
    distances = np.sort(aligned_distances(small, pairs).reshape(len(asked), nearest), axis=1)
    # The second nearest: where every image is there twice, the nearest is the copy.
    typical = float(np.median(distances[:, 1]))
    highest = np.sort(np.concatenate(best))[::-1]
    cosine = highest[min(_MANY * len(asked), len(highest)) - 1]
    return (
        float(np.clip(cosine, _LOOSEST, _TIGHTEST)),
        float(np.clip(_SHARE * typical, _LOWEST, _HIGHEST)),
    )


def _candidates(
    known: NDArray[np.float32], cosine: float, neighbours: int
) -> tuple[NDArray[np.int64], int]:
    """List pairs (i, j), i < j, of a cosine or more; for each i the nearest, and how many more."""
    # not by `twinset.nearest`, which ranks all neighbours of each query: here are all pairs above a
    # bound, each once, for half of the products, and pruned tile by tile
    count = len(known)
    found, skipped = [np.empty((0, 2), np.int64)], 0
    for top in range(0, count, _ROWS):
        mine = known[top : top + _ROWS]
        hits = [np.empty((0, 3))]
        for start in range(top, count, _COLUMNS):
            tile = mine @ known[start : start + _COLUMNS].T
            place = np.flatnonzero(tile >= cosine)
            row, column = np.divmod(place, tile.shape[1])
            later = start + column > top + row
            i, j, near = top + row[later], start + column[later], tile.ravel()[place[later]]
            hits.append(np.stack([i, j, near], axis=1))
            # pruned on the way, so that a set of a million equal icons needs no more memory
            best, dropped = _nearest(np.concatenate(hits), neighbours)
            hits, skipped = [best], skipped + dropped
        found.append(hits[0][:, :2].astype(np.int64))
    return np.concatenate(found), skipped


def _nearest(hits: NDArray[np.float64], neighbours: int) -> tuple[NDArray[np.float64], int]:
    """Keep for each i the rows (i, j, cosine) of the largest cosines; count the others."""
    ordered = hits[np.lexsort((hits[:, 1], -hits[:, 2], hits[:, 0]))]
    rank = np.arange(len(ordered)) - np.searchsorted(ordered[:, 0], ordered[:, 0])
    keep = rank < neighbours
    return ordered[keep], int((~keep).sum())


@dataclass(frozen=True)
class Alike:
    """Images that are alike: all with the same pixels, or two that are nearly the same.

    Example:
        >>> found = Alike((0, 4), ("cat/0.png", "dog/0.png"), ("cat", "dog"), ("", ""), True, 0.0)
        >>> found.exact, found.names
        (True, ('cat/0.png', 'dog/0.png'))
    """

    positions: tuple[int, ...]
    names: tuple[str, ...]
    classes: tuple[str, ...]
    parts: tuple[str, ...]  # "" for an image in none
    exact: bool
    distance: float  # as of `Duplicates`


@dataclass(frozen=True)
class Judged:
    """Duplicates by what they do; an entry may be both a conflict and a leak."""

    copies: tuple[Alike, ...]  # in one class and one part: they count twice, contradict nothing
    conflicts: tuple[Alike, ...]  # under two labels or more
    leaks: tuple[Alike, ...]  # in two parts or more


def image_name(data: LabelledImages, position: int) -> str:
    """Return what people know an image by: its file's name, or "image 17", counted from 0."""
    return f"image {position}" if data.names is None else shown(str(data.names[position]))


def judge_duplicates(
    data: LabelledImages, found: Duplicates, parts: Sequence[str] | NDArray[np.str_]
) -> Judged:
    """Sort duplicates into copies, label conflicts and leaks."""
    # what was judged in pairs may have no class
    names = dict(enumerate(map(shown, data.class_names)))
    labels = [names.get(label, "") for label in data.labels.tolist()]
    owners = [str(part) for part in parts]

    def alike(positions: Iterable[int], distance: float, exact: bool) -> Alike:
        members = tuple(sorted(positions))
        return Alike(
            members,
            tuple(image_name(data, i) for i in members),
            tuple(labels[i] for i in members),
            tuple(owners[i] for i in members),
            exact,
            distance,
        )

    families = _families(found)
    copies, conflicts, leaks = [], [], []
    for family in families.values():
        group = alike(family, 0.0, exact=True)
        contradicts = len({labels[i] for i in family} - {""}) > 1
        leaking = len({owners[i] for i in family} - {""}) > 1
        conflicts += [group] * contradicts
        leaks += [group] * leaking
        copies += [group] * (not contradicts and not leaking)
    near = np.flatnonzero(~found.exact)
    for (i, j), distance in zip(
        found.pairs[near].tolist(), found.distances[near].tolist(), strict=True
    ):
        # of images that are there several times the first was compared, for all of them
        left, right = families.get(i, [i]), families.get(j, [j])
        contradiction = _different(left, right, labels)
        leak = _different(left, right, owners)
        if contradiction:
            conflicts.append(alike(contradiction, distance, exact=False))
        if leak:
            leaks.append(alike(leak, distance, exact=False))
        # what the owner says belongs together is never parted, and frames of a film are alike
        grouped = data.groups is not None and data.groups[i] == data.groups[j] != ""
        if not contradiction and not leak and not grouped:
            copies.append(alike((i, j), distance, exact=False))
    return Judged(tuple(copies), tuple(conflicts), tuple(leaks))


def _families(found: Duplicates) -> dict[int, list[int]]:
    """First position → all positions with its pixels, where there are several."""
    families: dict[int, list[int]] = {}
    for again in np.flatnonzero(found.first != np.arange(len(found.first))).tolist():
        first = int(found.first[again])
        families.setdefault(first, [first]).append(again)
    return families


def _different(
    left: Sequence[int], right: Sequence[int], values: Sequence[int] | Sequence[str]
) -> tuple[int, int] | None:
    """Find one of each side whose values differ; "" is no value."""
    first_left = {values[i]: i for i in reversed(left) if values[i] != ""}
    first_right = {values[j]: j for j in reversed(right) if values[j] != ""}
    for a, i in first_left.items():
        for b, j in first_right.items():
            if a != b:
                return i, j
    return None


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
    homes = (sys.modules[name] for name in (__name__, thumbnails.__module__))
    return "".join(map(inspect.getsource, homes))
