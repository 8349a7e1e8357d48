"""The page of an evaluation: every number is the JSON's, and a browser shows it in silence."""

import copy
import html
import json
import re

import numpy as np
import pytest

import twinset
from browsing import opened
from twinset import figures
from twinset.errors import DataError
from twinset.evaluation.evaluate import evaluate
from twinset.evaluation.folds import Fold, Unit
from twinset.evaluation.study import summarise
from twinset.metrics.table import METRICS
from twinset.report.evaluation_page import to_html, write_page
from twinset.report.evaluation_pictures import pictures
from twinset.report.page import Picture

HOSTILE = ("<script>alert(1)</script>", '"><img src=x onerror=alert(2)>', "{{ 7 * 7 }} & $x$")
QUICK = {"encoder": {"units": [16, 8]}, "batch_size": 16, "epochs": 8}


def shades(seed, name="shades"):
    """Three gray levels with noise: easy, but not perfect."""
    rng = np.random.default_rng(seed)
    labels = np.tile(np.arange(3), 20)
    images = np.clip(rng.normal(60 + 45 * labels[:, None, None], 25, (60, 5, 4)), 0, 255)
    return twinset.LabelledImages(images.astype(np.uint8), labels, HOSTILE, name)


@pytest.fixture(scope="module")
def made():
    """A calibrated model's evaluation, the same without calibration, and the pictures."""
    fitted = twinset.fit(shades(0), **QUICK)
    model, test = fitted.calibrate(shades(1)), shades(2, "<b>test</b>")
    found = evaluate(model, test, fitted=shades(0), near=[(0, 1)])
    plain = evaluate(fitted, test, baselines=False)
    content = json.loads(json.dumps(found.to_dict()))
    study = summarised(content["results"])
    return found, plain, pictures(content, test, study), study, test


def summarised(results):
    """The summary of a study: two seeds, two folds to average and one other, all made up."""
    model, baseline = results["model"], results["raw pixels"]
    rule = model["points"][0]["rule"]

    def records(found, shift):
        numbers = [
            {"key": key, "value": each["value"] - shift, "error": None}
            for key, each in found["numbers"].items()
        ]
        return [
            *numbers,
            {"key": "fmr", "rule": rule, "value": 0.1 + shift, "error": None},
            {"key": "fnmr", "rule": rule, "value": 0.2 + shift, "error": None},
        ]

    def unit(unit, shift):
        rates = {"fmr": 0.5, "fnmr": 0.25 + shift, "cross_fmr": 0.125 + shift}
        first = {key: {"value": each} for key, each in rates.items()}
        first |= {"rule": rule, "threshold": 0.5, "promised_fmr": 0.05, "promised_fnmr": 0.06}
        first |= {"gap_fmr": 0.45, "gap_fnmr": 0.19 + shift, "cllr": 1.25 + shift}
        return {
            "unit": unit.to_dict(HOSTILE),
            "numbers": records(model, shift),
            "measurements": model,
            "baseline": records(baseline, 0)[:-2],
            "transfer": [first],
        }

    folds = {
        Unit(0): 0.01,
        Unit(1): 0.02,
        Unit(0, Fold("class", (0, 1), "U1", 1)): 0.3,
        Unit(0, Fold("class", (1, 2), "U1", 2)): 0.31,
        Unit(0, Fold("class", (0, 2), "U3", 1, averaged=False)): -0.01,
    }
    results = [unit(each, shift) for each, shift in folds.items()]
    return json.loads(json.dumps({"schema": 3, "baseline": "raw pixels", **summarise(results)}))


def record(records, key):
    return next(each for each in records if each["key"] == key)


def folds_of(study):
    return [each for each in study["units"] if each["unit"]["kind"] == "fold"]


def value(each):
    return each["value"] if isinstance(each, dict) else each


@pytest.fixture(scope="module")
def content(made):
    return json.loads(json.dumps(made[0].to_dict()))


@pytest.fixture(scope="module")
def study(made):
    return made[3]


@pytest.fixture
def page(content, made, study):
    return to_html(content, made[2], study)


def values(page):
    return re.findall(r'<data[^>]* value="([^"]*)">', page)


def words(page):
    """The text of a page, without its tags."""
    body = page[page.index("<body>") :]
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", body)))


