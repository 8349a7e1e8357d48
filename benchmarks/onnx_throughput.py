"""Images per second of ONNX Runtime and of Keras `predict` on JAX: the same encoder, interleaved.

./task bench onnx_throughput [--rounds 7] [--images 10000]

The tutorial's encoder and the one of the recipe conv, with random weights, on Fashion-MNIST's test
images. Keras gets floats in [0, 1], ready in memory; the graphs get uint8 pixels and scale them
themselves. Prints images per second, and the ratio within each round.
"""

import argparse
import os
import statistics
import time

os.environ["KERAS_BACKEND"] = "jax"

import numpy as np

import ledger
import twinset
from twinset import networks
from twinset.backbones.session import open_session
from twinset.exporters import onnx_layers as layers
from twinset.exporters.graph import quantised
from twinset.models.keras_model import encode

BATCH = 1024
ENCODERS = {"tutorial": networks.mlp, "conv": networks.conv}


def by_graph(session, images):
    starts = range(0, len(images), BATCH)
    parts = [session.run(None, {"images": images[i : i + BATCH]})[0] for i in starts]
    return np.concatenate(parts)


def contestants(encoder, images):
    floats = images / np.float32(255)
    graph = layers.write(encoder, images.shape[1:])
    content = graph.SerializeToString()
    whole = open_session(content)
    small = open_session(quantised(content, images[:256]).SerializeToString())
    return {
        "Keras predict": lambda: encoder.predict(floats, batch_size=BATCH, verbose=0),
        "twinset on Keras": lambda: encode(encoder, images),
        "ONNX Runtime": lambda: by_graph(whole, images),
        "ONNX Runtime, int8": lambda: by_graph(small, images),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--images", type=int, default=10_000)
    options = parser.parse_args()
    images = twinset.load_fashion_mnist(progress=False)[1].images[: options.images]
    print(ledger.machine())
    for name, build in ENCODERS.items():
        competing = contestants(build((28, 28), seed=0), images)
        found = [run() for run in competing.values()]  # compiles, too
        assert max(np.abs(each - found[0]).max() for each in found[:3]) < 1e-5
        seconds = {each: [] for each in competing}
        for i in range(options.rounds):
            order = list(competing)
            for each in order if i % 2 == 0 else order[::-1]:
                started = time.perf_counter()
                competing[each]()
                seconds[each].append(time.perf_counter() - started)
        for each, times in seconds.items():
            speed = len(images) / statistics.median(times)
            print(f"{name}, {each}: {speed:,.0f} images/s", flush=True)
        keras = seconds["Keras predict"]
        for each in ("ONNX Runtime", "ONNX Runtime, int8"):
            ratios = [theirs / ours for theirs, ours in zip(keras, seconds[each], strict=True)]
            speed = len(images) / statistics.median(seconds[each])
            ledger.say(
                f"embed {len(images):,} images, {name} encoder, {each} / Keras predict",
                f"{ledger.spread(ratios)}; {speed:,.0f} images/s",
            )


if __name__ == "__main__":
    main()
