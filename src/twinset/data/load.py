"""Which data a run means: a built-in set by its name, or the user's own by a path, in parts."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset.data.checks.check import DataCheck, check
from twinset.data.checks.near_duplicates import find_duplicates
from twinset.data.decoding.decode import Preprocessing
from twinset.data.features import LabelledFeatures, VectorInput
from twinset.data.labelled import Labelled, LabelledImages
from twinset.data.parts import Parts, divide
from twinset.data.read import loaded
from twinset.data.read_listing import is_path, read_listing, source_for
from twinset.errors import DataError, ModelError
from twinset.files import write_bytes
from twinset.progress import Wanted
from twinset.recipe import Recipe
from twinset.settings import Section

DEFAULT = "fashion-mnist"  # what a run is on that does not say
MEMBERS = "parts.npz"
USED = ("fit", "tune", "calibration")


def expect(data: str | Path) -> None:
    """Refuse what no source of data takes, without reading it."""
    source_for(str(data))


def load_images(
    data: str | Path,
    images: Section,
    *,
    preprocessing: Preprocessing | VectorInput | None = None,
    progress: Wanted = False,
) -> tuple[Labelled, Labelled | None]:
    """Load a data set: its training part and test part where these are published, or all of it.

    Args:
        data: what a source of data takes: "fashion-mnist", or the path of a folder, a table, or
            a file of vectors.
        images: section of a recipe; says what the user's own images become.
        preprocessing: in place of that section, where a model has it. Defaults to none.
        progress: as for `reporting`. Defaults to False.

    Raises:
        DataError: no such data, nothing that can be read, or not what the model takes.
        DownloadError: no source could provide the built-in set.
    """
    listing = read_listing(data, progress=progress)
    vectors = listing.rows is not None and listing.rows.dtype != np.uint8
    if isinstance(preprocessing, VectorInput) and not vectors:
        raise DataError(
            f"{data}: expected a file of features (.npy, .npz, .parquet), {preprocessing.size} "
            "numbers for each image, since this model was trained on such. Received images."
        )
    how = images.model_dump()
    asked = None if isinstance(preprocessing, VectorInput) else preprocessing
    found = loaded(listing, how, asked, progress=progress)
    if isinstance(found, LabelledFeatures):
        _check_kind(data, found, preprocessing)
    if not listing.published:
        return found, None
    # the field's own split, which others compare with: it is neither drawn nor checked here
    return _published(found, "train"), _published(found, "test")


def _published(images: Labelled, part: str) -> Labelled:
    chosen: Any = images.subset(np.flatnonzero(images.parts == part), f"{images.name}/{part}")
    found: Labelled = replace(chosen, parts=None)
    return found


def load_parts(
    data: str | Path,
    recipe: Recipe,
    *,
    allow_leaks: bool = False,
    progress: Wanted = False,
    tell: Callable[[str], None] | None = None,
) -> Parts:
    """Load a data set, check it, and divide it as a recipe asks.

    Near duplicates stay in one part where this draws the parts. Where the data's owner drew them,
    leaks between them are refused.

    Args:
        data: as for `load_images`.
        recipe: its `holdout`, `split` and `seed` say how to divide.
        allow_leaks: go on though images or groups are in two parts of the owner. Defaults to
            False.
        progress: as for `reporting`. Defaults to False.
        tell: is told what comes next, and what the check found. Defaults to none.

    Raises:
        DataError: the data is not fit for training, or as `load_images`.
    """
    say = tell or (lambda _: None)
    images, test = load_images(data, recipe.images, progress=progress)
    if test is not None:
        return divide(images, test, holdout=recipe.holdout, seed=recipe.seed)
    if not isinstance(images, LabelledImages):
        _tell_skipped(images, say)
        return divide(
            images,
            holdout=recipe.holdout,
            shares=recipe.split,
            seed=recipe.seed,
            allow_leaks=allow_leaks,
        )
    say(f"checking {len(images):,} images")
    copies = find_duplicates(images.images, fingerprints=images.fingerprints)
    found = check(images, duplicates=copies)
    _refuse(found, allow_leaks)
    for finding in found.findings:
        say(f"{finding.severity}: {finding.message}")
    # near duplicates in two parts would let the test ask what was learned by heart
    together = np.arange(len(images))
    for group in copies.groups():
        together[group] = group[0]
    return divide(
        images,
        holdout=recipe.holdout,
        shares=recipe.split,
        together=together,
        seed=recipe.seed,
        allow_leaks=allow_leaks,
    )


def write_members(folder: str | Path, parts: Parts, source: str | Path) -> None:
    """Note in a run's folder which images were in which part, by their fingerprints."""
    file = io.BytesIO()
    prints: dict[str, Any] = {name: part.fingerprints for name, part in parts.named().items()}
    place = str(source)
    if is_path(place):
        place = str(Path(source).absolute())
    # as bytes, since a path need not be text
    np.savez(file, source=np.frombuffer(os.fsencode(place), np.uint8), **prints)
    write_bytes(Path(folder) / MEMBERS, file.getvalue())


