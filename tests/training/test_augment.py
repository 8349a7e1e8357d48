import math
from functools import partial

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import oracles
from twinset.errors import RecipeError
from twinset.networks.seeded import random_words
from twinset.training import augment
from twinset.training.augment import Augmentation


def augmented(settings_, images, *, seed=0, step=0):
    function = partial(settings_.apply, seed=seed)
    if keras.backend.backend() == "jax":
        import jax

        function = jax.jit(function)  # eagerly, JAX would compile each operation on its own
    return keras.ops.convert_to_numpy(function(images, step))


def some(shape, seed=0):
    return np.random.default_rng(seed).random(shape, np.float32)


# --- a slow second implementation: plain integers, one pixel at a time


def words(seed, step, count, stream=augment.STREAM, columns=augment.COLUMNS):
    bits = oracles.random_bits((seed ^ stream) % 2**32, step, count * columns)
    return np.reshape([word >> 16 for word in bits], (count, columns))


def below(word, bound):
    return int(word) * bound >> 16


def slow(settings_, images, *, seed=0, step=0):
    drawn = words(seed, step, len(images))
    more = words(seed, step, len(images), augment.MORE_STREAM, augment.MORE_COLUMNS)
    return np.stack([one(settings_, *each) for each in zip(images, drawn, more, strict=True)])


def crop(a, image, word):
    """Sample a rectangle of an image at the centres of its pixels, between four of them."""
    sides = []
    for length, size, start in (
        (image.shape[0], augment.CROP_HEIGHT, augment.CROP_TOP),
        (image.shape[1], augment.CROP_WIDTH, augment.CROP_LEFT),
    ):
        side = length * (1 - a.crop * word[size] / 65536)
        sides.append((length, (length - side) * word[start] / 65536, side))
    found = np.empty(image.shape, np.float64)
    for y, x in np.ndindex(*image.shape[:2]):
        (up, down, v), (left, right, u) = (
            between(first + side * (i + 0.5) / length - 0.5, length)
            for i, (length, first, side) in zip((y, x), sides, strict=True)
        )
        found[y, x] = (1 - v) * ((1 - u) * image[up, left] + u * image[up, right]) + v * (
            (1 - u) * image[down, left] + u * image[down, right]
        )
    return found


def between(place, length):
    place = min(max(place, 0.0), length - 1.0)
    return int(place), min(int(place) + 1, length - 1), place - int(place)


def tint(a, image, word):
    """Turn the colours by the rotation's matrix, as a textbook has it."""
    angle = math.pi * a.hue * (2 * word[augment.HUE] / 65536 - 1)
    axis = np.ones(3) / math.sqrt(3)
    skew = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    turn = np.eye(3) + math.sin(angle) * skew + (1 - math.cos(angle)) * (skew @ skew)
    factor = 1 + a.saturation * (2 * word[augment.SATURATION] / 65536 - 1)
    gray = image.mean(axis=-1, keepdims=True)
    return np.clip(gray + factor * ((image - gray) @ turn.T), 0, 1)


def one(a, image, word, more):
    height, width = image.shape[:2]
    down = below(word[augment.DOWN], 2 * a.shift + 1) - a.shift
    right = below(word[augment.RIGHT], 2 * a.shift + 1) - a.shift
    moved = np.empty_like(image)
    for y in range(height):
        for x in range(width):
            row, column = min(max(y - down, 0), height - 1), min(max(x - right, 0), width - 1)
            if a.flip and below(word[augment.FLIP], 2):
                column = width - 1 - column
            moved[y, x] = image[row, column]
    factor = 1 + a.brightness * (2 * word[augment.BRIGHTNESS] / 65536 - 1)
    if a.crop:
        moved = crop(a, moved, more)
    lit, colour = moved.astype(np.float64) * factor, image.astype(np.float64).mean(axis=(0, 1))
    lit = colour * factor + (lit - colour * factor) * (
        1 + a.contrast * (2 * word[augment.CONTRAST] / 65536 - 1)
    )
    if a.brightness or a.contrast:
        lit = np.minimum(np.maximum(lit, 0), 1)
    if image.ndim == 3:
        lit = tint(a, lit, more)
    if word[augment.ERASE] / 65536 < a.erase:
        top, bottom, left, right = rectangle(a, image.shape, word)
        lit[top:bottom, left:right] = colour
    return lit


