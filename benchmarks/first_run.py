"""A thousand photos, from the shell to the report: the first run, and one with another seed.

./task bench first_run [--rounds 3] [--recipe auto] [--images 1000]

1,000 JPEG files of 640 × 480 pixels in 100 folders, of the collections of `photo_collections`. The
first run has an empty cache; the second finds there what the first one left. Prints seconds of the
whole process, each round with a cache of its own.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import ledger
import photo_collections

SIZE = (640, 480)
NAMES = ("places", "characters", "typefaces")  # 40, 40 and 20 classes, on every machine


def photos(folder, images):
    """Write so many photos, ten for each class or fewer where there are fewer images."""
    views = max(2, images // 100)
    for name in NAMES:
        photo_collections.write(folder, name, prefix=f"{name} ", size=SIZE, views=views)
    return sorted(folder.glob("*/*.jpg"))


def seconds(folder, recipe, cache, out, seed):
    """Train in a process of its own, and see that the report is there."""
    command = ["train", folder, "--recipe", recipe, "--set", f"seed={seed}", "--out", out]
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "twinset", *map(str, command)],
        env={**os.environ, "XDG_CACHE_HOME": str(cache)},
        capture_output=True,
        text=True,
        check=False,
    )
    took = time.perf_counter() - started
    if done.returncode or not (out / "report.html").exists():
        sys.exit(done.stderr[-3000:])
    return took, done.stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--recipe", default="auto")
    parser.add_argument("--images", type=int, default=1000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = photos(folder / "photos", options.images)
        size = sum(path.stat().st_size for path in files) / len(files)
        print(ledger.machine())
        print(f"{len(files):,} files, {size / 1000:.0f} kB each")
        # modules into bytecode and into the page cache: that is no part of a first run
        photo_collections.write(folder / "few", "typefaces", size=(96, 96), views=4)
        seconds(folder / "few", options.recipe, folder / "other cache", folder / "few run", 0)
        times = []
        for number in range(options.rounds):
            cache = folder / f"cache {number}"
            runs = [folder / f"run {number} {seed}" for seed in (0, 1)]
            found = [
                seconds(folder / "photos", options.recipe, cache, run, seed)
                for seed, run in enumerate(runs)
            ]
            times.append([took for took, _ in found])
            print(found[0][1] if not number else times[-1], flush=True)
    for label, column in zip(
        ("empty cache", "another seed"), zip(*times, strict=True), strict=True
    ):
        ledger.say(
            f"{len(files):,} photos, shell to report, s, {options.recipe}, {label}",
            ledger.spread(column, 1),
        )


if __name__ == "__main__":
    main()
