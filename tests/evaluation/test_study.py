"""The whole protocol on small data: its split, its seeds and its folds, not its size."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

import twinset
from twinset.data.parts import Parts, Shares, divide
from twinset.errors import DataError
from twinset.evaluation import folds, study
from twinset.evaluation.folds import Fold, Unit
from twinset.evaluation.study import markdown
from twinset.metrics.intervals import Estimate
from twinset.report.evaluation_page import unseen_section

QUICK = {"encoder": {"units": [24, 8]}, "batch_size": 32, "epochs": 6}
FOLDS = (
    Fold("class", (0, 1), "U1", 1),
    Fold("class", (2, 3), "U1", 2),
    Fold("class", (3, 6, 7, 8), "U2", 1, averaged=False),
    Fold("class", (0, 4, 5, 6, 7), "U3", 1, averaged=False),
)
UNITS = (Unit(0), Unit(1), *(Unit(0, fold) for fold in FOLDS))


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
PARTS = divide(TRAIN, TEST, shares=Shares(tune=0.1, calibration=0.2))


@pytest.fixture(scope="module")
def recipe():
    return twinset.Recipe.load(**QUICK)


@pytest.fixture(scope="module")
def folder(recipe, tmp_path_factory):
    target = tmp_path_factory.mktemp("study")
    study.run_study(PARTS, recipe, target, units=UNITS, about={"source": "s"}, progress=False)
    return target


@pytest.fixture(scope="module")
def summary(folder):
    return json.loads((folder / "protocol.json").read_text("utf-8"))


def number(records, key, **fields):
    """The record of a number."""
    (found,) = (
        each
        for each in records
        if each["key"] == key
        and {name: each[name] for name in ("rule", "classes") if name in each} == fields
    )
    return found


def seeds_of(summary):
    return [each for each in summary["units"] if each["unit"]["kind"] == "seed"]


def folds_of(summary):
    return [each for each in summary["units"] if each["unit"]["kind"] == "fold"]


def test_a_study_can_be_stopped_and_resumed(recipe, summary, tmp_path):
    """What is resumed is what would have been: the units are equal."""
    units = (UNITS[0], UNITS[2])

    def stop(now):
        if now.done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        study.run_study(PARTS, recipe, tmp_path, units=units, progress=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["seed-0.json"]
    resumed = study.run_study(PARTS, recipe, tmp_path, units=units, progress=False)
    assert resumed["units"] == [summary["units"][0], summary["units"][2]]
    assert json.loads((tmp_path / "protocol.json").read_text("utf-8")) == resumed


def test_seeds_are_gathered_with_both_kinds_of_error(summary):
    area = number(summary["seeds"], "auc")
    units = [number(unit["numbers"], "auc") for unit in seeds_of(summary)]
    values = [unit["value"] for unit in units]
    assert area["values"] == values
    assert area["value"] == pytest.approx(np.mean(values))
    assert area["low"] <= area["min"] <= area["value"] <= area["max"] <= area["high"]
    errors = [unit["error"] for unit in units]
    of_images = math.sqrt(np.mean(np.square(errors)))
    of_seeds = stats.sem(values)
    total = area["total"]
    assert total["error_of_images"] == pytest.approx(of_images)
    assert total["error_of_seeds"] == pytest.approx(of_seeds)
    assert total["error"] == pytest.approx(math.hypot(of_images, of_seeds))
    # Student's quantile for the seeds, the normal one for the images, within 0 and 1
    weighed = of_seeds * stats.t.ppf(0.975, 1) / stats.norm.ppf(0.975)
    joined = Estimate(area["value"], np.array([of_images]), 0.0).interval(extra_error=weighed)
    assert (total["low"], total["high"]) == (pytest.approx(joined.low), pytest.approx(joined.high))
    assert of_images > 0
    assert of_seeds > 0


def test_numbers_without_an_error_over_images_have_no_joined_interval(summary):
    seen = summary["seeds"]
    assert number(seen, "cllr")["total"] is None
    for name in ("auc", "eer", "recall_at_1", "knn_accuracy_1", "linear_probe"):
        each = number(seen, name)
        assert each["total"]["low"] < each["value"] < each["total"]["high"]
    assert number(seen, "fmr", rule="EER")["total"]["error_of_images"] > 0


def test_one_seed_says_nothing_of_seeds(summary):
    alone = {**summary, **study.summarise(seeds_of(summary)[:1])}
    assert number(alone["seeds"], "auc")["low"] is None
    assert number(alone["seeds"], "auc")["total"] is None
    assert "(one value)" in markdown(alone)


def test_gains_over_raw_pixels_by_fold(summary):
    gain = number(summary["unseen"]["numbers"], "map_at_r")["gain"]["values"]
    assert summary["unseen"]["folds"] == 2
    for unit, value in zip(folds_of(summary)[:2], gain, strict=True):
        own, raw = (number(unit[of], "map_at_r")["value"] for of in ("numbers", "baseline"))
        assert value == own - raw
        assert unit["measurements"]["images"] == 60


def test_thresholds_from_seen_classes_on_unseen_ones(summary):
    for result in folds_of(summary):
        points = result["measurements"]["points"]
        assert [each["rule"] for each in result["transfer"]] == [each["rule"] for each in points]
        for found, point in zip(result["transfer"], points, strict=True):
            assert found["threshold"] == point["rates"]["threshold"]
            assert found["fmr"] == point["fmr"]
            assert found["fnmr"] == point["fnmr"]
            assert found["gap_fmr"] == point["fmr"]["value"] - point["promised_fmr"]
            across = found["cross_fmr"]
            assert 0 <= across["low"] <= across["value"] <= across["high"] <= 1
        own = result["transfer"][0]
        assert own["gap_fnmr"] == own["fnmr"]["value"] - own["promised_fnmr"]["value"]
        assert own["cllr"] == result["measurements"]["scores"]["cllr"]
        assert own["min_cllr"] <= own["cllr"]
    carried = summary["unseen"]["transfer"]
    values = [unit["transfer"][0]["gap_fmr"] for unit in folds_of(summary)[:2]]
    assert number(carried, "gap_fmr")["values"] == values
    assert number(carried, "gap_fmr")["value"] == pytest.approx(np.mean(values))
    assert number(carried, "cllr")["value"] > 0


def test_pairs_across_are_recounted(recipe, summary):
    """The fold trained again: its pairs of an unseen and a seen test image, one by one."""
    unseen = [0, 1]
    fitted, kept = (
        part.subset(np.flatnonzero(~np.isin(part.labels, unseen)))
        for part in (PARTS.fit, PARTS.calibration)
    )
    model = twinset.fit(fitted, recipe, progress=False).calibrate(kept)
    vectors = model.embed(TEST)
    a, b = (np.flatnonzero(np.isin(TEST.labels, unseen) == kind) for kind in (True, False))
    d = np.linalg.norm(vectors[a][:, None] - vectors[b][None], axis=2)
    rate = folds_of(summary)[0]["transfer"][0]["cross_fmr"]["value"]
    assert rate == pytest.approx((d <= model.threshold.value).mean(), abs=2e-3)
    assert 0 < rate < 1


def test_three_test_sets_of_the_course_split(summary):
    (unit,) = (each for each in folds_of(summary) if "test_sets" in each)
    assert (unit["unit"]["block"], unit["unit"]["held_out"]) == ("U2", [3, 6, 7, 8])
    sets = {each["name"]: each["numbers"] for each in unit["test_sets"]}
    assert list(sets) == ["seen x seen", "seen + unseen", "unseen x unseen"]
    for found in sets.values():
        assert [each["key"] for each in found] == ["auc", "eer", "recall_at_1", "map_at_r"]
    for each in sets["unseen x unseen"]:
        alone = number(unit["numbers"], each["key"])["value"]
        assert each["value"] == pytest.approx(alone, abs=1e-3)
    areas = {name: number(found, "auc")["value"] for name, found in sets.items()}
    assert areas["seen x seen"] > areas["unseen x unseen"]


def test_one_shot_where_there_are_five_classes(summary):
    found = [
        unit
        for unit in folds_of(summary)
        if any(each["key"] == "one_shot" for each in unit["numbers"])
    ]
    (unit,) = found
    assert unit["unit"]["held_out"] == [0, 4, 5, 6, 7]
    for side in ("numbers", "baseline"):
        interval = number(unit[side], "one_shot")
        assert 0.2 < interval["low"] < interval["value"] < interval["high"] < 1


def test_seen_units_are_classified_by_their_fit_images(summary):
    votes = {"knn_accuracy_1", "knn_accuracy_20", "linear_probe"}
    for unit in seeds_of(summary):
        assert votes <= {each["key"] for each in unit["numbers"]}
    for unit in folds_of(summary):
        assert not votes & {each["key"] for each in unit["numbers"]}


def test_the_markdown_shows_what_the_summary_holds(folder, summary):
    text = (folder / "protocol.md").read_text("utf-8")
    assert text == markdown(summary)
    area = number(summary["seeds"], "auc")
    assert (
        f"| ROC AUC | {area['value']:.4f} | [{area['low']:.4f}, {area['high']:.4f}] | "
        f"[{area['total']['low']:.4f}, {area['total']['high']:.4f}] |"
    ) in text
    assert f"| Cllr | {number(summary['seeds'], 'cllr')['value']:.4f} |" in text
    assert "| False match rate at EER |" in text
    for unit in folds_of(summary):
        title = f"{unit['unit']['title']}: {', '.join(unit['unit']['names'])}"
        rows = [line for line in text.splitlines() if line.startswith(f"| {title} |")]
        own, raw = (number(unit[of], "auc")["value"] for of in ("numbers", "baseline"))
        assert f"| {own:.4f} | {raw:.4f} |" in rows[0]
        first = unit["transfer"][0]
        across = first["cross_fmr"]
        assert f"| {across['value']:.4f} [{across['low']:.4f}, {across['high']:.4f}] |" in rows[1]
        assert f"| {first['cllr']:.4f} | {first['min_cllr']:.4f} |" in rows[1]
    assert "| U2, fold 1: d, g, h, i; test images | ROC AUC |" in text
    assert "| seen + unseen |" in text
    gap = number(summary["unseen"]["transfer"], "gap_fmr")
    assert f"FMR realised, realised - promised: {gap['value']:+.4f}" in text
    for line in text.splitlines():
        if line.startswith("|"):
            assert line.endswith("|"), "whole rows"


def test_a_study_refuses_results_of_another_test_part(recipe, folder, tmp_path):
    stored = (folder / "seed-0.json").read_bytes()
    (tmp_path / "seed-0.json").write_bytes(stored)
    study.run_study(PARTS, recipe, tmp_path, units=UNITS[:1], progress=False)
    other = Parts(PARTS.fit, TRAIN, PARTS.tune, PARTS.calibration)
    with pytest.raises(DataError, match=r"seed-0.json: .* It is of another one"):
        study.run_study(other, recipe, tmp_path, units=UNITS[:1], progress=False)


def test_other_data_has_folds_of_its_own():
    units = study.units_of(PARTS)
    assert [unit.seed for unit in units[:5]] == list(study.SEEDS)
    assert {unit.fold.block for unit in units[5:]} == {""}
    assert sorted(label for unit in units[5:] for label in unit.fold.held_out) == list(range(10))


def test_a_name_does_not_make_data_fashion_mnist():
    renamed = Parts(
        replace(PARTS.fit, name="fashion-mnist/train"),
        replace(TEST, name="fashion-mnist/test"),
    )
    assert study.units_of(renamed) == study.units_of(PARTS)


def test_fashion_mnist_has_the_folds_of_the_protocol(fashion_mnist_parts):
    units = study.units_of(fashion_mnist_parts)
    assert tuple(unit.fold for unit in units[5:]) == folds.FOLDS
    blocks = {
        block: sorted(
            label for each in folds.FOLDS if each.block == block for label in each.held_out
        )
        for block in ("U1", "U2", "U3")
    }
    assert blocks["U1"] == blocks["U3"] == list(range(10))
    assert blocks["U2"] == [3, 6, 7, 8]
    assert [each.averaged for each in folds.FOLDS] == [True] * 5 + [False] * 3


@pytest.fixture
def fashion_mnist_parts(request):
    train, test = request.getfixturevalue("fashion_mnist")
    return Parts(train, replace(test, name="another name"))


def test_twelve_classes_are_named_as_they_were_held_out(tmp_path):
    """The unseen classes are stored by label and name: a label may have two digits."""
    rng = np.random.default_rng(0)
    names = tuple(f"class {k}" for k in range(12))

    def shades(count):
        labels = np.arange(count) % 12
        pixels = np.clip(rng.normal(20 * labels[:, None, None], 9, (count, 4, 3)), 0, 255)
        return twinset.LabelledImages(pixels.astype(np.uint8), labels, names)

    parts = Parts(shades(120), shades(96), calibration=shades(96))
    chosen = twinset.Recipe.load(encoder={"units": [6]}, batch_size=24, epochs=1)
    unit = study.units_of(parts)[5]
    summary = study.run_study(parts, chosen, tmp_path, units=(Unit(0), unit), progress=False)
    held = unit.fold.held_out
    assert len(held) == 3
    (fold,) = unseen_section(summary).folds
    assert fold.classes == ", ".join(names[label] for label in held)
    assert summary["units"][1]["unit"]["held_out"] == list(held)
    assert fold.classes in markdown(summary)


def test_a_test_part_of_classes_of_its_own(tmp_path):
    """As many classes are divided: a fold is judged on what it left out of the fit."""
    fit = TRAIN.subset(np.flatnonzero((TRAIN.labels < 6) | (np.arange(len(TRAIN)) == 6)))
    test = TEST.subset(np.flatnonzero(TEST.labels >= 7))
    parts = Parts(fit, test, calibration=TEST.subset(np.flatnonzero(TEST.labels < 6)))
    units = study.units_of(parts)
    held = [label for unit in units[5:] for label in unit.fold.held_out]
    assert sorted(held) == list(range(6)), "neither what is tested on, nor a class of one image"
    batches = {"pairs": "batch", "loss": {"name": "supcon"}, "batch_size": 24, "epochs": 1}
    chosen = twinset.Recipe.load(encoder={"units": [6], "normalize": True}, **batches)
    summary = study.run_study(parts, chosen, tmp_path, units=(units[0], units[5]), progress=False)
    (fold,) = (unit for unit in summary["units"] if unit["unit"]["kind"] == "fold")
    assert fold["measurements"]["images"] == 40 * len(units[5].fold.held_out)
    assert fold["transfer"][0]["cross_fmr"] is None, "the test part has no class that it saw"
    assert "| test classes |" in markdown(summary)
    assert unseen_section(summary).tested == "test classes"
    assert not unseen_section(summary).across


def test_a_study_needs_a_test_part(recipe, tmp_path):
    with pytest.raises(DataError, match="Expected a test part for the protocol. Received none"):
        study.run_study(Parts(TRAIN), recipe, tmp_path)


def test_without_a_calibration_part_each_unit_is_cross_calibrated(recipe, tmp_path):
    summary = study.run_study(
        Parts(TRAIN, TEST), recipe, tmp_path, units=(Unit(0),), progress=False
    )
    (unit,) = summary["units"]
    assert ", cross-fitted over " in unit["measurements"]["points"][0]["origin"]
    assert unit["measurements"]["points"][0]["promised_fmr"] is not None
