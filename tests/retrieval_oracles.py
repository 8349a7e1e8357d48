"""Slow second implementations of what ranks and describes embeddings: plain loops."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

Rows = Sequence[Sequence[float]]


def squared(a: Sequence[float], b: Sequence[float]) -> float:
    total = 0.0
    for k in range(len(a)):
        total += (a[k] - b[k]) ** 2
    return total


def relevance(rows: Rows, labels: Sequence[Any], query: int) -> list[bool]:
    """Nearest first, equal distances by position: is it of the query's class?"""
    others = [i for i in range(len(rows)) if i != query]
    others.sort(key=lambda i: (squared(rows[query], rows[i]), i))
    return [labels[i] == labels[query] for i in others]


def recall_at(relevant: Sequence[bool], k: int) -> float:
    return float(any(relevant[:k]))


def r_precision(relevant: Sequence[bool]) -> float:
    r = sum(relevant)
    return sum(relevant[:r]) / r


def map_at(relevant: Sequence[bool], depth: int) -> float:
    """Musgrave, Belongie, Lim (2020), with R for the depth; robrank prints it with 10."""
    total = 0.0
    for i in range(min(depth, len(relevant))):
        if relevant[i]:
            total += sum(relevant[: i + 1]) / (i + 1)
    return total / depth


def average_precision(relevant: Sequence[bool]) -> float:
    total = 0.0
    for i in range(len(relevant)):
        if relevant[i]:
            total += sum(relevant[: i + 1]) / (i + 1)
    return total / sum(relevant)


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    length = math.sqrt(squared(a, [0] * len(a)) * squared(b, [0] * len(b)))
    return sum(x * y for x, y in zip(a, b, strict=True)) / length if length else 0.0


def knn_answer(gallery: Rows, labels: Sequence[Any], query: Sequence[float], k: int) -> Any:
    """The vote, rounded so that numbers which are equal on paper are equal."""
    near = [round(cosine(row, query), 9) for row in gallery]
    apart = [round(squared(unit(row), unit(query)), 9) for row in gallery]
    order = sorted(range(len(gallery)), key=lambda i: (apart[i], i))[:k]
    votes: dict[Any, float] = {}
    for i in order:  # a dict keeps the order of arrival, and max() the first of equals
        votes[labels[i]] = round(votes.get(labels[i], 0.0) + max(0.0, near[i]), 9)
    return max(votes, key=lambda label: votes[label])


def unit(row: Sequence[float]) -> list[float]:
    length = math.sqrt(squared(row, [0] * len(row)))
    return [x / length if length else 0.0 for x in row]


def alignment(rows: Rows, labels: Sequence[Any]) -> float:
    """Wang, Isola (2020), with their alpha = 2, over all pairs of one class."""
    found = []
    for i in range(len(rows)):
        for j in range(i):
            if labels[i] == labels[j]:
                found.append(squared(unit(rows[i]), unit(rows[j])))
    return sum(found) / len(found) if found else math.nan


def uniformity(rows: Rows) -> float:
    """Wang, Isola (2020), with t = 2."""
    found = []
    for i in range(len(rows)):
        for j in range(i):
            found.append(math.exp(-2 * squared(unit(rows[i]), unit(rows[j]))))
    return math.log(sum(found) / len(found))


def mean(rows: Rows) -> list[float]:
    return [sum(row[k] for row in rows) / len(rows) for k in range(len(rows[0]))]


def within_between(rows: Rows, labels: Sequence[Any]) -> float:
    within = between = 0.0
    for label in set(labels):
        group = [rows[i] for i in range(len(rows)) if labels[i] == label]
        for row in group:
            within += squared(row, mean(group))
        between += len(group) * squared(mean(group), mean(rows))
    return within / between if between > 1e-12 else math.inf
