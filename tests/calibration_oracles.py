"""Slow second implementations of splits, thresholds and calibration: plain loops, exact fractions.

`Fraction` takes a float for what it is, so ties and borders are decided without rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction


def share_cuts(shares: Sequence[float], count: int) -> list[int]:
    """Where the parts of `count` items end: each running total of shares, halves upwards."""
    cuts, total = [], Fraction(0)
    for share in shares:
        total += Fraction(str(share))
        cuts.append(math.floor(total * count + Fraction(1, 2)))
    return cuts


def first_shared(keys: dict[str, list[tuple[int, object]]]) -> tuple[str, int, str, int] | None:
    """The first (position, key) of a part that an earlier part has, with that part's first."""
    names = list(keys)
    for later in range(len(names)):
        for position, key in keys[names[later]]:
            for earlier in range(later):
                for other_position, other_key in keys[names[earlier]]:
                    if other_key == key:
                        return names[earlier], other_position, names[later], position
    return None


def errors_at(
    distances: Sequence[float], same: Sequence[int], threshold: float
) -> tuple[Fraction, Fraction]:
    """FMR and FNMR, exactly."""
    false_matches = false_non_matches = positives = negatives = 0
    for d, y in zip(distances, same, strict=True):
        if y:
            positives += 1
            false_non_matches += d > threshold
        else:
            negatives += 1
            false_matches += d <= threshold
    return Fraction(false_matches, negatives), Fraction(false_non_matches, positives)


def threshold(
    distances: Sequence[float],
    same: Sequence[int],
    badness: Callable[[Fraction, Fraction], Fraction],
) -> float:
    """The smallest of the candidates with the least badness(FMR, FNMR)."""
    candidates = [math.nextafter(min(distances), -math.inf), *sorted(set(distances))]
    best, least = candidates[0], badness(*errors_at(distances, same, candidates[0]))
    for candidate in candidates[1:]:
        value = badness(*errors_at(distances, same, candidate))
        if value < least:
            best, least = candidate, value
    return best


def logistic(
    distances: Sequence[float], truth: Sequence[float], steps: int = 60
) -> tuple[float, float]:
    """Newton's method for the log odds a · d + b; truth may lie between 0 and 1."""
    a = b = 0.0
    for _ in range(steps):
        ga = gb = haa = hab = hbb = 0.0
        for d, t in zip(distances, truth, strict=True):
            p = 1 / (1 + math.exp(-(a * d + b)))
            ga += (t - p) * d
            gb += t - p
            haa += p * (1 - p) * d * d
            hab += p * (1 - p) * d
            hbb += p * (1 - p)
        determinant = haa * hbb - hab * hab
        a += (hbb * ga - hab * gb) / determinant
        b += (haa * gb - hab * ga) / determinant
    return a, b


def cllr(llrs: Sequence[float], same: Sequence[int]) -> float:
    """Brümmer and du Preez (2006), equation for C_llr."""
    costs: dict[bool, list[float]] = {True: [], False: []}
    for llr, y in zip(llrs, same, strict=True):
        costs[bool(y)].append(math.log2(1 + math.exp(-llr if y else llr)))
    return sum(sum(kind) / len(kind) for kind in costs.values()) / 2


def brier(probabilities: Sequence[float], same: Sequence[int], prior: float) -> float:
    errors: dict[bool, list[float]] = {True: [], False: []}
    for p, y in zip(probabilities, same, strict=True):
        errors[bool(y)].append((p - y) ** 2)
    same_error, different_error = (sum(errors[k]) / len(errors[k]) for k in (True, False))
    return prior * same_error + (1 - prior) * different_error


def pooled(same: Sequence[Fraction], different: Sequence[Fraction]) -> list[Fraction]:
    """Pool adjacent violators until the shares of "same" never rise; one share per item."""
    blocks = [(a, b, 1) for a, b in zip(same, different, strict=True)]
    i = 0
    while i + 1 < len(blocks):
        (a, b, m), (c, d, n) = blocks[i], blocks[i + 1]
        if a / (a + b) < c / (c + d):
            blocks[i : i + 2] = [(a + c, b + d, m + n)]
            i = max(i - 1, 0)
        else:
            i += 1
    return [a / (a + b) for a, b, size in blocks for _ in range(size)]


def min_cllr(distances: Sequence[float], same: Sequence[int]) -> float:
    positives = sum(same)
    negatives = len(same) - positives
    masses: dict[float, list[Fraction]] = {}
    for d, y in zip(distances, same, strict=True):
        mass = masses.setdefault(d, [Fraction(0), Fraction(0)])
        mass[0 if y else 1] += Fraction(1, 2 * (positives if y else negatives))
    rows = [masses[d] for d in sorted(masses)]
    bits = 0.0
    shares = pooled([row[0] for row in rows], [row[1] for row in rows])
    for (a, b), p in zip(rows, shares, strict=True):
        if a:
            bits -= float(a) * math.log2(p)
        if b:
            bits -= float(b) * math.log2(1 - p)
    return bits


def reliability(
    probabilities: Sequence[float], same: Sequence[int], bins: int, prior: Fraction
) -> list[tuple[float, float, float]]:
    """(predicted, observed, mass) of each bin: a probability goes where its middle falls."""
    positives = sum(same)
    weights = {1: prior / positives, 0: (1 - prior) / (len(same) - positives)}
    table: dict[int, list[Fraction]] = {}
    below = Fraction(0)
    for p in sorted(set(probabilities)):
        here = [y for q, y in zip(probabilities, same, strict=True) if q == p]
        mass = sum(weights[y] for y in here)
        place = math.floor((below + mass / 2) * bins)
        row = table.setdefault(place, [Fraction(0), Fraction(0), Fraction(0)])
        row[0] += mass * Fraction(p)
        row[1] += weights[1] * sum(here)
        row[2] += mass
        below += mass
    return [(float(p / m), float(y / m), float(m)) for _, (p, y, m) in sorted(table.items())]
