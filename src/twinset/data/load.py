"""Which data a run means, checked and in parts; which of it a run has seen."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from twinset.data.checks.check import DIVISION, check
from twinset.data.checks.near_duplicates import kept_duplicates
from twinset.data.data_set import load_data_set
from twinset.data.decoding.decode import Preprocessing
from twinset.data.image_sources import as_keys
from twinset.data.labelled import LabelledImages, VectorInput
from twinset.data.pair_parts import kinds_of
from twinset.data.parts import Parts, divide
from twinset.data.purpose import left_out_by
from twinset.data.sources import is_path
from twinset.data.split import comparable
from twinset.errors import DataError, ModelError, reason
from twinset.files import MEMBERS, write_bytes
from twinset.progress import Wanted
from twinset.recipe import Recipe

DEFAULT = "fashion-mnist"  # what a run is on that does not say
WHERE = ("source", "pairs", "columns")  # in the file of members: where the images were
Tell: TypeAlias = Callable[[str], None]
USED = ("fit", "tune", "calibration")


def load_parts(
    data: str | Path | None,
    recipe: Recipe,
    *,
    pairs: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    allow_leaks: bool = False,
    progress: Wanted = False,
    tell: Tell | None = None,
) -> Parts:
    """Load a data set, check it, and divide it as a recipe asks.

    Near duplicates stay in one part where this draws the parts. Where the data's owner drew them,
    leaks between them are refused, unless `allow_leaks` says to go on. The recipe's `holdout`,
    `split` and `seed` say how to divide. `pairs` is a table of judged pairs; `columns` is as for
    `load_data_set`. `tell` hears what comes next, and what the check found.

    Raises:
        DataError: the data is not fit for training, or as `load_data_set`.
    """
    say = tell or (lambda _: None)
    images, test = load_data_set(
        data, recipe.images, pairs=pairs, columns=columns, progress=progress
    )
    if test is not None:
        parts = divide(images, test, holdout=recipe.holdout, seed=recipe.seed)
        _tell_notes(parts, say)
        return parts
    together = None
    if isinstance(images, LabelledImages):
        together = _checked(images, allow_leaks, say)
    elif images.skipped:
        count, first = len(images.skipped), images.skipped[0].reason
        say(f"left out {count:,} of {count + len(images):,} rows, the first: {first}")
    parts = divide(
        images,
        holdout=recipe.holdout,
        shares=recipe.split,
        together=together,
        by=left_out_by(recipe, images.labels),
        seed=recipe.seed,
        allow_leaks=allow_leaks,
    )
    _tell_notes(parts, say)
    return parts


def _tell_notes(parts: Parts, say: Tell) -> None:
    for note in parts.notes:
        say(f"note: {note}")


def _checked(images: LabelledImages, allow_leaks: bool, say: Tell) -> NDArray[np.int64]:
    say(f"checking {len(images):,} images")
    copies = kept_duplicates(images)
    found = check(images, duplicates=copies)
    found.refuse_unfit(allow_leaks)
    for finding in found.findings:
        if finding.code != DIVISION:  # which the recipe's own wishes may change
            say(f"{finding.severity}: {finding.message}")
    # near duplicates in two parts would let the test ask what was learned by heart
    return copies.together()


class Origin(NamedTuple):
    """Where images are from: a data set, judged pairs, or both, and what a table's columns mean."""

    data: str | Path | None = None
    pairs: str | Path | None = None
    columns: Mapping[str, str] = MappingProxyType({})  # as for `load_data_set`

    @property
    def name(self) -> str:
        """What to call it in messages."""
        return str(self.data or self.pairs)

    @property
    def lasting(self) -> Origin:
        """The same from whatever folder this runs in."""
        data, pairs = self.data, self.pairs
        if data is not None and is_path(str(data)):
            data = str(Path(data).absolute())
        return Origin(data, None if pairs is None else str(Path(pairs).absolute()), self.columns)


def write_members(folder: str | Path, parts: Parts, origin: Origin) -> None:
    """Note in a run's folder which images were in which part, by their fingerprints."""
    file = io.BytesIO()
    prints: dict[str, Any] = {name: part.fingerprints for name, part in parts.named().items()}
    data, pairs, columns = origin.lasting
    for name, text in zip(WHERE, (data, pairs, json.dumps(dict(columns))), strict=True):
        if text is not None:  # as bytes, since a path need not be text
            prints[name] = np.frombuffer(os.fsencode(text), np.uint8)
    np.savez(file, **prints)
    write_bytes(Path(folder) / MEMBERS, file.getvalue())


def evaluation_parts(
    folder: str | Path,
    origin: Origin,
    recipe: Recipe,
    preprocessing: Preprocessing | VectorInput,
    *,
    cross_fitted: bool = False,
    tell: Tell | None = None,
) -> Parts:
    """Load what a run may be judged on, as "test", and beside it the parts that it has used.

    A run with cross-fitted distances can do without.
    """
    data, pairs, columns = origin
    images, test = load_data_set(
        data, recipe.images, preprocessing=preprocessing, pairs=pairs, columns=columns
    )
    if test is not None:
        return divide(images, test, holdout=recipe.holdout, seed=recipe.seed)
    members = _members(Path(folder))
    keys = as_keys(images.fingerprints)
    places = {
        name: np.flatnonzero(np.isin(keys, as_keys(members[name])))
        for name in USED
        if name in members
    }
    # once each: validation images may calibrate too
    used = np.unique(np.concatenate([*places.values(), np.array([], np.int64)]))
    rest = np.setdiff1d(np.arange(len(images)), used)
    # the owner's own test images, where there are some, and not what else was left over
    if images.parts is not None and (images.parts == "test").any():
        rest = rest[images.parts[rest] == "test"]
    if images.judged is None:
        both = all(comparable(images.labels[rest]))
    else:
        both = all(kinds_of(images, rest))
    if cross_fitted and not both:
        rest = rest[:0]
    elif not len(rest):
        raise DataError(
            f"{origin.name}: expected images that the model has not seen. All {len(images)} were "
            "used for its training: evaluate on others (`twinset export` takes them as --data)."
        )
    if tell is not None and len(used) and len(rest):
        tell(f"{len(used):,} of {len(images):,} images were used in training: left out")
    places = {"fit": np.array([], np.int64)} | {k: at for k, at in places.items() if len(at)}
    found = places | ({"test": rest} if len(rest) else {})
    parts: dict[str, Any] = {k: images.subset(at, f"{images.name}[{k}]") for k, at in found.items()}
    return Parts(**parts)


def origin_of(folder: str | Path, asked: Origin = Origin()) -> Origin:  # noqa: B008 - frozen
    """Tell where the images are from that are asked for; where none are, those of the run."""
    found = _members(Path(folder))
    data, pairs, columns = (
        os.fsdecode(found[name].tobytes()) if name in found else None for name in WHERE
    )
    own = Origin(
        DEFAULT if data is None and pairs is None else data, pairs, json.loads(columns or "{}")
    )
    if asked.data is None and asked.pairs is None:
        return own._replace(columns=asked.columns or own.columns)
    same = asked.lasting.data == own.data  # the run's own table, named again
    return asked._replace(columns=own.columns) if same and not asked.columns else asked


def _members(folder: Path) -> Mapping[str, NDArray[np.uint8]]:
    path = folder / MEMBERS
    if not path.is_file():  # a model that was saved by hand, or a run on built-in data
        return {}
    try:
        with np.load(io.BytesIO(path.read_bytes())) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"{path}: expected the parts of a run. {reason(error)}: without them nobody knows "
            "which images the model has seen; restore the file, or train again."
        ) from None
