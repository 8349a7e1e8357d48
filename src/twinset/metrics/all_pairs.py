"""All pairs of a set of embeddings, a tile of distances at a time: counts, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twinset import distance as distances
from twinset.errors import DataError
from twinset.metrics.pairs import Curve, Rates

# A tile of 1024 × 1024 distances (4 MB) and its bins stay in the caches of one core.
TILE = 1024
BINS = 2**16


@dataclass(frozen=True, eq=False)
class PerImage:
    """Sums over the pairs that each image takes part in, in the order of the images."""

    thresholds: NDArray[np.float64]  # float64 of shape (t,); a match is distance ≤ threshold
    positives: NDArray[np.int64]  # number of same pairs of each image, (n,)
    negatives: NDArray[np.int64]  # number of different pairs of each image, (n,)
    # same pairs of each image that match, (t, n), a row per threshold
    true_matches: NDArray[np.int64]
    false_matches: NDArray[np.int64]  # different pairs of each image that match, (t, n)
    # what each image is an example of, (n,), where these and not the images are the sample
    clusters: NDArray[np.int64] | None = None

    def rates(self, k: int) -> Rates:
        """Return the errors at threshold k, over all pairs and exactly."""
        # each pair was counted for both of its images
        positives = int(self.positives.sum()) // 2
        return Rates(
            threshold=float(self.thresholds[k]),
            positives=positives,
            negatives=int(self.negatives.sum()) // 2,
            false_matches=int(self.false_matches[k].sum()) // 2,
            false_non_matches=positives - int(self.true_matches[k].sum()) // 2,
        )


@dataclass(frozen=True, eq=False)
class PerClass:
    """Sums over the pairs between two classes, in ascending order of their labels."""

    # pairs between classes a and b that match, (t, classes, classes), symmetric; a pair within a
    # class counts once
    matches: NDArray[np.int64]
    pairs: NDArray[np.int64]  # pairs between classes a and b, (classes, classes)


@dataclass(frozen=True, eq=False)
class Tile:
    """Distances of some images to some others, in the order of `AllPairs.order`."""

    rows: slice
    columns: slice  # the images of the columns; never before those of the rows
    # float32 of shape (rows, columns), in a buffer that the next tile reuses. Infinite below the
    # diagonal of all and on it, where there is no new pair.
    values: NDArray[np.float32]
    diagonal: bool  # whether rows and columns are the same images
    same: list[tuple[slice, slice]]  # the rectangles in which rows and columns are of one class


class AllPairs:
    """All n (n − 1) / 2 pairs of a set; with blocks, all pairs within one block.

    Time grows with n², memory with n: distances exist a tile at a time. Blocks, such as the folds
    of a cross-validation, are numbers of shape (n,): embeddings of two models are not compared.

    `embeddings` are kept as they came; `classes` are the labels, ascending; image i of the walk
    is image `order[i]` of the embeddings.
    """

    def __init__(
        self, embeddings: NDArray[Any], labels: ArrayLike, blocks: ArrayLike | None = None
    ) -> None:
        checked = _checked(embeddings, labels)
        self.embeddings = embeddings
        self.classes, kinds = np.unique(checked, return_inverse=True)
        places = np.zeros(len(kinds), np.int64) if blocks is None else np.asarray(blocks)
        of_block, self._block_sizes = np.unique(places, return_inverse=True, return_counts=True)[1:]
        # A cell is what a class has in a block: images of one cell are same pairs.
        cells, codes = np.unique(of_block * len(self.classes) + kinds, return_inverse=True)
        self._block_of_cell, self._class_of_cell = np.divmod(cells, len(self.classes))
        self._sizes = np.bincount(codes)
        if (self._sizes < 2).all():
            raise DataError("Expected a class of at least 2 images. Received none: no same pair.")
        if len(self._sizes) == len(self._block_sizes):
            raise DataError("Expected at least 2 classes. Received 1: no different pair.")
        # Sorted by cell, the same pairs of a tile are rectangles.
        self.order = np.argsort(codes, kind="stable")
        self._codes = codes[self.order]
        self._starts = np.concatenate([[0], np.cumsum(self._sizes)])
        rows, squares = _centred(embeddings, of_block)
        self._rows, self._squares = rows[self.order], squares[self.order]
        # No distance is longer than twice the longest row; the slack is for rounding.
        longest = 2 * float(np.sqrt(self._squares.max())) * (1 + 1e-4)
        self._scale = np.float32(BINS / max(longest, float(np.finfo(np.float32).tiny) * BINS))

    def __len__(self) -> int:
        return len(self._rows)

    def curve(self, without: int | None = None) -> Curve:
        """Count all pairs by distance, in 2¹⁶ equal bins; those of one block can be left out."""
        # A candidate threshold is the largest float32 of its bin, so that its counts are those of
        # `distance <= threshold` to the last pair. Empty bins are left out. For a threshold within
        # a bin, `per_image` counts exactly.
        kept = np.arange(len(self._block_sizes)) != without
        positives, negatives = self._by_block[:, kept].sum(axis=1)
        used = np.flatnonzero(positives + negatives)
        return Curve(
            self.edges[np.append(0, used + 1)],
            np.append(0, np.cumsum(positives[used])),
            np.append(0, np.cumsum(negatives[used])),
            self.edges[np.append(0, used)],
        )

    def per_image(self, thresholds: Sequence[float]) -> PerImage:
        """Count, for each image, the pairs it takes part in that match."""
        # One walk for all thresholds: fifty cost little more than one.
        wanted = np.asarray(thresholds, np.float64)
        if np.isnan(wanted).any():
            raise DataError("Expected numbers as thresholds. Received NaN.")
        steps, rows_of = np.unique(wanted.astype(np.float32), return_inverse=True)
        table = self._steps_of_bins(steps)
        n = len(self)
        every = np.zeros((n, len(steps) + 1), np.int64)
        same = np.zeros_like(every)
        for tile in self.tiles():
            found = table[self.bins(tile)]
            unsure = np.flatnonzero(found < 0)
            found.ravel()[unsure] = np.searchsorted(steps, tile.values.ravel()[unsure])
            _count(every, tile, found)
            for rows, columns in tile.same:
                _count(same, tile, found[rows, columns], rows, columns)
        place = np.argsort(self.order)
        matches, true_matches = (
            np.cumsum(counts, axis=1)[place].T[rows_of] for counts in (every, same)
        )
        positives = self._sizes[self._codes] - 1
        others = self._block_sizes[self._block_of_cell][self._codes] - 1
        return PerImage(
            thresholds=wanted,
            positives=positives[place],
            negatives=(others - positives)[place],
            true_matches=true_matches,
            false_matches=matches - true_matches,
        )

    def per_class(self, thresholds: Sequence[float]) -> PerClass:
        """Count, for each two classes, the pairs between them that match."""
        # Memory grows with t · classes².
        count = len(self.classes)
        between = np.zeros((len(thresholds), count, count), np.int64)
        for tile in self.tiles():
            for k, threshold in enumerate(thresholds):
                self._add_between(between[k], tile, tile.values <= np.float32(threshold))
        table = np.zeros((len(self._block_sizes), count), np.int64)  # images of each cell
        table[self._block_of_cell, self._class_of_cell] = self._sizes
        pairs = table.T @ table
        np.fill_diagonal(pairs, (table * (table - 1) // 2).sum(axis=0))
        matches = np.triu(between) + np.transpose(np.triu(between, 1), (0, 2, 1))
        return PerClass(matches, pairs)

    def placements(self) -> tuple[NDArray[np.float64], float]:
        """Sum, for each image, how far its pairs pull the AUC from its value."""
        # A same pair at distance d contributes (P(d⁻ > d) + ½ P(d⁻ = d) − AUC) / positives, a
        # different pair (P(d⁺ < d) + ½ P(d⁺ = d) − AUC) / negatives: the terms of the linearised
        # AUC (Hoeffding's projection).
        # Returns the sums, float64 of shape (n,), and the sum over pairs of the squared
        # contributions: what `Estimate` takes.
        positives, negatives = self.histograms
        n_positive, n_negative = positives.sum(), negatives.sum()
        above = (n_negative - np.cumsum(negatives) + negatives / 2) / n_negative
        below = (np.cumsum(positives) - positives / 2) / n_positive
        area = float((positives * above).sum() / n_positive)
        # one extra bin, for what is no pair
        of_same = np.append((above - area) / n_positive, 0.0)
        of_different = np.append((below - area) / n_negative, 0.0)
        squares = (positives * of_same[:-1] ** 2 + negatives * of_different[:-1] ** 2).sum()
        sums = np.zeros(len(self))
        for tile in self.tiles():
            bins = self.bins(tile)
            pull = of_different[bins]
            for rows, columns in tile.same:
                pull[rows, columns] = of_same[bins[rows, columns]]
            sums[tile.rows] += pull.sum(axis=1)
            sums[tile.columns] += pull.sum(axis=0)
        return sums[np.argsort(self.order)], float(squares)

    @cached_property
    def histograms(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Same and different pairs by the bin of their distance, two arrays of 2¹⁶ counts."""
        positives, negatives = self._by_block.sum(axis=1)
        return positives, negatives

    @cached_property
    def _by_block(self) -> NDArray[np.int64]:
        # the same of each block, (2, blocks, bins)
        counts = np.zeros((2, len(self._block_sizes), BINS), np.int64)
        for tile in self.tiles():
            positives, every = counts[:, self._block_of_cell[self._codes[tile.rows.start]]]
            bins = self.bins(tile)
            every += np.bincount(bins.ravel(), minlength=BINS + 1)[:BINS]
            for rows, columns in tile.same:
                part = bins[rows, columns].ravel()
                positives += np.bincount(part, minlength=BINS + 1)[:BINS]
        counts[1] -= counts[0]
        return counts

    @cached_property
    def edges(self) -> NDArray[np.float64]:
        """The largest float32 of each bin, after one below them all: 2¹⁶ + 1 numbers."""
        return _edges(self._scale)

    @property
    def rounding(self) -> float:
        """A bound on how far squared distances of a tile are from those of `of_pairs`."""
        # With u = 2⁻²⁴, d coordinates and M the longest centred row squared, to first order: the
        # product and the squares of `cross` are off by (2d + 14) u M, the centring by 8 u M, the
        # sum of squared differences by (4d + 12) u M.
        terms = 6 * int(self._rows.shape[1]) + 40
        return terms * 2.0**-24 * float(self._squares.max())

    def bins(self, tile: Tile) -> NDArray[np.intp]:
        """Number the bin of each distance of a tile; 2¹⁶ where there is no pair."""
        scaled = tile.values * self._scale
        if tile.diagonal:
            np.minimum(scaled, BINS, out=scaled)
        return scaled.astype(np.intp)

    def tiles(self) -> Iterator[Tile]:
        """Walk over all pairs, each once, a tile at a time."""
        side = min(TILE, int(self._block_sizes.max()))  # many small sets are walked too
        room = np.empty(side * side, np.float32)
        no_pair = np.tri(side, dtype=bool)
        for rows, columns in self._places():
            height, width = rows.stop - rows.start, columns.stop - columns.start
            values = distances.cross(
                self._rows[rows],
                self._rows[columns],
                self._squares[rows],
                self._squares[columns],
                room[: height * width].reshape(height, width),
            )
            diagonal = rows.start == columns.start
            if diagonal:  # each pair once, and none of an image with itself
                values[no_pair[:height, :width]] = np.inf
            yield Tile(rows, columns, values, diagonal, self._same(rows, columns))

    def _places(self) -> Iterator[tuple[slice, slice]]:
        """List the tiles' rows and columns, block by block."""
        ends = np.cumsum(self._block_sizes).tolist()
        for first, end in zip([0, *ends], ends, strict=False):
            for top in range(first, end, TILE):
                rows = slice(top, min(top + TILE, end))
                for left in range(top, end, TILE):
                    yield rows, slice(left, min(left + TILE, end))

    def _steps_of_bins(self, steps: NDArray[np.float32]) -> NDArray[np.intp]:
        """Find, for each bin, the first of ascending thresholds that all its distances match."""
        # −1 where a threshold lies within the bin, so that each distance must be compared; the
        # number of thresholds where there is none, and for what is no pair.
        tops = self.edges[1:].astype(np.float32)
        home = np.searchsorted(tops, steps)  # the bin that a threshold lies in; BINS beyond all
        table = np.cumsum(np.bincount(home + 1, minlength=BINS + 2))[: BINS + 1]
        within = home[home < BINS]
        table[within[steps[: len(within)] < tops[within]]] = -1
        table[BINS] = len(steps)
        return table

    def _same(self, rows: slice, columns: slice) -> list[tuple[slice, slice]]:
        """List the rectangles of a tile in which rows and columns are of one class."""
        found = []
        for code in range(self._codes[columns.start], self._codes[rows.stop - 1] + 1):
            start, stop = self._starts[code], self._starts[code + 1]
            found.append(
                (
                    slice(max(start - rows.start, 0), stop - rows.start),
                    slice(max(start - columns.start, 0), stop - columns.start),
                )
            )
        return found

    def _add_between(
        self, between: NDArray[np.int64], tile: Tile, match: NDArray[np.bool_]
    ) -> None:
        """Add a tile's matches to the count of each couple of classes."""
        row_codes, row_starts = np.unique(self._codes[tile.rows], return_index=True)
        column_codes, column_starts = np.unique(self._codes[tile.columns], return_index=True)
        by_column = np.add.reduceat(match, column_starts, axis=1, dtype=np.int64)
        # within one block each class has one cell
        classes = self._class_of_cell[row_codes], self._class_of_cell[column_codes]
        between[np.ix_(*classes)] += np.add.reduceat(by_column, row_starts, axis=0)


