"""The tutorial: its cells run, its languages agree, and its notebooks hold what its pages do."""

import ast
import json
import re
import runpy
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

import twinset

ROOT = Path(__file__).parents[1]
making = runpy.run_path(str(ROOT / "docs/tutorial/notebooks.py"))
LANGUAGES = ("en", "fr")


def page_of(language):
    return making["page_of"](language).read_text("utf-8")


def cells_of(language):
    return making["cells_of"](page_of(language))


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_tutorial_runs(language, monkeypatch, capsys, fashion_mnist):
    """All cells, in order, on few images for one epoch; a cell prints where its page says so."""
    train, test = fashion_mnist
    few = train, test.subset(np.arange(400))
    monkeypatch.setattr(twinset, "load_fashion_mnist", lambda progress: few)
    monkeypatch.setattr(plt, "show", plt.close)
    # in 300 images every class has at least two
    first, *rest = [cell for cell in cells_of(language) if cell.code]
    assert first.code == "IMAGES, EPOCHS = 60_000, 20\n"
    names = {"IMAGES": 300, "EPOCHS": 1}
    for cell in rest:
        exec(compile(cell.code, f"{language}.md", "exec"), names)
        assert bool(capsys.readouterr().out) == (cell.printed is not None), cell.code
    assert names["again"].threshold == names["calibrated"].threshold


def test_both_languages_run_the_same_code():
    """But for comments and for what is printed."""

    def plain(cell):
        tree = ast.parse(cell.code)
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                node.value = ""
        return ast.dump(tree)

    english, french = ([plain(c) for c in cells_of(each) if c.code] for each in LANGUAGES)
    assert english == french


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_notebook_is_its_page(language):
    """The same text and code, what the page says was printed, and the picture that it shows."""
    folder = ROOT / "docs/tutorial"
    text = (folder / making["NOTEBOOKS"][language]).read_text("utf-8")
    assert not re.search(r"/(root|home|Users|tmp|work)/", text)
    expected, found = [], []
    for cell in cells_of(language):
        picture = (folder / cell.picture).read_bytes() if cell.picture else None
        source = cell.code.rstrip() or cell.text
        expected.append((source, cell.printed or "", picture))
    for cell in json.loads(text)["cells"]:
        outputs = [
            {**output, "text": "".join(output.get("text", ""))}
            for output in cell.get("outputs", ())
        ]
        found.append(("".join(cell["source"]), *making["said"](outputs)))
    assert expected == found


def test_french_is_set_as_french_is():
    """No break before the marks of two parts, and inside quotation marks."""
    prose = re.sub(
        r"```.*?```|`[^`\n]*`|<!--.*?-->|^\|[-|]+\|$", "", page_of("fr"), flags=re.S | re.M
    )
    assert not re.findall(r".* [:;?!»%].*|.*« .*|.*\w'\w.*", prose)
    assert page_of("fr").startswith("---\nlang: fr\n---\n")


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_function_of_the_tutorial_has_its_place(language):
    places = re.findall(
        r"^\| `.*?` .*?\| `(\S+\.py)`\s?: `(\w+)` \|", page_of(language), re.MULTILINE
    )
    assert len(places) == 10
    for path, name in places:
        source = (Path(twinset.__file__).parent / path).read_text("utf-8")
        assert re.search(rf"^(def|class) {name}\b", source, re.MULTILINE), (path, name)


def test_the_glossaries_are_one():
    """Each term stands in both, the other way round."""

    def terms(language):
        glossary = page_of(language).split("\n## Gloss")[1]
        return re.findall(r"^\| (.*?) \| (.*?) \|", glossary, re.MULTILINE)[1:]

    assert [pair[::-1] for pair in terms("fr")] == terms("en")
