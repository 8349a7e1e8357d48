"""What each thing that people pass to `embed` and `compare` means: one image, many, or an error."""

import numpy as np
import pytest
from PIL import Image

import twinset
from twinset.data.decoding.decode import Preprocessing
from twinset.data.image_sources import StoredPixels
from twinset.data.labelled import LabelledFeatures, VectorInput
from twinset.errors import DataError, ImageFileError
from twinset.models.embedder import Embedder
from twinset.models.given import one_or_many


class Mean(Embedder):
    """The mean of an image's numbers as an embedding of one number."""

    threshold = twinset.Threshold(0.25, "by hand")
    alternatives = ()
    calibrator = None
    class_names = ("dark", "bright")
    trained_on = None
    digest = "mean"
    dim = 1

    def __init__(self, *shape):
        self.preprocessing = Preprocessing(shape) if len(shape) > 1 else VectorInput(*shape)

    def encode(self, pixels):
        pixels = np.asarray(pixels)
        return pixels.mean(axis=tuple(range(1, pixels.ndim)), dtype=np.float32)[:, None]


GRAY, COLOUR = (4, 5), (4, 5, 3)
SHAPES = pytest.mark.parametrize("shape", [GRAY, COLOUR])


def levels(*shape):
    """Images, each of one level: 0, 10, 20, …"""
    found = np.empty(shape, np.uint8)
    found[:] = 10 * np.arange(len(found)).reshape(-1, *[1] * (len(shape) - 1))
    return found


@SHAPES
def test_one_image_gives_one_row(shape, tmp_path):
    model = Mean(*shape)
    image = np.full((4, 5, 3), 7, np.uint8)
    Image.fromarray(image).save(tmp_path / "é a.png")
    for one in (
        image,
        image[..., 0],
        np.dstack([image, np.full((4, 5), 255, np.uint8)]),  # opaque
        np.full((8, 10, 3), 7, np.uint8),
        Image.fromarray(image),
        tmp_path / "é a.png",
        str(tmp_path / "é a.png"),
    ):
        assert model.embed(one).tolist() == [[7]]
        assert one_or_many(one, model.preprocessing)[1] is True
        assert model.compare(one, image).distance == 0


@SHAPES
@pytest.mark.parametrize("size", [(2, 8, 10), (4, 8, 10), (5, 4, 5), (5, 8, 10, 3), (5, 4, 5, 3)])
def test_a_batch_gives_a_row_for_each(shape, size):
    model = Mean(*shape)
    expected = [[10 * i] for i in range(size[0])]
    assert model.embed(levels(*size)).tolist() == expected
    assert model.embed(list(levels(*size))).tolist() == expected
    assert one_or_many(levels(*size), model.preprocessing)[1] is False


def test_a_square_colour_image_is_no_batch_of_narrow_gray_ones():
    image = np.full((28, 28, 3), 9, np.uint8)
    assert Mean(28, 28).embed(image).tolist() == [[9]]
    assert Mean(28, 28, 3).embed(image).tolist() == [[9]]
    # unless the model's own images are so narrow
    assert Mean(28, 3).embed(levels(6, 28, 3)).shape == (6, 1)
    assert Mean(28, 3).embed(levels(6, 28, 28)).shape == (6, 1)


def test_sets_and_sequences_are_many(tmp_path):
    model = Mean(*GRAY)
    images = levels(3, *GRAY)
    expected = [[0], [10], [20]]
    raw = tmp_path / "pixels.bin"
    raw.write_bytes(images.tobytes())
    paths = np.array([str(tmp_path / f"{i}.png") for i in range(3)])
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    data = twinset.LabelledImages(images, [0, 1, 1], ("dark", "bright"))
    of_sizes = np.empty(3, object)
    of_sizes[:] = [np.full((i + 2, 4), 10 * i, np.uint8) for i in range(3)]
    for many in (data, StoredPixels(raw, images.shape), paths, paths.astype(object), iter(images)):
        assert model.embed(many).tolist() == expected
    assert Mean(4, 4).embed(of_sizes[1:2]).max() > 0
    assert model.embed([]).shape == model.embed(images[:0]).shape == (0, 1)


