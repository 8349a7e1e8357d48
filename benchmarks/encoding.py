"""Images per second of EfficientNet-Lite0 at 224 px: ONNX Runtime, Keras, PyTorch; interleaved.

./task bench encoding [--rounds 5] [--images 64]

The same weights in each, uint8 pixels of noise in memory in, 320 numbers an image out, on the
cores that the process may use. Each contestant has a process of its own, as Keras takes one back
end, and waits while another works: TensorFlow and PyTorch where they are installed, PyTorch's
eager. Checks first that all find the same features; prints images per second (medians) and
the ratios within each round.
"""

import argparse
import importlib.util
import multiprocessing
import os
import statistics
import time

import numpy as np

import ledger

SHAPE, BATCH = (224, 224, 3), 16
NAMES = {
    "onnx": "ONNX Runtime",
    "jax": "Keras predict, JAX",
    "tensorflow": "Keras predict, TensorFlow",
    "torch": "PyTorch eager",
}


def pictures(count):
    return np.random.default_rng(0).integers(0, 256, (count, *SHAPE), np.uint8)


def by_onnx():
    from twinset.backbones import lite0

    return lite0.backbone(SHAPE).encode


def by_keras(backend):
    os.environ["KERAS_BACKEND"] = backend
    import twinset  # noqa: F401 - before Keras, as it chooses the back end where nobody did
    from twinset import networks
    from twinset.models.keras_model import encode
    from twinset.training.frozen_trunk import trunk_of

    trunk = trunk_of(networks.efficientnet_lite0(SHAPE, embedding=2, seed=0))
    return lambda images: encode(trunk, images)


def by_torch():
    import torch
    from torch.nn import functional

    from twinset.backbones import lite0
    from twinset.backbones.onnx_writer import same_padding

    weights = {name: torch.tensor(values) for name, values in lite0.weights().items()}

    def convolved(x, layer):
        pads = [same_padding(side, layer.size, layer.stride) for side in x.shape[2:]]
        x = functional.pad(x, (*pads[1], *pads[0]))
        groups = layer.width if layer.depthwise else 1
        kernel = weights[f"{layer.kernel}.weight"]
        x = functional.conv2d(x, kernel, stride=layer.stride, groups=groups)
        names = ("running_mean", "running_var", "weight", "bias")
        values = (weights[f"{layer.norm}.{name}"] for name in names)
        x = functional.batch_norm(x, *values, eps=lite0.EPSILON)
        return functional.relu6(x) if layer.relu else x

    @torch.inference_mode()
    def encode(images):
        found = []
        for start in range(0, len(images), BATCH):
            x = torch.tensor(images[start : start + BATCH]).permute(0, 3, 1, 2).float()
            x = (x - 127) / 128
            for stage in list(lite0.plan())[:-1]:
                for block, adds in zip(stage.blocks, stage.adds, strict=True):
                    before = x
                    for layer in block:
                        x = convolved(x, layer)
                    x = x + before if adds else x
            found.append(x.mean(dim=(2, 3)).numpy())
        return np.concatenate(found)

    return encode


def contestant(name, pipe, count):
    made = {"onnx": by_onnx, "torch": by_torch}
    encode = made[name]() if name in made else by_keras(name)
    images = pictures(count)
    pipe.send(encode(images)[:3])  # compiles, too
    while pipe.recv():
        started = time.perf_counter()
        encode(images)
        pipe.send(time.perf_counter() - started)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=64)
    options = parser.parse_args()
    print(ledger.machine())
    pipes, expected = {}, None
    fresh = multiprocessing.get_context("spawn")
    for name, words in NAMES.items():
        if name in ("tensorflow", "torch") and importlib.util.find_spec(name) is None:
            print(f"{words}: not installed")
            continue
        pipes[name], theirs = fresh.Pipe()
        fresh.Process(target=contestant, args=(name, theirs, options.images), daemon=True).start()
        found = pipes[name].recv()
        expected = found if expected is None else expected
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
    seconds = {name: [] for name in pipes}
    for i in range(options.rounds):
        for name in list(pipes) if i % 2 == 0 else list(pipes)[::-1]:
            pipes[name].send(True)
            seconds[name].append(pipes[name].recv())
    for name, times in seconds.items():
        speed = options.images / statistics.median(times)
        print(f"{NAMES[name]}: {speed:,.1f} images/s", flush=True)
        if name != "onnx":
            ratios = [theirs / ours for theirs, ours in zip(times, seconds["onnx"], strict=True)]
            what = f"encode at 224 px, ONNX Runtime / {NAMES[name]}"
            ledger.say(what, ledger.spread(ratios))
    for pipe in pipes.values():
        pipe.send(False)


if __name__ == "__main__":
    main()
