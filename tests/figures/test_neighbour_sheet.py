"""Sheets of neighbours: every image, number and word is there, and nothing covers another."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.patches import Rectangle

from sheets import drawn, pixels, texts, tops, troubles
from twinset import figures
from twinset.errors import DataError

IMAGES = list(np.random.default_rng(0).integers(0, 256, (12, 6, 6), dtype=np.uint8))


def row(count, **changes):
    values = {
        "name": "query.png",
        "image": IMAGES[-1],
        "names": [f"{i}.png" for i in range(count)],
        "images": IMAGES[:count],
        "labels": ["hat"] * count,
        "distances": [i / 10 for i in range(count)],
    }
    return figures.Row(**values | changes)


def test_neighbours_stand_beside_their_query_with_words_under_each():
    figure = figures.neighbours([row(6)], threshold=0.2, heading="photos.index")
    assert [p.tolist() for p in pixels(figure)] == [p.tolist() for p in (IMAGES[-1], *IMAGES[:6])]
    words = texts(figure)
    assert words[:3] == ["photos.index", "query", "query.png"]
    assert words[3:11] == ["0.0000", "match", "hat", "0.png", "0.1000", "match", "hat", "1.png"]
    assert words.count("match") == 3  # 0.2 is a match as well
    assert words.count("no match") == 3
    assert words[-1] == "match: 0.2 apart or less"
    lines = tops(figure)
    assert lines[:5] == lines[:1] * 5
    assert lines[5] == lines[6] > lines[0]
    assert troubles(figure) == []


def test_nothing_found_is_said():
    note = "nothing similar enough: the nearest, a.png, is at 0.8 > 0.5"
    figure = figures.neighbours([row(0, note=note), row(2)], threshold=0.5)
    assert texts(figure)[2] == note
    assert len(drawn(figure)) == 4
    assert troubles(figure) == []


def test_proportions_are_kept_and_what_has_no_picture_is_hatched():
    wide, tall = np.zeros((10, 40, 3), np.uint8), np.zeros((40, 10), np.uint8)
    figure = figures.neighbours([row(3, images=[wide, None, tall])], threshold=0.5)
    _, first, second = (image.get_window_extent() for image in drawn(figure))
    assert first.width == pytest.approx(4 * first.height, rel=1e-6)
    assert second.height == pytest.approx(4 * second.width, rel=1e-6)
    (square,) = (p for p in figure.axes[0].patches if isinstance(p, Rectangle))
    assert square.get_hatch()
    assert troubles(figure) == []


@settings(deadline=None, max_examples=25)
@given(st.text(max_size=60), st.integers(0, 5))
def test_any_name_keeps_its_bounds(name, count):
    rows = [row(count, name=name, names=[name] * count, labels=[name[::-1]] * count)] * 2
    assert troubles(figures.neighbours(rows, threshold=0.15, heading=name)) == []


def test_equal_sheets_give_equal_bytes():
    first, second = (figures.neighbours([row(3)], threshold=0.1) for _ in range(2))
    assert figures.png_bytes(first) == figures.png_bytes(second)


def test_a_sheet_beyond_the_renderer_is_refused():
    with pytest.raises(DataError, match="draw fewer"):
        figures.neighbours([row(1)] * 300, threshold=0.5)
