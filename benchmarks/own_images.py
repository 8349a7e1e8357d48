"""The user's own images: a second run on the same folder, and more pixels than memory.

./task bench own_images [--images 20000] [--gigabytes 5]

First, a folder of PNG files is read twice, each in a fresh process: the time from the call to the
images at hand, with and without the cache. Then a folder whose decoded pixels take more than the
limit is trained on by a process whose own memory (RLIMIT_DATA: heap, stacks and private maps) is
limited to 1.5 GB; the peak of its resident memory is printed.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import ledger

LIMIT = 1_500_000_000


def make(folder, count, size):
    """Draw noise of few levels, one shade per class: files are small, pixels are many."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for i in range(count):
        label = i % 10
        small = rng.integers(0, 40, (8, 8, 3), dtype=np.uint8) + np.uint8(20 * label)
        place = folder / f"class {label}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(small).resize((size, size)).save(place / f"{i:06}.png")


def read(folder, cache):
    from twinset.data.data_set import load_images

    started = time.perf_counter()
    images = load_images(folder, cache=cache, size="auto")
    return {"seconds": time.perf_counter() - started, "images": len(images)}


def train(folder, cache, size):
    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))
    import twinset

    images = twinset.load_images(folder, cache=cache, size=size)
    model = twinset.fit(
        images,
        "fast",
        epochs=1,
        batch_size=64,
        encoder={"units": [8, 8]},
        progress=False,
    )
    status = Path("/proc/self/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0]) / 1e6
    return {"gigabytes": images.images.nbytes / 1e9, "peak": peak, "loss": model.history[-1].loss}


def fresh(*arguments):
    command = [sys.executable, __file__, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--gigabytes", type=float, default=5.0)
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        way, folder, cache, size = options.one
        found = read(folder, cache) if way == "read" else train(folder, cache, int(size))
        print(json.dumps(found))
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make(folder / "small", options.images, 128)
        first = fresh("--one", "read", folder / "small", folder / "cache", 0)
        again = [fresh("--one", "read", folder / "small", folder / "cache", 0) for _ in range(3)]
        print(ledger.machine())
        ledger.say(f"{options.images:,} files read, s, first run", f"{first['seconds']:.2f}")
        ledger.say("the same, second run", ledger.spread([each["seconds"] for each in again]))
        ratio = [each["seconds"] / first["seconds"] for each in again]
        ledger.say("second run / first", ledger.spread(ratio, 3))
        count = int(options.gigabytes * 1e9 / (512 * 512 * 3))
        make(folder / "large", count, 512)
        found = fresh("--one", "train", folder / "large", folder / "cache", 512)
        ledger.say(
            f"{found['gigabytes']:.2f} GB of pixels trained on under 1.5 GB: peak resident GB",
            f"{found['peak']:.2f}",
        )


if __name__ == "__main__":
    main()
