"""The plan on paper: its tables are those of the docs, and near to what was measured."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULE = ROOT / "benchmarks" / "scale_plan.py"


@pytest.fixture(scope="module")
def plan():
    spec = importlib.util.spec_from_file_location("scale_plan", MODULE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_the_docs_tell_what_the_plan_computes(plan):
    text = (ROOT / "docs" / "scale.md").read_text("utf-8")
    for table in plan.tables(plan.constants()):
        assert table in text, "./task bench scale_plan prints what belongs into docs/scale.md"


def test_the_plan_is_near_to_what_was_measured(plan):
    """Its constants are of 100,000 items at most, and these figures of a million."""
    found = plan.against()
    assert len(found) >= 8
    for name, items, measured, computed, _ in found:
        assert items >= 10 * plan.BASE, name
        assert 1 / 1.5 <= computed / measured <= 1.5, name


def test_more_items_never_take_less(plan):
    c = plan.constants()
    for name, figure in plan.FIGURES.items():
        costs = [figure.of(n, c) for n in plan.SIZES]
        assert costs == sorted(costs), name


def test_a_figure_by_hand(plan):
    c = plan.constants(dim=100, scan=1e9, cores=10, decode=50, network=50, machine_hour=3)
    assert plan.FIGURES["folder_query"].of(1_000_000, c) == pytest.approx(0.4)
    assert plan.FIGURES["embed"].of(1_000_000, c) == pytest.approx(4_000)
    assert plan.FIGURES["embed_money"].of(1_000_000, c) == pytest.approx(10 / 3)


def test_memory_decides_how_many_machines(plan):
    c = plan.constants(dim=100, memory=8e9)  # 4 GB of each for vectors, of 400 bytes
    exact = plan.ENGINES["folder"]
    assert [plan.machines(exact, n, c) for n in (10**6, 10**7, 10**8)] == [1, 1, 10]


def test_what_is_not_in_the_table_cannot_be_set(plan):
    with pytest.raises(SystemExit, match=r"Expected one of .*cores.* Received kores\."):
        plan.constants(kores=4)


def test_constants_say_where_they_are_from(plan):
    """Each names a command of this repository, or a page."""
    for name, (_, about, source) in plan.table()["constants"].items():
        assert about, name
        command = re.match(r"\./task bench (\w+)", source)
        assert (ROOT / (f"benchmarks/{command[1]}.py" if command else source)).exists(), name
