import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.patches import Rectangle, StepPatch

from sheets import drawn, texts, tops
from twinset import figures
from twinset.errors import DataError
from twinset.figures import LayerRow, canvas
from twinset.figures.pair_sheets import _distinct

RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 256, (10, 6, 6), dtype=np.uint8)
SAME = np.array([1, 0, 1, 0, 1, 0, 1, 0, 1, 0])


def frames(figure):
    return [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]


def bars(figure):
    return {
        patch.get_label(): patch.get_data()
        for patch in figure.axes[0].patches
        if isinstance(patch, StepPatch) and patch.get_label()
    }


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def overlaps(figure):
    """Pairs of texts whose ink meets, and texts that leave the figure."""
    figure.draw_without_rendering()
    drawn = [text for axes in figure.axes for text in axes.texts if text.get_text()]
    boxes = [(text.get_text(), text.get_window_extent()) for text in drawn]
    meet = [
        (a, b)
        for i, (a, box) in enumerate(boxes)
        for b, other in boxes[:i]
        if box.x0 < other.x1 and other.x0 < box.x1 and box.y0 < other.y1 and other.y0 < box.y1
    ]
    inside = figure.bbox
    cut = [
        text
        for text, box in boxes
        if box.x0 < 0 or box.y0 < 0 or box.x1 > inside.x1 or box.y1 > inside.y1
    ]
    return meet + cut


def test_ten_pairs_are_all_drawn_left_above_right_in_two_bands_of_five():
    right = GRAY[::-1]
    figure = figures.pairs(GRAY, right, SAME)
    images = drawn(figure)
    assert len(images) == 20
    for i in range(10):
        above, below = images[2 * i], images[2 * i + 1]
        np.testing.assert_array_equal(above.get_array(), GRAY[i])
        np.testing.assert_array_equal(below.get_array(), right[i])
        assert above.get_window_extent().y0 > below.get_window_extent().y1
        assert above.get_extent()[0] == pytest.approx(below.get_extent()[0])
    columns = {round(image.get_extent()[0], 6) for image in images}
    assert (len(columns), len(set(tops(figure)))) == (5, 4)
    assert texts(figure) == ["same", "different"] * 5


def test_gray_levels_are_not_stretched_per_image():
    dark = np.full((1, 4, 4), 9, np.uint8)
    (left, _) = drawn(figures.pairs(dark, dark, [1]))
    assert left.get_clim() == (0, 255)


def test_verdict_is_written_and_a_wrong_one_is_marked_without_colour():
    figure = figures.pairs(
        GRAY[:4], GRAY[4:8], [1, 1, 0, 0], distances=[0.5, 0.75, 0.25, 1.5], threshold=0.5
    )
    assert texts(figure)[2:] == [
        *("same", "0.500 apart", "✓ match"),  # at the threshold: a match
        *("same", "0.750 apart", "✗ no match"),
        *("different", "0.250 apart", "✗ match"),
        *("different", "1.500 apart", "✓ no match"),
    ]
    assert texts(figure)[:2] == [
        "match: 0.500 apart or less",
        "✗ in a dashed frame: wrong verdict (2 of 4)",
    ]
    assert [frame.get_linestyle() for frame in frames(figure)] == [(0, (4, 2.5))] * 2
    centres = [frame.get_x() + frame.get_width() / 2 for frame in frames(figure)]
    crossed = [
        text for text in figure.axes[0].texts if text.get_text() in ("✗ match", "✗ no match")
    ]
    assert centres == pytest.approx([text.get_position()[0] for text in crossed])


def test_without_wrong_verdicts_there_is_no_frame():
    figure = figures.pairs(GRAY[:1], GRAY[:1], [1], distances=[0.0], threshold=0.5)
    assert not frames(figure)
    assert "no wrong verdict" in texts(figure)


def test_distances_without_threshold_give_no_verdict():
    figure = figures.pairs(GRAY[:1], GRAY[:1], [1], distances=[0.25])
    assert texts(figure) == ["same", "0.250 apart"]


