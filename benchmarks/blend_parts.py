"""What each part of a blend gives for search: R@1 and MAP@10 with it and without, model by model.

./task bench recipes --recipe search --backend tensorflow --no-reference --keep kept
./task bench blend_parts kept [--part tune]

Takes the trained embedding out of each model in the folder, blends it anew, and ranks the images
of the protocol's part. The gain is the mean over the models of the difference to the trained
embedding alone, with its 95% t-interval; at least two models are needed.
"""

import argparse
import statistics
import sys
from pathlib import Path

import keras
from scipy.stats import t

import ledger
import twinset
from twinset.data.parts import divide
from twinset.metrics.retrieval import retrieve
from twinset.models.keras_model import encode
from twinset.training.blend import Blend, blended

BLENDS = {
    "half of the features": Blend(features=0.5),
    "mirror images": Blend(mirror=True),
    "both": Blend(features=0.5, mirror=True),
}


def trained(encoder):
    """Find the network as it was trained, under the mirror and the blend that were put on it."""
    nested = [layer for layer in encoder.layers if isinstance(layer, keras.Model)]
    whole = nested[0] if nested else encoder
    names = [layer.name for layer in whole.layers]
    if "blend_learned_unit" not in names:
        return whole
    return keras.Model(whole.inputs[0], whole.get_layer("blend_learned_unit").input)


def ranked(encoder, images):
    found = retrieve(encode(encoder, images.images), images.labels)
    return found.recall_at[1], found.map_at_10


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", type=Path, help="a folder of models, as recipes --keep makes it")
    parser.add_argument("--part", choices=["tune", "test"], default="tune")
    options = parser.parse_args()
    folders = sorted(path.parent for path in options.models.glob("*/encoder.keras"))
    if len(folders) < 2:
        sys.exit(f"Expected two models at least in {options.models}. Found {len(folders)}.")
    train, test = twinset.load_fashion_mnist()
    parts = divide(train, test)
    images = test if options.part == "test" else parts.tune
    alone, gains = [], {name: [] for name in BLENDS}
    for folder in folders:
        encoder = trained(keras.models.load_model(folder / "encoder.keras"))
        alone.append(ranked(encoder, images))
        for name, recipe in BLENDS.items():
            found = ranked(blended(encoder, recipe), images)
            gains[name].append([a - b for a, b in zip(found, alone[-1], strict=True)])
    print(ledger.machine())
    for i, figure in enumerate(("R@1", "MAP@10")):
        mean = statistics.mean(row[i] for row in alone)
        ledger.say(f"{figure} of the trained embedding, {options.part}", f"{mean:.4f}")
        for name, rows in gains.items():
            values = [row[i] for row in rows]
            half = t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5
            ledger.say(f"{figure}: gain by {name}", f"{statistics.mean(values):+.4f} ± {half:.4f}")


if __name__ == "__main__":
    main()
