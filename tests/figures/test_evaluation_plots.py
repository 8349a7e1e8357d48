"""The plots of an evaluation: what they hold, what they leave out, what they refuse."""

import io
import re
from pathlib import Path

import numpy as np
import pytest

from twinset import figures
from twinset.figures import canvas
from twinset.figures.evaluation_plots import _short
from twinset.metrics.pairs import curve_of_pairs

RNG = np.random.default_rng(0)


def rates(gap, count=4000):
    same = np.arange(count) % 4 == 0
    curve = curve_of_pairs(RNG.normal(3 - gap * same, 1.0), same)
    return curve.fmr, curve.fnmr


@pytest.fixture
def curves():
    names = ("model", "raw pixels", "PCA-64", "untrained", "a fifth with a rather long name", "6")
    return {name: rates(3 - i / 2) for i, name in enumerate(names)}


def lines(figure):
    return {line.get_label(): line for line in figure.axes[0].lines}


def texts(axes):
    return [text.get_text() for text in axes.texts]


def clashes(figure):
    """Texts and labels whose boxes meet or leave the figure."""
    figure.draw_without_rendering()
    found = [text for axes in figure.axes for text in axes.texts]
    for axes in figure.axes:
        found += [axes.xaxis.label, axes.yaxis.label]
        found += [*axes.get_xticklabels(), *axes.get_yticklabels()]
    found += [*figure.texts, *(text for each in figure.legends for text in each.get_texts())]
    boxes = [(text.get_text(), text.get_window_extent()) for text in found if text.get_text()]
    boxes = [(text, box) for text, box in boxes if box.width > 0]
    meet = [
        (a, b)
        for i, (a, box) in enumerate(boxes)
        for b, other in boxes[:i]
        if min(box.x1, other.x1) - max(box.x0, other.x0) > 1
        and min(box.y1, other.y1) - max(box.y0, other.y0) > 1
    ]
    whole = figure.bbox
    cut = [
        text
        for text, box in boxes
        if box.x0 < -1 or box.y0 < -1 or box.x1 > whole.x1 + 1 or box.y1 > whole.y1 + 1
    ]
    return meet, cut


@pytest.mark.parametrize("draw", [figures.roc, figures.det])
def test_the_model_is_bold_and_on_top(curves, draw):
    drawn = lines(draw(curves))
    model = drawn.pop("model")
    assert len(drawn) == len(curves)
    for line in drawn.values():
        assert line.get_linewidth() < model.get_linewidth()
        assert line.get_zorder() < model.get_zorder()


@pytest.mark.parametrize("draw", [figures.roc, figures.det])
@pytest.mark.parametrize("count", [1, 2, 6])
def test_text_of_curves_never_overlaps(curves, draw, count):
    figure = draw(dict(list(curves.items())[:count]))
    assert clashes(figure) == ([], [])


def test_roc_holds_the_rates(curves):
    fmr, fnmr = curves["model"]
    axes = figures.roc(curves).axes[0]
    assert axes.get_xscale() == "log"
    assert axes.get_xlim() == (1e-4, 1)
    x, y = (np.asarray(each) for each in lines(figures.roc(curves))["model"].get_data())
    assert (np.diff(x) >= 0).all()
    assert (np.diff(y) >= 0).all()
    assert {(a, 1 - b) for a, b in zip(fmr, fnmr, strict=True)} <= set(zip(x, y, strict=True))
    assert not axes.collections


BAND = ([0.01, 0.1, 0.5, 1], [0.5, 0.6, np.nan, 1], [0.6, 0.8, np.nan, 1])


def outline(figure):
    """The points of the band, those of the upper edge and of the lower edge."""
    (band,) = figure.axes[0].collections
    return band, {tuple(np.round(point, 9)) for point in band.get_paths()[0].vertices}


def test_the_band_of_a_roc_curve_lies_between_its_ends(curves):
    figure = figures.roc(curves, BAND)
    band, points = outline(figure)
    assert points == {(0.01, 0.5), (0.1, 0.6), (1, 1), (0.01, 0.6), (0.1, 0.8)}
    others = [line.get_zorder() for name, line in lines(figure).items() if name != "model"]
    assert max(others) < band.get_zorder() < lines(figure)["model"].get_zorder()
    assert clashes(figure) == ([], [])
    assert "model, 95% interval" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_the_band_of_a_det_curve_is_that_of_the_misses(curves):
    from scipy.special import ndtr

    figure = figures.det(curves, BAND)
    found = {tuple(np.round(ndtr(point), 6)) for point in outline(figure)[1]}
    # 1 − TPR; a rate of 0 or 1 lies at infinity, and is moved far outside
    assert found == {(0.01, 0.5), (0.1, 0.4), (1, 0), (0.01, 0.4), (0.1, 0.2)}
    assert clashes(figure) == ([], [])


