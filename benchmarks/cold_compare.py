"""The whole process `twinset compare RUN a.png b.png`: on ONNX Runtime, and on Keras.

./task bench cold_compare [--rounds 7]

Processes in turn, from the shell to the verdict, files in the page cache. Prints the seconds of
each engine and the ratio within each round.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

import ledger
import twinset


def seconds(folder, engine):
    command = ["compare", folder / "run", folder / "a.png", folder / "b.png", "--engine", engine]
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "twinset", *map(str, command)], check=True, capture_output=True
    )
    return time.perf_counter() - started


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    train, test = twinset.load_fashion_mnist(progress=False)
    times = {"onnx": [], "keras": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = twinset.fit(train.subset(np.arange(2000)), epochs=1, progress=False)
        model.save(folder / "run")
        twinset.export(folder / "run")
        for image, letter in zip(test.images, "ab", strict=False):
            Image.fromarray(image).save(folder / f"{letter}.png")
        for engine in times:  # files into the cache, modules into bytecode
            seconds(folder, engine)
        for i in range(options.rounds):
            for engine in times if i % 2 == 0 else reversed(times):
                times[engine].append(seconds(folder, engine))
    print(ledger.machine())
    for engine, found in times.items():
        print(f"{engine}: {ledger.spread(found)} s", flush=True)
    ratios = [a / b for a, b in zip(times["onnx"], times["keras"], strict=True)]
    ledger.say(
        "`twinset compare`, cold process, ONNX Runtime / Keras",
        f"{ledger.spread(ratios, 3)}; {statistics.median(times['onnx']):.2f} s",
    )


if __name__ == "__main__":
    main()
