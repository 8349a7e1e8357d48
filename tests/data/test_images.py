import dataclasses

import numpy as np
import pytest

from twinset.data.labelled import LabelledImages
from twinset.errors import DataError

PIXELS = np.arange(24, dtype=np.uint8).reshape(3, 2, 4)


def test_digest_tells_any_change():
    base = LabelledImages(PIXELS, [0, 1, 1], ("a", "b"))
    brighter = PIXELS.copy()
    brighter[2, 1, 3] += 1
    others = [
        LabelledImages(brighter, [0, 1, 1], ("a", "b")),
        LabelledImages(PIXELS, [0, 1, 0], ("a", "b")),
        LabelledImages(PIXELS, [0, 1, 1], ("a", "c")),
        LabelledImages(PIXELS.reshape(3, 4, 2), [0, 1, 1], ("a", "b")),
    ]
    assert len({base.digest, *(other.digest for other in others)}) == 5
    assert base.digest == LabelledImages(PIXELS.copy(), np.int8([0, 1, 1]), ["a", "b"]).digest
    assert base.digest == dataclasses.replace(base, name="other").digest


def test_subset_keeps_classes():
    part = LabelledImages(PIXELS, [0, 1, 1], ("a", "b"), "whole").subset(np.array([2]), "part")
    assert part.class_names == ("a", "b")
    assert part.class_counts.tolist() == [0, 1]
    assert part.name == "part"
    np.testing.assert_array_equal(part.images, PIXELS[2:])


def test_colour_and_gray_shapes():
    colour = LabelledImages(np.zeros((2, 4, 5, 3), np.uint8), [0, 0], ("a",))
    assert colour.image_shape == (4, 5, 3)
    assert repr(colour) == "LabelledImages('images', 2 images of (4, 5, 3), 1 classes)"


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (PIXELS / 255, [0, 1, 1], "uint8 pixels from 0 to 255. Received dtype float64"),
        (PIXELS[0], [0, 1], r"shape \(n, h, w\) or \(n, h, w, 3\). Received shape \(2, 4\)"),
        (np.zeros((3, 2, 2, 4), np.uint8), [0, 1, 1], r"Received shape \(3, 2, 2, 4\)"),
        (PIXELS, [0, 1], r"one label per image, shape \(3,\). Received labels of shape \(2,\)"),
        (PIXELS, [0.0, 1.0, 1.0], "integer labels. Received dtype float64"),
        (PIXELS, [0, 1, 2], "labels from 0 to 1, one per class name. Received 2 at position 2"),
        (PIXELS, [0, -1, 1], "Received -1 at position 1"),
    ],
)
def test_what_does_not_fit_together(images, labels, words):
    with pytest.raises(DataError, match=words):
        LabelledImages(images, labels, ("a", "b"))
