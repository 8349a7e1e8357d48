"""The pages of the documentation as programs: their blocks of code run in a little world.

A page's blocks run in order in one folder, on small data of the kinds that people have. What a
page needs beside is told in comments, which no reader sees:

    <!-- given: runs/photos photos.index -->    made things of `MADE` that the page begins with
    <!-- python                                 a hidden block, which runs in its place
    -->
    <!-- exits with 1 -->                       before a block: how its last command ends
    <!-- tested by NAME -->                     before a block: a test of that name runs it
    <!-- blocks tested by NAME -->              the same of a whole page
    <!-- not run: REASON -->                    before a block of programs that are not ours
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import doctest
import json
import os
import re
import shlex
import shutil
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from twinset.cli.app import arguments_of

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / "README.md", ROOT / "CONTRIBUTING.md"),
    *sorted((ROOT / "docs").rglob("*.md")),
]
SHELL = ("console", "sh", "bash")
SERVED = "http://127.0.0.1:8000"  # where the pages say that the server is
_BLOCK = re.compile(
    r"^(?:<!-- (?P<note>[^\n]*?) -->\n)?(?P<indent> *)```(?P<kind>[^\n`]*)\n(?P<text>.*?)^ *```$"
    r"|^<!-- python\n(?P<hidden>.*?)^-->$",
    re.DOTALL | re.MULTILINE,
)

# What a page may begin with: each is made once, by a command that pages show.
MADE = {
    "runs/first": "twinset train fashion-mnist --recipe fast --out runs/first",
    "runs/second": "twinset train photos/ --recipe fast --out runs/second",
    "runs/photos": "twinset train photos/ --out runs/photos",
    "runs/pairs": "twinset train --pairs pairs.csv --out runs/pairs",
    "photos.index": "twinset index runs/photos photos/ --out photos.index",
    "people.index": "twinset index runs/photos people/ --out people.index --identity label",
    "people-by-shape.index": "twinset index runs/second people/ --out people-by-shape.index",
    "vectors.parquet": "twinset embed runs/photos photos/ --out vectors.parquet",
}
_NEEDS = dict.fromkeys(("photos.index", "people.index", "vectors.parquet"), "runs/photos")
_NEEDS["people-by-shape.index"] = "runs/second"


@dataclass(frozen=True)
class Block:
    """A block of code of a page, and what a comment before it says of it."""

    kind: str
    text: str
    line: int
    note: str = ""

    def commands(self):
        """The commands of a shell block, each in one line."""
        lines = self.text.replace("\\\n", " ").splitlines()
        if self.kind == "console":
            lines = [line[2:] for line in lines if line.startswith("$ ")]
        return [line for line in lines if shlex.split(line, comments=True)]


def blocks_of(page):
    """The blocks of a page in order; its hidden ones are of the kind python."""
    text = page.read_text("utf-8")
    found = []
    for match in _BLOCK.finditer(text):
        start = match.start("hidden" if match["hidden"] is not None else "text")
        line = text.count("\n", 0, start)
        if match["hidden"] is not None:
            found.append(Block("python", match["hidden"], line))
        else:
            code = re.sub(rf"^{match['indent']}", "", match["text"], flags=re.MULTILINE)
            found.append(Block(match["kind"].strip(), code, line, match["note"] or ""))
    return found


def tested_by(page):
    """The test that runs all blocks of a page, or None."""
    found = re.search(r"^<!-- blocks tested by (\w+) -->$", page.read_text("utf-8"), re.MULTILINE)
    return found and found[1]


# --- the world


def write_world(folder):
    """Write small data of every kind that the pages speak of."""
    rng = np.random.default_rng(0)

    def picture(path, base, scale=4):
        cells = np.kron(
            np.clip(base + rng.normal(0, 20, base.shape), 0, 255), np.ones((scale, scale, 1))
        )
        path = folder / path
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(
            np.clip(cells + rng.normal(0, 5, cells.shape), 0, 255).astype(np.uint8)
        ).save(path)

    def thing():
        return rng.integers(40, 216, (4, 4, 3)).astype(float)

    shoe = None
    for name in ("bag", "boot", "cup", "hat", "lamp", "shoe"):
        shoe = thing()
        for i in range(20):
            picture(f"photos/{name}/{i}.png", shoe)
        for i in range(20, 22):
            picture(f"new-photos/{name}/{i}.png", shoe)
    for name in ("a.png", "b.png", "query.png", "photo.jpg", "a.jpg", "b.jpg"):
        picture(name, shoe)
    picture("new.png", thing())
    shutil.copy(folder / "photos/cup/0.png", folder / "photos/cup/copy.png")
    visitor = None
    for k in range(1, 11):
        visitor = thing()
        for i in range(4):
            picture(f"people/person {k:03}/{i}.jpg", visitor)
    for i in (8, 9, 10):
        picture(f"visit/{i}.jpg", visitor)
    rows = []
    for person in ("Ann", "Ben", "Cid", "Dot", "Eve", "Flo", "Gus", "Hal"):
        genuine = thing()
        for i in range(4):
            picture(f"scans/{person}/{i}.png", genuine)
        for i in range(2):
            picture(f"scans/{person}/forged {i}.png", genuine + rng.normal(0, 60, genuine.shape))
        own = f"scans/{person}"
        rows += [
            (f"{own}/{i}.png", f"{own}/{j}.png", 1, person) for i in range(4) for j in range(i)
        ]
        rows += [
            (f"{own}/{i}.png", f"{own}/forged {j}.png", 0, person)
            for i in range(4)
            for j in range(2)
        ]
    named = ("left", "right", "same", "group", "price_gap")
    rows = [(*row, round(10 * rng.random(), 2)) for row in rows]
    _table(folder / "pairs.csv", named, rows)
    _table(folder / "others.csv", named, rows[::3])
    files = [f"photos/{name}/{i}.png" for name in ("bag", "boot", "cup", "hat") for i in range(8)]
    judged = [
        (a, b, int(Path(a).parent == Path(b).parent), 10 * rng.random())
        for n, a in enumerate(files)
        for b in (files[n - 1], files[n - 8])
    ]
    _table(folder / "judged.csv", ("left", "right", "same", "price_gap"), judged)
    decided = [
        ("bag/0.png", "bag/1.png", 1),
        ("bag/0.png", "hat/1.png", 0),
        ("cup/1.png", "cup/2.png", ""),
    ]
    _table(folder / "decisions.csv", ("left", "right", "same"), decided)
    _table(
        folder / "own.csv",
        ("photo", "person", "place", "price"),
        [
            (f"photos/{n}/{i}.png", n, f"site {i % 4}", 5 + i)
            for n in ("bag", "cup", "hat")
            for i in range(8)
        ],
    )
    labels = np.repeat(np.arange(24), 4)
    vectors = (rng.normal(size=(24, 8))[labels] + rng.normal(0, 0.3, (96, 8))).astype(np.float32)
    np.savez(
        folder / "features.npz", embedding=vectors, label=np.array([f"thing {k}" for k in labels])
    )
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(
        pyarrow.table({"embedding": list(vectors), "label": [f"thing {k}" for k in labels]}),
        folder / "features.parquet",
    )


def _table(path, names, rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([names, *rows])


def _idx(path, array):
    sizes = np.array(array.shape, ">i4").tobytes()
    path.write_bytes(bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes())


class World:
    """The data, and what is made of it, once for all workers of the tests."""

    def __init__(self, place, fashion_mnist, command):
        self.place, self.command = place, command
        with FileLock(place.with_suffix(".lock")):
            if not place.exists():
                new = place.with_suffix(".new")
                shutil.rmtree(new, ignore_errors=True)
                write_world_folder(new, fashion_mnist)
                new.rename(place)

    def settle(self, monkeypatch):
        """Find a few images of Fashion-MNIST, and the caches that all pages share."""
        import hashlib

        from twinset.data.sources import fashion_mnist as source

        monkeypatch.setenv("TWINSET_DATA", str(self.place / "fashion"))
        monkeypatch.setenv("XDG_CACHE_HOME", str(self.place / "cache"))
        files = [
            file._replace(
                sha256=hashlib.sha256((self.place / "fashion" / file.name).read_bytes()).hexdigest()
            )
            for file in source.FILES
        ]
        monkeypatch.setattr(source, "FILES", tuple(files))

    def give(self, folder, names=()):
        """Copy the data to a page's folder, and made things."""
        shutil.copytree(self.place / "data", folder, dirs_exist_ok=True)
        for name in names:
            if name in _NEEDS:
                self.made(MADE[_NEEDS[name]], folder)
            self.made(MADE[name], folder)

    def made(self, line, folder):
        """Have in a folder what a command makes of the data alone; it runs once for all pages."""
        words = shlex.split(line)
        target = Path(words[words.index("--out") + 1])
        kept = self.place / "made" / re.sub(r"\W+", "-", line)
        with FileLock(f"{kept}.lock"):
            if not kept.exists():
                self.command(*_quick(words[1:]))
                kept.parent.mkdir(exist_ok=True)
                copy = shutil.copytree if (folder / target).is_dir() else shutil.copyfile
                copy(folder / target, kept)
        if kept.is_dir():
            shutil.copytree(kept, folder / target, dirs_exist_ok=True)
        else:
            shutil.copyfile(kept, folder / target)