def test_a_band_can_be_seen_in_grey(curves):
    from PIL import Image

    with_band, without = (
        Image.open(io.BytesIO(figures.png_bytes(figures.roc(curves, bands)))).convert("L")
        for bands in (([1e-4, 1e-3], [0.7, 0.7], [0.9, 0.9]), None)
    )
    assert with_band.height == without.height, "five entries of the legend, or six: three rows"
    a, b = (np.asarray(each, float) for each in (with_band, without))
    shade = a[(b == 255) & (a != b)]
    assert 200 < np.median(shade) < 235, "darker than paper, lighter than any line"


def test_a_straight_piece_is_bent_as_the_logarithm_bends_it():
    x, y = lines(figures.roc({"two": ([0, 1], [1, 0])}))["two"].get_data()
    np.testing.assert_allclose(x, y)
    assert len(x) > 100


def test_det_of_normal_scores_is_a_straight_line():
    from scipy.special import ndtr

    t = np.linspace(-6, 8, 400)
    x, y = lines(figures.det({"normal": (ndtr(t - 2), 1 - ndtr(t))}))["normal"].get_data()
    inside = (x > -3) & (x < 1) & (y > -3) & (y < 1)
    assert inside.sum() > 50
    np.testing.assert_allclose((x + y)[inside], -2, atol=0.01)


def test_det_ticks_are_written_as_rates(curves):
    axes = figures.det(curves).axes[0]
    written = [text.get_text() for text in axes.get_xticklabels()]
    assert written == ["0.01%", "0.1%", "1%", "5%", "20%", "50%", "80%"]
    np.testing.assert_allclose(axes.get_xticks()[5], 0)


def test_perfect_curves_can_be_drawn():
    for draw in (figures.roc, figures.det):
        assert figures.png_bytes(draw({"perfect": ([0, 0, 1], [1, 0, 0])}))[:4] == b"\x89PNG"


# --- reliability


def test_reliability_holds_the_full_bins():
    figure = figures.reliability([0.1, 0.5, np.nan, 0.9], [0.2, 0.5, np.nan, 0.8], [0.4, 0, 0, 0.6])
    curve = figure.axes[0].lines[-1]
    assert [each.tolist() for each in curve.get_data()] == [[0.1, 0.9], [0.2, 0.8]]
    assert [bar.get_height() for bar in figure.axes[1].patches] == [0.4, 0.6]
    assert clashes(figure) == ([], [])


# --- class by class


def matrix(count):
    fmr = RNG.uniform(0, 1, (count, count)) ** 4
    np.fill_diagonal(fmr, np.nan)
    return [f"class {i}" for i in range(count)], fmr, RNG.uniform(0, 0.2, count)


@pytest.mark.parametrize("count", [1, 2, 10, 25])
def test_each_rate_is_printed_in_its_cell(count):
    names, fmr, fnmr = matrix(count)
    figure = figures.class_matrix(names, fmr, fnmr)
    (axes,) = figure.axes
    whole = np.where(np.eye(count, dtype=bool), fnmr[:, None], fmr)
    assert texts(axes) == [_short(rate) for rate in whole.ravel()]
    assert [text.get_text() for text in axes.get_yticklabels()] == names
    assert clashes(figure) == ([], [])


def test_many_classes_are_colours_alone():
    figure = figures.class_matrix(*matrix(200))
    (axes,) = figure.axes
    assert not texts(axes)
    assert 10 < len(axes.get_yticklabels()) < 40
    assert clashes(figure) == ([], [])
    assert figure.get_figwidth() == pytest.approx(canvas.WIDTH)


def test_what_is_not_defined_is_a_dash():
    figure = figures.class_matrix(["a", "b"], [[np.nan, 0.5], [0.5, np.nan]], [np.nan, 0.25])
    assert texts(figure.axes[0]) == ["-", "50", "50", "25"]
    assert np.isfinite(figure.axes[0].images[0].get_array()).all()


def test_same_is_blue_and_different_is_orange():
    figure = figures.class_matrix(["a", "b"], [[np.nan, 1], [1, np.nan]], [1, 1])
    red, _, blue = np.moveaxis(np.asarray(figure.axes[0].images[0].get_array()), -1, 0)
    np.testing.assert_array_equal(blue > red, np.eye(2, dtype=bool))