@pytest.mark.parametrize(
    ("distance", "threshold", "text"),
    [
        (0.5, 0.5, "0.500"),
        (0.50001, 0.5, "0.50001"),  # not "0.500", which would be a match
        (0.25, None, "0.250"),
        (2412.31, 1800.5, "2,412.3"),
    ],
)
def test_distance_has_the_digits_that_tell_it_from_the_threshold(distance, threshold, text):
    assert _distinct(distance, threshold) == text


@pytest.mark.parametrize("count", [1, 3, 5, 6, 10])
@pytest.mark.parametrize("shape", [(28, 28), (40, 90, 3), (90, 10)])
def test_texts_neither_overlap_nor_leave_the_sheet(count, shape):
    images = RNG.integers(0, 256, (count, *shape), dtype=np.uint8)
    names = ["Shirt / Coat", "WWWWWWWWWWWWWWWW / MMMMMMMMMMMMM", "Ankle boot / Sneaker"]
    figure = figures.pairs(
        images,
        images,
        np.arange(count) % 2,
        distances=np.linspace(0.4, 0.6, count),
        threshold=0.5,
        titles=[names[i % 3] for i in range(count)],
        heading="Pairs of the test set with the verdict of the model",
    )
    assert overlaps(figure) == []


def test_colour_images_keep_their_colours():
    colour = RNG.integers(0, 256, (2, 5, 7, 3), dtype=np.uint8)
    images = drawn(figures.pairs(colour, colour[::-1], [1, 0]))
    np.testing.assert_array_equal(images[0].get_array(), colour[0])
    np.testing.assert_array_equal(images[1].get_array(), colour[1])


def test_hostile_names_are_text_and_no_markup():
    titles = ["$x^{", "<b>\x07a</b>\n", "\udcff / ok"]
    figure = figures.pairs(GRAY[:3], GRAY[:3], [1, 1, 1], titles=titles, heading="$\\frac{$")
    figures.png_bytes(figure)  # "$x^{" is no formula: drawing it must not fail
    assert {"$x^{", "<b>\ufffda</b>", "\ufffd / ok", "$\\frac{$"} <= set(texts(figure))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"left": GRAY[:0], "right": GRAY[:0], "same": []},
            r"at least one. Received uint8 of shape \(0, 6, 6\)",
        ),
        ({"right": GRAY[:3]}, r"one shape.*\(10, 6, 6\) and \(3, 6, 6\)"),
        ({"left": GRAY[0], "right": GRAY[0]}, r"\(n, h, w\) or \(n, h, w, 3\).*\(6, 6\)"),
        ({"left": GRAY / 255, "right": GRAY / 255}, "uint8 images.*float64"),
        ({"same": [1, 0]}, r"`same` per pair, shape \(10,\).*\(2,\)"),
        ({"distances": [0.1]}, r"`distances` per pair"),
        ({"titles": ["Coat"]}, r"`titles` per pair"),
        ({"threshold": 0.5}, "distances along with the threshold"),
        ({"columns": 0}, "at least 1 column. Received 0"),
    ],
)
def test_pairs_that_cannot_be_drawn_are_refused(change, message):
    arguments = {"left": GRAY, "right": GRAY, "same": SAME, **change}
    with pytest.raises(DataError, match=message):
        figures.pairs(**arguments)


def test_more_pairs_than_a_picture_holds_are_refused():
    many = np.zeros((1000, 4, 4), np.uint8)
    with pytest.raises(DataError, match="at most 325 inches.*draw fewer"):
        figures.pairs(many, many, np.ones(1000), columns=1)


@pytest.mark.parametrize("loss", [[0.25], [0.25, 0.0625], [0.5, float("nan"), 0.25], [0.0]])
def test_loss_curve_shows_every_epoch_and_names_the_last_loss(loss):
    epochs = list(range(1, len(loss) + 1))
    figure = figures.loss_curve(epochs, loss)
    (line,) = figure.axes[0].lines
    assert line.get_xdata().tolist() == epochs
    np.testing.assert_array_equal(line.get_ydata(), loss)
    assert figure.axes[0].get_ylim()[0] == 0
    assert texts(figure) == [f"{loss[-1]:.3g}"]
    assert overlaps(figure) == []


def test_loss_curve_survives_a_loss_that_is_not_finite():
    figure = figures.loss_curve([1], [float("nan")])
    assert texts(figure) == []
    figures.png_bytes(figure)


