"""The README must be true: its Python runs, its commands exist, its drawing is the tree."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import twinset
from twinset.cli.app import arguments_of

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def _blocks(kind):
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    return [text for name, text in fenced if name == kind]


def test_the_python_runs(monkeypatch, fashion_mnist):
    """As written, but on a hundredth of the data and one epoch."""
    few = [
        part.subset(np.concatenate([np.flatnonzero(part.labels == k)[:30] for k in range(10)]))
        for part in fashion_mnist
    ]
    names = {"twinset": twinset}
    monkeypatch.setattr(twinset, "load_fashion_mnist", lambda: few)
    for i, (image, label) in enumerate(zip(few[0].images, few[0].labels, strict=True)):
        place = Path("photos", str(label))
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{i}.png")
    monkeypatch.setenv("XDG_CACHE_HOME", str(Path("cache").absolute()))
    code = "\n".join(_blocks("python")).replace("epochs=20", "epochs=1, verbose=0")
    for recipe in ("tutorial", "fast"):
        code = code.replace(f'recipe="{recipe}"', f'recipe="{recipe}", epochs=1')
    exec(code, names)
    assert len(names["pairs"]) == 2 * 10 * 29
    assert Path("runs/mine/model.json").is_file()


COMMANDS = [
    line[2:] for block in _blocks("console") for line in block.splitlines() if line[:2] == "$ "
]


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("twinset")])
def test_the_commands_exist(line):
    """Each option that the README shows is one that the command knows."""
    words = shlex.split(line)
    text = arguments_of(words[1]).parser.format_help()
    for word in words[2:]:
        if word.startswith("--"):
            assert word in text, line


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("./task")])
def test_the_tasks_exist(line):
    assert f"    {line.split()[1]})" in (ROOT / "task").read_text()


def test_the_drawing_is_the_tree():
    """Every module of every room that is drawn open, and every room; closed ones by name alone."""
    drawing = next(block for block in _blocks("") if "├" in block)
    source = ROOT / "src" / "twinset"
    drawn, path = set(), []
    for line in drawing.splitlines()[1:]:
        name = line.lstrip("│├└─ ").split()[0]
        depth = (len(line) - len(line.lstrip("│├└─ "))) // 4 - 1
        path = [*path[:depth], name.rstrip("/")]
        drawn.add("/".join(path))
    rooms = {room for room in drawn if (source / room).is_dir()}
    opened = {""} | {room for room in rooms if any(name.startswith(f"{room}/") for name in drawn)}
    real = {
        path.relative_to(source).as_posix()
        for room in opened
        for path in (source / room).iterdir()
        if (path.suffix == ".py" and not path.name.startswith("__")) or path.is_dir()
        if path.name != "__pycache__"
    }
    assert drawn == real | {"__init__.py"}


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
