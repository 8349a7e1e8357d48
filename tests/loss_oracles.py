"""Slow second implementations of the losses over a batch, from the papers: loops, float64.

Every function takes labels and points, which it moves to the unit sphere unless told otherwise,
and returns the loss of the whole batch.
"""

from __future__ import annotations

import math

import numpy as np


def on_sphere(points):
    rows = []
    for row in np.asarray(points, np.float64):
        length = math.sqrt(sum(float(value) ** 2 for value in row))
        rows.append(row / length if length > 0 else row)
    return np.array(rows)


def distance(a, b):
    return math.sqrt(sum((float(s) - float(t)) ** 2 for s, t in zip(a, b, strict=True)))


def cosine(a, b):
    return sum(float(s) * float(t) for s, t in zip(a, b, strict=True))


def mean(values):
    values = list(values)
    return sum(values) / len(values) if values else 0.0


def positives(labels, i):
    return [j for j in range(len(labels)) if j != i and labels[j] == labels[i]]


def negatives(labels, i):
    return [j for j in range(len(labels)) if labels[j] != labels[i]]


def contrastive(labels, points, near, far, power, sphere=True):
    """Hadsell, Chopra, LeCun (2006), over all pairs, the mean over those that cost anything."""
    x = on_sphere(points) if sphere else points
    pull, push = [], []
    for i in range(len(labels)):
        for j in range(i):
            d = distance(x[i], x[j])
            if labels[i] == labels[j]:
                if d > near:
                    pull.append((d - near) ** power)
            elif d < far:
                push.append((far - d) ** power)
    return mean(pull) + mean(push)


def hinge(excess, margin, soft):
    return math.log1p(math.exp(excess)) if soft else max(excess + margin, 0.0)


def triplet_all(labels, points, margin, soft, sphere=True):
    """Hermans, Beyer, Leibe (2017), batch all, L_BA≠0."""
    x = on_sphere(points) if sphere else points
    costs = []
    for a in range(len(labels)):
        for p in positives(labels, a):
            for n in negatives(labels, a):
                cost = hinge(distance(x[a], x[p]) - distance(x[a], x[n]), margin, soft)
                if cost > 0:
                    costs.append(cost)
    return mean(costs)


def triplet_semi_hard(labels, points, margin, soft, sphere=True):
    """Schroff, Kalenichenko, Philbin (2015), equation 4, on plain distances."""
    x = on_sphere(points) if sphere else points
    costs = []
    for a in range(len(labels)):
        for p in positives(labels, a):
            near = distance(x[a], x[p])
            away = [distance(x[a], x[n]) for n in negatives(labels, a)]
            if away:
                beyond = [d for d in away if d > near]
                chosen = min(beyond) if beyond else max(away)
                costs.append(hinge(near - chosen, margin, soft))
    return mean(costs)


def triplet_hard(labels, points, margin, soft, sphere=True):
    """Hermans, Beyer, Leibe (2017), batch hard, equation 5."""
    x = on_sphere(points) if sphere else points
    costs = []
    for a in range(len(labels)):
        if positives(labels, a) and negatives(labels, a):
            farthest = max(distance(x[a], x[p]) for p in positives(labels, a))
            nearest = min(distance(x[a], x[n]) for n in negatives(labels, a))
            costs.append(hinge(farthest - nearest, margin, soft))
    return mean(costs)


def supcon(labels, points, temperature):
    """Khosla et al. (2020), equation 2."""
    x = on_sphere(points)
    anchors = []
    for i in range(len(labels)):
        logit = [cosine(x[i], x[a]) / temperature for a in range(len(labels))]
        bottom = sum(math.exp(logit[a]) for a in range(len(labels)) if a != i)
        inside = [-math.log(math.exp(logit[p]) / bottom) for p in positives(labels, i)]
        if inside:
            anchors.append(mean(inside))
    return mean(anchors)


