"""Whatever is odd about the machine: a result, or one sentence that helps; never a traceback.

Each row is a script of the shell in a folder with `photos/`, `run/` and `photos.index`. `$T` is
the command `twinset`, and `$LOCKED` runs one that rights of files hold for, though root starts it.
"""

import asyncio
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import twinset
from twinset.exporters.export import export
from twinset.search.indexing import index_images

pytestmark = [
    pytest.mark.matrix,
    pytest.mark.skipif(sys.platform != "linux", reason="scripts of a Linux shell"),
]

# Root may write everywhere, until it starts a program without CAP_DAC_OVERRIDE and its like.
LOCKED = """\
import ctypes, os, sys
for right in (1, 2, 3):
    ctypes.CDLL(None).prctl(24, right, 0, 0, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""
FIT, SAME = "Fit for training", "same: distance"
COMPARE = "compare run photos/dark/0.png photos/dark/1.png"
SEARCH = "search photos.index photos/dark/0.png -k 1"
GONE = "mkdir gone; cd gone; rmdir ../gone; "
LONG = "y" * 300

# name: (script, exit code, words that are said)
CASES = {
    # homes and folders for what can be made again
    "home that cannot be made": (
        "unset XDG_CACHE_HOME; HOME=$PWD/locked/none TMPDIR=$OUT $LOCKED $T check photos; "
        "ls $OUT/twinset",
        0,
        "images",
    ),
    "home that is no folder": (f"HOME=/dev/null $T {COMPARE}", 0, SAME),
    "no home": (f"unset HOME XDG_CACHE_HOME; $T {COMPARE}", 0, SAME),
    "home that cannot be written": (
        "unset XDG_CACHE_HOME; HOME=$PWD/locked TMPDIR=$OUT $LOCKED "
        f"$T {SEARCH} --picture $OUT/p.png",
        0,
        "dark/0.png",
    ),
    "cache that cannot be made": (
        "XDG_CACHE_HOME=/dev/null $T check photos",
        2,
        "set XDG_CACHE_HOME to a folder that can",
    ),
    "relative cache": ("XDG_CACHE_HOME=here $T check photos; ls here", 2, "ls: "),
    "no folder for temporary files": (f"TMPDIR=/nonexistent $T {COMPARE}", 0, SAME),
    "limit of the cache in words": ("TWINSET_CACHE_GB=many $T check photos", 0, FIT),
    "folder of fonts is a file": (
        f"MPLCONFIGDIR=/dev/null $T {SEARCH} --picture p.png",
        0,
        "dark/0.png",
    ),
    # outputs that cannot be written: judged before the work, named as they were asked for
    "run in a locked folder": (
        "$LOCKED $T train photos --out locked/run",
        2,
        "locked/run: expected a folder to write",
    ),
    "index in a locked folder": (
        "$LOCKED $T index run photos --out locked/w",
        2,
        "locked/w: the index may not be",
    ),
    "embeddings in a locked folder": (
        "$LOCKED $T embed run photos --out locked/x.parquet",
        2,
        "written in",
    ),
    "pictures of a check in a locked folder": (
        "$LOCKED $T check photos --pictures locked/p",
        2,
        "locked/p: nothing may be written in",
    ),
    "picture of a search in a locked folder": (
        f"$LOCKED $T {SEARCH} --picture locked/p.png",
        2,
        "locked/p.png: nothing may be written",
    ),
    "review in a locked folder": (
        "$LOCKED $T review photos.index --out locked/r",
        2,
        "locked/r: nothing may be written",
    ),
    "plan in a locked folder": (
        "$LOCKED $T duplicates photos.index --plan locked/p.sh",
        2,
        "locked/p.sh: nothing may",
    ),
    "decisions in a locked folder": (
        "$LOCKED $T decisions photos.index --csv locked/d.csv",
        2,
        "locked/d.csv: nothing may",
    ),
    "export to a locked folder": (
        "$LOCKED $T export run --out locked/e",
        2,
        "nothing may be written in",
    ),
    "output below a file": (f"$T {SEARCH} --picture run/model.json/p.png", 2, "is no folder"),
    "evaluation of a locked run": (
        "chmod 555 run; $LOCKED $T evaluate run",
        2,
        "run/evaluation.json: nothing may be written",
    ),
    "name that is too long": (f"$T {SEARCH} --picture {LONG}.png", 2, "File name too long"),
    "data of too long a name": (f"$T check {LONG}", 2, "File name too long"),
    # what can only be read
    "locked index is searched": (
        f"chmod -R a-w photos.index; $LOCKED $T {SEARCH}",
        0,
        "dark/0.png",
    ),
    "locked index is described": (
        "chmod -R a-w photos.index; $LOCKED $T inspect photos.index",
        0,
        "12 items",
    ),
    "locked index is not added to": (
        "chmod -R a-w photos.index; $LOCKED $T index run photos --out photos.index",
        2,
        "To change it takes the right to write to its folder",
    ),
    "locked index is not removed from": (
        "chmod -R a-w photos.index; $LOCKED $T remove photos.index dark/0.png",
        2,
        "To change it takes the right to write to its folder",
    ),
    "locked run compares": (f"chmod -R a-w run; $LOCKED $T {COMPARE}", 0, SAME),
    "folder that cannot be read": (
        "chmod 0 photos; $LOCKED $T check photos",
        2,
        "photos: expected a folder that may be read.",
    ),
    "class that cannot be read": (
        "chmod 0 photos/dark; $LOCKED $T check photos",
        1,
        "dark: cannot be read: Permission denied",
    ),
    "card that cannot be read": (
        f"chmod 0 run/model.json; $LOCKED $T {COMPARE}",
        2,
        "run/model.json: expected the card of a model. Permission denied.",
    ),
    "index that cannot be read": (
        f"chmod 0 photos.index; $LOCKED $T {SEARCH}",
        2,
        "Permission denied",
    ),
    # a full disk, as a limit on the size of files
    "no room for the cache": (
        "ulimit -f 0; XDG_CACHE_HOME=$PWD/c $T check photos",
        2,
        "File too large: set XDG_CACHE",
    ),
    "no room for an index": (
        "ulimit -f 0; $T index run photos --out w",
        2,
        "w: the index could not be read or written",
    ),
    "no room for embeddings": (
        "ulimit -f 0; $T embed run photos --out v.parquet",
        2,
        "v.parquet: expected room",
    ),
    "no room for answers": ("$T inspect photos.index >/dev/full", 2, "No space left on device"),
    # languages and terminals
    "locale C without UTF-8": (
        "mv run é; mv photos ü; LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 "
        "$T compare é ü/dark/0.png ü/dark/1.png",
        0,
        SAME,
    ),
    "locale that is not installed": (f"LC_ALL=tr_TR.UTF-8 $T {COMPARE}", 0, SAME),
    "terminal of one column": (f"COLUMNS=1 TERM=dumb $T {COMPARE}", 0, SAME),
    "terminal of no columns": (f"COLUMNS=0 NO_COLOR=1 $T {SEARCH}", 0, "dark/0.png"),
    "encoding of the output": (f"PYTHONIOENCODING=ascii $T {COMPARE}", 0, SAME),
    # streams
    "stdin closed": (f"$T {COMPARE} <&-", 0, SAME),
    "stdout closed": (f"$T {COMPARE} >&-", 0, ""),
    "stderr closed": (f"$T {COMPARE} 2>&-", 0, SAME),
    "all closed": (f"$T {COMPARE} <&- >&- 2>&-", 0, ""),
    "pipe that breaks": (f"{{ $T {SEARCH}; echo $? >code; }} | :; cat code", 0, "1"),
    "pipe of progress that breaks": (
        "{ $T index run photos --out w; echo $? >code; } 2>&1 | :; cat code",
        0,
        "1",
    ),
    # places
    "folder that was removed": (f"{GONE}$T check $OLDPWD/photos", 0, FIT),
    "nothing in a folder that was removed": (f"{GONE}$T check photos", 2, "no such file or folder"),
    "spaces and quotes": (
        """mv photos "a 'b\\" c"; $T index run "a 'b\\" c" --out "w 'x"; $T inspect "w 'x\"""",
        0,
        "12 items",
    ),
    "percent signs": ("mv photos 100%s; $T index run 100%s --out %d.index", 0, "12 added"),
    "accents": ("mv photos Été; $T index run Été --out été.index", 0, "été.index: 12 items"),
    "new line in a name": (
        'N=\'new\nline\'; mv photos "$N"; $T check "$N"',
        0,
        "new\\x0aline: 12 images",
    ),
    "codes for the terminal in a name": (
        'N=$(printf \'a\\033[31mb\'); mv run "$N"; $T index "$N" photos --out "$N.w"',
        0,
        "a\\x1b[31mb.w: 12 items",
    ),
    "markup in a name": ("mv photos '[b]'; $T check '[b]'", 0, "[b]: 12 images"),
    "letters of no encoding": (
        "N=$(printf 'a\\377'); mv run $N; $T compare $N photos/dark/0.png photos/dark/1.png",
        0,
        SAME,
    ),
    "links in a circle": (
        "ln -s .. photos/dark/up; ln -s x photos/dark/x.png; $T check photos",
        0,
        FIT,
    ),
    "what systems leave behind": (
        "cd photos; touch .DS_Store Thumbs.db dark/desktop.ini dark/._0.png; mkdir .git empty "
        "__MACOSX; touch __MACOSX/x.png; cd ..; $T check photos",
        0,
        "12 images of 8",
    ),
    "one class": ("rm -r photos/dark; $T check photos", 1, "class"),
    "names that differ by their case": (
        "cp photos/dark/0.png photos/dark/A.png; cp photos/dark/1.png photos/dark/a.PNG; "
        "$T index run photos --out w",
        0,
        "14 items",
    ),
    # Python's and its libraries' own settings
    "optimised": ("$PY -O -m twinset check photos", 0, FIT),
    "without docstrings": ("$PY -OO -m twinset --help", 0, "usage: twinset COMMAND"),
    "warnings are errors": ("$PY -W error -bb -m twinset index run photos --out w", 0, "12 added"),
    "warnings in words": (f"PYTHONWARNINGS=nonsense $T {COMPARE}", 0, SAME),
    "developers' mode": (f"$PY -X dev -m twinset {SEARCH}", 0, "dark/0.png"),
    "hashes": (f"PYTHONHASHSEED=1 $T {COMPARE}", 0, SAME),
    "back end that does not exist": (
        "KERAS_BACKEND=Jax $T export run",
        2,
        "Received KERAS_BACKEND='Jax'",
    ),
    "device that is not there": (
        "JAX_PLATFORMS=nonsense $T export run",
        2,
        "Expected JAX_PLATFORMS to name what JAX can use",
    ),
    "back end of pictures that does not exist": (
        f"MPLBACKEND=nonsense $T {SEARCH} --picture p.png",
        0,
        "dark/0.png",
    ),
    "threads without number": ("OMP_NUM_THREADS= $T index run photos --out w", 0, "12 added"),
    # clocks, and several at once
    "files of 1969, of 1970 and of times to come": (
        "for t in -9999999 0 9999999999; do touch -d @$t photos/dark/1.png; "
        "tar cf p.tar photos; $T check p.tar && $T index run photos --out w || exit; done",
        0,
        "11 unchanged",
    ),
    "four checks of the same images at once": (
        "for i in 1 2 3 4; do $T check photos >said$i & done; wait; "
        "for i in 2 3 4; do cmp said1 said$i || exit; done; cat said1",
        0,
        FIT,
    ),
    "two that index at once": (
        "$T index run photos --out w & $T index run photos --out w; wait; $T inspect w",
        0,
        "w: 12 items of size",
    ),
    # limits
    "one core": ("taskset -c 0 $T index run photos --out w", 0, "12 added"),
    "little memory": (f"ulimit -v 600000; $T {COMPARE}", 0, SAME),
    "few open files": ("ulimit -n 8; $T index run photos --out w", 2, "Too many open files"),
    "files for nobody else": ("umask 077; $T index run photos --out w", 0, "12 added"),
}