def _centred(
    embeddings: NDArray[Any], blocks: NDArray[np.intp]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Centre each block by itself: their spaces may lie far apart, and digits would be lost."""
    if not blocks.any():
        return distances.centred(embeddings)
    rows, squares = distances.centred(embeddings)
    for block in range(blocks.max() + 1):
        inside = np.flatnonzero(blocks == block)
        rows[inside], squares[inside] = distances.centred(embeddings[inside])
    return rows, squares


def _count(
    counts: NDArray[np.int64],
    tile: Tile,
    found: NDArray[np.intp],
    rows: slice = slice(None),
    columns: slice = slice(None),
) -> None:
    """Count the steps found in a tile, or a rectangle in it, for both images of each pair."""
    width = counts.shape[1]
    for images, part, lines in (
        (tile.rows, rows, np.arange(found.shape[0])[:, None]),
        (tile.columns, columns, np.arange(found.shape[1])),
    ):
        size = lines.size * width
        counted = np.bincount((found + width * lines).ravel(), minlength=size)
        counts[images][part] += counted.reshape(lines.size, width)


def _edges(scale: np.float32) -> NDArray[np.float64]:
    # Bin i holds the d with ⌊d · scale⌋ = i in float32. The product never falls as d grows, so the
    # edge is near (i + 1) / scale, at most a few roundings away.
    above, lowest = np.arange(BINS + 1, dtype=np.float32), np.float32(-np.inf)
    edges = np.nextafter(above / scale, lowest)
    for _ in range(4):
        before = edges
        edges = np.where(edges * scale < above, edges, np.nextafter(edges, lowest))
        higher = np.nextafter(edges, -lowest)
        edges = np.where(higher * scale < above, higher, edges)
        if np.array_equal(before, edges):
            break
    result: NDArray[np.float64] = edges.astype(np.float64)
    return result


def _checked(embeddings: NDArray[Any], labels: ArrayLike) -> NDArray[Any]:
    values = np.asarray(labels)
    if values.ndim != 1 or len(values) != len(embeddings):
        raise DataError(
            "Expected one label per embedding. "
            f"Received {len(embeddings)} embeddings and labels of shape {values.shape}."
        )
    if len(values) < 2:
        raise DataError(f"Expected at least 2 embeddings. Received {len(values)}.")
    broken = np.flatnonzero(~np.isfinite(embeddings.reshape(len(embeddings), -1)).all(axis=1))
    if broken.size:
        raise DataError(
            f"Expected finite embeddings. Received NaN or infinity in row {broken[0]} "
            f"({broken.size} rows in all): the network is broken, train again."
        )
    return values