def test_every_number_of_the_json_is_on_the_page(content, page):
    model, shown = content["results"]["model"], set(values(page))
    told = [model["images"], model["pairs"], model["positives"], *model["scores"].values()]
    for result in content["results"].values():
        told += [number[k] for number in result["numbers"].values() for k in ("value", "low")]
        told += [number[k] for number in result["near"] for k in ("value", "low")]
        told += result["health"].values()
    for point in model["points"]:
        told += [point["promised_fmr"], point["promised_fnmr"], point["fmr"]["high"]]
        told += [point["even_odds"], *point["promised_fmr_range"], *point["promised_fnmr_range"]]
        told += [point["fnmr"]["value"], point["rates"]["threshold"], point["fmr_spread"]]
        told += [each["precision"] for each in point["precision"]]
    assert {str(number) for number in told if number is not None} <= shown


KEYS = ("auc", "eer", "recall_at_1", "map_at_r")
RATES = ("promised_fmr", "fmr", "cross_fmr", "promised_fnmr", "fnmr", "cllr")


def test_every_number_of_the_study_is_on_the_page(study, page):
    shown = set(values(page))
    told = [record(study["seeds"], "auc")[end] for end in ("value", "low", "high")]
    for key in KEYS:
        near = record(study["unseen"]["numbers"], key)
        told += [near["model"]["value"], *(near["gain"][end] for end in ("value", "low", "high"))]
    for unit in folds_of(study):
        told += [record(unit[of], key)["value"] for key in KEYS for of in ("numbers", "baseline")]
        told += [value(unit["transfer"][0][key]) for key in RATES]
    for key in ("gap_fmr", "gap_fnmr"):
        told += [record(study["unseen"]["transfer"], key)[end] for end in ("value", "low", "high")]
    assert {str(number) for number in told} <= shown


def test_every_value_of_the_page_is_in_the_json(content, study, page):
    def numbers(item):
        if isinstance(item, dict):
            for each in item.values():
                yield from numbers(each)
        elif isinstance(item, list):
            for each in item:
                yield from numbers(each)
        else:
            yield str(item)

    known = {*numbers(content), *numbers(study), "2", "3"}  # so many seeds, folds
    assert len(values(page)) > 100
    assert set(values(page)) <= known


def test_pictures_stand_where_they_belong(page, made):
    titles = re.findall(r"<h2>(.*?)</h2>|<figcaption><b>(.*?)</b>", page)
    assert [a or b for a, b in titles] == [
        "The model beside its baselines",
        "ROC curve.",
        "DET curve.",
        "Promised against realised",
        "Distances.",
        "Class errors.",
        "Hardest mistakes.",
        "Seen against unseen classes",
        "Unseen classes.",
        "Threshold transfer.",
        "Probability of “same”",
        "Reliability.",
        "Health of the embedding",
        "How it came about",
    ]
    extra = Picture("one_more", "Of another kind.", made[2][0].png)
    assert "<b>One more.</b>" in to_html(made[0].to_dict(), [*made[2], extra])


def test_a_model_without_calibration_is_told_plainly(made):
    page = to_html(made[1].to_dict())
    assert words(page).count("Not calibrated.") == 2
    assert page.count("<td>not calibrated</td>") == 2
    assert "<img" not in page


def test_few_errors_are_marked(content):
    few = copy.deepcopy(content)
    for point in few["results"]["model"]["points"]:
        point["rates"] |= {"false_matches": 29, "false_non_matches": 30}
    point = few["results"]["model"]["points"][0]
    marks = to_html(few).split('<section class="points">')[1:]
    assert [each.count("fewer than 30 errors") for each in marks] == [1] * len(marks)
    point["rates"]["false_matches"] = 30
    assert "fewer than" not in to_html(few).split('<section class="points">')[1]


def test_a_headline_that_rests_on_few_errors_is_marked(content):
    # 1,200 different pairs: 1.2 of them match at a false match rate of 0.1%
    rows = re.findall(r"<tr>.*?</tr>", to_html(content), flags=re.DOTALL)
    (rare,) = (row for row in rows if "TPR at FPR 0.1%" in row)
    assert "fewer than 30 errors" in rare
    many = copy.deepcopy(content)
    for number in many["results"]["model"]["numbers"].values():
        number["enough_errors"] = True
    assert "fewer than" not in to_html(many).split("Promised against")[0]


def test_a_baseline_that_is_better_is_named(content):
    better = copy.deepcopy(content)
    for each in better["results"].values():
        for key, number in each["numbers"].items():
            number["value"] = 0.5 if key in ("auc", "eer") else 0.25
        for number in each["near"]:
            number["value"] = 0.25
    assert "behind" not in words(to_html(better))
    better["results"]["raw pixels"]["numbers"]["auc"]["value"] = 0.6
    better["results"]["raw pixels"]["numbers"]["eer"]["value"] = 0.6
    assert words(to_html(better)).count("model behind raw pixels") == 1
    better["results"]["PCA-64"]["numbers"]["eer"]["value"] = 0.4
    assert words(to_html(better)).count("model behind PCA-64") == 1