@pytest.fixture(scope="session")
def home(once, tmp_path_factory):
    """A folder with photographs, a run and an index, to be copied."""

    def make():
        root = tmp_path_factory.mktemp("odd")
        rng = np.random.default_rng(0)
        labels = np.repeat([0, 1], 6)
        pixels = rng.integers(0, 90, (12, 8, 8), np.uint8)
        pixels[labels == 1] += 150
        for at, (picture, label) in enumerate(zip(pixels, labels, strict=True)):
            file = root / "photos" / ("dark", "bright")[label] / f"{at % 6}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(file)
        data = twinset.LabelledImages(pixels, labels, ("dark", "bright"))
        twinset.fit(data, epochs=20, progress=False, encoder={"units": [8]}).save(root / "run")
        export(root / "run")
        index_images(root / "run", root / "photos", root / "photos.index", progress=False).close()
        for part in ("train", "test"):  # what has a test part is cross-fitted no more
            shutil.copytree(root / "photos", root / "parted" / part)
        for file in sorted((root / "parted/test").rglob("*.png")):
            other = rng.integers(0, 90, (8, 8), np.uint8) + np.uint8(150 * ("bright" in str(file)))
            Image.fromarray(other).save(file)
        (root / "locked").mkdir()
        return root

    return once("odd", make)