def rectangle(a, shape, word):
    edges = []
    for length, start, size in (
        (shape[0], augment.TOP, augment.HEIGHT),
        (shape[1], augment.LEFT, augment.WIDTH),
    ):
        least, largest = (max(1, round(share * length)) for share in augment.ERASED)
        side = least + below(word[size], largest - least + 1)
        first = below(word[start], length + 1 - side)
        edges += [first, first + side]
    return edges


@given(
    st.builds(
        Augmentation,
        flip=st.booleans(),
        shift=st.integers(0, 9),
        erase=st.sampled_from([0.0, 0.5, 1.0]),
        brightness=st.sampled_from([0.0, 0.3, 1.0]),
        contrast=st.sampled_from([0.0, 0.4, 1.0]),
        crop=st.sampled_from([0.0, 0.3, 0.9]),
        saturation=st.sampled_from([0.0, 0.5, 1.0]),
        hue=st.sampled_from([0.0, 0.1, 1.0]),
    ),
    st.sampled_from([(5, 7, 4), (4, 3, 6, 3), (3, 1, 1)]),
    st.integers(0, 2**31 - 1),
    st.integers(0, 10**6),
)
@settings(max_examples=15)
def test_the_result_agrees_with_the_slow_one(chosen, shape, seed, step):
    images = some(shape)
    found = augmented(chosen, images, seed=seed, step=step)
    assert found.shape == shape
    np.testing.assert_allclose(
        found, slow(chosen, images, seed=seed, step=step), rtol=1e-5, atol=1e-6
    )
    assert found.min() >= 0
    assert found.max() <= 1


def test_the_comparison_is_awake():
    """All that can be done is done to some of these images, and each of it is seen."""
    images = some((64, 8, 8, 3))
    full = Augmentation(
        flip=True,
        shift=2,
        erase=0.5,
        brightness=0.3,
        contrast=0.3,
        crop=0.4,
        saturation=0.5,
        hue=0.2,
    )
    for name, nothing in (
        ("flip", False),
        ("shift", 0),
        ("erase", 0),
        ("brightness", 0),
        ("contrast", 0),
        ("crop", 0),
        ("saturation", 0),
        ("hue", 0),
    ):
        less = Augmentation(**{**vars(full), name: nothing})
        assert np.abs(augmented(full, images) - slow(less, images)).max() > 0.05, name


# --- identities


@pytest.mark.parametrize("shape", [(3, 5, 4), (3, 5, 4, 3)])
def test_nothing_is_the_identity_bit_by_bit(shape):
    images = some(shape)
    assert not Augmentation().settings
    assert augmented(Augmentation(), images).tobytes() == images.tobytes()
    assert augmented(Augmentation(flip="auto"), images).tobytes() == images.tobytes()


def test_the_data_says_what_auto_means():
    images = some((20, 5, 4))
    told = Augmentation(flip="auto", mirrors=True)
    np.testing.assert_array_equal(
        augmented(told, images), augmented(Augmentation(flip=True), images)
    )
    assert told.settings == {"flip": True}
    assert not Augmentation(flip=False, mirrors=True).settings


def test_uint8_is_scaled_as_the_engines_do():
    images = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    found = augmented(Augmentation(), images)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, images * np.float32(1 / 255))
    assert (found.min(), found.max()) == (0, 1)
    moved = Augmentation(flip=True, shift=3, brightness=0.5)
    np.testing.assert_array_equal(
        augmented(moved, images), augmented(moved, images * np.float32(1 / 255))
    )


def test_what_is_flipped_is_the_image_or_its_mirror_image():
    images = some((400, 3, 4, 3))
    found = augmented(Augmentation(flip=True), images)
    mirrored = (found == images[:, :, ::-1]).all(axis=(1, 2, 3))
    same = (found == images).all(axis=(1, 2, 3))
    assert (mirrored ^ same).all()
    assert abs(mirrored.mean() - 0.5) < 4 * np.sqrt(0.25 / 400)


def test_the_mirror_of_a_mirror_is_the_image():
    images = some((50, 4, 5))
    again = augmented(Augmentation(flip=True), augmented(Augmentation(flip=True), images))
    assert again.tobytes() == images.tobytes()


def offsets(shift, count, step=0):
    """Where a single lit pixel, far from the border, went."""
    size = 2 * shift + 5
    images = np.zeros((count, size, size), np.float32)
    images[:, shift + 2, shift + 2] = 1
    found = augmented(Augmentation(shift=shift), images, step=step)
    assert (found.sum(axis=(1, 2)) == 1).all()
    return np.argwhere(found == 1)[:, 1:] - (shift + 2)


