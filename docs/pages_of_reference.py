"""The pages of the reference: one for each room of the code that has public names."""

from __future__ import annotations

import importlib
from pathlib import Path

import twinset
from twinset import losses, networks


def public_names() -> dict[str, list[str]]:
    """Sort the public names of twinset by the room that each is defined in."""
    rooms: dict[str, list[str]] = {}
    for name in twinset.__all__:
        if name not in ("losses", "networks"):
            home = twinset._HOMES[name].split(".")[1]
            rooms.setdefault(home, []).append(f"twinset.{name}")
    for room in (losses, networks):
        named = [f"{room.__name__}.{name}" for name in room.__all__ if not name.isupper()]
        rooms.setdefault(room.__name__.split(".")[1], []).extend(named)
    return rooms


def file_names() -> dict[str, str]:
    """Tell classes from functions where letters' case alone does, as some disks do not keep it."""
    names = [name for named in public_names().values() for name in named]
    return {
        name: f"{name}-class" for name in names if name != name.lower() and name.lower() in names
    }


def write_reference(folder: Path) -> None:
    """Write a page for each room, whose autosummary then makes a page for each name."""
    folder.mkdir(parents=True)
    for room, names in public_names().items():
        about = (importlib.import_module(f"twinset.{room}").__doc__ or "").splitlines()[0]
        lines = [room, "=" * len(room), "", about.replace("`", "``"), "", ".. autosummary::"]
        lines += ["   :toctree: names", "   :nosignatures:", "", *(f"   {name}" for name in names)]
        (folder / f"{room}.rst").write_text("\n".join([*lines, ""]), encoding="utf-8")
