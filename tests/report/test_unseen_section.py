"""A study's JSON, laid out for the page."""

import pytest

from twinset.report.unseen_section import Fold, unseen_section

NAMES = ("zero", "one", "two")


def unit(auc=0.6, **extra):
    return {"numbers": {"auc": auc}, "floor": {"auc": 0.7}, "transfer": {}, **extra}


def laid_out(units, near=None, seen=None):
    return unseen_section({"seen": seen or {}, "U1": near or {}, "units": units}, NAMES)


def test_seeds_are_counted_and_folds_named():
    found = laid_out({"seed-0": unit(), "seed-1": unit(), "U1-02": unit(), "U3-19": unit()})
    assert found.seeds == 2
    assert [fold.name for fold in found.folds] == ["U1-02", "U3-19"]
    assert [fold.classes for fold in found.folds] == ["zero, two", "one, 9"], "9 has no name"


def test_columns_are_those_that_some_fold_has():
    one_shot = {"auc": 0.6, "5-way 1-shot": 0.4}
    units = {"U1-01": unit(), "U3-12": {**unit(), "numbers": one_shot}}
    assert laid_out(units).columns == {"auc": "ROC AUC", "5-way 1-shot": "5-way 1-shot"}
    assert list(laid_out({"U1-01": unit()}).columns) == ["auc"]


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.1, 0.2, "ahead"),
        (-0.2, -0.1, "behind"),
        (-0.1, 0.1, "cannot tell"),
        (0.0, 0.1, "cannot tell"),
    ],
)
def test_an_interval_of_the_gain_gives_the_verdict(low, high, verdict):
    found = laid_out({}, near={"auc": {"gain": {"value": 0.05, "low": low, "high": high}}})
    assert {name for name, numbers in found.verdicts.items() if numbers} == {verdict}
    assert found.verdicts[verdict] == ["ROC AUC"]


def test_one_fold_has_no_interval_and_no_verdict():
    found = laid_out({}, near={"auc": {"gain": {"value": 0.5, "low": None, "high": None}}})
    assert not any(found.verdicts.values())


@pytest.mark.parametrize(
    ("own", "floor", "below"), [(0.6, 0.7, True), (0.7, 0.7, False), (None, 0.7, False)]
)
def test_below_the_floor(own, floor, below):
    assert Fold("U1-01", "", {"auc": own}, {"auc": floor}, {}).below("auc") is below


def test_the_rule_names_the_rates_on_seen_classes():
    judged = unit(judgement={"points": [{"rule": "EER on 90 images kept out"}]})
    found = laid_out({"U1-01": judged}, seen={"FMR at EER": {"value": 0.1}})
    assert found.rule == "EER"
    assert found.on_seen("FMR") == {"value": 0.1}
    assert found.on_seen("FNMR") == {}
    assert laid_out({"U1-01": unit()}).rule == ""


def test_rates_are_those_that_some_fold_has():
    found = laid_out({"U1-01": unit(transfer={"fmr": 0.5, "cllr": 1.5, "promised fmr": 0.1})})
    assert [rate.label for rate in found.rates] == ["FMR promised", "FMR realised", "Cllr"]
    assert [rate.promised for rate in found.rates] == [True, False, False]


def test_an_interval_over_seeds_and_images_is_known_by_its_name():
    alone = {"auc": {"value": 0.9, "low": 0.8, "high": 0.95}}
    assert not laid_out({"U1-01": unit()}, seen=alone).joined
    both = {"auc": alone["auc"] | {"total": {"low": 0.7, "high": 0.96}}}
    assert laid_out({"U1-01": unit()}, seen=both).joined


def test_pairs_of_unseen_with_seen_classes_are_told_if_there_are_any():
    assert not laid_out({"U1-01": unit()}).across
    assert laid_out({"U1-01": unit(transfer={"unseen x seen fmr": 0.2})}).across
