"""The distances of pairs of image files, each file read and embedded once by each model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twinset import distance as distances
from twinset.data.cache import decode_batches
from twinset.data.image_sources import FileSource
from twinset.data.names import shown
from twinset.data.pair_tables import PairTable
from twinset.errors import DataError
from twinset.models.embedder import Embedder
from twinset.progress import Progress, Report


def measure_pairs(
    models: Sequence[Embedder], given: PairTable, tell: Report
) -> tuple[NDArray[np.float64], list[str]]:
    """Measure each pair by each model, beside its columns of evidence; and tell what was wrong."""
    # each once, however often the table names it
    names = list(dict.fromkeys(name for pair in given.pairs for name in pair))
    place = {name: i for i, name in enumerate(names)}
    left, right = (np.array([place[name] for name in side]) for side in (given.left, given.right))
    columns, problems = [], dict[str, str]()
    for model in models:
        embeddings, bad = _embedded(model, given.file.parent, names, tell)
        problems |= bad
        apart = distances.of_pairs(embeddings, left, right, distance=model.distance)
        columns.append(apart.astype(np.float64))
    if len(problems) == len(names):
        raise DataError(f"{given.name}: none of its images can be read. {problems[names[0]]}")
    scores = np.column_stack([*columns, *([] if given.evidence is None else [given.evidence])])
    told = [
        "; ".join(problems[name] for name in dict.fromkeys(pair) if name in problems)
        for pair in given.pairs
    ]
    return scores, told


def _embedded(
    model: Embedder, folder: Path, names: list[str], tell: Report
) -> tuple[NDArray[np.float32], dict[str, str]]:
    # a row of NaN where a file cannot be read, and why not
    result = np.full((len(names), model.dim), np.nan, np.float32)
    problems: dict[str, str] = {}
    done = 0
    files = [FileSource(folder / name, name) for name in names]
    for batch in decode_batches(files, model.preprocessing):
        if len(batch.positions):
            result[batch.positions] = model.embed(batch.pixels)
        for place, skipped in batch.skipped.items():
            name = names[place]  # as the table has it
            problems[name] = shown(skipped.reason.replace(str(files[place].path), name))
        done += len(batch.positions) + len(batch.skipped)
        tell(Progress("compare", done, len(names), "images"))
    return result, problems
