"""One small trained model, an index of files, and a real server on loopback, for all tests here."""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import twinset
from serving import running

TOKEN = "a-token-for-the-tests"
COLOURS = ("red", "green", "blue", "gray")


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def picture(row, size=12):
    """The picture of an item: the colour of its class in a noise of its own."""
    rng = np.random.default_rng(row)
    pixels = rng.integers(0, 90, (size, size, 3), dtype=np.uint8)
    kind = row % len(COLOURS)
    pixels[..., kind if kind < 3 else slice(None)] += 120
    return pixels


def _made(folder):
    """Train, calibrate, export; write 48 files with a table, and an index of them."""
    labels = np.arange(48) % len(COLOURS)
    pixels = np.stack([picture(row) for row in range(96)])
    train = twinset.LabelledImages(pixels[48:], labels, COLOURS, "colours")
    others = twinset.LabelledImages(pixels[:48], labels, COLOURS, "others")
    model = twinset.fit(train, epochs=3, encoder={"units": [8]}, progress=False)
    model.calibrate(others, rule="EER").save(folder / "run")
    twinset.export(folder / "run")
    (folder / "run" / "report.html").write_text("<!doctype html><title>Report</title>", "utf-8")
    # another model, to switch to
    second = twinset.fit(train, epochs=1, encoder={"units": [6]}, progress=False)
    second.save(folder / "second")
    twinset.export(folder / "second")
    (folder / "photos").mkdir()
    with (folder / "items.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["id", "path", "label", "price"])
        for row in range(48):
            name = f"{row:02}.png"
            (folder / "photos" / name).write_bytes(png(pixels[row]))
            table.writerow([f"items/{row:02}", f"photos/{name}", COLOURS[labels[row]], row])
    twinset.Index.build(
        twinset.load_model(folder / "run"), folder / "items.csv", folder / "photos.index"
    ).close()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    """Keep what servers keep, such as maps, out of the user's cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="session")
def home(once, tmp_path_factory):
    """A folder with `run` (a model of 12 x 12 colour images), `second` (another), `items.csv`,
    `photos/`, `photos.index` (48 items: id items/00 to items/47, label, price 0 to 47). Nobody
    changes it.
    """
    shared = Path(once("served", lambda: _home(tmp_path_factory.mktemp("served"))))
    return shared


def _home(folder):
    _made(folder)
    return str(folder)


@pytest.fixture
def own(home, tmp_path):
    """A copy of `home` that a test may change."""
    return Path(shutil.copytree(home, tmp_path / "home"))


@pytest.fixture(scope="session")
def server(home):
    """A server that nobody changes: `.http` is a client of it, `.url`, `.service`."""
    with running(home) as one:
        yield one


@pytest.fixture
def writable(own):
    """A server of one's own that takes changes with TOKEN, which its client brings."""
    with running(own, token=TOKEN) as one:
        one.http.headers["Authorization"] = f"Bearer {TOKEN}"
        yield one


@pytest.fixture
def start():
    """`start(folder, token=…)`: a server of a folder such as `home`, as a context."""
    return running