def nt_xent(labels, points, temperature):
    """Chen et al. (2020), equation 1, with every positive in its turn."""
    x = on_sphere(points)
    pairs = []
    for i in range(len(labels)):
        logit = [cosine(x[i], x[a]) / temperature for a in range(len(labels))]
        rivals = sum(math.exp(logit[n]) for n in negatives(labels, i))
        for p in positives(labels, i):
            pairs.append(-math.log(math.exp(logit[p]) / (math.exp(logit[p]) + rivals)))
    return mean(pairs)


def multi_similarity(labels, points, alpha, beta, base, epsilon):
    """Wang et al. (2019), equations 11, 12 and 15."""
    x = on_sphere(points)
    total = 0.0
    for i in range(len(labels)):
        s = [cosine(x[i], x[j]) for j in range(len(labels))]
        near, away = positives(labels, i), negatives(labels, i)
        if epsilon < math.inf:
            lowest = min((s[p] for p in near), default=math.inf)
            highest = max((s[n] for n in away), default=-math.inf)
            near = [p for p in near if s[p] < highest + epsilon]
            away = [n for n in away if s[n] > lowest - epsilon]
        total += math.log(1 + sum(math.exp(-alpha * (s[p] - base)) for p in near)) / alpha
        total += math.log(1 + sum(math.exp(beta * (s[n] - base)) for n in away)) / beta
    return total / len(labels)


def circle(labels, points, margin, gamma, weighed_at=None):
    """Sun et al. (2020), equations 6 and 8; the weights are taken at other points, if given."""
    x = on_sphere(points)
    w = x if weighed_at is None else on_sphere(weighed_at)
    anchors = []
    for i in range(len(labels)):
        near, away = positives(labels, i), negatives(labels, i)
        if near and away:
            repel = attract = 0.0
            for n in away:
                weight = max(cosine(w[i], w[n]) + margin, 0)
                repel += math.exp(gamma * weight * (cosine(x[i], x[n]) - margin))
            for p in near:
                weight = max(1 + margin - cosine(w[i], w[p]), 0)
                attract += math.exp(-gamma * weight * (cosine(x[i], x[p]) - (1 - margin)))
            anchors.append(math.log(1 + repel * attract))
    return mean(anchors)


def softmax(labels, points, proxies, scale, margin):
    """Deng et al. (2019), equation 3; with margin 0 Zhai, Wu (2019), equation 2."""
    x, c = on_sphere(points), on_sphere(np.asarray(proxies)[:, : np.shape(points)[1]])
    images = []
    for i in range(len(labels)):
        logit = [scale * cosine(x[i], proxy) for proxy in c]
        angle = math.acos(max(-1.0, min(1.0, cosine(x[i], c[labels[i]]))))
        if angle + margin <= math.pi:
            logit[labels[i]] = scale * math.cos(angle + margin)
        else:
            logit[labels[i]] = scale * (math.cos(angle) - margin * math.sin(margin))
        images.append(-math.log(math.exp(logit[labels[i]]) / sum(map(math.exp, logit))))
    return mean(images)


def proxy_anchor(labels, points, proxies, alpha, delta):
    """Kim et al. (2020), equation 4."""
    x, c = on_sphere(points), on_sphere(proxies)
    pull, push = [], []
    for k in range(len(c)):
        s = [cosine(point, c[k]) for point in x]
        mine = [i for i in range(len(labels)) if labels[i] == k]
        rest = [i for i in range(len(labels)) if labels[i] != k]
        if mine:
            pull.append(math.log(1 + sum(math.exp(-alpha * (s[i] - delta)) for i in mine)))
        push.append(math.log(1 + sum(math.exp(alpha * (s[i] + delta)) for i in rest)))
    return mean(pull) + mean(push)


def sigmoid(labels, points, scale, bias):
    """Zhai et al. (2023), equation 1, over the pairs i ≠ j, their mean."""
    x = on_sphere(points)
    pairs = []
    for i in range(len(labels)):
        for j in range(len(labels)):
            if i != j:
                sign = 1 if labels[i] == labels[j] else -1
                logit = scale * cosine(x[i], x[j]) + bias
                pairs.append(-math.log(1 / (1 + math.exp(-sign * logit))))
    return mean(pairs)
