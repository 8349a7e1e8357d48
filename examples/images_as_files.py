"""Write test images as PNG files, a folder for each class: an index of files shows its pictures."""

import sys
import tempfile
from pathlib import Path

from PIL import Image

import twinset

folder = Path(sys.argv[1] if sys.argv[1:] else tempfile.mkdtemp())
count = int(sys.argv[2]) if sys.argv[2:] else 100

_, test = twinset.load_fashion_mnist()
# the model that is served never saw these
for row, image in enumerate(test.images[:count]):
    place = folder / test.class_names[test.labels[row]].replace("/", "-")
    place.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(place / f"{row:05}.png")
print(f"{count:,} images in {folder}")
