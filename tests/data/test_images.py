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


def test_subset_takes_positions_as_numpy_does():
    """Also neighbours around either end, which are a slice of their own."""
    whole = LabelledImages(np.arange(6, dtype=np.uint8)[:, None, None], [0, 0, 1, 1, 2, 2], "abc")
    for at in ([-2, -1], [-1], [-1, 0, 1], [-1, -2], [2, 3, 4], [5, 0], [], whole.labels == 1):
        expected = whole.images[np.asarray(at, None if len(at) else int)]
        np.testing.assert_array_equal(whole.subset(at).images, expected)
    for at in ([4, 5, 6, 7], [6, 7], [-7, -6]):
        with pytest.raises(IndexError, match="out of bounds"):
            whole.subset(at)


def test_colour_and_gray_shapes():
    colour = LabelledImages(np.zeros((2, 4, 5, 3), np.uint8), [0, 0], ("a",))
    assert colour.image_shape == (4, 5, 3)
    assert repr(colour) == "LabelledImages('images', 2 images of (4, 5, 3), 1 classes)"


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (PIXELS - 0.5, [0, 1, 1], "pixels from 0 to 255, or floats in .* from -0.5 to 22.5: undo"),
        (PIXELS.astype(np.uint16), [0, 1, 1], "Received uint16, which may count to"),
        (PIXELS * np.nan, [0, 1, 1], "Received float64 with NaN or infinity"),
        (list("abc"), [0, 1, 1], "Expected pixels as numbers. Received <U1"),
        ([[[1]], [[1, 2]]], [0, 1], "Expected rows of one shape.* Received several shapes"),
        (PIXELS[0], [0, 1], r"shape \(n, h, w\) or \(n, h, w, 3\). Received shape \(2, 4\)"),
        (np.zeros((3, 2, 2, 4), np.uint8), [0, 1, 1], r"Received shape \(3, 2, 2, 4\)"),
        (PIXELS, [0, 1], r"one label per image, shape \(3,\). Received labels of shape \(2,\)"),
        (PIXELS, [0.0, 0.5, 1.0], "labels that name classes. Received 0.5 at position 1"),
        (PIXELS, [0.0, np.nan, 1.0], "a label for each image. Received nan at position 1: leave"),
        (PIXELS, ["a", None, "b"], "a label for each row. Received None at position 1: leave"),
        (PIXELS, np.array(["a", 1, "b"], object), "of one kind. Received texts beside others"),
        (PIXELS, ["a", "b", "c"], "labels out of the class names. Received c at position 2"),
        (PIXELS, [1, 2, 2], r"labels from 0 to 1, .*Received labels from 1 to 2: subtract 1"),
        (PIXELS, np.eye(3), "a column for each of 2 class names. Received 3 columns"),
        (PIXELS, [[0, 1], [1, 1], [1, 0]], "0s and one 1. Received another row at position 1"),
        (PIXELS, np.array([b"a"] * 3), r"labels as texts or whole numbers. Received \|S1"),
        (PIXELS, [0, 1, 2], "labels from 0 to 1, one per class name. Received 2 at position 2"),
        (PIXELS, [0, -1, 1], "Received -1 at position 1"),
    ],
)
def test_what_does_not_fit_together(images, labels, words):
    with pytest.raises(DataError, match=words):
        LabelledImages(images, labels, ("a", "b"))


@pytest.mark.parametrize(
    ("labels", "names", "codes"),
    [
        (["dog", "cat", "dog"], "cat dog", [1, 0, 1]),
        (np.array(["dog", "cat", "dog"], object), "cat dog", [1, 0, 1]),
        ([0, 1, 1], "0 1", [0, 1, 1]),
        ([2, 1, 2], "1 2", [1, 0, 1]),
        ([10, 9, 10], "9 10", [1, 0, 1]),
        (np.array([7, 3, 7], object), "3 7", [1, 0, 1]),
        ([[1], [0], [1]], "0 1", [1, 0, 1]),
        ([1.0, 0.0, 1.0], "0 1", [1, 0, 1]),
        ([True, False, True], "False True", [1, 0, 1]),
        ([[0, 1, 0], [1, 0, 0], [0, 1, 0]], "0 1 2", [1, 0, 1]),
        (np.eye(3)[[1, 0, 1]], "0 1 2", [1, 0, 1]),
    ],
)
def test_labels_in_their_usual_forms(labels, names, codes):
    data = LabelledImages(PIXELS, labels)
    assert data.class_names == tuple(names.split())
    assert data.labels.tolist() == codes
    assert data.labels.dtype == np.int64


@pytest.mark.parametrize(
    "labels",
    [["b", "a", "b"], [1, 0, 1], [1.0, 0.0, 1.0], [True, False, True], np.eye(2)[[1, 0, 1]]],
)
def test_labels_beside_class_names(labels):
    assert LabelledImages(PIXELS, labels, ("a", "b")).labels.tolist() == [1, 0, 1]
    with pytest.raises(DataError, match="a label for each image. Received -1 at position 0"):
        LabelledImages(PIXELS, [-1, 0, 0])


@pytest.mark.parametrize(
    "images",
    [
        PIXELS.astype(np.int64),
        np.float64(PIXELS) / 255,
        np.float32(PIXELS) / np.float32(255),
        PIXELS[..., None],
        PIXELS.tolist(),
    ],
)
def test_images_in_their_usual_forms(images):
    found = LabelledImages(images, [0, 1, 1]).images
    np.testing.assert_array_equal(found, PIXELS)
    assert found.dtype == np.uint8


def test_floats_are_levels_where_nothing_else_can_be_meant():
    """From 0 to 16, as scikit-learn's digits are, they would be all but black."""
    bright = PIXELS + np.uint8(110)
    for floats in (bright.astype(np.float32), bright + 0.2):
        np.testing.assert_array_equal(LabelledImages(floats, [0, 1, 1]).images, bright)
    for dark in (PIXELS % 17 * 1.0, PIXELS.astype(np.float32), PIXELS + 0.5):
        with pytest.raises(DataError, match=r"float.* from 0.* to .*: undo what .*, or pass dark"):
            LabelledImages(dark, [0, 1, 1])


def test_masks_and_channels_first():
    assert LabelledImages(PIXELS > 3, [0, 1, 1]).images[0].tolist() == [[0] * 4, [255] * 4]
    colour = np.arange(2 * 3 * 4 * 5, dtype=np.uint8).reshape(2, 3, 4, 5)
    assert LabelledImages(colour[:, :1] / 255, [0, 1]).image_shape == (4, 5)
    assert LabelledImages(colour, [0, 1]).image_shape == (4, 5, 3)
    np.testing.assert_array_equal(LabelledImages(colour, [0, 1]).images, np.moveaxis(colour, 1, 3))


def test_arrays_of_other_libraries():
    """As PyTorch hands them over: on a device, part of a gradient, in a type of its own."""

    class Tensor:
        dtype = "torch.bfloat16"
        steps = ()

        def detach(self):
            self.steps += ("detach",)
            return self

        def cpu(self):
            self.steps += ("cpu",)
            return self

        def float(self):
            return np.float32(PIXELS) / 255

    tensor = Tensor()
    np.testing.assert_array_equal(LabelledImages(tensor, [0, 1, 1]).images, PIXELS)
    assert tensor.steps == ("detach", "cpu")