def test_text_in_a_cell_can_be_read():
    names, fmr, fnmr = matrix(20)
    axes = figures.class_matrix(names, fmr, fnmr).axes[0]
    cells = np.asarray(axes.images[0].get_array()).reshape(-1, 3)

    def luminance(colour):
        c = np.asarray(colour)
        linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    from matplotlib.colors import to_rgb

    for text, cell in zip(axes.texts, cells, strict=True):
        a, b = luminance(to_rgb(text.get_color())), luminance(cell)
        assert (max(a, b) + 0.05) / (min(a, b) + 0.05) > 3.5


def test_the_callers_rates_stay_as_they_are():
    names, fmr, fnmr = matrix(3)
    before = fmr.copy()
    figures.class_matrix(names, fmr, fnmr)
    np.testing.assert_array_equal(fmr, before)


def test_hostile_names_are_text():
    names = ["$x$", "<b>&amp;", "W" * 300, "a\ud800b"]
    figure = figures.class_matrix(names, *matrix(4)[1:])
    assert figures.png_bytes(figure)


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (0, "0"),
        (1e-6, "<.1"),
        (0.0005, "0.1"),
        (0.0999, "10"),
        (0.0949, "9.5"),
        (1, "100"),
        (np.nan, "-"),
    ],
)
def test_a_rate_fits_its_cell(rate, text):
    assert _short(rate) == text


# --- folds

FOLDS = ["U1 one, two", "U1 three, four", "U3 " + ", ".join(["a long name"] * 9)]
PANELS = {
    "ROC AUC": {"trained": [0.5, 0.6, np.nan], "raw pixels": [0.7, 0.6, 0.5]},
    "Recall@1": {"trained": [0.0, 1.0, 0.5], "raw pixels": [1.0, 1.0, 0.5]},
}


def dots(axes):
    return {
        line.get_label(): line for line in axes.lines if line.get_marker() not in ("None", None)
    }


def test_each_fold_is_a_row_of_dots():
    figure = figures.folds(FOLDS, PANELS, marks={"ROC AUC": 0.97}, mark="seen")
    assert [axes.get_title() for axes in figure.axes] == list(PANELS)
    for axes, panel in zip(figure.axes, PANELS.values(), strict=True):
        assert axes.get_xlim() == (0, 1)
        assert axes.yaxis_inverted(), "the first fold on top"
        for name, values in panel.items():
            np.testing.assert_array_equal(dots(axes)[name].get_xdata(), values)
            assert list(dots(axes)[name].get_ydata()) == [0, 1, 2]
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert names[:2] == ["U1 one, two", "U1 three, four"]
    assert names[2].endswith("…")
    seen = [line for axes in figure.axes for line in axes.lines if line.get_label() == "seen"]
    assert [list(line.get_xdata()) for line in seen] == [[0.97, 0.97]]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["trained", "raw pixels", "seen"]


def test_series_differ_in_shape_or_filling_and_not_in_colour():
    series = {name: [0.2, 0.5, 0.8] for name in ("a", "b", "c")}
    drawn = dots(figures.folds(FOLDS, {"rate": series}).axes[0])
    looks = {(line.get_marker(), str(line.get_markerfacecolor())) for line in drawn.values()}
    assert len(looks) == 3
    assert len({line.get_color() for line in drawn.values()}) == 1
    assert drawn["a"].get_markersize() < drawn["b"].get_markersize(), "equal: a dot in a ring"
    assert drawn["a"].get_zorder() > drawn["b"].get_zorder()


@pytest.mark.parametrize("panels", [1, 2, 3])
@pytest.mark.parametrize("series", [1, 2, 3])
def test_words_of_folds_never_overlap(panels, series):
    values = {f"series {i} of them": [0.1, 0.2, 0.3] for i in range(series)}
    titles = {f"panel {i}": values for i in range(panels)}
    figure = figures.folds(FOLDS, titles, marks={"panel 0": 1.0}, mark="a dashed line")
    assert clashes(figure) == ([], [])
    assert figure.get_figwidth() == pytest.approx(canvas.WIDTH)


def test_no_pyplot():
    texts = [each.read_text("utf-8") for each in Path(figures.__file__).parent.glob("*.py")]
    assert len(texts) > 5
    assert not [text for text in texts if re.search(r"import pyplot|matplotlib\.pyplot", text)]
