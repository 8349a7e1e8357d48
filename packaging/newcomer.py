"""A newcomer's first answer: an empty environment, three commands, a verdict on two photos.

./task newcomer                       builds the wheel and runs this with it
python packaging/newcomer.py DIST     the folder with the wheel, or what pip is to install

The photos are drawn: a folder for each of six things, and two that were in none of them.
"""

import os
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

DRAW = """
import numpy as np, sys
from pathlib import Path
from PIL import Image, ImageFilter

def photo(kind, seed):
    shape, light = np.random.default_rng(kind), np.random.default_rng([kind, seed])
    coarse = shape.integers(0, 255, (5, 5, 3)).astype(np.uint8)
    turned = Image.fromarray(coarse).resize((96, 96), Image.BICUBIC).rotate(light.uniform(-12, 12))
    noise = light.normal(0, 8, (96, 96, 3)) + light.uniform(-20, 20)
    return Image.fromarray(np.clip(np.asarray(turned) + noise, 0, 255).astype(np.uint8))

folder, views = Path(sys.argv[1]), int(sys.argv[2])
for kind in range(6):
    (folder / "photos" / f"thing {kind}").mkdir(parents=True)
    for view in range(views):
        photo(kind, view).save(folder / "photos" / f"thing {kind}" / f"{view}.jpg")
for name, seed in (("a", 1000), ("b", 1001)):
    photo(0, seed).save(folder / f"{name}.jpg")
photo(5, 1002).save(folder / "c.jpg")
"""
# What a newcomer types, after `pip install twinset`.
COMMANDS = ("train photos --out run", "compare run a.jpg b.jpg")


def answer(python, folder, views, *, environment=None):
    """Draw the photos and run the commands there; what the last one printed."""
    given = {"cwd": folder, "env": environment, "check": True, "text": True, "encoding": "utf-8"}
    subprocess.run([python, "-c", DRAW, str(folder), str(views)], **given)
    for command in COMMANDS:
        line = [python, "-m", "twinset", *command.split()]
        said = subprocess.run(line, **given, stdout=subprocess.PIPE).stdout
    return said


def main():
    (place,) = sys.argv[1:] or ["dist"]
    wheels = sorted(Path(place).glob("*.whl")) if Path(place).is_dir() else [place]
    if len(wheels) != 1:
        sys.exit(f"Expected one wheel in {place}. Received {len(wheels)}.")
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        venv.create(folder / "venv", with_pip=True)
        python = folder / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        empty = size(folder / "venv")
        started = time.perf_counter()
        install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*install, str(wheels[0])], check=True, env=clean)
        installed = time.perf_counter()
        taken = size(folder / "venv") - empty
        said = answer(python, folder, 12, environment=clean)
        ended = time.perf_counter()
    print(said, end="")
    print(
        f"{1 + len(COMMANDS)} commands: {installed - started:.0f} s of pip, {taken} MB; "
        f"{ended - started:.0f} s to the verdict"
    )
    if not said.startswith("same") or ended - started > 300:
        sys.exit("Expected 'same' within 5 minutes.")


def size(folder):
    """How much a folder takes on disk, in MB as `du -m` counts them."""
    blocks = sum(path.lstat().st_size // 4096 + 1 for path in folder.rglob("*") if path.is_file())
    return round(blocks * 4096 / 2**20)


if __name__ == "__main__":
    main()
