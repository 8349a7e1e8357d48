"""Whether `unseen` is good for classes that nobody looked at: its settings chosen without them.

./task bench unseen_nested [--rule worst] [--seeds 5] [--epochs 1,2] [--out nested.jsonl]

For each near fold (U1) of the protocol, the number of epochs and the weights of the blend are
chosen without its two classes: on the other four folds, each in turn held out of a training on the
six classes that are left, judged on tune images by the gain of AUC and MAP@R over raw pixels: the
smallest (`worst`, for who wants no harm done) or the mean. The recipe with these settings is then
fitted on the fold's eight seen classes, and its test images are ranked, once for each seed.
Trainings go to --out as they come, and one that is there is not done again. What would be chosen
with all five folds is printed first; what such a choice is worth is what the folds say of theirs.
"""

import argparse
import itertools
import json
import statistics
from pathlib import Path

import numpy as np

import ledger
import twinset
from twinset.data.parts import divide
from twinset.metrics.baselines import raw_pixels, unit_norm
from twinset.models.keras_model import encode
from twinset.training.blend import Blend, blended
from unseen_classes import NEAR, ranked

PLAIN = {"learned": 1.0, "features": 0.0, "pixels": 0.0}
PARTS = ("learned", "features", "pixels")
# only proportions count: the features' weight is 1, but for each other part alone
GRID = [
    dict(zip(PARTS, weights, strict=True))
    for weights in [
        (1.0, 0.0, 0.0),
        (0.0, 0.0, 1.0),
        *itertools.product((0.0, 0.2, 0.4, 0.7, 1.0), (1.0,), (0.0, 0.7, 1.0, 1.4, 2.0)),
    ]
]


def without(part, *folds):
    hidden = [label for fold in folds for label in fold.held_out]
    return part.subset(np.flatnonzero(~np.isin(part.labels, hidden)))


def only(part, fold):
    return part.subset(np.flatnonzero(np.isin(part.labels, fold.held_out)))


def floor_of(images):
    return ranked(unit_norm(raw_pixels(images.images)), images.labels)


def trained(images, epochs, seed):
    """Train the network of `unseen`, with no blend as yet."""
    return twinset.fit(images, "unseen", epochs=epochs, seed=seed, blend=PLAIN, progress=False)


def parts_of(model, images):
    """Embed images in each part of a blend alone."""
    found = []
    for name in PARTS:
        alone = Blend(**{other: float(other == name) for other in PARTS})
        encoder = model.encoder if name == "learned" else blended(model.encoder, alone)
        found.append(encode(encoder, images.images))
    return found


def mixed(parts, weights):
    """Blend parts of length 1 as `twinset.training.blend` does."""
    used = [weights[name] * part for name, part in zip(PARTS, parts, strict=True)]
    return unit_norm(np.concatenate(used, axis=1))


def inner(first, second, epochs, parts):
    """Hold two folds out, and judge every blend on the tune images of each."""
    model = trained(without(parts.fit, first, second), epochs, seed=0)
    rows = {}
    for fold in (first, second):
        images = only(parts.tune, fold)
        embedded = parts_of(model, images)
        rows[fold.title] = [ranked(mixed(embedded, weights), images.labels) for weights in GRID]
    return {"folds": [first.name, second.name], "epochs": epochs, "judged": rows}


def choose(rows, floors, rule, fold=None):
    """Find the epochs and weights of the largest gain over the other folds, or over all."""
    gains = {}
    for row in rows:
        if fold is not None and fold.title not in row["folds"]:
            continue
        for name, judged in row["judged"].items():
            if fold is not None and name == fold.title:
                continue
            for place, found in enumerate(judged):
                gain = np.subtract(found, floors[name])
                gains.setdefault((row["epochs"], place), {}).setdefault(name, []).append(gain)
    (count,) = {len(by_fold) for by_fold in gains.values()}
    assert count == len(NEAR) - (fold is not None)

    def worth(key):
        by_fold = [np.mean(values, axis=0) for values in gains[key].values()]
        return np.min(by_fold) if rule == "worst" else np.mean(by_fold)

    epochs, place = max(gains, key=worth)
    return epochs, GRID[place], worth((epochs, place))


def outer(fold, epochs, weights, seeds, parts):
    seen, images = without(parts.fit, fold), only(parts.test, fold)
    floor = floor_of(images)
    if not weights["learned"] and not weights["features"]:
        epochs, seeds = 1, seeds[:1]  # nothing that is trained has a say
    found = []
    for seed in seeds:
        model = trained(seen, epochs, seed)
        found.append(ranked(mixed(parts_of(model, images), weights), images.labels))
    return floor, found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="0 chooses, and scores no test image")
    parser.add_argument("--epochs", default="1,2")
    parser.add_argument("--rule", choices=["worst", "mean"], default="worst")
    parser.add_argument("--out", type=Path, default=Path("nested.jsonl"))
    options = parser.parse_args()
    parts = divide(*twinset.load_fashion_mnist())
    rows = []
    if options.out.exists():
        rows = [json.loads(line) for line in options.out.read_text().splitlines()]
    done = {(*row["folds"], row["epochs"]) for row in rows}
    for epochs in map(int, options.epochs.split(",")):
        for first, second in itertools.combinations(NEAR, 2):
            if (first.name, second.name, epochs) in done:
                continue
            rows.append(inner(first, second, epochs, parts))
            with options.out.open("a") as file:
                print(json.dumps(rows[-1]), file=file)
            print(f"{first.name} and {second.name} held out, {epochs} epochs", flush=True)
    wanted = {int(text) for text in options.epochs.split(",")}
    rows = [row for row in rows if row["epochs"] in wanted]
    print(ledger.machine())
    floors = {fold.title: floor_of(only(parts.tune, fold)) for fold in NEAR}
    epochs, weights, gain = choose(rows, floors, options.rule)
    ledger.say("chosen with all folds", f"{epochs} epochs, {weights}: {gain:+.4f}")
    if not options.seeds:
        return
    above = 0
    for fold in NEAR:
        epochs, weights, _ = choose(rows, floors, options.rule, fold)
        floor, found = outer(fold, epochs, weights, range(options.seeds), parts)
        columns = list(zip(*found, strict=True))
        means = [statistics.mean(values) for values in columns]
        above += all(mean > low for mean, low in zip(means, floor, strict=True))
        ledger.say(f"{fold.title}: chosen without it", f"{epochs} epochs, {weights}")
        for name, values, mean, low in zip(("AUC", "MAP@R"), columns, means, floor, strict=True):
            ledger.say(
                f"{fold.title}: {name}",
                f"{mean:.4f} ({min(values):.4f} to {max(values):.4f}); pixels {low:.4f}",
            )
    ledger.say("folds above the pixels in both", f"{above} of {len(NEAR)}")


if __name__ == "__main__":
    main()