def test_shifts_move_exactly_and_equally_often():
    count, shift = 2000, 2
    moves = offsets(shift, count)
    _, times = np.unique(moves, axis=0, return_counts=True)
    assert len(times) == 25  # every one of 5 × 5
    p = 1 / 25
    assert np.abs(times / count - p).max() < 5 * np.sqrt(p * (1 - p) / count)


def test_the_border_is_repeated():
    images = some((300, 4, 3))
    found = augmented(Augmentation(shift=9), images)
    # moved by more than its size, an image shows one corner, or a stretch of one side
    corners = images[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    flat = (found == found[:, :1, :1]).all(axis=(1, 2))
    assert flat.mean() > 0.2
    assert all(
        value in corner for value, corner in zip(found[flat][:, 0, 0], corners[flat], strict=True)
    )


def test_the_erased_area_has_the_promised_share_and_the_mean_colour():
    images = some((1500, 20, 10, 3))
    found = augmented(Augmentation(erase=0.3), images)
    changed = (found != images).any(axis=3)
    touched = changed.any(axis=(1, 2))
    assert abs(touched.mean() - 0.3) < 4 * np.sqrt(0.21 / 1500)
    # sides of 4 to 10 out of 20, and of 2 to 5 out of 10: on average 0.35 each
    assert abs(changed[touched].mean() - 0.35**2) < 0.01
    for before, after, where in zip(
        images[touched][:20], found[touched][:20], changed[touched][:20], strict=True
    ):
        rows, columns = (np.flatnonzero(where.any(axis=axis)) for axis in (1, 0))
        assert where[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()  # a rectangle
        mean = np.broadcast_to(before.mean(axis=(0, 1)), after[where].shape)
        np.testing.assert_allclose(after[where], mean, rtol=1e-5)


def test_all_places_are_erased():
    images = some((1000, 12, 12))
    erased = (augmented(Augmentation(erase=1.0), images) != images).mean(axis=0)
    # sides of 2 to 6 out of 12: a corner is erased where both rectangles' edges are the first
    corner = np.mean([1 / (13 - side) for side in range(2, 7)]) ** 2
    corners = erased[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert np.abs(corners - corner).max() < 4 * np.sqrt(corner / 1000)
    assert erased.min() > 0
    assert erased[6, 6] > 0.15  # and the middle often


def test_brightness_keeps_proportions_and_contrast_keeps_the_mean():
    images = 0.4 + 0.2 * some((200, 6, 6, 3))
    bright = augmented(Augmentation(brightness=0.3), images)
    factor = bright / images
    np.testing.assert_allclose(factor, factor[:, :1, :1, :1] * np.ones_like(factor), rtol=1e-5)
    assert 0.7 <= factor.min() < 0.72
    assert 1.28 < factor.max() <= 1.3
    contrasted = augmented(Augmentation(contrast=0.5), images)
    np.testing.assert_allclose(contrasted.mean((1, 2)), images.mean((1, 2)), rtol=1e-5)
    spread = contrasted.std((1, 2)) / images.std((1, 2))
    assert 0.5 <= spread.min() < 0.53
    assert 1.47 < spread.max() <= 1.5001


def test_a_crop_stretches_a_part_of_the_image():
    """Of a ramp from left to right remains a flatter one: the crop's width, as a slope."""
    ramp = np.tile(np.linspace(0, 1, 32, dtype="float32"), (400, 4, 1))
    found = augmented(Augmentation(crop=0.5), ramp)
    assert (np.diff(found, axis=2) >= -1e-6).all()
    slopes = (found[:, 0, 20] - found[:, 0, 11]) / 9 * 31
    assert 0.5 <= slopes.min() < 0.53
    assert 0.97 < slopes.max() <= 1
    np.testing.assert_allclose(slopes.mean(), 0.75, atol=0.03)
    middle = found[:, 0, 15:17].mean(axis=1)  # as often from the left as from the right
    np.testing.assert_allclose(middle.mean(), 0.5, atol=0.03)


def test_colours_turn_and_fade_about_their_gray():
    """A third of a circle makes red green or blue; grays and gray images stay as they are."""
    red = np.tile(np.float32([0.6, 0.2, 0.2]), (300, 2, 2, 1))
    turned = augmented(Augmentation(hue=1.0), red)[:, 0, 0]
    np.testing.assert_allclose(turned.mean(axis=-1), 1 / 3, atol=1e-6)  # the gray stays
    for strongest in range(3):
        assert (turned.argmax(axis=-1) == strongest).any()
    faded = augmented(Augmentation(saturation=1.0), red)[:, 0, 0]
    np.testing.assert_allclose(faded[:, 1], faded[:, 2], atol=1e-6)
    reach = faded[:, 0] - 1 / 3  # 0 to twice 0.6 − 1/3
    assert -1e-6 <= reach.min() < 0.02
    assert 0.48 < reach.max() <= 8 / 15 + 1e-6
    gray = some((5, 4, 4))
    np.testing.assert_array_equal(augmented(Augmentation(hue=1.0, saturation=1.0), gray), gray)
    equal = np.repeat(gray[..., None], 3, axis=-1)
    np.testing.assert_allclose(
        augmented(Augmentation(hue=1.0, saturation=1.0), equal), equal, atol=1e-6
    )


def test_words_are_as_they_were():
    """A further decision must draw words of its own: a recipe's seed stands for what it drew."""
    found = random_words(7 ^ augment.STREAM, 3, (4, augment.COLUMNS))
    last = [27544, 30010, 51626, 41100, 37809, 9894, 39255, 16459, 47627, 25434]
    assert keras.ops.convert_to_numpy(found)[3].tolist() == last
    more = random_words(7 ^ augment.MORE_STREAM, 3, (4, augment.MORE_COLUMNS))
    assert keras.ops.convert_to_numpy(more)[3].tolist() == [58078, 64715, 32101, 34010, 18569, 5648]


def test_clipping():
    images = np.ones((50, 2, 2), np.float32)
    images[:, 0] = 0
    for chosen in (Augmentation(brightness=1.0), Augmentation(contrast=1.0)):
        found = augmented(chosen, images)
        assert (found.min(), found.max()) == (0, 1)


# --- randomness


FULL = Augmentation(
    flip=True, shift=3, erase=0.5, brightness=0.2, contrast=0.2, crop=0.3, saturation=0.3, hue=0.1
)


def test_same_seed_and_step_same_images():
    images = some((20, 8, 8))
    first = augmented(FULL, images, seed=4, step=9)
    assert augmented(FULL, images, seed=4, step=9).tobytes() == first.tobytes()
    eager = keras.ops.convert_to_numpy(FULL.apply(images, seed=4, step=9))
    np.testing.assert_allclose(eager, first, atol=1e-6)
    for other in ({"seed": 5, "step": 9}, {"seed": 4, "step": 10}):
        found = augmented(FULL, images, **other)
        assert (found != first).any(axis=(1, 2)).mean() > 0.9


def test_a_result_depends_on_its_row_alone():
    """A batch that is cut short, as the last of an epoch on some back ends, changes none."""
    images = some((20, 8, 8))
    np.testing.assert_array_equal(augmented(FULL, images[:7]), augmented(FULL, images)[:7])


@pytest.mark.any_backend
def test_steps_and_rows_are_uncorrelated():
    moves = np.stack([offsets(2, 256, step) for step in range(16)]).astype(float)
    for shift, axis in ((1, 0), (1, 1)):
        a, b = moves.ravel(), np.roll(moves, shift, axis).ravel()
        assert abs(np.corrcoef(a, b)[0, 1]) < 5 / np.sqrt(a.size)
    assert abs(np.corrcoef(moves[..., 0].ravel(), moves[..., 1].ravel())[0, 1]) < 5 / 64


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a graph of TensorFlow")
def test_the_number_of_images_may_be_unknown():
    """As in Keras' fit."""
    import tensorflow as tf

    signature = [tf.TensorSpec((None, 8, 8), tf.float32), tf.TensorSpec((), tf.int32)]
    found = tf.function(partial(FULL.apply, seed=3), input_signature=signature)(
        some((20, 8, 8)), 11
    )
    np.testing.assert_allclose(found, augmented(FULL, some((20, 8, 8)), seed=3, step=11), atol=1e-6)


# --- bad input


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"shift": -1}, "shift: input should be greater than or equal to 0; received -1"),
        ({"shift": 1.5}, "shift: input should be a valid integer; received 1.5"),
        ({"shift": True}, "received True"),
        ({"erase": 1.5}, "erase: input should be less than or equal to 1; received 1.5"),
        ({"brightness": -0.1}, "brightness: input should be greater than or equal to 0"),
        ({"contrast": float("nan")}, "contrast: input should be .*; received nan"),
        ({"crop": 1.0}, "crop: input should be less than 1"),
        ({"hue": 2.0}, "hue: input should be less"),
        ({"saturation": -1.0}, "saturation: input"),
    ],
)
def test_values_out_of_range(values, words):
    with pytest.raises(RecipeError, match=words):
        Augmentation(**values)