class Tensor:
    """What other libraries have: an array that is not NumPy's."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return self.values


def test_arrays_of_other_libraries():
    model = Mean(*GRAY)
    assert model.embed(Tensor(levels(2, *GRAY))).tolist() == [[0], [10]]
    assert model.embed(Tensor(levels(2, *GRAY)[1])).tolist() == [[10]]
    assert model.embed([Tensor(image) for image in levels(2, *GRAY)]).tolist() == [[0], [10]]


BLACK = np.zeros(GRAY, np.uint8)


@SHAPES
@pytest.mark.parametrize(
    ("given", "words"),
    [
        (BLACK - 0.5, r"Received float64 from -0.5 to -0.5: undo what scaled them"),
        ([BLACK, BLACK + 1.5], r"Image 1 of those given: .* from 1.5 to 1.5: undo"),
        (BLACK.astype(int) + 256, r"Received int64 from 256 to 256: undo"),
        (BLACK + 16.0, r"from 16 to 16: undo what scaled them, .*, or pass dark pixels as uint8"),
        (BLACK * np.nan, r"Received float64 with NaN or infinity: replace these"),
        (BLACK.astype(np.uint16), r"Received uint16, which may count to 255, 4,095 or 65,535"),
        (BLACK + 0j, r"Received complex128 of shape \(4, 5\)\."),
        (levels(5), r"Received uint8 of shape \(5,\)\."),
        (np.uint8(3), r"Received uint8 of shape \(\)\."),
        (levels(2, 2, 4, 5, 3), r"Received uint8 of shape \(2, 2, 4, 5, 3\)\."),
        (np.zeros((0, 5), np.uint8), r"Received uint8 of shape \(0, 5\)\."),
        (np.zeros((2, 0, 3), np.uint8), r"Received uint8 of shape \(2, 0, 3\)\."),
        (np.array([]), r"Received float64 of shape \(0,\)\."),
        ({"a.png"}, r"Received set\. Make it a list"),
        ({"a.png": 1}, r"Received dict\. Make it a list"),
        (None, r"Received NoneType\."),
        (3, r"Received int\."),
        ([3], r"Image 0 of those given: Expected an image: .* Received int\."),
        ([[1, 2], [3]], r"Image 0 of those given: Expected an image: .* Received list\."),
        ([levels(2, 4, 5)], r"Image 0 of those given: .* Received uint8 of shape \(2, 4, 5\)"),
    ],
)
def test_what_is_neither(shape, given, words):
    with pytest.raises(DataError, match=words) as told:
        Mean(*shape).embed(given)
    assert str(told.value).startswith(("Expected one image (a path, ", "Image ", "Expected pixels"))


@SHAPES
def test_what_is_converted(shape, tmp_path):
    """Whatever can mean one thing alone: types, channels, files in any form."""
    model, gray, colour = Mean(*shape), levels(2, *GRAY), levels(2, *COLOUR)
    for many in (
        gray.astype(int),
        gray / 255,
        gray[..., None],
        np.moveaxis(colour, 3, 1),
        np.moveaxis(colour, 3, 1) / 255,
        [image[None] / 255 for image in gray],
        list(np.moveaxis(colour, 3, 1)),
    ):
        assert model.embed(many).tolist() == [[0], [10]]
    assert model.embed(gray > 5).tolist() == [[0], [255]]
    assert model.embed([gray[0] > 5, gray[1] > 5]).tolist() == [[0], [255]]
    file = tmp_path / "a.png"
    Image.fromarray(colour[1]).save(file)
    with file.open("rb") as opened:
        for one in (file.read_bytes(), bytearray(file.read_bytes()), opened):
            assert model.embed(one).tolist() == [[10]]
    assert model.embed([file.read_bytes(), file]).tolist() == [[10], [10]]
    with (
        file.open(encoding="latin-1") as opened,
        pytest.raises(DataError, match=r"a\.png: expected a file opened to read bytes"),
    ):
        model.embed(opened)
    with pytest.raises(ImageFileError, match=r"^the bytes given: expected an image \(PNG"):
        model.embed(b"\x89PNG")


@SHAPES
def test_where_one_image_is_due_channels_may_come_first(shape):
    model, image = Mean(*shape), np.full(COLOUR, 7, np.uint8)
    for one in (np.moveaxis(image, 2, 0), image[None], image[..., :1], image[None, ..., 0] / 255):
        assert model.compare(one, image).distance == 0


def test_an_address_is_read(tmp_path):
    Image.fromarray(BLACK + 7).save(tmp_path / "a.png")
    address = (tmp_path / "a.png").as_uri()
    assert Mean(*GRAY).embed(address).tolist() == [[7]]
    assert Mean(*GRAY).compare(address, tmp_path / "a.png").distance == 0
    with pytest.raises(ImageFileError, match=r"none\.png: expected a file or folder that can be"):
        Mean(*GRAY).embed(f"{address}/none.png")


def test_batches_and_progress():
    seen, sizes = [], []

    class Counted(Mean):
        def encode(self, pixels):
            sizes.append(len(pixels))
            return super().encode(pixels)

    images = levels(5, *GRAY)
    for given, total in ((images, 5), (iter(images), None), (levels(5, 8, 10), None)):
        seen.clear()
        sizes.clear()
        found = Counted(*GRAY).embed(given, batch_size=2, progress=seen.append)
        assert found.tolist() == [[10 * i] for i in range(5)]
        assert sizes == [2, 2, 1]
        assert [(each.task, each.done, each.total) for each in seen] == [
            ("embed", done, total) for done in (2, 4, 5)
        ]
    assert Counted(2).embed([[1, 3], [0, 0]], batch_size=1).tolist() == [[2], [0]]
    for wrong in (0, 1.5, "32"):
        with pytest.raises(DataError, match="Expected a batch_size of 1 or more. Received"):
            Mean(*GRAY).embed(images, batch_size=wrong)


def test_channels_first_are_not_guessed_at():
    with pytest.raises(DataError, match=r"shape \(3, 8, 10\)\. Of one colour.*pass list\(x\)"):
        Mean(*COLOUR).embed(levels(3, 8, 10))
    assert Mean(*COLOUR).embed(list(levels(3, 8, 10))).shape == (3, 1)
    assert Mean(*GRAY).embed(levels(3, 8, 10)).shape == (3, 1)


def test_files_that_are_none():
    with pytest.raises(ImageFileError, match=r"^nowhere.png: expected an image file\. No such"):
        Mean(*GRAY).embed("nowhere.png")


def test_features_are_no_images():
    data = LabelledFeatures(np.eye(3), [0, 1, 1], ("cat", "dog"))
    with pytest.raises(DataError, match="Expected images, as this model .* Received LabelledFeat"):
        Mean(*GRAY).embed(data)


def test_comparing_takes_one_image_on_each_side():
    model = Mean(*GRAY)
    for many in (levels(2, *GRAY), [BLACK], []):
        with pytest.raises(DataError, match="Expected one image on each side. Received many"):
            model.compare(BLACK, many)


def test_vectors_of_a_model_that_takes_such():
    model = Mean(2)
    assert model.embed([1, 3]).tolist() == model.embed(np.array([1.0, 3.0])).tolist() == [[2]]
    assert model.embed([[1, 3], [0, 0]]).tolist() == [[2], [0]]
    assert model.compare([1, 3], np.float32([2, 2])).distance == 0
    assert model.embed([]).shape == (0, 1)
    with pytest.raises(DataError, match=r"Expected vectors of 2 numbers.* Received shape \(1, 3\)"):
        model.embed([1, 2, 3])
    with pytest.raises(DataError, match="takes no images and no files"):
        model.embed("photo.png")
