"""The README must be true: its Python, its commands, its links; and the links of all pages."""

import doctest
import re
from pathlib import Path

import numpy as np
import pytest

import twinset

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(kind):
    return re.findall(rf"^```{kind}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def test_it_is_short():
    assert len(README.splitlines()) <= 150


def test_the_python_says_what_it_says(monkeypatch, fashion_mnist):
    """As written, but trained on a twentieth of the data for two epochs."""
    train, test = fashion_mnist
    fit, few = twinset.fit, train.subset(np.arange(3000))
    monkeypatch.setattr(twinset, "load_fashion_mnist", lambda: (few, test))
    monkeypatch.setattr(
        twinset, "fit", lambda data, recipe: fit(data, recipe, epochs=2, progress=False)
    )
    (program,) = blocks("python")
    assert sum(line.startswith(">>> ") for line in program.splitlines()) == 6
    parsed = doctest.DocTestParser().get_doctest(program, {}, "README.md", "README.md", 0)
    wrong = []
    doctest.DocTestRunner().run(parsed, out=wrong.append)
    assert not wrong, "".join(wrong)


def test_the_two_commands_of_a_fresh_clone_are_there():
    commands = "".join(blocks("console"))
    assert "$ ./task tutorial\n" in commands
    assert "$ ./task test\n" in commands


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_the_picture_is_small():
    assert (ROOT / "docs/pictures/evaluation.png").stat().st_size < 300_000