def test_what_is_not_finite_is_not_defined(content):
    empty = copy.deepcopy(content)
    model = empty["results"]["model"]
    for number in model["numbers"].values():
        number |= {"value": None, "low": None, "high": None}
    model["points"][0]["precision"][0]["precision"] = None
    model["points"][0]["fmr_spread"] = None
    model["health"]["alignment"] = None
    page = to_html(empty)
    assert "None" not in page
    assert "no interval" in page
    assert "If 10% of pairs were the same, the precision would not be defined" in words(page)


def test_class_names_are_text(page):
    assert "<script" not in page
    assert "onerror=alert" not in page.replace("&#34;&gt;&lt;img src=x onerror=alert", "")
    assert HOSTILE[0] in words(page)
    assert "49" not in words(page).split("ROC AUC of near classes")[1][:20]
    assert "<b>test" not in page


def test_another_schema_is_refused(content):
    with pytest.raises(DataError, match="Expected an evaluation of schema 3. Received schema 1"):
        to_html(content | {"schema": 1})
    with pytest.raises(DataError, match="Received schema None"):
        to_html({})


def test_two_pictures_of_one_name_are_refused(content, made):
    with pytest.raises(DataError, match="different names"):
        to_html(content, [made[2][0], made[2][0]])


# --- the pictures


def test_captions_say_where_pairs_come_from(made):
    captions = {picture.name: picture.caption for picture in made[2]}
    assert captions["distances"].startswith("Distances of all 1,770 pairs.")
    assert "among all 1,770 pairs" in captions["hardest_mistakes"]
    assert "wrong side of the threshold" in captions["hardest_mistakes"]


@pytest.fixture
def drawn(monkeypatch):
    """What the plots of the pictures are called with."""
    calls = {}
    for name in ("pairs", "distance_histogram", "roc", "det", "folds"):
        plot = getattr(figures, name)

        def spy(*args, _name=name, _plot=plot, **options):
            calls.setdefault(_name, []).append((args, options))
            return _plot(*args, **options)

        monkeypatch.setattr(figures, name, spy)
    return calls


def test_the_histogram_counts_every_pair(content, made, drawn):
    pictures(content, made[4])
    ((at, same, threshold), options) = drawn["distance_histogram"][0]
    counts, rates = options["counts"], content["results"]["model"]["points"][0]["rates"]
    match = at <= threshold
    assert counts.sum() == 1770
    assert counts[same == 1].sum() == rates["positives"]
    assert counts[match & (same == 0)].sum() == rates["false_matches"]
    assert counts[~match & (same == 1)].sum() == rates["false_non_matches"]


def test_no_picture_embeds_or_counts_pairs_again(content, made, drawn):
    """The bars are those of the JSON: drawing needs the test images for mistakes alone."""
    bars = content["results"]["model"]["distances"]
    pictures(content, made[4])
    ((at, same, _), options) = drawn["distance_histogram"][0]
    for kind, name in ((1, "same"), (0, "different")):
        held = np.array(bars[name]) > 0
        np.testing.assert_array_equal(at[same == kind], np.array(bars["upper"])[held])
        np.testing.assert_array_equal(options["counts"][same == kind], np.array(bars[name])[held])


def test_only_the_wrong_side_of_the_threshold_is_a_mistake(content, made, drawn):
    test = made[4]
    some = copy.deepcopy(content)
    result = some["results"]["model"]
    threshold = result["points"][0]["rates"]["threshold"]
    near = [[0, 1, threshold / 4], [1, 2, threshold], [3, 4, threshold * 1.01]]
    far = [[0, 3 + 3 * i, threshold + 2 - i / 10] for i in range(9)] + [[3, 6, threshold]]
    result["hardest"] = {"false_matches": near, "false_non_matches": far}
    pictures(some, test)
    ((left, right, same), options) = drawn["pairs"][0]
    assert same.tolist() == [False, False] + [True] * 8
    assert options["distances"] == [pair[2] for pair in near[:2] + far[:8]]
    assert options["threshold"] == threshold
    np.testing.assert_array_equal(left[1], test.images[1])
    np.testing.assert_array_equal(right[1], test.images[2])


def test_without_mistakes_there_is_no_picture_of_them(content, made):
    test = made[4]
    perfect = copy.deepcopy(content)
    result = perfect["results"]["model"]
    right = {"false_matches": [[0, 1, 99.0]], "false_non_matches": [[0, 3, 0.0]]}
    for hardest in (right, {"false_matches": [], "false_non_matches": []}, None):
        result["hardest"] = hardest
        found = pictures(perfect, test)
        assert "hardest_mistakes" not in {picture.name for picture in found}


