"""The checkpoints of a training: written now and then, and the one to go on from."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import time
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from twinset.data.labelled import Labelled
from twinset.data.pairs import Pairs
from twinset.errors import ModelError
from twinset.files import write_bytes
from twinset.models.history import EpochRecord
from twinset.models.keras_model import beginning
from twinset.recipe import Recipe
from twinset.training import processes
from twinset.training.guards import Guards
from twinset.training.monitor import Monitor

# At least so long between two saves.
SECONDS_BETWEEN_SAVES = 30.0
# At most so much of a training's time goes into saving, however large the network.
SHARE_OF_SAVING = 0.05


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The state of a training between two steps."""

    epoch: int  # counted from 0
    step: int  # how many of its steps are done
    arrays: tuple[NDArray[Any], ...]  # values of all variables, in the order of `Job.variables`
    history: tuple[EpochRecord, ...]
    pending: NDArray[np.float64]  # as `Monitor.pending` and `Monitor.guards`
    guards: Guards
    best: tuple[NDArray[Any], ...]  # as `Monitor.best`


class Keeper:
    """The checkpoints of one training, of a recipe, data and a back end."""

    # All that is random is a function of seed, epoch and step, so weights, optimiser and position
    # are enough to go on exactly.
    def __init__(
        self,
        path: Path | None,  # None keeps nothing
        key: Callable[[], str],  # gives the training's name, which costs time: asked where needed
        *,
        seconds: float = SECONDS_BETWEEN_SAVES,
        share: float = SHARE_OF_SAVING,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path, self._key, self._clock = path, key, clock
        self._seconds, self._share = seconds, share
        self._next = clock() + seconds
        self._failed = False

    @property
    def due(self) -> bool:
        """Whether it is time to save."""
        return self._path is not None and self._clock() >= self._next

    def save(self, epoch: int, step: int, arrays: Iterable[NDArray[Any]], monitor: Monitor) -> None:
        """Write a checkpoint whole, or leave the one before and say so, once."""
        # A training is worth more than its checkpoint: on a full disk it goes on, and tries again.
        # To take the arrays off the device counts as saving, so they come one by one.
        if self._path is None or processes.index():
            return
        started = self._clock()
        self._write(self._path, epoch, step, arrays, monitor)
        ended = self._clock()  # not before: a save that takes long would be due again at once
        self._next = ended + max(self._seconds, (ended - started) * (1 / self._share - 1))

    def _write(
        self, path: Path, epoch: int, step: int, arrays: Iterable[NDArray[Any]], monitor: Monitor
    ) -> None:
        about = {
            "key": self._key(),
            "epoch": epoch,
            "step": step,
            "history": [record.flat() for record in monitor.history],
            "pending": monitor.pending.tolist(),
            "guards": asdict(monitor.guards),
        }
        file = io.BytesIO()
        named: dict[str, Any] = {f"a{i}": _storable(array) for i, array in enumerate(arrays)}
        named |= {f"b{i}": _storable(array) for i, array in enumerate(monitor.best)}
        np.savez(file, about=np.frombuffer(json.dumps(about).encode(), np.uint8), **named)
        try:
            write_bytes(path, file.getvalue())
        except OSError as error:
            if not self._failed:
                print(  # noqa: T201 - must not be missed, whether or not progress is wanted
                    f"twinset: {path}: the checkpoint could not be written. "
                    f"{error.strerror or error}: make room; the training goes on, and tries again.",
                    file=sys.stderr,
                )
            self._failed = True
        else:
            self._failed = False

    def load(self) -> Checkpoint | None:
        """Read the checkpoint of this training, if there is one; a ModelError tells of others."""
        if self._path is None:
            return None
        held = processes.bytes_from_first(self._read)
        if held is None:
            return None
        try:
            # from memory: numpy leaves a damaged file open
            with np.load(io.BytesIO(held)) as file:
                about = json.loads(file["about"].tobytes())
                names = [name for name in file.files if name != "about"]
                arrays, best = (
                    tuple(file[f"{kind}{i}"] for i in range(sum(n[0] == kind for n in names)))
                    for kind in "ab"
                )
            history = tuple(EpochRecord.from_flat(each) for each in about["history"])
            pending = np.array(about["pending"], np.float64).reshape(-1, 3)
            guards = Guards(**about["guards"] | {"first": tuple(about["guards"]["first"])})
            found = Checkpoint(
                about["epoch"], about["step"], arrays, history, pending, guards, best
            )
            key = about["key"]
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise self._none(error) from None
        if key != self._key():
            raise ModelError(
                f"{self._path}: expected a checkpoint of this training. It is of another recipe, "
                "other data or another back end: resume with those, or train anew."
            )
        return found

    def _read(self) -> bytes | None:
        path = self._path
        try:
            return path.read_bytes() if path is not None and path.exists() else None
        except OSError as error:
            raise self._none(error) from None

    def _none(self, error: Exception) -> ModelError:
        return ModelError(
            f"{self._path}: expected a checkpoint. {error!r}: remove it, and train anew."
        )

    def remove(self) -> None:
        """Delete the file: the training is done."""
        if self._path is not None and not processes.index():
            self._path.unlink(missing_ok=True)


def _storable(array: NDArray[Any]) -> NDArray[Any]:
    # numpy's files know no bfloat16; in 32 bits each is the same number, and comes back as it was
    values = np.asarray(array)
    return values.astype(np.float32) if values.dtype.name == "bfloat16" else values


def facts_of(
    recipe: Recipe,
    data: Labelled,
    validation: Labelled | None,
    pairs: Pairs | None,
    encoder: keras.Model,
    augmentation: Any,
) -> Callable[[], dict[str, str]]:
    """Note all that a training depends on, before it begins; what is returned tells it."""
    # late, as it takes time, and only checkpoints and other processes ask for it
    facts = {
        "recipe": _sha(recipe.model_copy(update={"name": ""}).to_toml().encode()),
        # the recipe's words are not all: files of weights change, and data says what "auto" means
        "data": data.digest,
        "back end": keras.backend.backend(),
        "augmentation": str(augmentation),
        # it may say which weights are kept, and when the training ends
        "validation": "" if validation is None else validation.digest,
        "pairs": ""
        if pairs is None
        else _sha(*(each.tobytes() for each in (pairs.left, pairs.right, pairs.same))),
    }
    start = beginning(encoder)
    return lambda: {**facts, "weights": start()}


def _sha(*parts: bytes) -> str:
    return hashlib.sha256(b"".join(parts)).hexdigest()
