"""One gradient on 1, 2 and 4 devices that share a batch, each loss in each way to it.

./task bench one_gradient [--floats float64 float32] [--ways NAME ...]

The devices are virtual, of one CPU; the engine is the one that trains. A way is what of a batch is
shared: views and dropout, which draw by an image's place in it; normalisation over it; learned
proxies; prefixes of the embedding; a network in parts (gradient caching), at rest below (frozen
features, fine-tuning), pixels that come a few steps ahead, blocks of anchors. Each process takes
one way, with all losses in one program, each on numbers of the embedding of its own: the slopes of
the last layer tell them apart. The figure is the largest difference to one device, as a share of
the largest number of the same array; after 50 steps of Adam it is the largest of all weights.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import ledger

TESTS = Path(__file__).parents[1] / "tests"
sys.path.insert(0, str(TESTS))


def main():
    from one_gradient import STEPS, WAYS

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--floats", nargs="+", default=["float64", "float32"])
    parser.add_argument("--ways", nargs="+", default=[*WAYS, STEPS])
    options = parser.parse_args()
    print(ledger.machine())
    for floats in options.floats:
        worst = 0.0
        for way in options.ways:
            if (floats, way) == ("float32", STEPS):
                continue  # its steps part by chaos, not by error
            found = one(floats, way)[way]
            found = {key: far for key, far in found.items() if not key.startswith("exchanges")}
            name = max(found, key=lambda each: max(found[each]))
            worst = worst if way == STEPS else max(worst, max(found[name]))
            far = ", ".join(f"{value:.1e}" for value in found[name])
            ledger.say(f"{floats}, {way}: of {len(found)}, {name}: 2, 4 devices", far)
        ledger.say(f"{floats}: largest difference of one gradient", f"{worst:.1e}")


def one(floats, way):
    command = [sys.executable, str(TESTS / "one_gradient.py"), floats, "--ways", way]
    environment = os.environ | {"KERAS_BACKEND": "jax"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout)


if __name__ == "__main__":
    main()
