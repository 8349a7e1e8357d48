"""What docs/ tells of the outside world must be true: its programs run, and say what we say."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pages
import twinset

DOCS = pages.ROOT / "docs"


def blocks(page, kind):
    return [block.text for block in pages.blocks_of(DOCS / page) if block.kind == kind]


@pytest.fixture
def world(tmp_path_factory, fashion_mnist, command, monkeypatch, undrawn):
    place = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        place = place.parent
    world = pages.World(place / "world", fashion_mnist, command)
    world.settle(monkeypatch)
    return world


@pytest.mark.matrix
@pytest.mark.parametrize(
    "page",
    [page for page in pages.PAGES if not pages.tested_by(page) and pages.blocks_of(page)],
    ids=lambda page: str(page.relative_to(pages.ROOT)),
)
def test_the_blocks_of_a_page_run(page, world, command, tmp_path):
    with pages.reading(page, world, tmp_path, command) as reader:
        reader.read()


def test_what_other_tests_run_is_run_by_them():
    tests = "".join(path.read_text("utf-8") for path in Path(__file__).parent.rglob("test_*.py"))
    named = [pages.tested_by(page) for page in pages.PAGES]
    for page in pages.PAGES:
        notes = [block.note for block in pages.blocks_of(page)]
        named += [note.split()[-1] for note in notes if note.startswith("tested by ")]
    assert {name for name in named if name and f"def {name}(" not in tests} == set()


def test_only_what_is_not_ours_is_not_run():
    """`twinset`, Python and ./task run; what needs a cluster or another machine says so."""
    for page in pages.PAGES:
        for block in pages.blocks_of(page):
            # `py` is other people's Python, beside ours on the pages for who comes from there
            assert block.kind != "py" or page.parent.name == "coming-from", f"{page}:{block.line}"
            if block.note.startswith("not run: "):
                assert block.kind in pages.SHELL, f"{page}:{block.line}"
                assert block.note.startswith("not run: needs "), f"{page}:{block.line}"


def test_code_of_other_libraries_parses_and_is_none_of_ours():
    """It is marked `py`, as nothing runs it."""
    found = [(page, block) for page in pages.PAGES for block in pages.blocks_of(page)]
    theirs = [(page, block) for page, block in found if block.kind == "py"]
    assert theirs
    for page, block in theirs:
        assert page.parent.name == "coming-from", page
        assert "twinset" not in block.text
        ast.parse(block.text)


def test_the_program_without_twinset(fashion_mnist, tmp_path):
    from dataclasses import replace

    from twinset.decision import Calibrator

    (program,) = blocks("export.md", "python")
    assert "twinset" not in re.sub(r'\["twinset"\]', "", program)
    model = twinset.fit(fashion_mnist[0].subset(np.arange(2000)), epochs=2, progress=False)
    model = replace(model, calibrator=Calibrator(-3.0, 1.5))
    twinset.export(model, tmp_path / "exported")
    for right in (1, 23):
        verdict = model.compare(*fashion_mnist[1].images[[0, right]])
        for image, letter in zip(fashion_mnist[1].images[[0, right]], "ab", strict=True):
            Image.fromarray(image).save(tmp_path / f"{letter}.png")
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=tmp_path,
            check=True,
            capture_output=True,
            text=True,
        )
        word, distance, *_, probability = done.stdout.split()
        assert word == ("same" if verdict.same else "different")
        assert abs(float(distance) - verdict.distance) < 2e-4
        assert abs(float(probability) - verdict.probability) < 2e-3
        assert not done.stderr


def test_the_card_is_described_whole(tmp_path):
    import json

    pixels = np.stack([np.full((4, 4), 85 * i, np.uint8) for i in range(4)])
    images = twinset.LabelledImages(pixels, [0, 0, 1, 1], ("dark", "bright"))
    model = twinset.fit(images, epochs=1, encoder={"units": [4]}, progress=False)
    twinset.export(model, tmp_path)
    keys = set(json.loads((tmp_path / "card.json").read_text()))
    rows = re.findall(r"^\| (`.*?`) \|", (DOCS / "export.md").read_text("utf-8"), re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", " ".join(rows))) == keys


def test_the_networks_and_the_augmentation_are_described_whole():
    from twinset.recipe import ENCODERS, Recipe

    text = (DOCS / "encoders.md").read_text("utf-8")
    networks, augmentation = (
        set(re.findall(r"`([\w-]+)`", " ".join(re.findall(r"^\| (`.*?`) \|", part, re.MULTILINE))))
        for part in text.split("## Augmentation")
    )
    assert networks == set(ENCODERS.names())
    assert augmentation - {"augment"} == set(type(Recipe().augment).model_fields)


def test_the_losses_are_described_whole():
    from twinset.recipe import LOSSES

    text = (DOCS / "losses.md").read_text("utf-8")
    ours = {name for name in LOSSES.names() if LOSSES.load(name).__module__.startswith("twinset.")}
    assert set(re.findall(r"^### `(\w+)` ·", text, re.MULTILINE)) == ours


def test_a_loss_a_network_and_a_command_are_added_by_a_file_each(tmp_path):
    """Those of docs/contributing.md, dropped into a copy of the package."""
    copy = tmp_path / "src/twinset"
    shutil.copytree(Path(twinset.__file__).parent, copy, ignore=shutil.ignore_patterns("__*__"))
    loss, network, *_ = blocks("contributing.md", "python")
    (copy / "losses/cosine.py").write_text(loss, encoding="utf-8")
    (copy / "networks/linear.py").write_text(network, encoding="utf-8")
    (command,) = (each for each in blocks("contributing.md", "python") if "COMMANDS" in each)
    (copy / "cli/classes.py").write_text(command, encoding="utf-8")
    # as the command line does, Keras is imported without what it wraps, and looks for no garbage
    script = (
        "import gc, numpy as np, twinset\n"
        "from twinset.cli.arguments import choose_backend\n"
        "choose_backend(None)\n"
        "assert twinset.__file__.startswith(%r), twinset.__file__\n"
        "assert 'Cosine' in dir(twinset.losses)\n"
        "assert 'linear' in dir(twinset.networks)\n"
        "pixels = np.random.default_rng(0).integers(0, 255, (40, 4, 4), np.uint8)\n"
        "data = twinset.LabelledImages(pixels, [0, 1] * 20, ('a', 'b'))\n"
        "model = twinset.fit(data, 'fast', epochs=1, batch_size=20, progress=False,\n"
        "                    loss={'name': 'cosine', 'margin': 0.3},\n"
        "                    encoder={'name': 'linear', 'embedding': 4})\n"
        "print(model.recipe.loss.margin, model.dim)\n"
        "twinset.losses.Cosine(0.3)([0, 1], np.eye(2))\n"
        "model.save('run')\n"
        "from twinset.cli.app import run\n"
        "run(['classes', 'run'])\n"
        "gc.freeze()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script % str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(copy.parent)},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0.3", "4", "a", "b"]


def test_a_source_of_data_is_added_by_one_file(tmp_path):
    """That of docs/contributing.md, dropped into a copy of the package."""
    copy = tmp_path / "src/twinset"
    shutil.copytree(Path(twinset.__file__).parent, copy, ignore=shutil.ignore_patterns("__*__"))
    (program,) = (each for each in blocks("contributing.md", "python") if "stripes:" in each)
    (copy / "data/sources/stripes.py").write_text(program, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "twinset", "check", "stripes:20"],
        env=os.environ | {"PYTHONPATH": str(copy.parent)},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("stripes: 40 images of 16 × 16 in 2 classes")


def test_the_architecture_lists_the_rooms():
    """Each module and folder of the package, in the words of its own docstring."""
    rows = re.findall(
        r"^\| `([^`]+)` \| (.*) \|$", (DOCS / "architecture.md").read_text("utf-8"), re.MULTILINE
    )
    source = Path(twinset.__file__).parent
    real = {}
    for path in source.iterdir():
        if path.suffix == ".py" and not path.name.startswith("__"):
            real[path.name] = path
        elif (path / "__init__.py").exists():
            real[f"{path.name}/"] = path / "__init__.py"
    assert dict(rows) == {
        name: ast.get_docstring(ast.parse(path.read_text("utf-8"))).splitlines()[0]
        for name, path in real.items()
    }


def test_the_table_of_pairs_and_the_program_of_pairs(tmp_path):
    from twinset.data.pair_tables import read_pair_table

    (table, *_), (program,) = blocks("pairs.md", ""), blocks("pairs.md", "python")
    (tmp_path / "pairs.csv").write_text(table, encoding="utf-8")
    found = read_pair_table(tmp_path / "pairs.csv")
    assert (found.same.tolist(), found.groups) == ([1, 0], ["Ann", "Ann"])
    pixels = np.stack([np.full((4, 4), 8 * i, np.uint8) for i in range(24)])
    others = (
        twinset.LabelledImages(pixels[k:], judged=twinset.Pairs([0, 1, 0], [1, 2, 9], [1, 1, 0]))
        for k in (4, 8)
    )
    known = dict(zip(("other_images", "test_images"), others, strict=True), twinset=twinset)
    program = program.replace('run = twinset.train(pairs="pairs.csv")', "")
    exec(
        program.replace("...", "given").replace('"tutorial"', '"tutorial", epochs=1'),
        known | {"given": pixels[:4]},
    )


def test_the_program_of_processes(tmp_path, monkeypatch):
    """As the only process, which need not meet others; two are in tests/training."""
    (program,) = blocks("processes.md", "python")
    random = np.random.default_rng(0)
    for kind in "ab":
        (tmp_path / "photos" / kind).mkdir(parents=True)
        for i in range(4):
            pixels = random.integers(0, 256, (8, 8), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / kind / f"{i}.png")
    monkeypatch.setattr(sys, "argv", ["train.py", "0", "1"])
    exec(program, {})
    assert twinset.load_model(tmp_path / "together")
