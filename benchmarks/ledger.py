"""What every benchmark says about itself: machine, versions, commit, spread."""

import importlib.metadata
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path


def machine():
    """Describe the hardware and the software that the figures depend on."""
    cpu = platform.processor() or "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    packages = ", ".join(
        f"{name} {importlib.metadata.version(name)}"
        for name in ("keras", "jax", "numpy", "tensorflow-cpu")
        if _installed(name)
    )
    return f"{cpu}, {os.cpu_count()} cores, Python {platform.python_version()}, {packages}"


def commit():
    """Name the commit that is measured, marked where the tree differs from it."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=7"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
        check=False,
    )
    return done.stdout.strip() or "unknown"


def spread(values, digits=2):
    """Write the median with the range, and how many values there are."""
    low, high = min(values), max(values)
    median = statistics.median(values)
    return f"{median:.{digits}f} ({low:.{digits}f} to {high:.{digits}f}, n = {len(values)})"


def say(figure, result):
    """Print one row of the ledger."""
    command = f"./task bench {Path(sys.argv[0]).stem} {' '.join(sys.argv[1:])}".strip()
    print(f"| {figure} | {result} | `{command}` | {commit()} |", flush=True)


def _installed(name):
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
