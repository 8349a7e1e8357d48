"""What is behind transparent images: chosen so that they can be seen, or told."""

import numpy as np
import pytest
from PIL import Image

from twinset.data.checks.check import check
from twinset.data.choose import Looked, choose_preprocessing
from twinset.data.data_set import load_images
from twinset.data.decoding.decode import Preprocessing
from twinset.data.image_sources import FileSource
from twinset.data.load import load_parts
from twinset.errors import DataError, RecipeError
from twinset.recipe import Recipe

BLACK, WHITE, GRAY, BLUE = (0, 0, 0), (255, 255, 255), (128, 128, 128), (0, 0, 255)


def strokes(path, colour, seed, mode="RGBA"):
    """Four squares of a colour on nothing."""
    pixels = np.zeros((40, 40, 4), np.uint8)
    for top, left in np.random.default_rng(seed).integers(0, 30, (4, 2)):
        pixels[top : top + 8, left : left + 8] = (*colour, 255)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(pixels)
    if mode == "P":  # one colour of a palette is transparent, as in GIFs
        palette = picture.getchannel("A").convert("P")
        palette.putpalette([*WHITE, *[0] * 762, *colour])
        palette.info["transparency"] = 0
        picture = palette
    picture.save(path, **({"transparency": 0} if mode == "P" else {}))
    return FileSource(str(path), path.name)


def sources(folder, *colours, mode="RGBA", suffix="png"):
    many = [colours[k % len(colours)] for k in range(12)]
    return [strokes(folder / "ab"[k % 2] / f"{k}.{suffix}", c, k, mode) for k, c in enumerate(many)]


@pytest.mark.parametrize(
    ("colours", "ground"),
    [
        ([BLACK], 255),
        ([WHITE], 0),
        ([GRAY], 0),
        ([BLUE], 0),  # in colour it is far from black
        ([BLACK, WHITE], 128),
        ([BLACK, BLACK, WHITE], 128),  # as it hides none
        ([BLACK, GRAY], 255),
        ([BLACK, WHITE, GRAY], 0),  # each gray level hides a third of them
    ],
)
def test_one_background_for_all_on_which_they_can_be_seen(tmp_path, colours, ground):
    assert choose_preprocessing(sources(tmp_path, *colours)).background == ground


@pytest.mark.parametrize(("mode", "suffix"), [("P", "gif"), ("P", "png")])
def test_a_transparent_colour_of_a_palette(tmp_path, mode, suffix):
    found = choose_preprocessing(sources(tmp_path, BLACK, mode=mode, suffix=suffix))
    assert found.background == 255


def test_blue_is_dark_where_it_becomes_gray(tmp_path):
    listed = sources(tmp_path, BLUE)
    assert choose_preprocessing(listed, colour="gray").background == 255
    assert choose_preprocessing(listed, colour="rgb").background == 0


def test_what_has_next_to_nothing_behind_it_is_no_reason(tmp_path):
    for k in range(4):
        dark = np.random.default_rng(k).integers(0, 30, (40, 40, 4)).astype(np.uint8)
        dark[..., 3] = 255
        dark[0, 0, 3] = 0
        Image.fromarray(dark).save(tmp_path / f"{k}.png")
    listed = [FileSource(str(path), path.name) for path in sorted(tmp_path.glob("*.png"))]
    assert choose_preprocessing(listed).background == 0


def test_images_are_looked_at_once(tmp_path):
    read = []

    class Counted(FileSource):
        def probe(self):
            read.append("header")
            return super().probe()

        def encoded(self):
            read.append("image")
            return super().encoded()

    looked = Looked([Counted(one.path, one.name) for one in sources(tmp_path, BLACK)])
    assert looked.remarks(choose_preprocessing(looked))
    assert (read.count("header"), read.count("image")) == (12, 12)


def test_a_background_that_was_asked_for_stays_and_is_told_of(tmp_path):
    listed = sources(tmp_path, BLACK)
    found = choose_preprocessing(listed, background=0)
    assert found.background == 0
    (remark,) = Looked(listed).remarks(found)
    assert remark.severity == "warning"
    assert remark.text.startswith("12 of 12 transparent images that were looked at can hardly be")
    assert "`--set images.background=255` (or `background` of `load_images`) hides none" in (
        remark.text
    )
    (note,) = Looked(listed).remarks(Preprocessing((40, 40, 3), background=128))
    assert note.severity == "note"
    with pytest.raises(RecipeError, match=r"background"):
        choose_preprocessing(listed, background="white")


def test_no_one_background_may_do(tmp_path):
    listed = sources(tmp_path, BLACK, WHITE, GRAY)
    (remark,) = Looked(listed).remarks(choose_preprocessing(listed))
    assert "4 of 12" in remark.text
    assert remark.text.endswith("so lay them over a colour of your own.")


def test_line_art_is_read_so_that_it_can_be_told_apart(tmp_path):
    sources(tmp_path / "art", BLACK)
    data = load_images(tmp_path / "art", cache=tmp_path / "cache")
    assert data.preprocessing.background == 255
    assert (np.ptp(data.images, axis=(1, 2)) == 255).all()
    (note,) = [each for each in check(data).findings if each.code == "reading"]
    assert note.severity == "note"
    assert note.message.startswith("Transparent images are laid over a background of 255: on 0, 12")


def test_line_art_on_its_own_colour_is_not_fit_for_training(tmp_path):
    sources(tmp_path / "art", BLACK)
    found = check(load_images(tmp_path / "art", cache=tmp_path / "cache", background=0))
    errors = [each for each in found.findings if each.severity == "error"]
    assert [each.code for each in errors] == ["constant-images"]
    assert "set another background (`--set images.background=255`)" in errors[0].message
    assert "reading" in {each.code for each in found.findings if each.severity == "warning"}
    with pytest.raises(DataError, match="expected data fit for training. 12 images of one colour"):
        found.refuse_unfit(allow_leaks=True)


def test_a_training_tells_the_background_and_keeps_it(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    sources(tmp_path / "art", BLACK)
    said = []
    recipe = Recipe.load("tutorial", split={"test": 0.5})
    parts = load_parts(tmp_path / "art", recipe, tell=said.append)
    assert {part.preprocessing.background for part in parts.named().values()} == {255}
    assert [line[:58] for line in said if line.startswith("note: Transparent")] == [
        "note: Transparent images are laid over a background of 255"
    ]
