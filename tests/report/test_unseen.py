"""A study's JSON, laid out for the page."""

import pytest

from twinset.metrics.table import METRICS
from twinset.report.evaluation_page import Fold, unseen_section

SEED = {"unit": {"kind": "seed", "seed": 0}, "numbers": [], "measurements": {}}


def fold(title="fold 1", names=("zero", "two"), numbers=None, transfer=None):
    records = {"auc": 0.6} if numbers is None else numbers
    return {
        "unit": {"kind": "fold", "title": title, "names": list(names), "held_out": [0, 2]},
        "numbers": [{"key": key, "value": value} for key, value in records.items()],
        "baseline": [{"key": "auc", "value": 0.7}],
        "transfer": [{"rule": "EER", **(transfer or {})}],
    }


def laid_out(units, near=(), seen=()):
    unseen = {"folds": 2, "numbers": list(near), "transfer": []}
    return unseen_section(
        {"seeds": list(seen), "unseen": unseen, "units": units, "baseline": "raw pixels"}
    )


def test_seeds_are_counted_and_folds_named():
    found = laid_out([SEED, SEED, fold("U1, fold 2"), fold("fold 3", names=())])
    assert found.seeds == 2
    assert [each.title for each in found.folds] == ["U1, fold 2", "fold 3"]
    assert [each.classes for each in found.folds] == ["zero, two", "0, 2"]


def test_columns_are_those_that_some_fold_has():
    both = laid_out([fold(), fold(numbers={"auc": 0.6, "one_shot": 0.4, "recall_at_2": 0.9})])
    assert [metric.label for metric in both.columns] == ["ROC AUC", "5-way 1-shot"]
    assert [metric.key for metric in laid_out([fold()]).columns] == ["auc"]


@pytest.mark.parametrize(
    ("low", "high", "verdict", "of_errors"),
    [
        (0.1, 0.2, "ahead", "behind"),
        (-0.2, -0.1, "behind", "ahead"),
        (-0.1, 0.1, "cannot tell", "cannot tell"),
        (0.0, 0.1, "cannot tell", "cannot tell"),
    ],
)
def test_an_interval_of_the_gain_gives_the_verdict(low, high, verdict, of_errors):
    gain = {"value": 0.05, "low": low, "high": high}
    found = laid_out([], near=[{"key": "auc", "gain": gain}, {"key": "eer", "gain": gain}])
    assert "ROC AUC" in found.verdicts[verdict]
    assert "Equal error rate" in found.verdicts[of_errors], "of errors, less is better"


def test_one_fold_has_no_interval_and_no_verdict():
    gain = {"value": 0.5, "low": None, "high": None}
    assert not any(laid_out([], near=[{"key": "auc", "gain": gain}]).verdicts.values())


@pytest.mark.parametrize(
    ("own", "baseline", "below"), [(0.6, 0.7, True), (0.7, 0.7, False), (None, 0.7, False)]
)
def test_behind_the_baseline(own, baseline, below):
    assert Fold("", "", {"auc": own}, {"auc": baseline}, {}).below(METRICS["auc"]) is below
    errors = Fold("", "", {"eer": baseline}, {"eer": own}, {})
    assert errors.below(METRICS["eer"]) is below


def test_error_rates_on_seen_classes_are_those_of_the_rule_that_is_carried_over():
    seen = [
        {"key": "fmr", "rule": "EER", "value": 0.1},
        {"key": "fmr", "rule": "FPR <= 0.01", "value": 0.2},
        {"key": "auc", "value": 0.9},
        {"key": "near_auc", "classes": [0, 2], "value": 0.8},
    ]
    found = laid_out([fold()], seen=seen)
    assert found.rule == "EER"
    assert found.on_seen("fmr")["value"] == 0.1
    assert found.on_seen("auc")["value"] == 0.9
    assert found.on_seen("fnmr") is None
    assert found.on_seen("near_auc") is None


def test_rates_are_those_that_some_fold_has():
    found = laid_out([fold(transfer={"fmr": {"value": 0.5}, "cllr": 1.5, "promised_fmr": 0.1})])
    assert [rate.label for rate in found.rates] == ["FMR promised", "FMR realised", "Cllr"]
    assert [rate.promised for rate in found.rates] == [True, False, False]
    assert not found.across
    assert laid_out([fold(transfer={"cross_fmr": {"value": 0.2}})]).across


def test_an_interval_over_seeds_and_images_is_known_by_its_name():
    alone = {"key": "auc", "value": 0.9, "low": 0.8, "high": 0.95, "total": None}
    assert not laid_out([fold()], seen=[alone]).joined
    assert laid_out([fold()], seen=[alone | {"total": {"low": 0.7, "high": 0.96}}]).joined
