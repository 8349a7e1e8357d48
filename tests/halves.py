"""A model that a person can compute: the mean gray of the upper and of the lower half."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from twinset.data.decoding.decode import Preprocessing
from twinset.decision import Threshold
from twinset.models.card import TrainedOn
from twinset.models.embedder import Embedder


class Halves(Embedder):
    """Embeds an image as (upper, lower), each from 0, black, to 1, white."""

    digest, dim = "", 2
    preprocessing = Preprocessing((4, 4), "stretch")
    alternatives, calibrator, class_names = (), None, ()
    trained_on = TrainedOn("nothing", "", 0)

    def __init__(self, digest="halves", threshold=0.2):
        self.digest = digest
        self.threshold = Threshold(threshold, "fixed by hand")
        self.embedded = 0

    def encode(self, pixels):
        self.embedded += len(pixels)
        gray = np.asarray(pixels) / np.float32(255)
        return np.stack([gray[:, :2].mean((1, 2)), gray[:, 2:].mean((1, 2))], 1)

    def save(self, folder):
        told = {"digest": self.digest, "threshold": self.threshold.value}
        Path(folder, "model.json").write_text(json.dumps(told))

    @classmethod
    def load(cls, folder):
        told = json.loads(Path(folder, "model.json").read_text())
        return cls(told["digest"], told["threshold"])


def write(path, upper, lower):
    """Write an image of two gray halves, given from 0 to 1."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    halves = np.repeat(np.uint8([round(255 * upper), round(255 * lower)]), 2)
    Image.fromarray(np.tile(halves[:, None], (1, 4))).save(path)