def evaluation_parts(
    folder: str | Path,
    data: str | Path,
    recipe: Recipe,
    preprocessing: Preprocessing | VectorInput,
    *,
    progress: Wanted = False,
    tell: Callable[[str], None] | None = None,
) -> Parts:
    """Load what a run may be judged on: no image that it was fitted, tuned or calibrated on.

    Returns:
        `test`, all images of the data that the run did not use; and of those it used, each part
        that is there, "fit" empty where none is.

    Raises:
        DataError: no image is left, or as `load_images`.
    """
    images, test = load_images(data, recipe.images, preprocessing=preprocessing, progress=progress)
    if test is not None:
        return divide(images, test, holdout=recipe.holdout, seed=recipe.seed)
    members = _members(Path(folder))
    keys = _keys(images.fingerprints)
    places = {
        name: np.flatnonzero(np.isin(keys, _keys(members[name])))
        for name in USED
        if name in members
    }
    used = np.concatenate([*places.values(), np.array([], np.int64)])
    rest = np.setdiff1d(np.arange(len(images)), used)
    # the owner's own test images, where there are some, and not what else was left over
    if images.parts is not None and (images.parts == "test").any():
        rest = rest[images.parts[rest] == "test"]
    if not len(rest):
        raise DataError(
            f"{data}: expected images that the model has not seen. All {len(images)} were used "
            "for its training: evaluate on others."
        )
    if tell is not None and len(used):
        tell(f"{len(used):,} of {len(images):,} images were used in training: left out")
    found = {
        name: images.subset(places[name], f"{images.name}[{name}]")
        for name in places
        if len(places[name])
    }
    empty = images.subset(np.array([], np.int64))
    return Parts(**({"fit": empty} | found), test=images.subset(rest, f"{images.name}[test]"))


def source_of(folder: str | Path) -> str:
    """Tell which data a run was trained on."""
    found = _members(Path(folder)).get("source")
    return DEFAULT if found is None else os.fsdecode(found.tobytes())


def _check_kind(
    data: str | Path, found: LabelledFeatures, preprocessing: Preprocessing | VectorInput | None
) -> None:
    if preprocessing is not None and preprocessing != found.preprocessing:
        wanted = (
            f"features of {preprocessing.size} numbers"
            if isinstance(preprocessing, VectorInput)
            else "images"
        )
        raise DataError(
            f"{data}: expected {wanted}, which this model takes. Received features of "
            f"{found.dim} numbers."
        )


def _tell_skipped(features: Labelled, say: Callable[[str], None]) -> None:
    if features.skipped:
        count = len(features.skipped)
        say(
            f"left out {count:,} of {count + len(features):,} rows, the first: "
            f"{features.skipped[0].reason}"
        )


def _refuse(found: DataCheck, allow_leaks: bool) -> None:
    errors = [each for each in found.findings if each.severity == "error"]
    if allow_leaks:
        errors = [each for each in errors if "leak" not in each.code and "group" not in each.code]
    if errors:
        more = f" And {len(errors) - 1} more." if len(errors) > 1 else ""
        leaks = any("leak" in each.code for each in errors)
        hint = " (--allow-leaks trains all the same)" if leaks else ""
        raise DataError(
            f"{found.name}: expected data fit for training. {errors[0].message}{more} "
            f"`twinset check` tells all{hint}."
        )


def _members(folder: Path) -> Mapping[str, NDArray[np.uint8]]:
    path = folder / MEMBERS
    if not path.is_file():  # a model that was saved by hand, or a run on built-in data
        return {}
    try:
        with np.load(io.BytesIO(path.read_bytes())) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"{path}: expected the parts of a run. {error}: without them nobody knows which "
            "images the model has seen; restore the file, or train again."
        ) from None


def _keys(prints: NDArray[np.uint8]) -> NDArray[np.void]:
    # each row as one item, which numpy compares whole
    rows = np.ascontiguousarray(prints).reshape(-1, 16)
    return rows.view("V16").ravel()
