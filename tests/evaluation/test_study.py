"""The whole protocol on small data: its split, its seeds and its folds, not its size."""

import json
import math

import numpy as np
import pytest
from scipy import stats

import twinset
from twinset.data.parts import Parts, divide
from twinset.data.split import UnseenFold, class_folds
from twinset.errors import DataError
from twinset.evaluation import study
from twinset.metrics.intervals import Estimate
from twinset.recipe_sections import SplitRecipe

QUICK = {"encoder": {"units": [24, 8]}, "batch_size": 32, "epochs": 6}
FOLDS = ("U1-01", "U1-23", "U2-3678", "U3-04567")
UNITS = (
    study.Unit("seed-0", 0),
    study.Unit("seed-1", 1),
    *(study.Unit(name, 0, UnseenFold(name, tuple(map(int, name[3:])))) for name in FOLDS),
)


def _shades(seed, count, name):
    """Ten classes, each a light row on a dark ground, or with noise another's."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 10
    images = rng.normal(60, 45, (count, 10, 3))
    images[np.arange(count), labels] += 110
    images[np.arange(count), labels // 2 * 2] += 60  # neighbours are alike
    pixels = np.clip(images, 0, 255).astype(np.uint8)
    return twinset.LabelledImages(pixels, labels, tuple("abcdefghij"), name)


TRAIN, TEST = _shades(0, 400, "s/train"), _shades(5, 300, "s/test")
PARTS = divide(TRAIN, TEST, shares=SplitRecipe(tune=0.1, calib=0.2))


@pytest.fixture(scope="module")
def recipe():
    return twinset.Recipe.load(**QUICK)


@pytest.fixture(scope="module")
def folder(recipe, tmp_path_factory):
    target = tmp_path_factory.mktemp("study")
    study.run_study(PARTS, recipe, target, units=UNITS)
    return target


@pytest.fixture(scope="module")
def summary(folder):
    return json.loads((folder / "protocol.json").read_text())


def test_a_study_can_be_stopped_and_resumed(recipe, summary, tmp_path):
    """What is resumed is what would have been: the summaries are equal."""
    units = (UNITS[0], UNITS[2])
    told = []

    def stop(text):
        told.append(text)
        if text.startswith("U1-01"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        study.run_study(PARTS, recipe, tmp_path, units=units, progress=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["seed-0.json"]
    told.clear()
    resumed = study.run_study(PARTS, recipe, tmp_path, units=units, progress=told.append)
    assert told[0] == "seed-0 (1 of 2): done before"
    assert json.loads(json.dumps(resumed["units"])) == {
        name: summary["units"][name] for name in ("seed-0", "U1-01")
    }
    assert json.loads((tmp_path / "protocol.json").read_text()) == json.loads(json.dumps(resumed))


def test_seeds_are_gathered_with_both_kinds_of_error(summary):
    area = summary["seen"]["auc"]
    units = [summary["units"][name] for name in ("seed-0", "seed-1")]
    values = [unit["numbers"]["auc"] for unit in units]
    assert area["values"] == values
    assert area["value"] == pytest.approx(np.mean(values))
    assert area["low"] <= area["min"] <= area["value"] <= area["max"] <= area["high"]
    errors = [unit["judgement"]["numbers"]["auc"]["error"] for unit in units]
    of_images = math.sqrt(np.mean(np.square(errors)))
    of_seeds = stats.sem(values)
    total = area["total"]
    assert total["error of images"] == pytest.approx(of_images)
    assert total["error of seeds"] == pytest.approx(of_seeds)
    assert total["error"] == pytest.approx(math.hypot(of_images, of_seeds))
    # Student's quantile for the seeds, the normal one for the images, Wilson's shape
    weighed = of_seeds * stats.t.ppf(0.975, 1) / stats.norm.ppf(0.975)
    joined = Estimate(area["value"], np.array([of_images]), 0.0).interval(extra_error=weighed)
    assert (total["low"], total["high"]) == (pytest.approx(joined.low), pytest.approx(joined.high))
    assert of_images > 0
    assert of_seeds > 0


def test_numbers_without_an_error_over_images_have_no_joined_interval(summary):
    seen = summary["seen"]
    assert seen["cllr"]["total"] is None
    for name in ("auc", "eer", "recall_at_1", "1-nn accuracy", "linear probe accuracy"):
        assert seen[name]["total"]["low"] < seen[name]["value"] < seen[name]["total"]["high"]
    assert seen["FMR at EER"]["total"]["error of images"] > 0


def test_one_seed_says_nothing_of_seeds(summary):
    alone = study.summarise({"seed-0": summary["units"]["seed-0"]})
    assert alone["seen"]["auc"]["low"] is None
    assert alone["seen"]["auc"]["total"] is None
    assert "(one value)" in study.markdown(alone)


def test_gains_over_raw_pixels_by_fold(summary):
    gain = summary["U1"]["map_at_r"]["gain"]["values"]
    for unit, value in zip(("U1-01", "U1-23"), gain, strict=True):
        result = summary["units"][unit]
        assert value == result["numbers"]["map_at_r"] - result["floor"]["map_at_r"]
        assert result["judgement"]["images"] == 60


def test_thresholds_from_seen_classes_on_unseen_ones(summary):
    for name in FOLDS:
        result = summary["units"][name]
        points = result["judgement"]["points"]
        assert [each["rule"] for each in result["transfers"]] == [each["rule"] for each in points]
        for found, point in zip(result["transfers"], points, strict=True):
            assert found["threshold"] == point["rates"]["threshold"]
            assert found["fmr"] == point["fmr"]
            assert found["fnmr"] == point["fnmr"]
            assert found["gap fmr"] == point["fmr"]["value"] - point["promised_fmr"]
            across = found["unseen x seen fmr"]
            assert 0 <= across["low"] <= across["value"] <= across["high"] <= 1
        first, own = result["transfers"][0], result["transfer"]
        assert own["fmr"] == first["fmr"]["value"]
        assert own["unseen x seen fmr"] == first["unseen x seen fmr"]["value"]
        assert own["gap fnmr"] == own["fnmr"] - own["promised fnmr"]
        assert own["cllr"] == result["judgement"]["scores"]["cllr"]
        assert own["min cllr"] <= own["cllr"]
    carried = summary["U1 transfer"]
    values = [summary["units"][name]["transfer"]["gap fmr"] for name in FOLDS[:2]]
    assert carried["gap fmr"]["values"] == values
    assert carried["gap fmr"]["value"] == pytest.approx(np.mean(values))
    assert "cllr" in carried


def test_pairs_across_are_recounted(recipe, summary):
    """The fold trained again: its pairs of an unseen and a seen test image, one by one."""
    unseen = [0, 1]
    fitted, kept = (
        part.subset(np.flatnonzero(~np.isin(part.labels, unseen)))
        for part in (PARTS.fit, PARTS.calib)
    )
    model = study.calibrated(twinset.fit(fitted, recipe, progress=False), kept)
    vectors = model.embed(TEST)
    a, b = (np.flatnonzero(np.isin(TEST.labels, unseen) == kind) for kind in (True, False))
    d = np.linalg.norm(vectors[a][:, None] - vectors[b][None], axis=2)
    rate = summary["units"]["U1-01"]["transfer"]["unseen x seen fmr"]
    assert rate == pytest.approx((d <= model.threshold.value).mean(), abs=2e-3)
    assert 0 < rate < 1


def test_three_test_sets_of_the_course_split(summary):
    assert [name for name in FOLDS if "test sets" in summary["units"][name]] == ["U2-3678"]
    sets = summary["units"]["U2-3678"]["test sets"]
    assert list(sets) == ["seen x seen", "seen + unseen", "unseen x unseen"]
    for found in sets.values():
        assert list(found) == ["auc", "eer", "recall_at_1", "map_at_r"]
    alone = summary["units"]["U2-3678"]["numbers"]
    for name, each in sets["unseen x unseen"].items():
        assert each["value"] == pytest.approx(alone[name], abs=1e-3)
    assert sets["seen x seen"]["auc"]["value"] > sets["unseen x unseen"]["auc"]["value"]


def test_one_shot_where_there_are_five_classes(summary):
    assert [name for name in FOLDS if "one shot" in summary["units"][name]] == ["U3-04567"]
    unit = summary["units"]["U3-04567"]
    for side in ("numbers", "floor"):
        interval = unit["one shot"][side]
        assert unit[side]["5-way 1-shot"] == interval["value"]
        assert 0.2 < interval["low"] < interval["value"] < interval["high"] < 1


def test_seen_units_are_classified_by_their_fit_images(summary):
    for name in ("seed-0", "seed-1"):
        numbers = summary["units"][name]["numbers"]
        assert {"1-nn accuracy", "20-nn accuracy", "linear probe accuracy"} <= set(numbers)
    for name in FOLDS:
        assert "1-nn accuracy" not in summary["units"][name]["numbers"]


def test_the_markdown_shows_what_the_summary_holds(folder, summary):
    text = (folder / "protocol.md").read_text()
    assert text == study.markdown(summary)
    area = summary["seen"]["auc"]
    assert (
        f"| auc | {area['value']:.4f} | [{area['low']:.4f}, {area['high']:.4f}] | "
        f"[{area['total']['low']:.4f}, {area['total']['high']:.4f}] |"
    ) in text
    assert f"| cllr | {summary['seen']['cllr']['value']:.4f} |" in text
    for name in FOLDS:
        rows = [line for line in text.splitlines() if line.startswith(f"| {name} |")]
        unit = summary["units"][name]
        assert f"| {unit['numbers']['auc']:.4f} | {unit['floor']['auc']:.4f} |" in rows[0]
        across = unit["transfers"][0]["unseen x seen fmr"]
        assert f"| {across['value']:.4f} [{across['low']:.4f}, {across['high']:.4f}] |" in rows[1]
        assert f"| {unit['transfer']['cllr']:.4f} | {unit['transfer']['min cllr']:.4f} |" in rows[1]
    shot = summary["units"]["U3-04567"]
    assert (
        f"| {shot['numbers']['5-way 1-shot']:.4f} | {shot['floor']['5-way 1-shot']:.4f} |" in text
    )
    assert "| U2-3678, test images | AUC |" in text
    assert "| seen + unseen |" in text
    gap = summary["U1 transfer"]["gap fmr"]
    assert f"U1 gap fmr, realised - promised: {gap['value']:+.4f}" in text
    for line in text.splitlines():
        if line.startswith("|"):
            assert line.endswith("|"), "whole rows"


def test_a_study_refuses_results_of_another_recipe(recipe, folder, summary, tmp_path):
    unit = summary["units"]["seed-0"]
    stored = tmp_path / "seed-0.json"

    def run(chosen=recipe):
        study.run_study(PARTS, chosen, tmp_path, units=UNITS[:1])

    stored.write_text(json.dumps(unit))
    run()
    other = twinset.Recipe.load(recipe, epochs=1)
    with pytest.raises(DataError, match=r"seed-0.json: .* It is of another one"):
        run(other)
    stored.write_text(json.dumps({name: unit[name] for name in unit if name != "schema"}))
    with pytest.raises(DataError, match=r"seed-0.json: expected a unit of schema 2. .* None, of"):
        run()
    for broken in ("{", "[]", "{}"):
        stored.write_text(broken)
        with pytest.raises(DataError, match=r"seed-0.json: expected a unit of the protocol"):
            run()


def test_other_data_has_folds_of_its_own(recipe, tmp_path):
    units = study.units_of(PARTS)
    assert [unit.name for unit in units][5:] == [f"fold-{k}" for k in range(1, 6)]
    assert sorted(label for unit in units[5:] for label in unit.fold.unseen) == list(range(10))
    summary = study.run_study(PARTS, recipe, tmp_path, units=(units[0], units[5], units[6]))
    assert len(summary["U1"]["auc"]["gain"]["values"]) == 2
    assert "fold-1" in study.markdown(summary)


def test_folds_of_few_classes():
    assert class_folds(3) == ()
    for classes in range(4, 30):
        folds = class_folds(classes, seed=1)
        assert len(folds) == min(5, classes // 2)
        assert sorted(label for fold in folds for label in fold.unseen) == list(range(classes))
        assert all(len(fold.unseen) > 1 and len(fold.seen) > 1 for fold in folds)


def test_a_study_needs_a_calib_part(recipe, tmp_path):
    with pytest.raises(DataError, match="a test part and a calib part"):
        study.run_study(Parts(TRAIN, TEST), recipe, tmp_path)