def write_world_folder(folder, fashion_mnist):
    """Write the data, and a few images of Fashion-MNIST as its files are."""
    for name in ("data", "fashion", "made", "cache"):
        (folder / name).mkdir(parents=True)
    write_world(folder / "data")
    for part, name, count in zip(fashion_mnist, ("train", "t10k"), (1000, 300), strict=True):
        few = part.subset(np.arange(count))
        _idx(folder / f"fashion/{name}-labels-idx1-ubyte", np.asarray(few.labels))
        _idx(folder / f"fashion/{name}-images-idx3-ubyte", np.asarray(few.images))


def _quick(words):
    """A training of one or two epochs, where a recipe is named that has any."""
    if words[0] != "train" or "--recipe" not in words or "epochs" in " ".join(words):
        return words
    return [*words, "--set", "epochs=2"]


# --- a page


class Reader:
    """Somebody who does what a page says, from top to bottom."""

    def __init__(self, page, world, folder, command, stack):
        self.page, self.world, self.folder = page, world, folder
        self.command, self.server = command, stack.enter_context(contextlib.ExitStack())
        self.addresses = {}  # of a page, and what is there instead
        # for hidden blocks; a page knows nothing of them
        self.names = {"__name__": "__main__", "addresses": self.addresses, "stack": stack}
        self.names["monkeypatch"] = stack.enter_context(pytest.MonkeyPatch.context())

    def read(self):
        """Run all blocks that no other test runs."""
        given = re.search(r"^<!-- given: (.*) -->$", self.page.read_text("utf-8"), re.MULTILINE)
        self.world.give(self.folder, given[1].split() if given else ())
        for block in blocks_of(self.page):
            if not block.note.startswith("tested by "):
                self.block(block)

    def block(self, block):
        """Run one block."""
        text = self.there(block.text)
        if block.kind == "python" and ">>> " in text:
            place = str(self.page)
            test = doctest.DocTestParser().get_doctest(text, self.names, place, place, block.line)
            said = []
            doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(
                test, said.append, clear_globs=False
            )
            self.names.update(test.globs)
            assert not said, "".join(said)
        elif block.kind == "python":
            # blank lines before it, so that a traceback names the line of the page
            exec(compile("\n" * block.line + text, str(self.page), "exec"), self.names)
        elif block.kind in SHELL:
            expected = re.fullmatch(r"exits with (\d+)", block.note)
            lines = block.commands()
            for line in lines:
                code = int(expected[1]) if expected and line == lines[-1] else 0
                self.line(line, block, code)
        elif block.kind in READERS:
            READERS[block.kind](text)

    def line(self, line, block, code):
        """Run one command, or see that there is such a one."""
        words = shlex.split(self.there(line), comments=True)
        where = f"{self.page.name}:{block.line}: {line}"
        if words[0] == "twinset" and len(words) > 1 and not words[1].startswith("-"):
            parsed = arguments_of(words[1]).parser.parse_intermixed_args(words[2:])
            if block.note.startswith("not run: "):
                return
            if words[1] == "serve":
                self.serve(parsed)
            elif words[1] == "train" and "--out" in words and line.strip() in MADE.values():
                self.world.made(line.strip(), self.folder)
            else:
                done = self.command(*_quick(self.wide(words[1:])))
                assert done.code == code, f"{where} ended with {done.code}\n{done.out}\n{done.err}"
        elif words[0] == "./task":
            assert f"    {words[1]})" in (ROOT / "task").read_text("utf-8"), where
        elif words[:2] == ["pip", "install"]:
            assert_extras(line)
        elif words[0] == "curl":
            self.curl(words[1:])
        elif words[0] == "export":
            name = words[1].split("=")[0]
            done = subprocess.run(
                ["sh", "-c", f'{line}; printf %s "${name}"'],
                capture_output=True,
                text=True,
                check=True,
            )
            os.environ[name] = done.stdout
        else:
            assert block.note.startswith("not run: "), f"{where}: nothing runs this"

    def there(self, text):
        """The text with the addresses of what really is there."""
        for address, real in self.addresses.items():
            text = text.replace(address, real)
        return text

    def wide(self, words):
        """What a shell does with * and $."""
        found = []
        for word in map(os.path.expandvars, words):
            here = "*" in word and "=" not in word
            found += sorted(map(str, Path().glob(word)), key=len) if here else [word]
        return found

    def serve(self, args):
        """Serve in this process, at a port of its own."""
        from twinset.server.opening import open_service
        from twinset.server.running import in_background

        token = os.environ.get("TWINSET_TOKEN")
        self.server.close()
        service = open_service(args.run, args.index, token=token)
        self.addresses[SERVED] = self.server.enter_context(in_background(service))

    def curl(self, words):
        """Ask as curl does, and be answered."""
        parser = argparse.ArgumentParser()
        parser.add_argument("-F", action="append", default=[])
        parser.add_argument("-H", action="append", default=[])
        parser.add_argument("--data-binary")
        parser.add_argument("url")
        asked = parser.parse_args(os.path.expandvars(word) for word in words)
        fields = [each.split("=", 1) for each in asked.F]
        files = [
            (name, (Path(v[1:]).name, Path(v[1:]).read_bytes()))
            for name, v in fields
            if v[0] == "@"
        ]
        data = {name: value for name, value in fields if value[0] != "@"}
        body = Path(asked.data_binary[1:]).read_bytes() if asked.data_binary else None
        headers = dict(each.split(": ", 1) for each in asked.H)
        sent = {"content": body} if body else {"files": files, "data": data} if fields else {}
        method = "POST" if sent else "GET"
        answer = httpx.request(method, asked.url, headers=headers, timeout=60, **sent)
        assert answer.is_success, f"{asked.url}: {answer.text}"


def assert_extras(line):
    """See that what `pip install` asks for of twinset exists."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    for names in re.findall(r"(?:twinset|\.)\[([\w,]+)\]", line):
        assert set(names.split(",")) <= set(project["project"]["optional-dependencies"]), line
    for name in re.findall(r"--group (\w+)", line):
        assert name in project["dependency-groups"], line


READERS = {"json": json.loads, "toml": tomllib.loads}


@contextlib.contextmanager
def reading(page, world, folder, command):
    """A reader whose server and environment are gone afterwards."""
    before = dict(os.environ)
    with contextlib.ExitStack() as stack:
        try:
            yield Reader(page, world, folder, command, stack)
        finally:
            os.environ.clear()
            os.environ.update(before)