@pytest.mark.parametrize(("epochs", "loss"), [([], []), ([1, 2], [0.1]), ([[1]], [[0.1]])])
def test_loss_curve_refuses_columns_that_do_not_fit(epochs, loss):
    with pytest.raises(DataError, match="Expected epochs and losses of one length"):
        figures.loss_curve(epochs, loss)


def test_histogram_names_threshold_and_both_errors():
    # same: 0.1, 0.5 match, 0.9 does not; different: 0.5 matches, 0.6, 0.7, 0.8 do not
    distances = [0.1, 0.5, 0.9, 0.5, 0.6, 0.7, 0.8]
    figure = figures.distance_histogram(distances, [1, 1, 1, 0, 0, 0, 0], 0.5)
    (line,) = figure.axes[0].lines
    assert list(line.get_xdata()) == [0.5, 0.5]
    assert texts(figure) == ["threshold 0.5", "match ◂", "▸ no match"]
    assert legend(figure) == [
        "same: 3 pairs",
        "false non-match: 33.33% of the same pairs",
        "different: 4 pairs",
        "false match: 25.00% of the different pairs",
    ]
    hatches = {p.get_label(): p.get_hatch() for p in figure.axes[0].patches if p.get_hatch()}
    assert hatches.keys() == {"false match", "false non-match"}
    assert len(set(hatches.values())) == 2


@given(
    st.lists(st.tuples(st.sampled_from([0.0, 0.25, 0.5, 0.7, 3.0]), st.booleans()), min_size=1),
    st.sampled_from([-1.0, 0.0, 0.01, 0.25, 0.5, 0.6999, 3.0, 40.0]),
)
def test_histogram_areas_are_the_rates(pairs, threshold):
    distances, same = (np.array(column) for column in zip(*pairs, strict=True))
    area = bars(figures.distance_histogram(distances, same, threshold))
    match = distances <= threshold
    for kind, of_kind in (("same", same), ("different", ~same)):
        assert area[kind].values.sum() == pytest.approx(1.0 if of_kind.any() else 0.0)
        assert threshold in area[kind].edges
    for name, wrong, of_kind in (
        ("false non-match", ~match & same, same),
        ("false match", match & ~same, ~same),
    ):
        assert area[name].values.sum() == pytest.approx(wrong.sum() / max(of_kind.sum(), 1))


@settings(max_examples=30)  # three figures each
@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.25, 0.5, 0.7]), st.booleans(), st.integers(0, 4)),
        min_size=1,
    ).filter(lambda entries: any(count for _, _, count in entries)),
    st.sampled_from([0.0, 0.25, 0.6]),
)
def test_histogram_of_counts_is_that_of_the_pairs_they_stand_for(entries, threshold):
    distances, same, counts = (np.array(column) for column in zip(*entries, strict=True))
    each, kinds = np.repeat(distances, counts), np.repeat(same, counts)
    counted = figures.distance_histogram(distances, same, threshold, counts=counts)
    listed = figures.distance_histogram(each, kinds, threshold)
    assert legend(counted) == legend(listed)
    if each.max() == distances.max():  # the bins end at the farthest entry, counted or not
        for name, area in bars(listed).items():
            np.testing.assert_allclose(bars(counted)[name].values, area.values)


@pytest.mark.parametrize("counts", [[1, -1], [0, 0]])
def test_histogram_refuses_counts_of_no_pairs(counts):
    with pytest.raises(DataError, match="counts of 0 or more, of one pair at least"):
        figures.distance_histogram([0.1, 0.2], [0, 1], 0.5, counts=counts)


def test_histogram_of_one_kind_says_that_the_other_rate_is_not_defined():
    figure = figures.distance_histogram([0.1], [1], 0.5)
    assert "false match: not defined of the different pairs" in legend(figure)


@pytest.mark.parametrize("threshold", [0.0, 0.02, 0.5, 0.98, 1.0, 7.0])
def test_histogram_words_never_overlap_wherever_the_threshold_is(threshold):
    distances = np.linspace(0, 1, 20)
    assert overlaps(figures.distance_histogram(distances, distances < 0.5, threshold)) == []


