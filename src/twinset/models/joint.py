"""`Joint`: several models, and other columns of evidence, that judge a pair together."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from twinset import distance as distances
from twinset.data.decoding.decode import ImageLike
from twinset.data.pair_tables import PairTable, read_pair_table
from twinset.decision import Threshold, Verdict
from twinset.errors import DataError
from twinset.metrics.fusion import FOLDS, Fusion, fuse
from twinset.models.embedder import Embedder
from twinset.models.pair_scores import measure_pairs
from twinset.progress import Wanted, reporting


@dataclass(frozen=True, eq=False)
class Joint:
    """Models whose distances, and columns whose numbers, are joined as calibrated evidence.

    Made by `fit`. Its verdicts are of minus the joined log-likelihood ratio: smaller is closer, as
    everywhere.

    Args:
        models: by whose distances a pair is judged.
        columns: of a table of pairs, whose numbers count as well.
        fusion: how all these are joined.
        threshold: of minus the evidence: at most this is a match.
    """

    models: tuple[Embedder, ...]
    columns: tuple[str, ...]
    fusion: Fusion
    threshold: Threshold

    @classmethod
    def fit(
        cls,
        models: Sequence[Embedder],
        judged: str | Path,
        *,
        columns: Sequence[str] = (),
        progress: Wanted = False,
    ) -> Joint:
        """Fit how scores are joined, on pairs that people have judged.

        No model may have been trained on their images, where distances are too small: its evidence
        would count for too much.

        Args:
            models: one or more.
            judged: a table with the columns "left", "right" and "same", as for `compare_pairs`.
                Pairs that nobody has judged, and files that cannot be read, are left out.
            columns: of the table, each with a number of which more or less says "same". Defaults
                to none.
            progress: as for `compare_pairs`. Defaults to False.

        Raises:
            DataError: the table cannot be read, has not both kinds of pairs, or lacks a column.
        """
        table = read_pair_table(judged, evidence=columns)
        with reporting(progress) as tell:
            scores, problems = measure_pairs(models, table, tell)
        used = (table.same >= 0) & np.array([not problem for problem in problems])
        same = table.same[used] == 1
        if not used.any() or same.all() or not same.any():
            raise DataError(
                f"{table.name}: expected judged pairs of both kinds, the same and different. "
                f"Received {int(same.sum()):,} and {int((~same).sum()):,}."
            )
        names = [f"distance {at + 1}" for at in range(len(models))]
        names = [*(names if len(models) > 1 else ["distance"]), *columns]
        rule = models[0].threshold.rule if models[0].threshold.calibrated else "balanced accuracy"
        groups, images = _groups(table, used)
        fusion = fuse(scores[used], same, names=names, groups=groups, rule=rule)
        digest = hashlib.sha256(table.file.read_bytes()).hexdigest()
        threshold = replace(fusion.threshold, data=digest, images=images)
        return cls(tuple(models), tuple(columns), fusion, threshold)

    def judge(self, scores: ArrayLike, *, prior: float = 0.5) -> Verdict:
        """Turn the scores of a pair, (k,), into a verdict.

        Args:
            scores: its distance by each model, then its columns.
            prior: as for `Embedder.compare`. Defaults to 0.5.

        Raises:
            DataError: another number of scores, or the prior is out of range.
        """
        row = np.asarray(scores, np.float64)[None]
        against = -float(self.fusion.llr(row)[0])
        probability = float(self.fusion.probability(row, prior)[0])
        same = against <= self.threshold.value
        return Verdict(same, against, self.threshold, probability, prior, "evidence against")

    def compare(self, left: ImageLike, right: ImageLike, *, prior: float = 0.5) -> Verdict:
        """Say whether two images show the same, by all models together.

        Args:
            left: the path of a file, a PIL image, or a uint8 array.
            right: likewise.
            prior: as for `Embedder.compare`. Defaults to 0.5.

        Raises:
            ImageFileError: a file cannot be read.
            DataError: columns count as well, which two images do not have.
        """
        if self.columns:
            raise DataError(
                f"Expected a table of pairs, with the columns {', '.join(self.columns)}. Received "
                "two images, which have no such columns: use `compare_pairs`."
            )
        apart: list[Any] = []
        for model in self.models:
            a, b = model.embed([left, right])
            apart.append(distances.by_name(model.distance)(a, b))
        return self.judge(apart, prior=prior)


def _groups(table: PairTable, used: np.ndarray[Any, Any]) -> tuple[Any, int]:
    # Pairs that are linked by images are left out together, as long as they fall apart at all;
    # where all hang together, three numbers that are fitted remember no image.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    pairs = [pair for pair, kept in zip(table.pairs, used, strict=True) if kept]
    names = {name: at for at, name in enumerate(dict.fromkeys(n for pair in pairs for n in pair))}
    left, right = (np.array([names[pair[side]] for pair in pairs]) for side in (0, 1))
    links = coo_array((np.ones(len(pairs)), (left, right)), shape=(len(names), len(names)))
    count, of = connected_components(links, directed=False)
    return (of[left] if count >= 2 * FOLDS else None), len(names)