def test_the_band_of_the_json_is_drawn(content, made, drawn):
    test = made[4]
    band = {"fmr": [0.01, 0.1, 1], "tpr": [0.5, 0.7, 1], "low": [0.4, 0.6, None]}
    some = copy.deepcopy(content)
    some["results"]["model"]["bands"] = band | {"high": [0.6, 0.8, None]}
    found = {each.name: each for each in pictures(some, test)}
    for name in ("roc", "det"):
        x, low, _ = drawn[name][0][0][1]
        assert list(x) == band["fmr"]
        np.testing.assert_array_equal(low, [0.4, 0.6, np.nan])
        assert "95% interval over images" in found[name].caption
    some["results"]["model"]["bands"] = None
    found = {each.name: each for each in pictures(some, test)}
    assert drawn["roc"][1][0][1] is None
    assert "95%" not in found["roc"].caption


def test_folds_are_drawn_with_their_numbers(content, made, study, drawn):
    test = made[4]
    pictures(content, test, study)
    (names, scores), options = drawn["folds"][0]
    assert names[0].startswith("U1, fold 1: ")
    assert HOSTILE[0] in names[0]
    units = folds_of(study)
    own = [record(unit["numbers"], "auc")["value"] for unit in units]
    assert scores["ROC AUC"]["trained"].tolist() == own
    assert options["marks"]["MAP@R"] == record(study["seeds"], "map_at_r")["value"]
    (_, rates), _ = drawn["folds"][1]
    across = [unit["transfer"][0]["cross_fmr"]["value"] for unit in units]
    assert rates["False match rate"]["realised, unseen with seen"].tolist() == across
    assert set(rates["False non-match rate"]) == {"realised among unseen", "promised"}


# --- unseen classes


def test_without_a_study_the_page_tells_how_to_get_one(content, made):
    others = [each for each in made[2] if each.name not in ("unseen_classes", "threshold_transfer")]
    text = words(to_html(content, others)).split("Seen against unseen classes")[1]
    assert text.startswith(" Not judged.")
    assert "twinset evaluate RUN --protocol full" in text
    unseen = copy.deepcopy(content)
    unseen["facts"]["Data"]["unseen classes"] = 3
    text = words(to_html(unseen, others)).split("Seen against unseen classes")[1]
    assert text.startswith(
        " All of the above is of unseen classes. The test images are of 3 classes"
    )


def test_the_near_folds_give_a_verdict(content, study):
    text = words(to_html(content, (), study))
    assert "with 2 seeds on all classes, and for 3 folds" in text
    some = copy.deepcopy(study)
    gains = {each["key"]: each["gain"] for each in some["unseen"]["numbers"]}
    ends = {"auc": (0.1, 0.2), "eer": (0.1, 0.2), "recall_at_1": (-0.2, -0.1), "map_at_r": (-1, 1)}
    for key, (low, high) in ends.items():
        gains[key] |= {"low": low, "high": high}
    text = words(to_html(content, (), some))
    assert "Behind raw pixels over 2 folds in Equal error rate, Recall@1:" in text
    assert "Ahead of raw pixels over 2 folds in ROC AUC." in text
    assert "2 folds cannot tell whether it beats raw pixels in MAP@R." in text
    for gain in gains.values():
        gain |= {"low": None, "high": None}
    text = words(to_html(content, (), some))
    assert "Behind raw pixels" not in text
    assert "cannot tell" not in text


def test_a_fold_behind_its_baseline_is_marked(content, study):
    some = copy.deepcopy(study)
    fold = folds_of(some)[0]
    for key, own in (("auc", 0.6), ("eer", 0.6), ("recall_at_1", 0.7), ("map_at_r", 0.8)):
        record(fold["numbers"], key)["value"] = own
        record(fold["baseline"], key)["value"] = 0.7
    html_of = to_html(content, (), some)
    (row,) = re.findall(r"<tr>\s*<th[^>]*>U1, fold 1 .*?</tr>", html_of, re.DOTALL)[:1]
    assert row.count("behind raw pixels") == row.count('class="below"') == 1
    assert words("<body>" + row).count("raw pixels 0.7000") == 2
    assert words("<body>" + row).count("raw pixels 70.00%") == 2


def test_folds_are_named_by_the_classes_that_were_held_out(content, study, page):
    """Also where a label has two digits, or the fold's own number is that of another class."""
    some = copy.deepcopy(study)
    unit = folds_of(some)[0]["unit"]
    unit |= {"title": "fold 1", "held_out": [2, 7, 11], "names": ["boots", "bags", "hats"]}
    text = words(to_html(content, (), some))
    assert "Fold 1 boots, bags, hats" in text
    assert HOSTILE[0] in words(page).split("U1, fold 1")[1]


