"""Where two images agree and differ: what is planted is found there, with values to check."""

import json

import numpy as np
import pytest

import twinset
from sheets import troubles
from twinset.data.decoding.decode import Preprocessing
from twinset.data.labelled import VectorInput
from twinset.errors import DataError
from twinset.models.embedder import Embedder


class White(Embedder):
    """Counts the white pixels of each quarter; blurred next to black ones, none is white."""

    alternatives, calibrator, class_names, trained_on = (), None, (), None
    digest, dim = "white", 4
    threshold = twinset.Threshold(0.5, "fixed by hand")

    def __init__(self, *shape):
        self.preprocessing = Preprocessing(shape, "stretch")
        self.batches = []

    def encode(self, pixels):
        assert pixels.dtype == np.uint8
        self.batches.append(len(pixels))
        white = pixels == 255
        if white.ndim == 4:
            white = white.all(-1)
        _, h, w = white.shape
        quarters = white.reshape(len(white), 2, h // 2, 2, w // 2).sum((2, 4))
        return quarters.reshape(len(white), 4).astype(np.float32)


def dots(shape, *places):
    image = np.zeros(shape, np.uint8)
    for place in places:
        image[place] = 255
    return image


def expected(shape, **cells):
    found = np.zeros(shape)
    for name, value in cells.items():
        row, column = map(int, name[1:].split("_"))
        found[row, column] = value
    return found.tolist()


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 3)])
def test_signs_and_values(shape):
    # one white pixel in common, and one more in the left image: (1, 0, 0, 1) to (1, 0, 0, 0)
    left, right = dots(shape, (1, 2), (6, 5)), dots(shape, (1, 2))
    found = White(*shape).explain(left, right)
    assert (found.patch, found.step) == (1, 1)
    assert found.distance == 1
    assert not found.verdict.same
    # without the common one: (0, 0, 0, 1) to (1, 0, 0, 0), the root of 2; without the other: equal
    more = 2**0.5 - 1
    np.testing.assert_allclose(found.left, expected((8, 8), _1_2=more, _6_5=-1), atol=1e-6)
    # and of the right image's: (1, 0, 0, 1) to (0, 0, 0, 0)
    np.testing.assert_allclose(found.right, expected((8, 8), _1_2=more), atol=1e-6)
    assert found.largest == 1
    assert found.sentence().splitlines()[1:] == [
        "they agree most at x 2, y 1 of the left image: covered, the distance is 1.4142 (+0.4142)",
        "they differ most at x 5, y 6 of the left image: covered, the distance is 0.0000 "
        "(-1.0000), and the verdict another",
    ]


class Mosaic(White):
    """The mean gray of 36 fields."""

    def encode(self, pixels):
        fields = np.asarray(pixels).reshape(len(pixels), 6, 10, 6, 10, 3)
        return fields.mean((2, 4, 5), dtype=np.float32).reshape(len(pixels), 36)


def test_what_is_planted_in_photos_is_found():
    rng = np.random.default_rng(0)
    left, right = rng.integers(90, 110, (2, 60, 60, 3), dtype=np.uint8)
    left[10:20, 40:50] = right[10:20, 40:50] = (200, 180, 250)  # the common object
    left[40:50, 10:20] = (250, 200, 160)  # that of the left image only
    found = Mosaic(60, 60, 3).explain(left, right)
    assert (found.patch, found.step) == (10, 5)
    for moved in (found.left, found.right):  # its middle: cells 2 or 3 down, 8 or 9 across
        row, column = np.unravel_index(moved.argmax(), moved.shape)
        assert row in (2, 3)
        assert column in (8, 9)
    row, column = np.unravel_index(found.left.argmin(), found.left.shape)
    assert row in (8, 9)
    assert column in (2, 3)
    assert found.left.min() < -20 < -2 < found.right.min()


