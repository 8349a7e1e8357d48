"""Decoding a folder of JPEG and PNG files to 224 x 224 x 3, against plain Pillow and Keras.

./task bench decode_folder [--images 20000] [--rounds 3] [--workers N] [--folder FOLDER]

Two thirds are JPEGs of 640 x 480 at quality 85, one third PNGs of 320 x 240, all drawn from a seed.
The ways take turns, each in a process of its own: ours (threads over `Preprocessing.pixels`, into
one uint8 array), a plain loop over Pillow (open, convert, resize), and
`keras.utils.image_dataset_from_directory` on TensorFlow, where that is installed. All stretch;
Keras resizes without antialiasing, so it has less to do. A rate per core counts the seconds that
the processor worked, on all cores together.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL
from PIL import Image, ImageDraw

import ledger

SIZE = (224, 224, 3)


def scene(seed, width=1280, height=960):
    """Draw smooth noise of eight scales, which is what a photograph's spectrum is like, and discs.

    The noise of a sensor lies on top.
    """
    rng = np.random.default_rng(seed)
    sky = np.zeros((height, width, 3), np.float32)
    for octave in range(1, 9):
        cells = rng.normal(size=(2**octave, 2**octave, 3)).astype(np.float32)
        for band in range(3):
            smooth = Image.fromarray(cells[..., band]).resize((width, height))
            sky[..., band] += np.asarray(smooth) / 2 ** (0.9 * octave)
    sky = 255 * (sky - sky.min()) / (sky.max() - sky.min())
    picture = Image.fromarray(sky.astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for _ in range(30):
        x, y, r = rng.integers(width), rng.integers(height), rng.integers(8, width // 8)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=tuple(rng.integers(0, 256, 3).tolist()))
    noisy = np.asarray(picture) + rng.normal(scale=5, size=(height, width, 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def draw_folder(folder, images, scenes=24):
    """Cut images out of some scenes, each at a place, a turn and a scale of its own."""
    grounds = [scene(seed) for seed in range(scenes)]

    def draw(number):
        rng = np.random.default_rng([1, number])
        path = folder / f"{number // 1000:03d}" / f"{number:06d}"
        path.parent.mkdir(parents=True, exist_ok=True)
        png = number % 3 == 2
        width, height = (320, 240) if png else (640, 480)
        x, y = int(rng.integers(1280 - width)), int(rng.integers(960 - height))
        part = grounds[rng.integers(scenes)].crop((x, y, x + width, y + height))
        if rng.random() < 0.5:
            part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if png:
            part.save(path.with_suffix(".png"))
        else:
            part.save(path.with_suffix(".jpg"), quality=85)

    with ThreadPoolExecutor() as pool:
        list(pool.map(draw, range(images)))


def files_of(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def ours(folder, workers):
    from twinset.data.decoding.decode import Preprocessing

    files = files_of(folder)
    pixels = np.empty((len(files), *SIZE), np.uint8)
    adapt = Preprocessing(SIZE, "stretch")

    def fill(row):
        pixels[row] = adapt.pixels(files[row])

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(fill, range(len(files))))
    return pixels


def pillow_loop(folder, workers):
    del workers
    files = files_of(folder)
    pixels = np.empty((len(files), *SIZE), np.uint8)
    for row, path in enumerate(files):
        with Image.open(path) as picture:
            pixels[row] = np.asarray(picture.convert("RGB").resize(SIZE[:2]))
    return pixels


def keras_dataset(folder, workers):
    del workers  # TensorFlow takes all cores
    import keras

    batches = keras.utils.image_dataset_from_directory(
        folder, labels=None, batch_size=64, image_size=SIZE[:2], shuffle=False, verbose=False
    )
    return np.concatenate([batch.numpy().astype(np.uint8) for batch in batches])


WAYS = {"ours": ours, "Pillow loop": pillow_loop, "Keras": keras_dataset}


def run_one(way, folder, workers):
    """Time one way after a first file or so, which pays for imports and threads."""
    with tempfile.TemporaryDirectory() as first:
        draw_folder(Path(first), 6, scenes=1)
        WAYS[way](Path(first), workers)
    wall, worked = time.perf_counter(), time.process_time()
    pixels = WAYS[way](folder, workers)
    wall, worked = time.perf_counter() - wall, time.process_time() - worked
    sample = pixels[:: max(1, len(pixels) // 200)].mean(axis=(1, 2))
    print(json.dumps({"wall": wall, "worked": worked, "means": sample.tolist()}))


def measure(way, folder, workers):
    command = [sys.executable, __file__, "--way", way, "--folder", folder, "--workers", workers]
    quiet = {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "2"}
    done = subprocess.run(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **quiet},
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def compare(folder, rounds, workers):
    files = files_of(folder)
    for kind in (".jpg", ".png"):
        sizes = [path.stat().st_size for path in files if path.suffix == kind]
        print(f"{len(sizes):,} files {kind}, {np.mean(sizes) / 1000:.0f} kB each")
    ways = [way for way in WAYS if way != "Keras" or importlib.util.find_spec("tensorflow")]
    rows = []
    for _ in range(rounds):
        rows.append({way: measure(way, folder, workers) for way in ways})
        print({way: round(len(files) / rows[-1][way]["wall"]) for way in ways}, flush=True)
    print(f"{ledger.machine()}, Pillow {PIL.__version__}, {workers} threads")
    for way in ways:
        rates = [len(files) / row[way]["worked"] for row in rows]
        ledger.say(f"decode a folder, images per second per core, {way}", ledger.spread(rates, 0))
    for way in ways[1:]:
        rates = [row[way]["worked"] / row["ours"]["worked"] for row in rows]
        ledger.say(f"decode a folder, times the rate per core of {way}", ledger.spread(rates))
        rates = [row[way]["wall"] / row["ours"]["wall"] for row in rows]
        ledger.say(f"decode a folder, times as fast as {way}", ledger.spread(rates))
        apart = np.subtract(rows[0][way]["means"], rows[0]["ours"]["means"])
        ledger.say(
            f"decode a folder, largest difference of an image's mean to {way}, gray levels",
            f"{np.abs(apart).max():.2f}",
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--folder", type=Path, help="a folder of images to use instead")
    parser.add_argument("--way", choices=WAYS)
    options = parser.parse_args()
    if options.way:
        run_one(options.way, options.folder, options.workers)
    elif options.folder:
        compare(options.folder, options.rounds, options.workers)
    else:
        with tempfile.TemporaryDirectory() as name:
            draw_folder(Path(name), options.images)
            compare(Path(name), options.rounds, options.workers)


if __name__ == "__main__":
    main()
