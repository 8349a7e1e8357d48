"""Heads in closed form: from a frozen network's features to embeddings of length 1, in one step.

    head = fit_head(features, labels, "whitened")
    embeddings = head(other_features)

No epochs and no learning rate: a mean, a covariance, an eigendecomposition. With few images of many
classes they beat what gradients find, and no seed changes them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field
from scipy.linalg import block_diag

from twinset.errors import DataError
from twinset.settings import Count, NotNegative, Section

Floats: TypeAlias = NDArray[np.float64]
Kind: TypeAlias = Literal["trained", "plain", "centred", "euclidean", "whitened", "lda"]
Bases: TypeAlias = MutableMapping[tuple[bytes, int], NDArray[np.float32]]

# Features up to which the covariance is taken of all, and principal directions that are kept of
# more: beyond, it costs seconds and says next to nothing.
LARGEST, DIRECTIONS = 512, 256
# Images that the principal directions are taken from, spread evenly: more change nothing.
SAMPLE = 2000
BLOCK = 4096  # images whose features are summed at a time, in 8 bytes a number
# The constant beside features whose lengths count, in their mean length: angles of up to 18° are
# nearly in proportion to distances, and float32 still tells them apart to 10⁻⁶.
BESIDE = 3.0
# Eigenvalues below this share of the largest are noise of float32.
NOISE = 1e-10


class Head(Section):
    """What turns the features of a frozen network into an embedding.

    "trained" is the recipe's loss and epochs. The others are closed form, and end at length 1:
    "plain" takes the features as they are; "centred" subtracts the mean of the class means;
    "euclidean" puts a constant beside them as well, so that their lengths count (of pixels, how
    bright an image is); "whitened" makes the covariance within classes of centred features the unit
    matrix, so that what varies between images of one thing counts little; "lda" keeps of that the
    directions in which classes differ most. A network that learns all the same (encoder.freeze =
    false) begins with a head that is "whitened" or "lda".

    Args:
        kind: "trained", "plain", "centred", "euclidean", "whitened" or "lda".
        shrinkage: how far the covariance within classes is drawn towards a multiple of the unit
            matrix: "auto" by the formula of Ledoit and Wolf; or a number s ≥ 0, for C + s·m·I with
            m the mean eigenvalue of C.
        dim: largest size of the embedding. "lda" has at most one less than there are classes.
        weights: where the network has several `features`, how much each weighs as a part of the
            embedding; 0 leaves it out. Empty: all weigh the same.
    """

    kind: Kind = "trained"
    shrinkage: Literal["auto"] | NotNegative = 1.0
    dim: Count = 512
    weights: tuple[NotNegative, ...] = ()


@dataclass(frozen=True, eq=False)
class ClosedForm:
    """A map e = unit((x − mean) · matrix, beside) from features (n, f) to embeddings (n, d)."""

    mean: NDArray[np.float32]  # (f,)
    matrix: NDArray[np.float32] | None  # (f, d); None for the unit matrix
    beside: float = 0.0  # where it is not 0, a coordinate of all embeddings before unit length

    def linear(self, features: ArrayLike) -> NDArray[np.float32]:
        """Map features before anything is put beside them, and before unit length."""
        x: NDArray[np.float32] = np.asarray(features, np.float32) - self.mean
        return x if self.matrix is None else x @ self.matrix

    def __call__(self, features: ArrayLike) -> NDArray[np.float32]:
        """Embed features: (n, f) to (n, d), float32."""
        x = self.linear(features)
        if self.beside:
            x = np.concatenate([x, np.full((len(x), 1), self.beside, x.dtype)], axis=1)
        length = np.linalg.norm(x, axis=1, keepdims=True)
        found: NDArray[np.float32] = x / np.maximum(length, np.float32(1e-12))
        return found


def fit_head(
    features: NDArray[np.float32],
    labels: ArrayLike,
    kind: Kind = "whitened",  # all but "trained"
    *,
    shrinkage: Literal["auto"] | Annotated[float, Field(ge=0)] = 1.0,  # as for `Head`
    dim: int = LARGEST,  # at most
    sizes: Sequence[int] = (),  # of parts side by side in the features, a head for each
    weights: Sequence[float] = (),  # of the parts, 0 or more; 1 each where there are none
    bases: Bases | None = None,  # keeps principal directions for another head of these features
) -> ClosedForm:
    """Fit a head in closed form.

    With μ the mean of the class means, C the covariance of features within classes, shrunk, and B
    that of the class means, where each class counts once:

    - "plain": e = unit(x).
    - "centred": e = unit(x − μ).
    - "euclidean": e = unit((x − μ, c)), c three times the root of the mean of ‖x − μ‖².
    - "whitened": e = unit((x − μ) C^(−1/2)).
    - "lda": e = unit((x − μ) W), W the d leading solutions of B w = λ C w with wᵀ C w = 1.

    Where there are more features than `dim`, than images, or than 512, "whitened" and "lda" first
    take the leading principal directions, of more than 512 features 256 at most (by random
    projections: Halko, Martinsson, Tropp, 2011).

    References:
        Ledoit, Wolf (2004), A Well-Conditioned Estimator for Large-Dimensional Covariance Matrices;
        Fisher (1936), The Use of Multiple Measurements in Taxonomic Problems; Hatch, Stolcke
        (2006), Generalized Linear Kernels for One-Versus-All Classification (within-class
        covariance normalisation).
    """
    codes = np.unique(labels, return_inverse=True)[1]
    if kind in ("whitened", "lda") and len(codes) == codes.max(initial=-1) + 1:
        raise DataError(
            f"Expected two images of one class at least for the head {kind!r}. Received one of "
            "each: add images, or take head.kind = 'centred'."
        )
    x = np.asarray(features, np.float32)
    sizes = list(sizes) or [x.shape[1]]
    chosen = list(weights) or [1.0] * len(sizes)
    if len(chosen) != len(sizes) or not any(chosen):
        raise DataError(
            f"Expected a weight for each of {len(sizes)} features, one above 0 at least. "
            f"Received {chosen}: change head.weights or encoder.features."
        )
    fit = partial(_part, kind=kind, shrinkage=shrinkage, bases=bases, codes=codes)
    head = fit(x, dim) if len(sizes) == 1 else _joined(x, dim, sizes, chosen, fit)
    return replace(head, beside=BESIDE * _length(head, x)) if kind == "euclidean" else head


def _joined(
    x: NDArray[np.float32],
    dim: int,
    sizes: Sequence[int],
    weights: Sequence[float],
    fit: Callable[[NDArray[np.float32], int], ClosedForm],
) -> ClosedForm:
    # One matrix for all, of blocks. Parts have length 1 on average and not for each image:
    # measured no worse, and the whole stays one linear layer.
    parts = np.split(x, np.cumsum(sizes)[:-1], axis=1)
    means, blocks = [], []
    for part, most, weight in zip(parts, _shared(sizes, weights, dim), weights, strict=True):
        if not weight:
            means.append(np.zeros(part.shape[1], np.float32))
            blocks.append(np.zeros((part.shape[1], 0), np.float32))
            continue
        head = fit(part, most)
        matrix = np.eye(part.shape[1], dtype=np.float32) if head.matrix is None else head.matrix
        means.append(head.mean)
        blocks.append(matrix * np.float32(weight / max(_length(head, part), 1e-12)))
    return ClosedForm(np.concatenate(means), np.asarray(block_diag(*blocks), np.float32))


def _length(head: ClosedForm, rows: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.square(head.linear(rows)).sum(axis=1).mean()))


def _shared(sizes: Sequence[int], weights: Sequence[float], dim: int) -> list[int]:
    # small parts keep all of their directions, the others share what is left
    found = [0] * len(sizes)
    used = sorted((size, place) for place, size in enumerate(sizes) if weights[place])
    for number, (size, place) in enumerate(used):
        found[place] = max(1, min(size, dim // (len(used) - number)))
        dim -= found[place]
    return found


def _part(
    rows: NDArray[np.float32],
    dim: int,
    *,
    codes: NDArray[np.int64],
    kind: Kind,
    shrinkage: object,
    bases: Bases | None,
) -> ClosedForm:
    if kind == "plain":
        return ClosedForm(np.zeros(rows.shape[1], np.float32), None)
    counts = np.bincount(codes)
    # Not of the images: with most of them in one class, its own images would lie about 0, and at
    # unit length anywhere. Within classes images do count, as a few say little of how they vary.
    weights = 1 / (len(counts) * counts[codes])
    blocks = (slice(at, at + BLOCK) for at in range(0, len(rows), BLOCK))
    mean: Floats = sum((weights[k] @ rows[k] for k in blocks), np.zeros(rows.shape[1]))
    if kind in ("centred", "euclidean"):
        return ClosedForm(mean.astype(np.float32), None)
    centred = rows - mean.astype(np.float32)
    basis = _kept(centred, LARGEST if kind == "lda" else min(dim, LARGEST), bases)
    x = np.asarray(centred if basis is None else centred @ basis, np.float64)
    sums = np.zeros((len(counts), x.shape[1]))
    np.add.at(sums, codes, x)
    centres = sums / counts[:, None]
    inner = (x - centres[codes])[counts[codes] > 1]
    # each class of m images has m − 1 degrees of freedom, so that pairs do not look twice as tight
    inner *= np.sqrt(counts / np.maximum(counts - 1, 1))[codes[counts[codes] > 1], None]
    values, vectors = np.linalg.eigh(_shrunk(inner, shrinkage))
    values = np.maximum(values, max(values[-1] * NOISE, 1e-20))
    matrix = vectors * values**-0.5
    if kind == "lda":
        spread = (centres - centres.mean(axis=0)) @ matrix
        _, _, directions = np.linalg.svd(spread, full_matrices=False)
        matrix = matrix @ directions[: min(dim, max(1, len(counts) - 1))].T
    else:
        matrix = matrix @ vectors.T  # the symmetric root: nearest to the features as they were
    if basis is not None:
        matrix = basis @ matrix
    return ClosedForm(mean.astype(np.float32), np.asarray(matrix, np.float32))


def _kept(x: NDArray[np.float32], most: int, bases: Bases | None) -> NDArray[np.float32] | None:
    # None where all directions are kept
    few = x.shape[1] <= LARGEST
    rank = min(most if few else min(most, DIRECTIONS), len(x) - 1)
    if x.shape[1] <= rank:
        return None
    if bases is None:
        return _principal(x, rank)
    # to hash them takes a hundredth of the time that the directions take
    key = hashlib.blake2b(np.ascontiguousarray(x).data, digest_size=16).digest(), rank
    if key not in bases:
        bases[key] = _principal(x, rank)
    return bases[key]


def _principal(x: NDArray[np.float32], rank: int) -> NDArray[np.float32]:
    x = x[np.unique(np.linspace(0, len(x) - 1, SAMPLE).astype(int))]
    # few images: by their products with each other, exact, and up to here in a third of the time
    if len(x) <= 4 * rank:
        wide = x.astype(np.float64)
        squares, vectors = np.linalg.eigh(wide @ wide.T)
        squares, directions = squares[::-1][:rank], wide.T @ vectors[:, ::-1][:, :rank]
        directions *= np.maximum(squares, np.finfo(np.float64).tiny) ** -0.5
    else:  # of 2,000 images in a third of the time of that, and always the same
        lengths, directions = _sketched(x, rank)
        squares = np.square(lengths)
    kept = squares > squares[0] * NOISE
    return np.asarray(directions[:, kept] if kept.any() else np.eye(x.shape[1])[:, :1], np.float32)


def _sketched(x: NDArray[np.float32], rank: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    # The largest singular values and right vectors, by a random sketch and two rounds of powers:
    # Halko, Martinsson, Tropp (2011), algorithms 4.3 and 5.1. As scikit-learn's `randomized_svd`,
    # which would take 60 MB of every installation.
    tall = x if len(x) >= x.shape[1] else x.T
    random = np.random.RandomState(0).normal(size=(tall.shape[1], rank + 10))
    sketch = random.astype(x.dtype)
    for _ in range(2):
        sketch = tall.T @ (tall @ sketch)
    range_of, _ = np.linalg.qr(tall @ sketch)
    left, lengths, rows = np.linalg.svd(range_of.T @ tall, full_matrices=False)
    return lengths[:rank], (rows.T if tall is x else range_of @ left)[:, :rank]


def _shrunk(inner: Floats, shrinkage: object) -> Floats:
    n, dim = inner.shape
    covariance = inner.T @ inner / n
    level = np.trace(covariance) / dim
    if shrinkage != "auto":
        return np.asarray(covariance + float(shrinkage) * level * np.eye(dim))  # type: ignore[arg-type]
    # Ledoit, Wolf (2004), with a mean that is known: how far the covariance is from a ball, and how
    # much of that is chance
    square = np.square(covariance).sum()
    far = square - dim * level**2
    chance = (np.square(np.square(inner).sum(axis=1)).sum() / n - square) / n
    share = min(chance / far, 1.0) if far > 0 and chance > 0 else 0.0
    return np.asarray((1 - share) * covariance + share * level * np.eye(dim))
