"""Slow second implementations, written from the papers: plain loops, no broadcasting."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence


def euclidean(a: Sequence[float], b: Sequence[float]) -> float:
    total = 0.0
    for k in range(len(a)):
        total += (a[k] - b[k]) ** 2
    return math.sqrt(total)


def contrastive(same: Sequence[int], distance: Sequence[float], margin: float) -> float:
    """Hadsell, Chopra, LeCun (2006), equation 4, without its ½ and with Y = 1 for same."""
    total = 0.0
    for y, d in zip(same, distance, strict=True):
        if y == 1:
            total += d * d
        elif d < margin:
            total += (margin - d) * (margin - d)
    return total / len(same)


def pair_clusters(
    same: Sequence[int],
    sides: Sequence[Sequence[Sequence[float]]],
    proxies: Sequence[Sequence[float]],
    margin: float,
    scale: float,
) -> float:
    """Hsu et al. (2019), equation 3, with Krause et al. (2010) and the contrastive loss beside."""
    total, shares = 0.0, list[list[float]]()
    zero = [0.0] * len(proxies[0])
    for y, pair in zip(same, sides, strict=True):
        both = []
        for e in pair:
            powers = []
            for w in proxies:
                dot = sum(a * b for a, b in zip(e, w, strict=True))
                length = euclidean(e, zero) * euclidean(w, zero)
                powers.append(math.exp(scale * (dot / length if length else 0.0)))
            both.append([power / sum(powers) for power in powers])
        shares += both
        q = sum(a * b for a, b in zip(*both, strict=True))
        total += contrastive([y], [euclidean(*pair)], margin) - math.log(q if y else 1 - q + 1e-6)
    mean = [sum(p[c] for p in shares) / len(shares) for c in range(len(proxies))]
    return total / len(same) + sum(p * math.log(p * len(mean)) for p in mean)


def tutorial_pairs(labels: Sequence[int], seed: int) -> tuple[list[tuple[int, int]], list[int]]:
    """The tutorial's rule, told in words in the documentation of `tutorial_pairs`."""
    draw = random.Random(seed)
    members: list[list[int]] = []
    for label in sorted(set(labels)):
        members.append([position for position in range(len(labels)) if labels[position] == label])
    n = min(len(group) for group in members) - 1
    pairs, same = [], []
    for d in range(len(members)):
        for i in range(n):
            pairs.append((members[d][i], members[d][i + 1]))
            same.append(1)
            other = (d + draw.randrange(1, len(members))) % len(members)
            pairs.append((members[d][i], members[other][i]))
            same.append(0)
    return pairs, same


def roc_auc(distances: Sequence[float], same: Sequence[int]) -> float:
    """Mann and Whitney's count over all couples of a positive and a negative."""
    wins, couples = 0.0, 0
    for i in range(len(distances)):
        for j in range(len(distances)):
            if same[i] and not same[j]:
                couples += 1
                if distances[i] < distances[j]:
                    wins += 1
                elif distances[i] == distances[j]:
                    wins += 0.5
    return wins / couples


def accuracy(distances: Sequence[float], same: Sequence[int], threshold: float) -> float:
    right = 0
    for d, y in zip(distances, same, strict=True):
        if (d <= threshold) == bool(y):
            right += 1
    return right / len(distances)


def mix32(x: int) -> int:
    """Wellons' "triple32" in plain integers."""
    for shift, factor in ((17, 0xED5AD4BB), (11, 0xAC4C1B51), (15, 0x31848BAB)):
        x ^= x >> shift
        x = (x * factor) % 2**32
    return x ^ (x >> 14)


def random_bits(seed: int, draw: int, count: int) -> list[int]:
    start = mix32((draw + mix32(seed)) % 2**32)
    stride = mix32(start ^ 0x9E3779B9) | 1
    return [mix32((start + i * stride) % 2**32) for i in range(count)]


def rmsprop(
    weight: float, gradients: Sequence[float], rate: float, rho: float = 0.9, epsilon: float = 1e-7
) -> float:
    """Hinton (2012), lecture 6e: divide by a running average of the gradient's magnitude."""
    average = 0.0
    for gradient in gradients:
        average = rho * average + (1 - rho) * gradient * gradient
        weight -= rate * gradient / math.sqrt(average + epsilon)
    return weight
