"""Our ONNX writer against `keras.Model.export(format="onnx")`, network by network.

./task bench onnx_writer [--rounds 3] [--networks mlp,conv]

Each export has a process of its own, in turn; its seconds begin when the network is built. "keras"
is Keras' own export, by jax2onnx, "mended" the same with what `exporters.graph` mends in it.
The graphs then run in turn on ONNX Runtime, on batches of 64. Weights are random. Models of vectors
(`head`) are not exported.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["KERAS_BACKEND"] = "jax"

import numpy as np

import ledger

BATCH = 64
NETWORKS = {
    "mlp": lambda networks: networks.mlp((28, 28), seed=0),
    "conv": lambda networks: networks.conv((28, 28), seed=0),
    "MobileNetV3Small": lambda networks: photos(networks, "MobileNetV3Small"),
    "EfficientNetV2B0": lambda networks: photos(networks, "EfficientNetV2B0"),
    "ConvNeXtTiny": lambda networks: photos(networks, "ConvNeXtTiny"),
}
WRITERS = ("ours", "keras", "mended")


def photos(networks, name):
    return networks.pretrained((64, 64, 3), name, weights="none", seed=0)


def written(writer, encoder, shape, path):
    if writer == "ours":
        from twinset.exporters import onnx_layers

        path.write_bytes(onnx_layers.write(encoder, shape).SerializeToString())
    else:
        from twinset.exporters import graph as exporting

        if writer == "keras":
            scaled = exporting.from_uint8(encoder, shape)
            scaled.export(path, format="onnx", verbose=False)
        else:
            path.write_bytes(exporting.exported(encoder, shape, "onnx"))


def export_one(writer, network, folder):
    """Export in this process, and say how long it took and what Keras gives."""
    from twinset import networks

    encoder = NETWORKS[network](networks)
    shape = tuple(encoder.inputs[0].shape[1:])
    path = folder / f"{writer}.onnx"
    started = time.perf_counter()
    written(writer, encoder, shape, path)
    seconds = time.perf_counter() - started
    images = np.random.default_rng(0).integers(0, 256, (BATCH, *shape), np.uint8)
    np.save(folder / "images.npy", images)
    np.save(folder / "expected.npy", encoder.predict(images / np.float32(255), verbose=0))
    size = sum(file.stat().st_size for file in folder.glob(f"{writer}.onnx*"))
    print(json.dumps({"seconds": seconds, "bytes": size}))


def child(writer, network, folder):
    command = [sys.executable, __file__, "--one", writer, "--networks", network, "--folder", folder]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1][:160]}
    return json.loads(done.stdout.strip().splitlines()[-1])


def run_times(sessions, images, rounds):
    seconds = {writer: [] for writer in sessions}
    for i in range(rounds):
        order = list(sessions)
        for writer in order if i % 2 == 0 else order[::-1]:
            started = time.process_time()  # of all threads, whatever else the machine does
            sessions[writer].run(None, {sessions[writer].get_inputs()[0].name: images})
            seconds[writer].append(time.process_time() - started)
    return seconds


def opened(folder, writers):
    """The graphs that ONNX Runtime takes, and why it does not take the others."""
    from twinset.backbones.session import open_session

    sessions, reasons = {}, {}
    for writer in writers:
        try:
            sessions[writer] = open_session(folder / f"{writer}.onnx")
        except Exception as error:  # noqa: BLE001 - it is told
            reasons[writer] = str(error)[:160]
    return sessions, reasons


def fidelity(session, images, expected):
    """The largest difference from Keras, and the batches that work."""
    worst, works = 0.0, []
    name = session.get_inputs()[0].name
    for size in (1, 3, BATCH):
        try:
            found = session.run(None, {name: images[:size]})[0]
        except Exception:  # noqa: BLE001 - a graph of one batch alone says so in many ways
            continue
        works.append(size)
        worst = max(worst, float(np.abs(found - expected[:size]).max()))
    return worst, works


def measure(network, rounds):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        told = {writer: [] for writer in WRITERS}
        for i in range(rounds):
            for writer in WRITERS if i % 2 == 0 else WRITERS[::-1]:
                told[writer].append(child(writer, network, folder))
        good = [writer for writer in WRITERS if "error" not in told[writer][-1]]
        sessions, reasons = opened(folder, good)
        images, expected = (np.load(folder / f"{each}.npy") for each in ("images", "expected"))
        speeds = run_times(sessions, images, 20 * rounds + 2)
        for writer in WRITERS:
            last = told[writer][-1]
            if writer not in sessions:
                print(f"{network}, {writer}: {last.get('error') or reasons[writer]}", flush=True)
                continue
            worst, works = fidelity(sessions[writer], images, expected)
            seconds = ledger.spread([each["seconds"] for each in told[writer]])
            run = 1000 * statistics.median(speeds[writer][2:])
            ledger.say(
                f"{network}, {writer}",
                f"{seconds} s; {last['bytes']:,} bytes; differs by {worst:.1e}; batches of "
                f"{works}; {run:.2f} CPU ms for {BATCH} images",
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--one", choices=WRITERS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        export_one(options.one, options.networks, options.folder)
        return
    print(ledger.machine())
    for network in options.networks.split(","):
        measure(network, options.rounds)


if __name__ == "__main__":
    main()
