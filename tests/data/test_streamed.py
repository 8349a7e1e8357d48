"""Batches from elsewhere are read once, into a file, and are labelled images from then on."""

import errno
import os
import tracemalloc

import numpy as np
import pytest
from PIL import Image

import twinset
from twinset.data.image_sources import StoredPixels
from twinset.data.streamed import load_batches
from twinset.errors import DataError

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 4, 5), np.uint8)
IMAGES[0, 0, 0] = 255
NAMES = np.array(list("abcabca"))
CODES = [0, 1, 2, 0, 1, 2, 0]


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def generator(images=IMAGES, labels=NAMES, size=3):
    for start in range(0, len(images), size):
        yield images[start : start + size], labels[start : start + size]


class ByPosition:
    """As `keras.utils.PyDataset` and data sets of PyTorch: no end but their length."""

    def __init__(self, *found):
        self.found = found

    def __len__(self):
        return len(self.found)

    def __getitem__(self, position):
        return self.found[position % len(self.found)]


class Repeated(list):
    """As a `tf.data.Dataset`, which knows that it has no end."""

    def cardinality(self):
        return np.int64(-1)


PICTURES = [Image.fromarray(image) for image in IMAGES]


@pytest.mark.parametrize(
    "batches",
    [
        generator,
        lambda: generator(IMAGES / 255),
        lambda: generator(np.maximum(np.float32(IMAGES) - 0.25, 0), size=4),
        lambda: generator(IMAGES[..., None]),
        lambda: zip(IMAGES, NAMES, strict=True),
        lambda: list(zip(PICTURES, NAMES, strict=True)),
        lambda: [{"image": one, "label": name} for one, name in zip(PICTURES, NAMES, strict=True)],
        lambda: [{"images": IMAGES, "labels": NAMES[:, None], "id": 3}],
        lambda: ByPosition(*generator()),
        lambda: ByPosition(*map(list, generator())),
        lambda: Repeated([(IMAGES, NAMES)]),
    ],
)
def test_batches_in_their_usual_forms(batches):
    found = load_batches(batches(), steps=7)
    assert isinstance(found.images, StoredPixels)
    np.testing.assert_array_equal(found.images[:], IMAGES)
    assert (found.labels.tolist(), found.class_names) == (CODES, ("a", "b", "c"))


def test_the_same_images_are_kept_once_and_no_draft_stays(tmp_path):
    seen = []
    for size in (1, 3):
        load_batches(generator(size=size), cache=tmp_path / "kept", progress=seen.append)
    assert [each.done for each in seen] == [1, 2, 3, 4, 5, 6, 7, 3, 6, 7]
    load_batches(generator(IMAGES[:, :, :4]), cache=tmp_path / "kept")
    with pytest.raises(DataError, match="steps"):
        load_batches(Repeated(), cache=tmp_path / "kept")
    kept = sorted(path.suffix for path in (tmp_path / "kept").iterdir())
    assert kept == [".TAG", ".pixels", ".pixels"]


def test_class_names_and_one_hot():
    batches = [(IMAGES[:2], np.eye(3)[[2, 0]]), (IMAGES[2:3], np.eye(3)[[1]])]
    found = load_batches(batches, class_names=("x", "y", "z"), name="few")
    assert (found.labels.tolist(), found.class_names, found.name) == (
        [2, 0, 1],
        tuple("xyz"),
        "few",
    )


def full(batches):
    yield next(batches)
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("batches", "words"),
    [
        (iter([]), "Expected batches of images and labels. Received none"),
        (
            [(IMAGES, NAMES, NAMES)],
            r"Expected \(images, labels\).*Received tuple of 3 at position 0",
        ),
        (iter([IMAGES]), "Received ndarray at position 0"),
        ([((IMAGES, IMAGES), NAMES)], r"Expected images of shape .* \(2, 7, 4, 5\)"),
        ([{"left": IMAGES, "label": NAMES}], "Received dict at position 0"),
        ([(IMAGES, NAMES), (IMAGES, NAMES[:2])], "each of 7 images. Received 2, after 7 images"),
        ([(IMAGES, NAMES), (IMAGES[:, 1:], NAMES)], r"size, \(4, 5\). Received \(3, 5\), after 7"),
        (Repeated([(IMAGES, NAMES)]), "batches that end. Received a repeated Dataset: give steps"),
        (full(generator()), "expected room for .* of images. No space left"),
        (
            [(IMAGES / 255, NAMES), (IMAGES / 1.0, NAMES)],
            "floats on one scale. Received some up to 1, then some above 127",
        ),
        ([(IMAGES - 0.5, NAMES)], "Received float64 from -0.5 to 254.5: undo what scaled them"),
    ],
)
def test_what_cannot_be_read(batches, words):
    with pytest.raises(DataError, match=words):
        load_batches(batches)


def test_what_has_no_end_stops_at_the_limit(monkeypatch):
    monkeypatch.setenv("TWINSET_CACHE_GB", "0.000001")

    def endless():
        while True:
            yield IMAGES, NAMES

    with pytest.raises(
        DataError, match="Expected at most 1e-06 GB of pixels. Received more, perhaps"
    ):
        load_batches(endless())


def test_memory_holds_a_batch():
    def batches():
        for step in range(100):
            yield np.full((8, 64, 256), step, np.uint8), [step] * 8

    tracemalloc.start()
    found = load_batches(batches())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.images.nbytes == 100 * 2**17
    assert peak < found.images.nbytes / 8


def test_fit_reads_batches(stripes):
    names = np.array(stripes.class_names)[stripes.labels]
    quick = {"epochs": 1, "encoder": {"units": [4]}, "progress": False}
    batches = generator(stripes.images / 255, names, 16)
    model = twinset.fit(
        batches, "fast", validation=ByPosition(*generator(stripes.images[1:], names[1:])), **quick
    )
    assert len(model.class_names) == 3
    assert model.trained_on.images == 60
    assert model.history[0].validation
