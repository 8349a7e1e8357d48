"""Open-set identification: do intervals cover, does growth hold, what do more references give.

./task bench open_set [--parts cover,growth,references] [--repetitions 500] [--galleries 12]

`cover`: identities and images drawn from normal distributions; the truth is the mean of all
repetitions, as both rates are estimated without bias. `growth`: a gallery of 500 training images of
Fashion-MNIST as single references, extrapolated to 5,000, beside what 3,000 other images find among
5,000. `references`: collections of photos, encoded by the pretrained network; the rule of joining
is chosen on half of the identities, and all rules are judged on the other half; one reference and
five are compared over all.
"""

import argparse

import numpy as np

import ledger
import photo_collections
import promised_rates
import twinset
from twinset.backbones import lite0
from twinset.metrics.growth import Growth
from twinset.metrics.open_set import choose_rule, cmc, compare_references
from twinset.metrics.trials import RULES, leave_out

CLOTHES = "Fashion-MNIST"


def cover(repetitions):
    rng = np.random.default_rng(0)
    found = {"FPIR": [], "FNIR": [], "rank 1": [], "gain of two references over one": []}
    who = np.repeat(np.arange(60), 3)
    for _ in range(repetitions):
        images = rng.normal(size=(60, 12))[who] + 0.5 * rng.normal(size=(180, 12))
        trials = leave_out(images, who, "nearest")
        growth = Growth(trials)
        found["FPIR"].append(growth.fpir(2.6, 59))
        found["FNIR"].append(growth.fnir(2.6, 59))
        found["rank 1"] += cmc(trials, (1,))
        found["gain of two references over one"].append(
            compare_references(images, who, "nearest", (1, 2))[1].gain
        )
    for name, intervals in found.items():
        truth = np.mean([each.value for each in intervals])
        held = np.mean([each.low <= truth <= each.high for each in intervals])
        ledger.say(
            f"simulation, {repetitions} repetitions: 95% interval of {name} holds the truth",
            f"{held:.1%}; truth {truth:.1%}",
        )


def grow(galleries):
    images = twinset.load_fashion_mnist(progress=False)[0].images
    pixels = images.reshape(len(images), -1) / 255
    centred = pixels - pixels.mean(axis=0)
    axes = np.linalg.eigh(centred.T @ centred)[1][:, -32:]
    made = {
        "pixels of length 1": pixels / np.linalg.norm(pixels, axis=1, keepdims=True),
        "32 whitened components": centred @ axes / (centred @ axes).std(axis=0),
    }
    for name, rows in made.items():
        found = {rate: [] for rate in (0.1, 0.3, 0.6)}
        thresholds = {}
        for seed in range(galleries):
            drawn = np.random.default_rng(seed).permutation(len(rows))
            gallery, others = rows[drawn[:5000]], rows[drawn[5000:8000]]
            squares = np.square(others).sum(axis=1)[:, None] + np.square(gallery).sum(axis=1)
            nearest = np.sqrt(np.maximum(squares - 2 * others @ gallery.T, 0).min(axis=1))
            growth = Growth(leave_out(gallery[:500], np.arange(500), "nearest"))
            for rate, rows_of in found.items():
                limit = thresholds.setdefault(rate, float(np.quantile(nearest, rate)))
                told = growth.fpir(limit, 5000)
                rows_of.append((told.low, told.value, told.high, (nearest <= limit).mean()))
        for rate, rows_of in found.items():
            low, value, high, truth = np.transpose(rows_of)
            middle = ", ".join(f"{np.median(each):.1%}" for each in (low, value, high))
            ledger.say(
                f"FPIR about {rate:.0%} at 5,000 from 500, {name}: true rate in the interval",
                f"{np.mean((low <= truth) & (truth <= high)):.0%} of {galleries} galleries; "
                f"medians: low, told, high {middle}; true {np.median(truth):.1%}",
            )


def features_of(collection):
    """Encode images by a network that has seen none of their classes."""
    if collection != CLOTHES:
        return promised_rates.features_of(collection)
    test = twinset.load_fashion_mnist(progress=False)[1].subset(np.arange(2_000))
    rows = lite0.backbone(test.row_shape).encode(test)
    return twinset.LabelledFeatures(rows, test.labels, test.class_names, collection)


def references():
    for collection in (*photo_collections.available(), CLOTHES):
        data = features_of(collection)
        fit, test = photo_collections.halves(data)
        chosen = choose_rule(fit.rows, fit.labels).chosen
        tried = {rule: compare_references(test.rows, test.labels, rule, (1, 5)) for rule in RULES}
        one, five = compare_references(data.rows, data.labels, chosen, (1, 5))
        best = min(RULES, key=lambda rule: tried[rule][1].fnir.value)
        ledger.say(
            f"{collection}: known missed at an FPIR of 10%, one reference and five ({chosen})",
            f"{one.fnir.value:.1%} and {five.fnir.value:.1%}; lower by {five.gain.value:.1%} "
            f"({five.gain.low:.1%} to {five.gain.high:.1%}); on the other half: chosen rule "
            f"{tried[chosen][1].fnir.value:.1%}, best fixed rule ({best}) "
            f"{tried[best][1].fnir.value:.1%}, standard error {tried[best][1].fnir.error:.1%}",
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", default="cover,growth,references")
    parser.add_argument("--repetitions", type=int, default=500)
    parser.add_argument("--galleries", type=int, default=12)
    options = parser.parse_args()
    print(ledger.machine())
    parts = options.parts.split(",")
    if "cover" in parts:
        cover(options.repetitions)
    if "growth" in parts:
        grow(options.galleries)
    if "references" in parts:
        references()


if __name__ == "__main__":
    main()
