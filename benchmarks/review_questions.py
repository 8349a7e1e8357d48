"""Review: how many of the planted wrong groups 100 questions find, against asking at random.

./task bench review_questions [--seeds 5] [--groups 300] [--questions 100] [--on fashion-mnist]

A collection of groups of 2 to 6 images, each of one class, of which one in ten is planted wrong:
one image or more, up to half, are of another class. The groups are recorded as the items' column
`product`. A wrong group is found if a question puts two of its images side by side that are of
different classes. At random: as many different pairs within recorded groups, drawn evenly.

Fashion-MNIST: recipe `fast` on the training images, groups of test images. Collections of photos:
the recipe, `unseen` or what `auto` chooses, on half of the classes, groups of the other half, so
that no class was seen. Where the model is calibrated (on images kept out), as many answers near the
threshold move it, on 2,000 images without groups: what the other pairs near it cost before and
after, in bits each. How well the model tells these apart is said as well: a review is as good.
"""

import argparse
import statistics
from itertools import combinations

import numpy as np

import ledger
import photo_collections
import twinset
import unseen_classes
from twinset.search.decisions import NEAR
from twinset.search.items import Items


def planted(rng, labels, groups):
    """Draw groups as lists of positions, and which of them hold two classes."""
    free = {kind: rng.permutation(np.flatnonzero(labels == kind)).tolist() for kind in set(labels)}
    wrong = set(rng.choice(groups, groups // 10, replace=False).tolist())
    found = []
    for number in range(groups):
        size = int(rng.integers(2, 7))
        most = sorted(free, key=lambda kind: (-len(free[kind]), rng.random()))[:8]
        kind, other = rng.choice(most, 2, replace=False)
        strange = int(rng.integers(1, size // 2 + 1)) if number in wrong else 0
        taken = [free[kind].pop() for _ in range(size - strange)]
        found.append(taken + [free[other].pop() for _ in range(strange)])
    return found, wrong


def found_by(pairs, group_of, labels):
    """Tell which groups are found to be wrong by pairs of positions."""
    return {
        group_of[left]
        for left, right in pairs
        if group_of[left] == group_of[right] and labels[left] != labels[right]
    }


def tried(model, embeddings, labels, seed, options):
    """Find the shares of wrong groups that a review and random questions find."""
    rng = np.random.default_rng(seed)
    groups, wrong = planted(rng, labels, options.groups)
    group_of = {row: number for number, own in enumerate(groups) for row in own}
    rows = sorted(group_of)
    items = Items(
        [str(row) for row in rows],
        embeddings[rows],
        [{"product": f"product {group_of[row]}"} for row in rows],
    )
    with twinset.Index.build(model, items) as index:
        asked = index.review(options.questions, column="product").questions
    pairs = [(int(one.left), int(one.right)) for one in asked]
    all_pairs = [pair for own in groups for pair in combinations(own, 2)]
    drawn = rng.permutation(len(all_pairs))[: options.questions]
    at_random = [all_pairs[k] for k in drawn]
    return [len(found_by(each, group_of, labels)) / len(wrong) for each in (pairs, at_random)]


def moved(model, embeddings, labels, seed, options):
    """Find what the answers near the threshold are worth: bits for each pair that was not asked."""
    rows = np.random.default_rng(seed).choice(len(labels), 2000, replace=False)
    items = Items([str(row) for row in rows], embeddings[rows])
    with twinset.Index.build(model, items) as index:
        asked = [q for q in index.review(5 * options.questions).questions if q.why == NEAR]
        index.decide([(q.left, q.right, same(q, labels), q.why) for q in asked])
        # all that could have been asked near the threshold
        others = [q for q in index.review(10**6).questions if q.why == NEAR]
        truth = np.array([same(q, labels) for q in others])
        far = np.array([q.distance for q in others])
        found = []
        for one in (model, index):
            llr = one.calibrator.llr(far)
            found.append(np.logaddexp(0, np.where(truth, -llr, llr)).mean() / np.log(2))
            found.append(((far <= one.threshold.value) != truth).mean())
        return [*found, index.threshold.value / model.threshold.value]


def same(question, labels):
    """Answer as the labels have it."""
    return bool(labels[int(question.left)] == labels[int(question.right)])


def fashion_mnist(options):
    """Train on nine tenths of the training images, calibrate on the rest; embed the test images."""
    train, test = twinset.load_fashion_mnist()
    fit, rest = (train.subset(np.flatnonzero((np.arange(60_000) < 54_000) == k)) for k in (1, 0))
    model = twinset.fit(fit, recipe="fast", progress=False).calibrate(rest)
    return model, model.embed(test), test.labels


def photos(name, options):
    """Train on half of the classes; embed the others, of which each has as many views as needed."""
    views = -(-6 * options.groups // 20) + 10
    images = photo_collections.labelled(name, views=views)
    seen, unseen = photo_collections.halves(images)
    model = unseen_classes.trained(seen, options.recipe, **{"choice.purpose": "unseen"})
    return model, model.embed(unseen), unseen.labels


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--groups", type=int, default=300)
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--recipe", default="auto", help="for collections of photos")
    parser.add_argument("--on", nargs="+", default=["fashion-mnist"])
    options = parser.parse_args()
    print(ledger.machine())
    for name in options.on:
        made = fashion_mnist(options) if name == "fashion-mnist" else photos(name, options)
        area = unseen_classes.ranked(*made[1:])[0]
        ledger.say(f"{name}: AUC of all pairs of these images", f"{area:.4f}")
        shares = [tried(*made, seed, options) for seed in range(options.seeds)]
        for what, own in zip(("review", "at random"), zip(*shares, strict=True), strict=True):
            span = f"{min(own):.1%} to {max(own):.1%}"
            ledger.say(f"{name}: {what}", f"{statistics.mean(own):.1%} ({span}, n = {len(own)})")
        if made[0].calibrator is not None:
            found = [moved(*made, seed, options) for seed in range(options.seeds)]
            for what, own in zip(
                (
                    *("bits by the model's own", "wrong verdicts by the model's own"),
                    *("bits as moved", "wrong verdicts as moved", "threshold, moved / own"),
                ),
                zip(*found, strict=True),
                strict=True,
            ):
                ledger.say(f"{name}: {what}", ledger.spread(own, 3))


if __name__ == "__main__":
    main()
