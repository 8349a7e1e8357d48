"""Contact sheets: what is drawn, in which order, and that no name or shape breaks them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.patches import Rectangle

from sheets import drawn, pixels, texts, tops, troubles
from twinset import figures
from twinset.data.image_sources import StoredPixels
from twinset.errors import DataError
from twinset.figures import canvas

GRAY = np.random.default_rng(0).integers(0, 256, (30, 6, 6), dtype=np.uint8)
LABELS = np.repeat([0, 1, 2], [20, 9, 1])
NAMES = ("shirt", "coat", "bag")
WILD = (
    "写真の分類フォルダ",
    "😀👩‍👩‍👧 emoji ஜ",
    "café Ωμέγα",
    "x" * 250,
    "a $x$ {b} _c_",
    "\udce9\x1b[31m",
)


def test_each_class_is_a_row_of_evenly_spread_images():
    figure = figures.contact_sheet(GRAY, LABELS, NAMES, per_class=4, heading="my data")
    assert texts(figure) == [
        "my data",
        *("shirt", "20 images"),
        *("coat", "9 images"),
        *("bag", "1 image"),
    ]
    # by hand: 0, 19/3, 38/3, 19 and 20 + (0, 8/3, 16/3, 8), rounded
    expected = [0, 6, 13, 19, 20, 23, 25, 28, 29]
    assert [p.tolist() for p in pixels(figure)] == GRAY[expected].tolist()
    rows = tops(figure)
    assert rows == sorted(rows)
    assert len(set(rows)) == 3
    assert troubles(figure) == []


def test_an_empty_class_has_its_row():
    figure = figures.contact_sheet(GRAY[:20], LABELS[:20], NAMES)
    assert texts(figure)[-2:] == ["bag", "0 images"]
    assert len(drawn(figure)) == 8


def test_rows_need_no_numbers():
    figure = figures.contact_sheet(GRAY, LABELS, NAMES, counts=False)
    assert texts(figure) == list(NAMES)
    assert troubles(figure) == []


def test_classes_beyond_are_counted():
    names = [f"class {k}" for k in range(40)]
    figure = figures.contact_sheet(GRAY, LABELS, names)
    assert "class 29" in texts(figure)
    assert "class 30" not in texts(figure)
    assert texts(figure)[-1] == "and 10 more classes"
    assert texts(figures.contact_sheet(GRAY, LABELS, NAMES, classes=2))[-1] == "and 1 more class"


@pytest.mark.parametrize("shape", [(6, 6), (40, 10, 3), (10, 90), (300, 300)])
def test_shapes_and_colours(shape):
    images = np.random.default_rng(1).integers(0, 256, (30, *shape), np.uint8)
    assert troubles(figures.contact_sheet(images, LABELS, NAMES)) == []
    sheet = figures.look_alikes(images, [[0, 1], [2, 3, 4]], ["a", "b"], [["x"] * 2, ["y"] * 3])
    assert troubles(sheet) == []


def test_gray_levels_are_not_stretched():
    dark = np.full((2, 4, 4), 9, np.uint8)
    for figure in (
        figures.contact_sheet(dark, [0, 0], ["a"]),
        figures.look_alikes(dark, [[0, 1]], ["equal"], [["a", "b"]]),
    ):
        assert drawn(figure)[0].get_clim() == (0, 255)


def test_only_what_is_drawn_is_read(tmp_path, monkeypatch):
    images = np.repeat(GRAY, 10, axis=0)
    (tmp_path / "pixels").write_bytes(images.tobytes())
    stored = StoredPixels(tmp_path / "pixels", images.shape)
    read = []
    plain = StoredPixels._read
    monkeypatch.setattr(
        StoredPixels, "_read", lambda self, rows: read.extend(rows) or plain(self, rows)
    )
    figures.contact_sheet(stored, np.repeat(LABELS, 10), NAMES, per_class=3)
    assert len(read) == 9
    figures.look_alikes(stored, [list(range(9))], ["many"], [["n"] * 9])
    assert len(read) == 9 + 5


# --- look-alikes


def test_groups_are_named_and_marked_and_fill_their_line():
    groups = [[3, 7], [1, 4], [0, 2, 5], [8, 9, 10, 11, 12, 13, 14]]
    names = [[f"{i}.png" for i in group] for group in groups]
    marks = [["train" if i < 5 else "test" for i in group] for group in groups]
    figure = figures.look_alikes(
        GRAY, groups, [f"group {k}" for k in range(4)], names, marks, heading="look"
    )
    assert [p.tolist() for p in pixels(figure)] == GRAY[
        [3, 7, 1, 4, 0, 2, 5, 8, 9, 10, 11, 12]
    ].tolist()
    words = texts(figure)
    assert words[:6] == ["look", "group 0", "3.png", "train", "7.png", "test"]
    assert "group 3, 2 more" in words
    assert "12.png" in words
    assert "13.png" not in words
    lines = tops(figure)
    assert len(set(lines)) == 3  # two pairs share the first
    assert lines[:4] == [lines[0]] * 4
    assert troubles(figure) == []


def test_long_names_lose_their_middle():
    name = "holidays/" + "very_" * 20 + "long_IMG_0017.png"
    figure = figures.look_alikes(GRAY, [[0, 1]], ["equal"], [[name, "b.png"]])
    first, second = texts(figure)[1:3]
    assert name.startswith(first)
    assert second[0] == "…"
    assert name.endswith(second[1:])
    assert len(second) > 5
    assert troubles(figure) == []


@pytest.mark.filterwarnings("error")
def test_names_in_every_script_are_drawn_without_a_warning():
    figure = figures.contact_sheet(GRAY, np.arange(30) % 6, WILD, heading=" ".join(WILD))
    assert figures.png_bytes(figure).startswith(b"\x89PNG")
    assert "café Ωμέγα" in texts(figure)
    assert "a $x$ {b} _c_" in texts(figure)  # not mathematics
    sheet = figures.look_alikes(GRAY, [[0, 1, 2, 3, 4]], [WILD[0]], [WILD[:5]], [WILD[1:]])
    assert figures.png_bytes(sheet).startswith(b"\x89PNG")
    side = GRAY[: len(WILD)]
    drawn = figures.pairs(side, side, [True] * len(WILD), titles=WILD)
    assert figures.png_bytes(drawn).startswith(b"\x89PNG")
    for drawing in (figure, sheet, drawn):
        assert troubles(drawing) == []


def test_text_is_measured_outside_of_the_look_too():
    assert canvas.fit("a name ஜ", 3.0, 9.0) == ["a name \ufffd"]


@settings(deadline=None, max_examples=25)
@given(st.text(max_size=60))
def test_any_name_keeps_its_bounds(name):
    figure = figures.look_alikes(GRAY, [[0, 1]], [name], [[name, "b"]], [[name, "c"]])
    assert troubles(figure) == []


def test_equal_sheets_give_equal_bytes():
    def both():
        yield figures.contact_sheet(GRAY, LABELS, NAMES)
        yield figures.look_alikes(GRAY, [[0, 1]], ["equal"], [["a", "b"]])

    assert [figures.png_bytes(f) for f in both()] == [figures.png_bytes(f) for f in both()]


def test_nothing_but_images_and_words_is_drawn():
    figure = figures.look_alikes(GRAY, [[0, 1]], ["equal"], [["a", "b"]])
    assert figure.get_size_inches()[0] == canvas.WIDTH
    assert not [p for p in figure.axes[0].patches if isinstance(p, Rectangle)]


def test_a_contact_sheet_beyond_the_renderer_is_refused():
    with pytest.raises(DataError, match="draw fewer"):
        figures.contact_sheet(GRAY, LABELS, ["c"] * 999, classes=999)