# --- the page as a person meets it


@pytest.fixture(scope="module")
def folder(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluation")
    made[0].write_json(folder / "evaluation.json")
    write_page(
        folder / "evaluation.html",
        json.loads((folder / "evaluation.json").read_text("utf-8")),
        made[2],
        made[3],
    )
    return folder


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 700, 1280])
def test_the_page_fits_and_shows_every_picture(browser, folder, width, scheme):
    look = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
    with opened(browser, folder / "evaluation.html", **look) as page:
        assert page.evaluate("document.documentElement.scrollWidth") == width
        beyond = """[...document.querySelectorAll("main *:not(thead *)")]
            .filter(element => element.getBoundingClientRect().right > innerWidth)
            .map(element => element.outerHTML.slice(0, 80))"""
        assert page.evaluate(beyond) == []
        widths = "[...document.images].map(image => image.complete && image.naturalWidth)"
        assert len(page.evaluate(widths)) == 8
        assert all(page.evaluate(widths))


def test_headlines_are_the_numbers_of_the_json(browser, folder):
    stored = json.loads((folder / "evaluation.json").read_text("utf-8"))
    numbers = stored["results"]["model"]["numbers"]
    with opened(browser, folder / "evaluation.html") as page:
        for key, written in (("auc", ".4f"), ("eer", ".2%")):
            shown = page.locator(f"#headline-{key} data")
            told = [numbers[key][end] for end in ("value", "low", "high")]
            found = [each.get_attribute("value") for each in shown.all()]
            assert found == [str(number) for number in told]
            assert shown.all_text_contents() == [format(number, written) for number in told]
        for key, number in numbers.items():
            cell = page.locator(f'[id="model.{key}"]')
            assert cell.get_attribute("value") == str(number["value"])


def test_the_folds_are_the_numbers_of_the_study(browser, folder, study):
    with opened(browser, folder / "evaluation.html") as page:
        for place, unit in enumerate(folds_of(study), 1):
            for key in ("auc", "recall_at_1", "map_at_r"):
                told = record(unit["numbers"], key)["value"]
                cell = page.locator(f'[id="fold.{place}.{key}"]')
                assert cell.get_attribute("value") == str(told)
                assert cell.is_visible()
                assert cell.text_content() == format(told, METRICS[key].format)
            for key in ("cross_fmr", "promised_fnmr"):
                told = value(unit["transfer"][0][key])
                cell = page.locator(f'[id="fold.{place}.{key}"]')
                assert cell.get_attribute("value") == str(told)
                assert cell.text_content() == f"{told:.2%}"
        gain = page.locator("tr", has=page.locator('[id="near.auc"]')).first
        told = record(study["unseen"]["numbers"], "auc")["gain"]["value"]
        assert f"{told:+.4f}" in gain.text_content()


def test_a_page_without_a_study_shows_too(browser, folder, content, made):
    names = ("unseen_classes", "threshold_transfer")
    others = [each for each in made[2] if each.name not in names]
    write_page(folder / "alone.html", content, others)
    with opened(browser, folder / "alone.html", viewport={"width": 360, "height": 800}) as page:
        assert page.locator("code").inner_text() == "twinset evaluate RUN --protocol full"
        assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_a_phone_names_each_column_in_the_row(browser, folder):
    names = """[...document.querySelectorAll(".numbers tbody tr:first-child td")]
        .map(cell => getComputedStyle(cell, "::before").content)"""
    with opened(
        browser, folder / "evaluation.html", viewport={"width": 360, "height": 800}
    ) as page:
        assert "raw pixels" in page.evaluate(names)[1]
        narrow = (
            "Math.min(...[...document.querySelectorAll('.numbers:not(.folds) td')]"
            ".map(cell => cell.offsetWidth))"
        )
        assert page.evaluate(narrow) > 130, "two columns, each as wide as an interval"
        page.set_viewport_size({"width": 1280, "height": 800})
        assert set(page.evaluate(names)) == {"none"}


def test_dark_mode_does_not_reach_the_print(browser, folder):
    background = "getComputedStyle(document.body).backgroundColor"
    with opened(browser, folder / "evaluation.html", color_scheme="dark") as page:
        dark = page.evaluate(background)
        page.emulate_media(media="print", color_scheme="dark")
        assert page.evaluate(background) == "rgb(255, 255, 255)" != dark
        assert page.pdf(format="A4").startswith(b"%PDF")
