"""Open-set identification: do intervals cover, does the growth hold, what do references give?

./task bench open_set [--part simulation] [--part growth] [--part references] [--repeat 500]

`simulation`: people as points with noise, so that both rates are known; how often the 95% intervals
hold them. `growth`: 500 of Fashion-MNIST's training images as single references; how often the
interval extrapolated to 5,000 holds what a gallery of 5,000 others gives to 3,000 strangers.
`references`: known ones missed with one and with five references, at 10% of strangers matched, on
classes that nothing was fitted on; and the joining rule that cross-validation chooses on the other
classes against the best rule here.
"""

import argparse

import numpy as np

import ledger
import photo_collections
import twinset
from twinset.metrics.growth import Growth
from twinset.metrics.joining_choice import choose_rule
from twinset.metrics.open_set import compare_references
from twinset.metrics.trials import leave_out
from twinset.recipe import Recipe
from twinset.training.fit import fit

HEAD = {
    "encoder": {"name": "efficientnet-lite0", "features": ["320"], "freeze": True},
    "head": {"kind": "whitened", "weights": []},
}
FROM, TO, STRANGERS = 500, 5_000, 3_000
SHARES = (0.03, 0.1, 0.3, 0.6)


def simulation(repeat):
    rng = np.random.default_rng(0)
    for identities, images, noise, limit in ((100, 3, 0.5, 2.4), (60, 5, 0.6, 2.8), (200, 2, 0.4, 2)):
        who = np.repeat(np.arange(identities), images)
        found = []
        for _ in range(repeat):
            rows = rng.normal(size=(identities, 12))[who] + noise * rng.normal(size=(len(who), 12))
            growth = Growth(leave_out(rows, who, "nearest"))
            found.append([growth.fpir(limit, identities - 1), growth.fnir(limit, identities - 1)])
        for name, column in zip(("FPIR", "FNIR"), zip(*found, strict=True), strict=True):
            truth = np.mean([each.value for each in column])
            held = np.mean([each.low <= truth <= each.high for each in column])
            width = np.median([each.high - each.low for each in column])
            ledger.say(
                f"intervals of the {name}, {identities} identities of {images}, that hold "
                f"{truth:.1%}",
                f"{held:.1%} of {repeat} (median width {width:.1%})",
            )


def features(name, train):
    x = train.images.reshape(len(train), -1).astype(np.float32) / 255
    if name == "pixels":
        return x
    rng = np.random.default_rng(0)
    sample = x[rng.permutation(len(x))[:10_000]]
    mean = sample.mean(0)
    if name == "64 principal components":
        return (x - mean) @ np.linalg.svd(sample - mean, full_matrices=False)[2][:64].T
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    lda = LinearDiscriminantAnalysis(n_components=9, solver="eigen", shrinkage=0.1)
    return lda.fit(x[:20_000], train.labels[:20_000]).transform(x)


def nearest(queries, gallery):
    squares = (queries**2).sum(1)[:, None] + (gallery**2).sum(1) - 2 * queries @ gallery.T
    return np.sqrt(np.maximum(squares, 0).min(1))


def growth(repeat):
    train = twinset.load_fashion_mnist(progress=False)[0]
    rng = np.random.default_rng(0)
    for name in ("pixels", "64 principal components", "LDA"):
        rows, limits, held, ratios = features(name, train).astype(float), None, [], []
        for _ in range(repeat):
            order = rng.permutation(len(rows))
            far = nearest(rows[order[TO : TO + STRANGERS]], rows[order[:TO]])
            limits = np.quantile(far, SHARES) if limits is None else limits
            small = Growth(leave_out(rows[order[:FROM]], np.arange(FROM), "nearest"))
            for limit in limits:
                told, truth = small.fpir(limit, TO), float((far <= limit).mean())
                held.append(told.low <= truth <= told.high)
                ratios.append(told.value / truth)
        held, ratios = (np.reshape(each, (repeat, -1)).T for each in (held, ratios))
        for share, row, ratio in zip(SHARES, held, ratios, strict=True):
            ledger.say(
                f"FPIR of {TO:,} from {FROM}, {name}, about {share:.0%}: in the interval",
                f"{row.mean():.1%} of {repeat} (told over true: median {np.median(ratio):.2f})",
            )


def parts(name):
    if name != "Fashion-MNIST":
        return photo_collections.halves(photo_collections.labelled(name, 128), 0)
    test = twinset.load_fashion_mnist(progress=False)[1]
    first = np.flatnonzero(test.labels < 5)[:500]
    other = np.flatnonzero(test.labels >= 5)[:500]
    return test.subset(first), test.subset(other)


def references(_):
    recipe = Recipe.load("auto", choice={"candidates": "none"}, name="whitened", **HEAD)
    for name in (*photo_collections.available(), "Fashion-MNIST"):
        known, unseen = parts(name)
        model = fit(known, recipe, progress=False)
        rows, told = model.embed(unseen), choose_rule(model.embed(known), known.labels)
        rule = told.chosen
        one, five = compare_references(rows, unseen.labels, rule, (1, 5))
        ledger.say(
            f"known missed at 10% of strangers, {name}, {len(np.unique(unseen.labels))} unseen "
            f"identities, {rule}: 1 and 5 references",
            f"{one.fnir.value:.1%} and {five.fnir.value:.1%}; lower by {five.gain.value:.1%} "
            f"({five.gain.low:.1%} to {five.gain.high:.1%})",
        )
        here = {row.rule: row for row in choose_rule(rows, unseen.labels).rows}
        best = max(here.values(), key=lambda row: row.score.value)
        ledger.say(
            f"identified, {name}: the rule chosen on the other classes ({rule}), and the best here "
            f"({best.rule})",
            f"{here[rule].score.value:.1%} and {best.score.value:.1%} ± {best.score.error:.1%}",
        )


PARTS = {"simulation": simulation, "growth": growth, "references": references}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", action="append", choices=list(PARTS))
    parser.add_argument("--repeat", type=int, default=500)
    options = parser.parse_args()
    print(ledger.machine())
    for name in options.part or PARTS:
        PARTS[name](options.repeat)


if __name__ == "__main__":
    main()
