"""Everywhere Python runs: nothing in the main job needs what only POSIX has, or a fork."""

import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

import elsewhere


def test_the_main_job_runs_where_posix_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for label, name in enumerate(("dark", "bright")):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for i in range(20):
            low = 100 * label
            pixels = rng.integers(low, low + 90, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{i}.png")
    command = [sys.executable, elsewhere.__file__]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stdout.splitlines() if line.startswith("= ")]
    assert told == [*(f"= {line.split()[0]} 0" for line in elsewhere.JOB), "= missing"]
    assert {"run", "photos.index"} <= {path.name for path in Path.cwd().iterdir()}


def test_what_is_taken_away_is_missed():
    """The test above can fail: in its process these names are not there."""
    script = (
        "import elsewhere, os, sys\n"
        "elsewhere.leave_posix()\n"
        "for name in elsewhere.MODULES:\n"
        "    try:\n"
        "        __import__(name)\n"
        "        print(name)\n"
        "    except ModuleNotFoundError:\n"
        "        pass\n"
        "print(*(name for name in elsewhere.FUNCTIONS if hasattr(os, name)))\n"
    )
    folder = Path(elsewhere.__file__).parent
    command = [sys.executable, "-c", f"import sys; sys.path.append({str(folder)!r}); {script}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