@pytest.mark.parametrize("name", CASES)
def test_a_result_or_one_sentence(name, home, tmp_path):
    script, code, words = CASES[name]
    shutil.copytree(home, tmp_path / "here", symlinks=True)
    (tmp_path / "here/locked").chmod(0o555)
    environment = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
    environment |= {
        "T": f"{sys.executable} -m twinset",
        "PY": sys.executable,
        "LOCKED": f"{sys.executable} -S {tmp_path / 'locked.py'}",
        "OUT": str(tmp_path),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    (tmp_path / "locked.py").write_text(textwrap.dedent(LOCKED))
    done = subprocess.run(
        ["sh", "-c", script],
        cwd=tmp_path / "here",
        env=environment,
        capture_output=True,
        timeout=120,
        text=True,
        errors="surrogateescape",
    )
    said = done.stdout + done.stderr
    assert "Traceback" not in said, said
    assert (done.returncode, words in said) == (code, True), said
    ours = [line for line in done.stderr.splitlines() if line.startswith("twinset: ")]
    assert len(ours) == (code == 2 and "ls: " not in words), said
    assert not [*tmp_path.rglob(".*.tmp")]


TRAIN = "train parted --recipe tutorial --set epochs=2 --set encoder.units=[8] --out r"
CHOOSE = "train parted --budget 0 --out r"
INDEX = "index run photos --out w"
INTERRUPTED, ENDED = (130, "twinset: interrupted."), (143, "twinset: ended by SIGTERM.")
SAVED = "r: the model is trained and saved; its report is not done. To go on: twinset evaluate r."
FULL = "File too large"

# name: (command, moment, what happens then, (exit code, words that are said), what goes on)
MOMENTS = {
    "Ctrl-C while images are read": (TRAIN, "open dark/3.png", "SIGINT", INTERRUPTED, ""),
    "SIGTERM while images are read": (TRAIN, "open dark/3.png", "SIGTERM", ENDED, ""),
    "full while images are read": (TRAIN, "open dark/3.png", "full", (2, FULL), ""),
    "Ctrl-C while a recipe is chosen": (CHOOSE, "says encode", "SIGINT", INTERRUPTED, ""),
    "SIGTERM while a recipe is chosen": (CHOOSE, "says encode", "SIGTERM", ENDED, ""),
    "Ctrl-C in an epoch": (
        *(TRAIN, "says epoch 1/", "SIGINT"),
        *((130, "interrupted; kept what was trained until then"), ""),
    ),
    "SIGTERM in an epoch": (TRAIN, "says epoch 1/", "SIGTERM", ENDED, f"{TRAIN} --resume"),
    "full in an epoch": (TRAIN, "says epoch 1/", "full", (2, "could not be saved. File"), ""),
    "Ctrl-C while a model is saved": (TRAIN, "os.rename encoder.keras", "SIGINT", INTERRUPTED, ""),
    "SIGTERM while a model is saved": (TRAIN, "os.rename encoder.keras", "SIGTERM", ENDED, ""),
    "full while a model is saved": (
        *(TRAIN, "os.rename encoder.keras", "full", (2, "could not be saved. File"), ""),
    ),
    "Ctrl-C while it is judged": (
        *(TRAIN, "os.rename report.json", "SIGINT", (130, f"interrupted. {SAVED}"), ""),
    ),
    "SIGTERM while it is judged": (
        *(TRAIN, "os.rename report.json", "SIGTERM", (143, f"by SIGTERM. {SAVED}")),
        "evaluate r",
    ),
    "full while it is judged": (
        *(TRAIN, "os.rename report.json", "full", (2, "its report failed. File too large.")),
        "",
    ),
    "Ctrl-C while an index reads": (INDEX, "open dark/3.png", "SIGINT", INTERRUPTED, INDEX),
    "SIGTERM while an index reads": (INDEX, "open dark/3.png", "SIGTERM", ENDED, INDEX),
    "full while an index reads": (INDEX, "open dark/3.png", "full", (2, "disk I/O"), INDEX),
    "Ctrl-C while an index is made": (INDEX, "os.rename w", "SIGINT", INTERRUPTED, INDEX),
    "SIGTERM while an index is made": (INDEX, "os.rename w", "SIGTERM", ENDED, INDEX),
    "full while an index is made": (INDEX, "os.rename w", "full", (2, "disk I/O"), INDEX),
    "a clock of 1970": (
        TRAIN,
        "",
        "1970",
        (0, ""),
        "compare r photos/dark/0.png photos/dark/1.png",
    ),
    "a clock of 2200": (TRAIN, "", "2200", (0, ""), ""),
    "a clock that is put back": (INDEX, "open dark/3.png", "1970", (0, "12 of 12 items"), INDEX),
}


@pytest.fixture(scope="module")
def nursery():
    """Ask for a command, at a moment of which something happens; exit code and what it said."""
    environment = os.environ | {"KERAS_BACKEND": "jax"}
    with subprocess.Popen(
        [sys.executable, Path(__file__).with_name("odd_moments.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    ) as running:

        def ask(line, when="", what=""):
            folder = Path.cwd()
            (folder / "temporary").mkdir(exist_ok=True)
            places = {"XDG_CACHE_HOME": "cache", "TMPDIR": "temporary"}
            asked = {
                "words": line.split(),
                "when": when,
                "what": what,
                "folder": str(folder),
                "environment": {name: str(folder / place) for name, place in places.items()},
            }
            running.stdin.write(f"{json.dumps(asked)}\n")
            running.stdin.flush()
            return json.loads(running.stdout.readline())

        yield ask
        running.stdin.close()


@pytest.mark.parametrize("name", MOMENTS)
def test_whatever_happens_at_whichever_moment(name, home, nursery):
    line, when, what, (expected, words), then = MOMENTS[name]
    shutil.copytree(home, "here")
    os.chdir("here")
    code, _, said = nursery(line, when, what)
    assert "Traceback" not in said, said
    assert (code, words in said) == (expected, True), said
    assert len([each for each in said.splitlines() if each.startswith("twinset: ")]) == (code > 0)
    # nothing is half there: neither drafts, nor a card beside another encoder, nor empty folders
    assert not [*Path().rglob(".*.tmp"), *Path("temporary").iterdir()]
    if expected == 143 and when.startswith("says epoch"):
        assert {path.name for path in Path("r").iterdir()} >= {"checkpoint.npz", "encoder.keras"}
    if Path("r/model.json").exists():
        digest = hashlib.sha256(Path("r/encoder.keras").read_bytes()).hexdigest()
        assert json.loads(Path("r/model.json").read_text())["encoder_sha256"] == digest
    else:
        assert not Path("r").exists() or any(Path("r").iterdir())
    if then:
        code, out, said = nursery(then)
        assert code == 0, said
        assert then != INDEX or "w: 12 items" in out


def test_in_threads_of_a_loop_whose_streams_are_no_files(home, tmp_path, monkeypatch):
    """As in a notebook."""
    streams = [io.StringIO(), io.StringIO()]
    monkeypatch.setattr("sys.stdout", streams[0])
    monkeypatch.setattr("sys.stderr", streams[1])

    def work(name):
        data = twinset.load_images(home / "photos", progress=True)
        model = twinset.fit(data, epochs=1, encoder={"units": [8]}, progress=True)
        model.save(name)
        with twinset.Index.build(model, home / "photos", f"{name}.w", progress=True) as index:
            return len(index.search(home / "photos/dark/0.png", k=3))

    async def main():
        threads = (asyncio.to_thread(work, name) for name in "bc")
        assert [work("a"), *await asyncio.gather(*threads)] == [3, 3, 3]
        with pytest.raises(twinset.TwinsetError, match="Expected a thread without an event loop"):
            twinset.serve(home / "run", port=0)

    asyncio.run(main())
    assert "epoch 1/1" in streams[1].getvalue()
    assert not streams[0].getvalue()
