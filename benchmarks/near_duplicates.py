"""Exact and near duplicates among Fashion-MNIST's training images, and which copies are found.

./task bench near_duplicates [--images 60000]   seconds and peak memory, images flagged
./task bench near_duplicates --recall           planted copies, found by default threshold
./task bench near_duplicates --growth           seconds at 15,000, 30,000 and 60,000 images

Copies are planted among 60,000 gray images of 28 × 28 pixels (those of Fashion-MNIST) and among
colour images of 64 × 64 pixels (tiles of the two photographs that scikit-learn ships).
"""

import argparse
import io
import json
import os
import subprocess
import sys
import time

import numpy as np
from PIL import Image

import ledger

PLANTED = 1000


# --- ways in which a copy differs


def jpeg(image, quality=60):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def shift(image, down, right):
    """Move an image; what comes in repeats the border."""
    height, width = image.shape[:2]
    wide = np.pad(image, ((2, 2), (2, 2)) + ((0, 0),) * (image.ndim - 2), mode="edge")
    return wide[2 - down : 2 - down + height, 2 - right : 2 - right + width]


def resize(image, share=0.97):
    """Resize an image to a share of its size, and back."""
    height, width = image.shape[:2]
    small = Image.fromarray(image).resize((round(width * share), round(height * share)))
    return np.asarray(small.resize((width, height)))


def crop(image, share=0.03):
    """Cut off a share of the width at the left, half of it at the right; the same for rows."""
    height, width = image.shape[:2]
    box = (width * share, height * share, width * (1 - share / 2), height * (1 - share / 2))
    return np.asarray(Image.fromarray(image).resize((width, height), box=box))


def brighten(image, factor):
    return np.clip(image * factor + 0.5, 0, 255).astype(np.uint8)


CHANGES = {
    "JPEG, quality 60": jpeg,
    "shifted by 1 pixel": lambda image: shift(image, 0, 1),
    "shifted by 1 pixel, diagonally": lambda image: shift(image, 1, -1),
    "shifted by 2 and 1 pixels": lambda image: shift(image, 2, 1),
    "resized to 97% and back": resize,
    "brightness + 10%": lambda image: brighten(image, 1.1),
    "brightness − 10%": lambda image: brighten(image, 0.9),
    "cropped by 4.5%, resized": crop,
}


# --- images


def fashion(n):
    import twinset

    return twinset.load_fashion_mnist()[0].images[:n]


def tiles(side=64):
    """Cut two photographs, at three sizes, into tiles; sky and blur have nothing to find."""
    from sklearn.datasets import load_sample_images

    cut = []
    for photo in load_sample_images().images:
        for scale in (1, 0.5, 0.35):
            height, width = (int(size * scale) for size in photo.shape[:2])
            resized = np.asarray(
                Image.fromarray(photo).resize((width, height), Image.Resampling.BOX)
            )
            cut += [
                resized[top : top + side, left : left + side]
                for top in range(0, height - side + 1, side)
                for left in range(0, width - side + 1, side)
            ]
    images = np.stack(cut)
    return images[images.mean(3).std((1, 2)) > 15]


# --- measurements


def recall(images, planted):
    """For each change: the share of the planted copies that are found, and the threshold."""
    from twinset.data.checks.near_duplicates import find_duplicates

    chosen = np.random.default_rng(0).permutation(len(images))[:planted]
    rows = {}
    for name, change in CHANGES.items():
        copies = np.stack([change(images[i]) for i in chosen])
        found = find_duplicates(np.concatenate([images, copies]))
        partner = dict.fromkeys(found.pairs.ravel().tolist(), frozenset())
        for i, j in found.pairs.tolist():
            partner[j] |= {i}
        hits = [int(i) in partner.get(len(images) + k, ()) for k, i in enumerate(chosen)]
        rows[name] = float(np.mean(hits)), found.threshold
    return rows


def run_one(n):
    from twinset.data.checks.near_duplicates import find_duplicates

    images = fashion(n)
    find_duplicates(images[:200])  # imports and the threads of BLAS
    started = time.perf_counter()
    found = find_duplicates(images)
    print(
        json.dumps(
            {
                "seconds": time.perf_counter() - started,
                "threshold": found.threshold,
                "flagged": int(np.unique(found.pairs).size),
                "pairs": len(found.pairs),
                "skipped": found.skipped,
            }
        )
    )


def measure(n):
    """Run in a process of its own; return what it found, with its peak memory in MB."""
    command = [sys.executable, __file__, "--one", "--images", str(n)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        line = process.stdout.read().splitlines()[-1]
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 0
    return json.loads(line) | {"memory": usage.ru_maxrss / 1000}


def say_one(n):
    found = measure(n)
    ledger.say(
        f"near duplicates of {n:,} images",
        f"{found['seconds']:.1f} s, peak {found['memory']:.0f} MB",
    )
    ledger.say(
        f"near duplicates of {n:,} images, flagged",
        f"{found['flagged'] / n:.2%} in {found['pairs']:,} pairs, threshold "
        f"{found['threshold']:.3f}, {found['skipped']:,} pairs skipped",
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--recall", action="store_true")
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--one", action="store_true")
    options = parser.parse_args()
    if options.one:
        run_one(options.images)
        return
    print(ledger.machine())
    if options.recall:
        colour = tiles()
        sets = {
            "gray 28 × 28": recall(fashion(options.images), min(PLANTED, options.images)),
            "colour 64 × 64": recall(colour, len(colour)),
        }
        for name in CHANGES:
            shown = ", ".join(f"{share[name][0]:.1%} ({of})" for of, share in sets.items())
            ledger.say(f"near duplicates found, {name}", shown)
    else:
        for n in (15_000, 30_000, 60_000) if options.growth else (options.images,):
            say_one(n)


if __name__ == "__main__":
    main()