@pytest.mark.parametrize(
    ("distances", "same", "threshold", "message"),
    [
        ([], [], 0.5, "of one length, 1 or more"),
        ([0.1], [1, 0], 0.5, "of one length"),
        ([0.1, float("nan")], [1, 0], 0.5, "Received 1 distances that are not"),
        ([0.1], [1], float("inf"), "finite threshold"),
    ],
)
def test_histogram_refuses_what_it_cannot_draw(distances, same, threshold, message):
    with pytest.raises(DataError, match=message):
        figures.distance_histogram(distances, same, threshold)


LAYERS = [
    LayerRow("input", "InputLayer", (28, 28), 0),
    LayerRow("flatten", "Flatten", (784,), 0),
    LayerRow("dense", "Dense", (128,), 100_480),
    LayerRow("embedding", "Dense", (64,), 8_256),
]


def test_network_has_two_inputs_one_encoder_and_the_total_of_its_weights():
    figure = figures.network(LAYERS, heading="A $iamese network")
    words = texts(figure)
    for once in ("left image", "right image", "Euclidean distance", "A $iamese network"):
        assert words.count(once) == 1
    assert words.count("28×28") == 2
    assert [text for text in words if "shared" in text] == [
        "one shared encoder: 108,736 weights for both images"
    ]
    assert [words.count(name) for name in ("input", "flatten", "dense", "embedding")] == [
        0,
        1,
        1,
        1,
    ]
    assert {"784", "128", "64", "100,480", "8,256"} <= set(words)
    assert overlaps(figure) == []


def test_deep_network_sums_up_its_middle():
    layers = [LayerRow(f"block_{i}", "DepthwiseConv2D", (112, 112, 1024), 10) for i in range(100)]
    words = texts(figures.network(layers, heading="deep"))
    assert {"block_0", "block_19", "… 61 more layers", "610", "block_81", "block_99"} <= set(words)
    assert not {"block_20", "block_80"} & set(words)
    assert "one shared encoder: 1,000 weights for both images" in words


def test_long_names_in_a_network_stay_in_their_columns():
    layers = [LayerRow("a_very_long_name_of_a_layer" * 2, "W" * 40, (1, 2, None), 123_456_789)]
    assert overlaps(figures.network(layers, heading="W" * 90)) == []


@given(st.text(max_size=40), st.floats(0.3, 3), st.integers(1, 3))
def test_fitted_text_keeps_its_bounds(text, width, lines):
    ascii_text = text.encode("ascii", "replace").decode()
    rows = canvas.fit(ascii_text, width, 9.0, lines=lines)
    assert len(rows) <= lines
    for row in rows:
        assert canvas.fit(row, width, 9.0) == [row]


def draw_all():
    yield figures.pairs(GRAY, GRAY, SAME, distances=np.ones(10), threshold=0.5, heading="pairs")
    yield figures.loss_curve([1, 2], [0.2, 0.1])
    yield figures.distance_histogram([0.1, 0.9], [1, 0], 0.5)
    yield figures.network(LAYERS, heading="network")


def test_equal_figures_give_equal_bytes_without_date_or_version(monkeypatch):
    first = [figures.png_bytes(figure) for figure in draw_all()]
    # a user's own settings change nothing either
    monkeypatch.setitem(matplotlib.rcParams, "font.size", 20)
    monkeypatch.setitem(matplotlib.rcParams, "savefig.facecolor", "red")
    assert [figures.png_bytes(figure) for figure in draw_all()] == first
    for png in first:
        assert png.startswith(b"\x89PNG\r\n\x1a\n")
        assert b"tEXt" not in png
        assert b"tIME" not in png


def test_save_replaces_the_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "run" / "loss.png"
    path.parent.mkdir()
    path.write_bytes(b"old")
    figure = figures.loss_curve([1], [0.5])
    figures.save(figure, path)
    assert path.read_bytes() == figures.png_bytes(figure)
    assert [entry.name for entry in path.parent.iterdir()] == ["loss.png"]


def test_no_figure_lives_on_in_pyplot():
    program = (
        "import sys\n"
        "from twinset import figures\n"
        "figures.png_bytes(figures.loss_curve([1], [0.5]))\n"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
