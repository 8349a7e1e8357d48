"""What feeds JAX's engine: the devices that share a batch, and the images that they need next."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from numpy.typing import NDArray

from twinset.errors import RecipeError
from twinset.training import processes
from twinset.training.tasks import Batches

# Kept whole on the device up to here; a GPU says itself how much it has.
RESIDENT = 512 * 2**20
CHUNK = 32 * 2**20
AXIS = "batch"  # of the devices


class Devices:
    """The devices that share a batch: each has the whole state, and a part of each batch."""

    # Not `jax.make_mesh`, whose axes are explicit by default: our gather would have to say itself
    # where its result is to be.
    def __init__(self, devices: Sequence[jax.Device]) -> None:
        self.mesh = Mesh(np.array(devices), (AXIS,))

    @classmethod
    def dividing(cls, batches: Batches) -> Devices:
        """Take as many devices as divide a batch evenly, of each process the same number."""
        found = processes.devices()
        width = math.gcd(batches.positions.shape[1], batches.targets.shape[1])
        count, each = processes.count(), len(found) // processes.count()
        fit = [n for n in range(1, each + 1) if width % (n * count) == 0]
        if not fit:
            less = width // count * count
            raise RecipeError(
                f"Expected batches that {count} processes can share evenly. Received one of "
                f"{width}: take a batch_size that makes it {f'{less} or ' * bool(less)}"
                f"{less + count}, or another number of processes."
            )
        return cls([found[p * each + n] for p in range(count) for n in range(fit[-1])])

    def __len__(self) -> int:
        return int(self.mesh.size)

    def sharding(self, *axes: str | None) -> NamedSharding:
        """Say how an array is divided along its axes; without any it is whole on every device."""
        spec: Any = PartitionSpec  # JAX types none of its calls
        return NamedSharding(self.mesh, spec(*axes))

    def everywhere(self, values: Any) -> Any:
        """Copy a tree of this process' arrays to every device."""
        sharding = self.sharding()
        places: Any = sharding.addressable_devices

        def put(value: Any) -> jax.Array:
            copies = [jax.device_put(value, place) for place in places]
            return jax.make_array_from_single_device_arrays(value.shape, sharding, copies)

        return jax.tree.map(put, values)

    def divided(self, shape: Sequence[int], read: Callable[[Any], NDArray[Any]]) -> jax.Array:
        """Put an array (steps, width, ...) on the devices, each of which has its columns.

        `read` gives the part of it at an index, and is asked only for what belongs here.
        """
        return jax.make_array_from_callback(tuple(shape), self.sharding(None, AXIS), read)


@dataclass(frozen=True, eq=False)
class Fed:
    """A run of steps and the images that they need, on the devices."""

    # pixels or vectors: all of them, (m, ...); or those of each batch, (s, w, ...)
    rows: jax.Array
    positions: jax.Array | None  # in all rows, of each batch, (s, w)
    targets: jax.Array  # (s, t)
    first: int  # the step of the epoch that row 0 belongs to
    steps: int  # how many rows count
    width: int  # images in a batch

    @property
    def length(self) -> int:
        """How many steps fit."""
        return int(self.targets.shape[0])


class Feed:
    """A feed of epoch after epoch from one set of images or vectors, an array or `StoredPixels`."""

    # All rows are kept on each device up to `resident` bytes; of more, `chunk` bytes are there at a
    # time, divided between the devices, and about three times as much is in use.
    def __init__(
        self,
        rows: Any,
        devices: Devices | None = None,
        *,
        resident: int | None = None,
        chunk: int = CHUNK,
    ) -> None:
        limit = _resident() if resident is None else resident
        self._devices = Devices(jax.devices()[:1]) if devices is None else devices
        self._rows = rows
        self._chunk = chunk
        held = rows.nbytes <= limit
        self._held = self._devices.everywhere(jnp.asarray(rows[:])) if held else None

    def epoch(self, batches: Batches, first: int = 0) -> Iterator[Fed]:
        """Feed the steps of an epoch, beginning with `first`."""
        steps, width = batches.positions.shape
        if self._held is not None:
            # whole epochs at every call: one shape, one compiled program
            positions = self._put(batches.positions)
            yield Fed(self._held, positions, self._whole(batches.targets), 0, steps, width)
            return
        size = width * int(np.prod(self._rows.shape[1:])) * self._rows.dtype.itemsize
        length = max(1, min(steps, self._chunk // size))
        with ThreadPoolExecutor(1, thread_name_prefix="feed") as reader:
            ahead: Future[Any] = reader.submit(self._read, batches, first, length)
            while first < steps:
                gathered, targets = ahead.result()
                if first + length < steps:  # read the next while the device works on this
                    ahead = reader.submit(self._read, batches, first + length, length)
                yield Fed(gathered, None, targets, first, min(length, steps - first), width)
                first += length

    def _put(self, table: NDArray[np.int32]) -> jax.Array:
        return self._devices.divided(table.shape, lambda index: table[index])

    def _whole(self, targets: NDArray[np.int32]) -> Any:
        # small, and divided they would have to be told in each step
        return self._devices.everywhere(jnp.asarray(targets))

    def _read(self, batches: Batches, first: int, length: int) -> tuple[jax.Array, jax.Array]:
        # of the images only those whose place in the batch is on a device of this process
        rows = batches.positions[first : first + length]
        targets = np.zeros((length, batches.targets.shape[1]), np.int32)
        targets[: len(rows)] = batches.targets[first : first + length]

        def gather(index: Any) -> NDArray[Any]:
            here = rows[:, index[1]]
            found = np.zeros((length, here.shape[1], *self._rows.shape[1:]), self._rows.dtype)
            found[: len(here)] = self._rows[here.ravel()].reshape(len(here), *found.shape[1:])
            return found

        shape = (length, rows.shape[1], *self._rows.shape[1:])
        return self._devices.divided(shape, gather), self._whole(targets)


def _resident() -> int:
    device: Any = jax.local_devices()[0]
    stats: Callable[[], Any] = getattr(device, "memory_stats", lambda: None)
    limit = (stats() or {}).get("bytes_limit")
    return RESIDENT if limit is None else int(limit) // 4
