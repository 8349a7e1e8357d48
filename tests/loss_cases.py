"""Every loss over a batch in every setting that takes another way through the code.

Whoever adds a loss adds it here: the tests of values, gradients, invariances, degenerate batches,
blocks and saving run over this table, and one of them fails if a public loss is missing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

import loss_oracles as oracle
from gradients import gradient
from twinset import losses

CLASSES, DIM = 4, 6


@dataclass(frozen=True)
class Case:
    """A loss, its oracle of (labels, points, loss, where the weights are taken), its traits."""

    make: Callable[[], Any]
    oracle: Callable[..., float]
    sphere: bool = True  # the length of an embedding does not matter
    prefixes: bool = False  # the order of the coordinates does


def triplet(mining: str, soft: bool, sphere: bool = True) -> Case:
    slow = {
        "all": oracle.triplet_all,
        "semi-hard": oracle.triplet_semi_hard,
        "hard": oracle.triplet_hard,
    }[mining]
    return Case(
        lambda: losses.Triplet(0.3, mining, soft, normalize=sphere),
        lambda y, x, loss, at: slow(y, x, 0.3, soft, sphere),
        sphere=sphere,
    )


def contrastive(near: float, far: float, power: int, sphere: bool = True) -> Case:
    return Case(
        lambda: losses.AllPairsContrastive(near, far, power, normalize=sphere),
        lambda y, x, loss, at: oracle.contrastive(y, x, near, far, power, sphere),
        sphere=sphere,
    )


def multi_similarity(*settings: Any) -> Case:
    return Case(
        lambda: losses.MultiSimilarity(*settings),
        lambda y, x, loss, at: oracle.multi_similarity(y, x, *settings),
    )


def softmax(scale: float, margin: float) -> Case:
    return Case(
        lambda: losses.NormalizedSoftmax(CLASSES, DIM, scale, margin, seed=3),
        lambda y, x, loss, at: oracle.softmax(y, x, proxies(loss), scale, margin),
    )


def nested_supcon(y: Any, x: Any, loss: Any, at: Any) -> float:
    return sum(oracle.supcon(y, x[:, :k], 0.5) for k in (2, DIM))


def nested_softmax(y: Any, x: Any, loss: Any, at: Any) -> float:
    return sum(oracle.softmax(y, x[:, :k], proxies(loss), 8, 0) for k in (3, DIM))


def proxies(loss: Any) -> np.ndarray:
    return ops.convert_to_numpy(loss.head.directions).astype(np.float64) * loss.head.multiplier


# A small temperature, a large beta and Circle need exponents beyond float32.
CASES: dict[str, Case] = {
    "contrastive": contrastive(0.0, 1.2, 2),
    "contrastive, margins": contrastive(0.2, 1.5, 1),
    "contrastive, raw": contrastive(0.1, 2.5, 2, sphere=False),
    "triplet, all": triplet("all", soft=False),
    "triplet, all, soft": triplet("all", soft=True),
    "triplet, all, raw": triplet("all", soft=False, sphere=False),
    "triplet, semi-hard": triplet("semi-hard", soft=False),
    "triplet, semi-hard, soft": triplet("semi-hard", soft=True),
    "triplet, hard": triplet("hard", soft=False),
    "triplet, hard, soft": triplet("hard", soft=True),
    "supcon": Case(lambda: losses.SupCon(0.1), lambda y, x, loss, at: oracle.supcon(y, x, 0.1)),
    "supcon, cold": Case(
        lambda: losses.SupCon(0.01), lambda y, x, loss, at: oracle.supcon(y, x, 0.01)
    ),
    "nt_xent": Case(lambda: losses.NTXent(0.1), lambda y, x, loss, at: oracle.nt_xent(y, x, 0.1)),
    "nt_xent, cold": Case(
        lambda: losses.NTXent(0.01), lambda y, x, loss, at: oracle.nt_xent(y, x, 0.01)
    ),
    "multi_similarity": multi_similarity(2, 20, 0.5, 0.1),
    "multi_similarity, all": multi_similarity(2, 50, 0.5, np.inf),
    "multi_similarity, steep": multi_similarity(60, 90, 0.3, 0.1),
    "circle": Case(
        lambda: losses.Circle(0.25, 80),
        lambda y, x, loss, at: oracle.circle(y, x, 0.25, 80, at),
    ),
    "softmax": softmax(16, 0),
    "softmax, margin": softmax(16, 0.4),
    "proxy_anchor": Case(
        lambda: losses.ProxyAnchor(CLASSES, DIM, seed=3),
        lambda y, x, loss, at: oracle.proxy_anchor(y, x, proxies(loss), 32, 0.1),
    ),
    "sigmoid": Case(
        lambda: losses.SigmoidPairs(5, -1.5), lambda y, x, loss, at: oracle.sigmoid(y, x, 5, -1.5)
    ),
    "prefixes": Case(
        lambda: losses.SupCon(0.5, prefixes=(2, DIM)),
        nested_supcon,
        prefixes=True,
    ),
    "prefixes, softmax": Case(
        lambda: losses.NormalizedSoftmax(CLASSES, DIM, 8, seed=3, prefixes=(3, DIM)),
        nested_softmax,
        prefixes=True,
    ),
}


def batch(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw 12 images of 3 overlapping classes, and one that is alone in the fourth."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation([0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 3])
    centres = rng.normal(size=(CLASSES, DIM))
    points = centres[labels] + 0.9 * rng.normal(size=(len(labels), DIM))
    return labels, points.astype(np.float32)


def value(loss: Any, labels: Any, points: Any) -> float:
    return float(ops.convert_to_numpy(loss(labels, points)))


def values(loss: Any, labels: Any, points: Any) -> np.ndarray:
    return ops.convert_to_numpy(loss.call(ops.convert_to_tensor(labels), points))


@functools.cache
def of(name: str) -> Any:
    """Make the loss of a case, once: its head must not be changed."""
    return CASES[name].make()


def measure(name: str, labels: Any, points: Any) -> tuple[np.ndarray, np.ndarray]:
    """Compute values per image and the gradient of their mean; on JAX in one compiled program."""
    labels, points = np.asarray(labels, np.int32), np.asarray(points, np.float32)
    if keras.backend.backend() != "jax":
        each = values(of(name), labels, points)
        return each, gradient(lambda x: ops.mean(of(name).call(labels, x)), points)
    each, slope = _compiled(name)(points, labels)
    return np.asarray(each), np.asarray(slope)


@functools.cache
def _compiled(name: str) -> Any:
    return compile_for_jax(of(name))


def compile_for_jax(loss: Any) -> Any:
    import jax

    def objective(points: Any, labels: Any) -> tuple[Any, Any]:
        each = loss.call(labels, points)
        return ops.mean(each), each

    def both(points: Any, labels: Any) -> tuple[Any, Any]:
        slope, each = jax.grad(objective, has_aux=True)(points, labels)
        return each, slope

    # Compiling is what these tests wait for; benchmarks/losses.py compares the optimised programs.
    return jax.jit(both, compiler_options={"xla_backend_optimization_level": 0})
