"""One model's embeddings of a test part, and what metrics are computed from, each thing once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset.decision import Calibrator, Threshold
from twinset.metrics import intervals
from twinset.metrics.all_pairs import AllPairs, PerImage
from twinset.metrics.baselines import EmbeddingHealth, embedding_health
from twinset.metrics.intervals import Estimate, Interval, share_interval
from twinset.metrics.listed_pairs import ListedPairs
from twinset.metrics.pairs import Curve, Rates, tpr_at_fpr
from twinset.metrics.probes import knn_right, linear_probe, stratified
from twinset.metrics.retrieval import retrieval_estimates

FPRS, NEIGHBOURS = (0.1, 0.01, 0.001), (1, 20)
# The probe's cost grows with images × coordinates: 10,000 × 784 take ten seconds.
PROBE_IMAGES, PROBE_WIDTH, PROBE_STRENGTHS = 10_000, 1024, (0.001, 0.01, 0.1, 1)


@dataclass(frozen=True, eq=False)
class Part:
    """One part of the data, embedded: numbers of shape (n, ...), and labels of shape (n,).

    Where pairs were judged, `judged` has positions (p,) of left and right, and whether they are the
    same (p,): of all other pairs nobody knows, and labels tell what was judged to be one thing.
    Blocks of shape (n,), where there are any, tell which images can be compared: each fold of a
    cross-validation has a model, and thus a space, of its own.
    """

    embeddings: NDArray[Any]
    labels: NDArray[np.integer]
    blocks: NDArray[np.integer] | None = None
    judged: tuple[NDArray[np.integer], NDArray[np.integer], NDArray[np.bool_]] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def pairs(self) -> AllPairs | ListedPairs:
        """All pairs that can be compared, which thresholds, promises and metrics walk over."""
        if self.judged is not None:
            return ListedPairs(self.embeddings, *self.judged, self.blocks)
        return AllPairs(self.embeddings, self.labels, self.blocks)

    @property
    def rows(self) -> NDArray[Any]:
        """The embeddings, flattened to rows."""
        return self.embeddings.reshape(len(self.embeddings), -1)

    def only(self, classes: Sequence[int] | NDArray[np.integer]) -> Part:
        """Keep the images of some classes."""
        keep = np.isin(self.labels, classes)
        blocks = None if self.blocks is None else self.blocks[keep]
        return Part(self.embeddings[keep], self.labels[keep], blocks)


@dataclass(eq=False)
class Measured:
    """A test part in the table of metrics: nothing is computed before it is asked for, or twice."""

    test: Part
    _: KW_ONLY
    thresholds: Sequence[Threshold] = ()  # of the model, its own first
    calibrator: Calibrator | None = None
    gallery: Part | None = None  # what the model was fitted on, for votes and probe
    tune: Part | None = None  # for the probe's choice of its penalty
    seed: int = 0  # of what health and probe draw
    bands: bool = False  # so that one walk counts for the ROC curve's intervals as well

    @property
    def walk(self) -> AllPairs | ListedPairs:
        """All pairs that can be compared."""
        return self.test.pairs

    @cached_property
    def curve(self) -> Curve:
        """Counts of all pairs at all thresholds."""
        return self.walk.curve()

    @cached_property
    def counts(self) -> PerImage:
        """Counts per image at all thresholds that are asked for, from one walk."""
        read = [
            intervals.eer_threshold(self.curve),
            *(tpr_at_fpr(self.curve, f).threshold for f in FPRS),
        ]
        grid = intervals.band_thresholds(self.curve) if self.bands else []
        return self.walk.per_image([*(each.value for each in self.thresholds), *read, *grid])

    @property
    def first_of_bands(self) -> int:
        """Where in `counts` the thresholds of the bands begin."""
        return len(self.thresholds) + 1 + len(FPRS)

    def at(self, threshold: float) -> tuple[PerImage, int]:
        """Give counts per image that hold this threshold, and its place in them."""
        known = np.flatnonzero(self.counts.thresholds == threshold)
        return (self.counts, int(known[0])) if known.size else (self.walk.per_image([threshold]), 0)

    @property
    def own_rates(self) -> Rates:
        """The errors at the model's own threshold."""
        return self.counts.rates(0)

    @cached_property
    def retrieval(self) -> dict[str, Estimate]:
        """Scores of each query's ranking of all others, with what each image pulls."""
        return retrieval_estimates(self.test.rows, self.test.labels)

    @cached_property
    def health(self) -> EmbeddingHealth:
        """Signs of collapse and of waste."""
        return embedding_health(self.test.rows, self.test.labels, seed=self.seed)

    @cached_property
    def _votes(self) -> dict[int, NDArray[np.bool_]]:
        # None could be right where the test part has a class that the gallery lacks.
        known = self.gallery
        if known is None or np.setdiff1d(self.test.labels, known.labels).size:
            return {}
        ks = [k for k in NEIGHBOURS if k <= len(known)]
        return knn_right(known.rows, known.labels, self.test.rows, self.test.labels, ks=ks)

    def vote(self, k: int) -> Interval | None:
        """Give the accuracy of a vote of the k nearest fitted images; None without such."""
        right = self._votes.get(k)
        return None if right is None else share_interval(float(right.mean()), len(right))

    def probe(self) -> Interval | None:
        """Fit a linear classifier on a sample of the gallery; None where there is none to fit."""
        known = self.gallery
        if known is None or self.tune is None or not self._votes:
            return None
        chooser = self.tune.only(np.unique(known.labels))
        if not len(chooser) or known.rows.shape[1] > PROBE_WIDTH:
            return None
        drawn = stratified(known.labels, PROBE_IMAGES, seed=self.seed)
        parts = Part(known.embeddings[drawn], known.labels[drawn]), chooser, self.test
        data = [each for part in parts for each in (part.rows, part.labels)]
        scores = linear_probe(*data, strengths=PROBE_STRENGTHS)
        return share_interval(scores.accuracy, len(self.test))
