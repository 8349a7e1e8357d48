"""Heads in closed form: from a frozen network's features to embeddings of length 1, in one step.

    head = fit_head(features, labels, "whitened")
    embeddings = head(other_features)

No epochs and no learning rate: a mean, a covariance, an eigendecomposition. With few images of many
classes they beat what gradients find, and no seed changes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from twinset.errors import DataError
from twinset.settings import Count, NotNegative, Positive, Section

Floats: TypeAlias = NDArray[np.float64]
Kind: TypeAlias = Literal["trained", "plain", "centred", "whitened", "lda"]

# Principal directions that are kept of many features before the covariance is taken: beyond, it
# costs seconds and says next to nothing.
LARGEST = 512
# Eigenvalues below this share of the largest are noise of float32.
NOISE = 1e-10


class Head(Section):
    """What turns the features of a frozen network into an embedding.

    "trained" is the recipe's loss and epochs. The others are closed form, and end at length 1:
    "plain" takes the features as they are; "centred" subtracts their mean; "whitened" also makes
    the covariance within classes the unit matrix, so that what varies between images of one thing
    counts little; "lda" keeps of that the directions in which classes differ most.

    Args:
        kind: "trained", "plain", "centred", "whitened" or "lda".
        shrinkage: how far the covariance within classes is drawn towards a multiple of the unit
            matrix: "auto" by the formula of Ledoit and Wolf; or a number s ≥ 0, for C + s·m·I with
            m the mean eigenvalue of C.
        dim: largest size of the embedding, of each part where there are `weights`. "lda" has at
            most one less than there are classes.
        weights: where the network has several `features`, the weight of each, made a part of
            length 1 on average. Empty: all weigh the same.
    """

    kind: Kind = "trained"
    shrinkage: Literal["auto"] | NotNegative = 1.0
    dim: Count = 512
    weights: tuple[Positive, ...] = ()


@dataclass(frozen=True, eq=False)
class ClosedForm:
    """A map e = unit((x − mean) · matrix) from features (n, f) to embeddings (n, d).

    Args:
        mean: (f,).
        matrix: (f, d); None for the unit matrix.
    """

    mean: NDArray[np.float32]
    matrix: NDArray[np.float32] | None

    def __call__(self, features: ArrayLike) -> NDArray[np.float32]:
        """Embed features: (n, f) to (n, d), float32."""
        x = np.asarray(features, np.float32) - self.mean
        if self.matrix is not None:
            x = x @ self.matrix
        length = np.linalg.norm(x, axis=1, keepdims=True)
        found: NDArray[np.float32] = x / np.maximum(length, np.float32(1e-12))
        return found


def fit_head(
    features: NDArray[np.float32],
    labels: ArrayLike,
    kind: Kind = "whitened",
    *,
    shrinkage: Literal["auto"] | Annotated[float, Field(ge=0)] = 1.0,
    dim: int = LARGEST,
    sizes: Sequence[int] = (),
    weights: Sequence[float] = (),
) -> ClosedForm:
    """Fit a head in closed form.

    With μ the mean of the features, C their covariance within classes, shrunk, and B that of the
    class means:

    - "plain": e = unit(x).
    - "centred": e = unit(x − μ).
    - "whitened": e = unit((x − μ) C^(−1/2)).
    - "lda": e = unit((x − μ) W), W the d leading solutions of B w = λ C w with wᵀ C w = 1.

    Where there are more features than `dim`, or than images, "whitened" and "lda" first take the
    leading principal directions.

    Args:
        features: float32 of shape (n, f).
        labels: of shape (n,).
        kind: all but "trained". Defaults to "whitened".
        shrinkage: as for `Head`. Defaults to 1.
        dim: largest size of a part. Defaults to 512.
        sizes: of the parts that stand side by side in the features; each is made a head of its
            own. Defaults to one part.
        weights: of the parts, > 0. Defaults to 1 each.

    Raises:
        DataError: "whitened" or "lda" without two images of any class.

    References:
        Ledoit, Wolf (2004), A Well-Conditioned Estimator for Large-Dimensional Covariance Matrices;
        Fisher (1936), The Use of Multiple Measurements in Taxonomic Problems; Hatch, Stolcke
        (2006), Generalized Linear Kernels for One-Versus-All Classification (within-class
        covariance normalisation).

    Example:
        >>> import numpy as np
        >>> rows = np.array([[0, 0], [8, 0], [0, 1], [8, 1]], np.float32)  # wide is noise
        >>> head = fit_head(rows, [0, 0, 1, 1], shrinkage=0.01)
        >>> bool(np.linalg.norm(np.diff(head(rows[:2]), axis=0)) < 0.3)
        True
    """
    codes = np.unique(labels, return_inverse=True)[1]
    if kind in ("whitened", "lda") and len(codes) == codes.max(initial=-1) + 1:
        raise DataError(
            f"Expected two images of one class at least for the head {kind!r}. Received one of "
            "each: add images, or take head.kind = 'centred'."
        )
    cuts = np.cumsum(sizes)[:-1] if len(sizes) > 1 else []
    parts = np.split(np.asarray(features, np.float32), cuts, axis=1)
    heads = [_part(part, codes, kind, shrinkage, dim) for part in parts]
    if len(heads) == 1:
        return heads[0]
    # one matrix for all, of blocks; the parts' lengths are 1 on average and not for each image:
    # measured no worse, and the whole stays one linear layer
    shares = [
        weight / max(float(np.sqrt(np.square(_mapped(head, part)).sum(1).mean())), 1e-12)
        for head, part, weight in zip(heads, parts, weights or [1.0] * len(parts), strict=True)
    ]
    matrices = [
        share * (np.eye(len(head.mean), dtype=np.float32) if head.matrix is None else head.matrix)
        for head, share in zip(heads, shares, strict=True)
    ]
    whole = np.zeros(tuple(np.sum([each.shape for each in matrices], axis=0)), np.float32)
    row = column = 0
    for each in matrices:
        whole[row : row + each.shape[0], column : column + each.shape[1]] = each
        row, column = row + each.shape[0], column + each.shape[1]
    return ClosedForm(np.concatenate([head.mean for head in heads]), whole)


def _mapped(head: ClosedForm, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    centred = rows - head.mean
    return centred if head.matrix is None else centred @ head.matrix


def _part(
    rows: NDArray[np.float32], codes: NDArray[np.int64], kind: Kind, shrinkage: object, dim: int
) -> ClosedForm:
    if kind == "plain":
        return ClosedForm(np.zeros(rows.shape[1], np.float32), None)
    mean = rows.mean(axis=0, dtype=np.float64)
    if kind == "centred":
        return ClosedForm(mean.astype(np.float32), None)
    x = rows - mean
    basis = _principal(x, min(dim, LARGEST))
    if basis is not None:
        x = x @ basis
    counts = np.bincount(codes)
    sums = np.zeros((len(counts), x.shape[1]))
    np.add.at(sums, codes, x)
    centres = sums / counts[:, None]
    inner = (x - centres[codes])[counts[codes] > 1]
    # each class of m images has m − 1 degrees of freedom, so that pairs do not look twice as tight
    inner *= np.sqrt(counts / np.maximum(counts - 1, 1))[codes[counts[codes] > 1], None]
    values, vectors = np.linalg.eigh(_shrunk(inner, shrinkage))
    values = np.maximum(values, max(values[-1] * NOISE, np.finfo(np.float64).tiny))
    matrix = vectors * values**-0.5
    if kind == "lda":
        spread = (centres @ matrix) * np.sqrt(counts)[:, None]
        _, _, directions = np.linalg.svd(spread - spread.mean(axis=0), full_matrices=False)
        matrix = matrix @ directions[: min(dim, max(1, len(counts) - 1))].T
    else:
        matrix = matrix @ vectors.T  # the symmetric root: nearest to the features as they were
    if basis is not None:
        matrix = basis @ matrix
    return ClosedForm(mean.astype(np.float32), np.asarray(matrix, np.float32))


def _principal(x: Floats, most: int) -> Floats | None:
    # by whichever of the two products is smaller; None where all directions are kept
    n, f = x.shape
    rank = min(most, n - 1)
    if f <= rank:
        return None
    if f <= n:
        _, vectors = np.linalg.eigh(x.T @ x)
        return np.asarray(vectors[:, ::-1][:, :rank])
    values, vectors = np.linalg.eigh(x @ x.T)
    values, vectors = values[::-1][:rank], vectors[:, ::-1][:, :rank]
    kept = values > max(values[0], 0) * NOISE
    found = x.T @ (vectors[:, kept] * values[kept] ** -0.5)
    return found if kept.any() else np.eye(f)[:, :1]


def _shrunk(inner: Floats, shrinkage: object) -> Floats:
    if shrinkage == "auto":
        from sklearn.covariance import ledoit_wolf

        found: Floats = ledoit_wolf(inner, assume_centered=True)[0]
        return found
    covariance = inner.T @ inner / len(inner)
    share = float(shrinkage) * np.trace(covariance) / len(covariance)  # type: ignore[arg-type]
    return np.asarray(covariance + share * np.eye(len(covariance)))