def test_overlapping_patches_of_a_larger_image():
    # 24 x 24: patches of 4 around cells of 2, so each pixel lies in four of them
    left, right = dots((24, 24), (3, 4)), dots((24, 24))
    found = White(24, 24).explain(left, right)
    assert (found.patch, found.step) == (4, 2)
    assert found.left.shape == found.right.shape == (12, 12)
    assert found.box(0, 0) == (0, 3, 0, 3)
    assert found.box(1, 2) == (1, 5, 3, 7)
    assert found.left.tolist() == expected((12, 12), _1_1=-1, _1_2=-1, _2_1=-1, _2_2=-1)
    assert not found.right.any()


@pytest.mark.parametrize("shape", [(8, 8), (28, 28), (30, 26, 3), (96, 128)])
def test_every_patch_is_measured_as_if_alone(shape):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 2, (2, *shape), dtype=np.uint8) * 255
    model = White(*shape)
    found = model.explain(*images)
    for side, moved in enumerate((found.left, found.right)):
        covered = [images[0].copy(), images[1].copy()]
        row, column = (int(size) // 2 for size in moved.shape)
        top, bottom, left, right = found.box(row, column)
        assert bottom - top == right - left == found.patch
        covered[side][top:bottom, left:right] = 127  # any colour but white
        there = float(np.linalg.norm(np.subtract(*model.encode(np.stack(covered)))))
        assert moved[row, column] == pytest.approx(there - found.distance, abs=1e-5)
    cells = np.zeros(shape[:2], int)
    for at in np.ndindex(*found.left.shape):
        top, bottom, left, right = found.box(*at)
        cells[top:bottom, left:right] += 1
    assert cells.min() >= 1  # each pixel is covered


def test_images_go_through_the_encoder_in_batches():
    model = White(512, 512)
    found = model.explain(dots((512, 512), (9, 9)), dots((512, 512)))
    assert max(model.batches) == 16
    assert sum(model.batches) == 2 * found.left.size + 2


def test_images_that_are_equal():
    image = dots((8, 8), (1, 2))
    found = White(8, 8).explain(image, image)
    assert found.distance == 0
    assert found.left.tolist() == found.right.tolist() == expected((8, 8), _1_2=1)
    assert "no single patch is one where they differ" in found.sentence()


def test_that_nothing_moves_is_said():
    found = White(8, 8).explain(dots((8, 8)), dots((8, 8)))
    assert not found.telling
    assert found.sentence().endswith("no single patch moves the distance by more than 0")
    assert troubles(found.draw()) == []


def test_it_travels_as_json():
    found = White(8, 8).explain(dots((8, 8), (1, 2)), dots((8, 8)))
    told = json.loads(json.dumps(found.to_dict()))
    assert told["distance"] == 1
    assert told["left"][1][2] == -1
    assert (told["patch"], told["step"]) == (1, 1)
    assert "not why a person" in told["about"]


@pytest.mark.parametrize("shape", [(8, 8), (28, 28), (64, 160, 3), (100, 10)])
def test_the_picture_has_all_and_nothing_covers_another(shape):
    image = dots(shape, (2, 2), (5, 6))
    model = White(*shape)
    model.threshold = twinset.Threshold(0.5, "by a rule with a name " + "as long as can be " * 5)
    figure = model.explain(image, dots(shape, (2, 2))).draw(("a.png", "b" * 90 + ".png"))
    assert troubles(figure) == []


@pytest.mark.parametrize("patch", [0, -1, 9])
def test_no_such_patch(patch):
    with pytest.raises(DataError, match=r"a patch of 1 to 8 pixels.*8 x 8"):
        White(8, 8).explain(dots((8, 8)), dots((8, 8)), patch=patch)


def test_what_cannot_be_explained():
    with pytest.raises(DataError, match="one image on each side"):
        White(8, 8).explain(np.zeros((2, 8, 8), np.uint8), dots((8, 8)))
    model = White(8, 8)
    model.preprocessing = VectorInput(3)
    with pytest.raises(DataError, match="a model of images"):
        model.explain(np.ones(3), np.ones(3))
