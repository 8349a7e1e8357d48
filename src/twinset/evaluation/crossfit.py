"""Distances of images left out of the fit, in turn: a calibration that needs no part of its own.

    found = crossfit(data, lambda kept: fit(kept, recipe), by="class", seed=0)
    model = cross_calibrated(fit(data, recipe), found)

Every image serves both: the model is fitted on all of them, and its threshold, probability and
promised rates come from models of the same recipe that did not see what they are measured on. Each
of these has a space of its own, so that only images of one turn are compared. As they are fitted
on less, what is promised is rather too little than too much.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from twinset import distance as distances
from twinset.data.labelled import Labelled
from twinset.data.pair_parts import listed, too_few, turns_of_pairs
from twinset.data.pairs import Pairs, balanced_pairs
from twinset.data.split import FOLDS, By, Turn, Turns, able, comparable, take_turns, turns_of
from twinset.errors import DataError, reason
from twinset.files import write_bytes
from twinset.metrics.measure import Calibration, calibrate
from twinset.metrics.measured import Part
from twinset.metrics.promised import Over
from twinset.nearest import one_blas_thread
from twinset.progress import Progress, Wanted, reporting

if TYPE_CHECKING:
    from twinset.models.embedder import Embedder

    Model = TypeVar("Model", bound=Embedder)


CROSSFIT = "crossfit.npz"  # in a run's folder


@dataclass(frozen=True, eq=False)
class CrossFitted:
    """Images that were left out, embedded by models that did not see them; m rows."""

    data: str  # digest of all the images
    images: int  # their number
    embeddings: NDArray[np.float32]  # (m, d)
    labels: NDArray[np.int64]  # (m,)
    positions: NDArray[np.int64]  # of the rows in the data, (m,)
    turns: NDArray[np.int64]  # the turn of each row, (m,): rows of two turns are not comparable
    by: By
    across: str  # what was left out in turn, for people
    note: str = ""  # what they must know of it
    # where pairs were judged: left, right and same, (3, p), by row; else (3, 0)
    judged: NDArray[np.int64] = field(default_factory=lambda: np.zeros((3, 0), np.int64))

    @property
    def part(self) -> Part:
        """The rows as a part of the data, for every metric of pairs."""
        return Part(self.embeddings, self.labels, self.turns, self._pairs)

    @property
    def _pairs(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_]] | None:
        left, right, same = self.judged
        return (left, right, same == 1) if self.judged.size else None

    def calibration(self, rules: Sequence[str]) -> Calibration:
        """Choose thresholds by rules, and fit a probability, as on a calibration part."""
        over: Over = "class" if self.by == "class" else "image"
        return calibrate(self.part, rules=rules, over=over)

    def pairs(self, *, seed: int) -> tuple[Pairs, NDArray[np.float32]]:
        """Draw as many same as different pairs, by position in the data, and their distances."""
        if self._pairs is not None:
            apart = distances.of_pairs(self.embeddings, *self._pairs[:2])
            places = self.positions.astype(np.int32)
            left, right, same = self._pairs
            return Pairs(places[left], places[right], same), apart
        drawn: list[tuple[Any, Any, NDArray[np.bool_]]] = []
        for turn in np.unique(self.turns):
            rows = np.flatnonzero(self.turns == turn).astype(np.int32)
            if all(comparable(self.labels[rows])):
                pairs = balanced_pairs(self.labels[rows], seed=seed)
                drawn.append((rows[pairs.left], rows[pairs.right], pairs.same))
        if not drawn:  # no turn has both kinds: all pairs there are
            drawn = [_every_pair(self.turns, self.labels)]
        left, right, same = (np.concatenate(each) for each in zip(*drawn, strict=True))
        apart = distances.of_pairs(self.embeddings, left, right)
        places = self.positions.astype(np.int32)
        return Pairs(places[left], places[right], same), apart

    def write(self, path: str | Path) -> None:
        """Write it to a file, for whoever reports on the model later."""
        file = io.BytesIO()
        np.savez_compressed(file, **{each.name: getattr(self, each.name) for each in fields(self)})
        write_bytes(Path(path), file.getvalue())

    @classmethod
    def read(cls, path: str | Path) -> CrossFitted:
        """Read what `write` wrote."""
        try:
            with np.load(io.BytesIO(Path(path).read_bytes())) as file:
                # runs of before had no judged pairs
                names = [f.name for f in fields(cls) if f.name in file or f.name != "judged"]
                found = {name: file[name] for name in names}
        except (OSError, EOFError, ValueError, KeyError, BadZipFile, zlib.error) as error:
            raise DataError(
                f"{path}: expected the distances of images that were left out. {reason(error)}: "
                "restore the file, or train again."
            ) from None
        return cls(**{name: each.item() if not each.ndim else each for name, each in found.items()})


def crossfit(
    data: Labelled,
    train: Callable[[Labelled], Any],
    *,
    by: By = "class",
    folds: int = FOLDS,
    seed: int,
    turns: Turns | None = None,
    threads: int = 1,
    progress: Wanted = False,
) -> CrossFitted:
    """Leave classes, images or groups out in turn, train on the rest, and embed what was left out.

    `train` returns anything with `embed`, or None where nothing can be learned: that turn does not
    count then. By "image" and "group" it is the images of each class that are left out; groups stay
    whole in any case. Turns that were taken before, as by `divide`, are taken as they are. More
    `threads` than one are for a `train` of numpy alone.
    """
    if by == "group" and data.groups is None:
        raise DataError(f"{data.name}: expected groups to leave out. It has none.")
    if turns is None and data.judged is not None:
        turns = turns_of_pairs(data, seed=seed)
        if turns is None:
            raise DataError(too_few(data))
    if turns is None:
        turns = take_turns(data.labels, by=by, units=data.groups, folds=folds, seed=seed)
    found, used = list[NDArray[np.float32]](), []

    def embedded(turn: Turn) -> NDArray[np.float32] | None:
        model = train(data.subset(turn.kept))
        return None if model is None else np.asarray(model.embed(data.subset(turn.held)))

    with reporting(progress) as tell, _mapping(threads) as each_of:
        tell(Progress("cross-fit", 0, len(turns.all), "trainings"))
        made = each_of(embedded, turns.all)
        for number, (turn, rows) in enumerate(zip(turns.all, made, strict=True), 1):
            if rows is not None:
                found.append(rows.astype(np.float32, copy=False))
                used.append(turn)
            tell(Progress("cross-fit", number, len(turns.all), "trainings"))
    judged = _judged(data, used)
    both = able(data.labels, used) if data.judged is None else len(np.unique(judged[2])) > 1
    if not both:
        raise DataError(
            f"{data.name}: expected trainings that leave some of the images out. Of "
            f"{len(turns.all)}, {len(used)} ended in a model: add images."
        )
    if len(used) < len(turns.all) and data.judged is None:
        turns = turns_of(data.labels, used, turns.by, turns.note)
    positions = [turn.held for turn in used]
    # principal directions are no more than the images they come from: zeros change no distance
    width = max(each.shape[1] for each in found)
    found = [np.pad(each, ((0, 0), (0, width - each.shape[1]))) for each in found]
    places = np.concatenate(positions)
    return CrossFitted(
        data=data.digest,
        images=len(data),
        embeddings=np.concatenate(found),
        labels=data.labels[places],
        positions=places,
        turns=np.repeat(np.arange(len(positions)), [len(each) for each in positions]),
        by=turns.by,
        across=turns.across,
        note=turns.note,
        judged=judged,
    )


@contextmanager
def _mapping(threads: int) -> Iterator[Any]:
    if threads == 1:  # Keras in the main thread, where Ctrl-C arrives
        yield map
        return
    with one_blas_thread(), ThreadPoolExecutor(threads) as pool:
        yield pool.map


def _judged(data: Labelled, used: Sequence[Turn]) -> NDArray[np.int64]:
    # the known pairs of each turn, by row
    found, start = [np.zeros((3, 0), np.int64)], 0
    for turn in used:
        known = listed(data, turn.held)
        if known is not None:
            found.append(np.stack(known).astype(np.int64) + np.array([[start], [start], [0]]))
        start += len(turn.held)
    return np.concatenate(found, axis=1)


def cross_calibrated(model: Model, found: CrossFitted) -> Model:
    """Give a model that was fitted on all images the thresholds of those that were left out."""
    chosen = found.calibration(model.rules())
    return model.decided(chosen, data=found.data, images=found.images, across=found.across)


def _every_pair(
    turns: NDArray[np.int64], labels: NDArray[np.int64]
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.bool_]]:
    left, right = np.triu_indices(len(turns), 1)
    within = turns[left] == turns[right]
    left, right = left[within], right[within]
    return left, right, labels[left] == labels[right]
