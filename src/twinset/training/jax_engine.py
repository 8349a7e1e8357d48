"""The training engine on JAX: images on the device as uint8, many steps in one compiled loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax import lax
from jax.experimental.compilation_cache.compilation_cache import reset_cache

from twinset.cache_folder import cache_folder, prune
from twinset.losses.batch import wide
from twinset.models.history import BatchStatistics, batch_statistics
from twinset.networks.conv import Convolution, DepthwiseConvolution
from twinset.networks.seeded import rows_of
from twinset.training import processes
from twinset.training.batch_moments import exchanged_once
from twinset.training.checkpoints import Keeper
from twinset.training.exchange import of_whole_batch
from twinset.training.feed import AXIS, Devices, Fed, Feed
from twinset.training.gradient_cache import embedder
from twinset.training.monitor import Monitor, Steps
from twinset.training.own_share import own_shares, possible
from twinset.training.tasks import Batches, Job, loss_scale

# How long the device works before the host looks at the losses: often enough for a progress bar and
# a prompt Ctrl-C. On a CPU each look costs the loop its memory, which the kernel gives anew page by
# page: 30 ms of `conv`, an eighth of its time at four looks a second.
SECONDS_PER_LOOK = 1.0
FIRST_STEPS = 16
# Bytes of compiled programs that are kept on disk: some hundred.
PROGRAMS = 10**9


@contextmanager
def _programs_kept() -> Iterator[None]:
    # On disk: the second training of a kind starts at once. JAX is put back afterwards, as its
    # settings, and what else this process compiles, are the user's.
    config: Any = jax.config
    if config.jax_compilation_cache_dir is not None:
        yield
        return
    folder = cache_folder("programs")
    prune(folder, limit=PROGRAMS)
    given = {
        "jax_compilation_cache_dir": str(folder),
        "jax_persistent_cache_min_compile_time_secs": 0.5,
    }
    before = {name: getattr(config, name) for name in given}
    for name, value in given.items():
        config.update(name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            config.update(name, value)
        reset_cache()  # else it would go on writing there


@_programs_kept()
def train(job: Job, monitor: Monitor, keeper: Keeper) -> None:
    """Train the encoder in place, until the epochs are done or the monitor says stop."""
    # A batch is a row of positions, whose images the loop gathers on the device. Its length is an
    # argument and not a shape, so one compiled program serves looks of any length, and a training
    # that is cut into other looks, or resumed, computes the same numbers.
    job.build()
    start = keeper.load()
    devices = Devices.dividing(job.task.draw(0))
    places = job.share(len(devices))
    state, epoch, step = devices.everywhere(_read(job)), 0, 0
    if start is not None:
        monitor.restore(start.history, start.pending, start.guards, start.best)
        state = devices.everywhere(_restored(state, start.arrays))
        epoch, step = start.epoch, start.step
    feed = Feed(job.rows, devices)
    loop = None
    pace = _Pace()
    drawn = _drawn_ahead(job, epoch)

    def save(epoch: int, step: int) -> None:
        arrays = (np.asarray(value) for value in jax.tree.leaves(state))
        keeper.save(epoch, step, arrays, monitor)

    def ends(epoch: int, step: int) -> bool:
        if monitor.interrupted:  # nothing of it need be done again
            save(epoch, step)
        return monitor.stop

    try:
        for current in range(epoch, job.epochs):
            if ends(current, step):
                return
            state = _shared(job, monitor, devices, state, monitor.begin)
            batches = next(drawn)
            for fed in feed.epoch(batches, step):
                if loop is None:
                    loop = _compile(job, devices, state, fed, places)
                offset = current * len(batches.positions) + fed.first
                first = step - fed.first
                while first < fed.steps:
                    steps, due = monitor.agree(pace.steps, keeper.due)
                    if ends(current, step):
                        return
                    last = min(first + steps, fed.steps)
                    with pace.measure(last - first), processes.at_work():
                        state, seen, embeddings = loop(state, fed, first, last, offset)
                        seen = np.asarray(seen)[first:last].sum(axis=1)  # waits for the device
                    first, step = last, fed.first + last
                    statistics = _statistics(job, batches.positions[step - 1], embeddings)
                    ended = step == len(batches.positions)
                    seen[:, 2] = np.sqrt(seen[:, 2])
                    tell = partial(monitor.steps, Steps(*seen.T), statistics)
                    if ended:
                        state = _shared(job, monitor, devices, state, tell)
                    else:
                        tell()
                    if due and not monitor.finished:
                        save(*((current + 1, 0) if ended else (current, step)))
            step = 0
    finally:
        drawn.close()
        _write(job, state)


def _drawn_ahead(job: Job, first: int) -> Generator[Batches, None, None]:
    # Each epoch's batches while the device works on the one before. On the host, where any process
    # can draw the same: positions are small (0.2 MB for 50,000 images), and their 7 ms are over
    # before the device asks for them.
    with ThreadPoolExecutor(1, thread_name_prefix="draw") as drawer:
        ahead: Future[Batches] = drawer.submit(job.task.draw, first)
        for epoch in range(first, job.epochs):
            batches = ahead.result()
            if epoch + 1 < job.epochs:
                ahead = drawer.submit(job.task.draw, epoch + 1)
            yield batches


def _compile(job: Job, devices: Devices, state: Any, fed: Fed, places: Any) -> Any:
    encoder, optimizer, task = job.encoder, job.optimizer, job.task
    learned, others = len(encoder.trainable_variables), len(encoder.non_trainable_variables)
    heads = job.head_variables(True)
    slow = _slow_within_loops(encoder)
    embedded = embedder(job, unroll=slow)
    own = len(places) > 0 and not slow and jax.default_backend() == "cpu" and possible(encoder)
    if own:
        embedded = own_shares(embedded, devices, places)
    constrained: Any = lax.with_sharding_constraint  # JAX types it not
    whole = partial(constrained, shardings=devices.sharding())

    def objective(embeddings: Any, weights: Any, targets: Any, scale: Any) -> Any:
        with keras.StatelessScope(state_mapping=list(zip(heads, weights, strict=True))):
            found = task.objective(targets, wide(embeddings), settle=_settled, whole=whole)
        return jnp.sum(found[0]) * scale, found

    def step(i: Any, carry: Any, held: Any, offset: Any) -> Any:
        (trainable, other, slots), seen, _ = carry
        rows, positions, targets = held
        pixels = rows[i] if positions is None else rows[positions[i]]
        if job.augment is not None:
            pixels = job.augment(pixels, offset + i)

        def embed(weights: Any) -> Any:
            return embedded(weights, other[:others], pixels)

        wanted = whole(targets[i])
        scale = loss_scale(optimizer, slots)
        # The gradient in two parts, as that of the embeddings says who is active.
        (embeddings, penalty), pull, moved = jax.vjp(embed, trainable[:learned], has_aux=True)
        differentiate = jax.value_and_grad(objective, argnums=(0, 1), has_aux=True)
        if own and not task.parted:
            differentiate = of_whole_batch(differentiate, devices)
        (_, (loss, spread)), (slope, head_slopes) = differentiate(
            embeddings, trainable[learned:], wanted, scale
        )
        slopes = [*pull((slope, jnp.full_like(penalty, scale)))[0], *head_slopes]
        trainable, slots = optimizer.stateless_apply(slots, slopes, trainable)
        slope = wide(slope) / scale
        active = jnp.any(slope != 0, axis=-1).astype("float32") / len(slope)
        told = (loss, penalty, spread, jnp.sum(jnp.square(slope), axis=-1), active)
        loss, penalty, *rest = (_shares(each, seen.shape[1]) for each in told)
        seen = seen.at[i].set(jnp.stack([loss + penalty, *rest], axis=1).astype(seen.dtype))
        return (trainable, [*moved, *other[others:]], slots), seen, embeddings

    def begin() -> Any:
        # What each step saw, of which a device has its share until the host looks, and the last
        # embeddings.
        shape = (fed.width, encoder.output_shape[-1])
        seen = jnp.zeros((fed.length, len(devices) if own else 1, 4), "float32")
        if own:
            seen = constrained(seen, devices.sharding(None, AXIS))
        return seen, jnp.zeros(shape, encoder.outputs[0].dtype)

    # XLA divides the work as the images are, and puts in what devices tell each other beside `own`:
    # the loss sees the whole batch, and so does its normalisation. All ends up on each.
    jit = partial(jax.jit, out_shardings=devices.sharding())
    run = _one_by_one if slow else _looped
    with exchanged_once(devices, own=own), rows_of(places):
        return run(step, begin, state, fed, jit)


def _looped(
    step: Callable[..., Any], begin: Callable[..., Any], state: Any, fed: Fed, jit: Any
) -> Any:
    def loop(state: Any, held: Any, first: Any, last: Any, offset: Any) -> Any:
        return lax.fori_loop(
            first, last, lambda i, carry: step(i, carry, held, offset), (state, *begin())
        )

    # The old state's buffers are reused for the new: it must not be read again.
    compiled = jit(loop, donate_argnums=0).lower(state, _held(fed), 0, 1, 0).compile()
    return lambda state, fed, *steps: compiled(state, _held(fed), *steps)


def _one_by_one(
    step: Callable[..., Any], begin: Callable[..., Any], state: Any, fed: Fed, jit: Any
) -> Any:
    begun = jit(begin)
    carry = (state, *begun())
    alone = jit(step, donate_argnums=1).lower(0, carry, _held(fed), 0).compile()

    def run(state: Any, fed: Fed, first: int, last: int, offset: int) -> Any:
        carry = (state, *begun())
        for i in range(first, last):
            carry = alone(i, carry, _held(fed), offset)
        return carry

    return run


def _held(fed: Fed) -> tuple[jax.Array, jax.Array | None, jax.Array]:
    return fed.rows, fed.positions, fed.targets


_CONVOLUTIONS = (
    *(keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D),
    *(keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose),
    *(keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D),
    *(keras.layers.SeparableConv1D, keras.layers.SeparableConv2D),
)


def _slow_within_loops(encoder: keras.Model) -> bool:
    # convolutions that are not ours on a CPU: XLA takes 10 to 40 times as long for their gradient
    # within a loop, so each step is a program of its own
    if jax.default_backend() != "cpu":
        return False
    return any(
        isinstance(layer, _CONVOLUTIONS)
        and not isinstance(layer, Convolution | DepthwiseConvolution)
        for layer in encoder._flatten_layers()
    )


@jax.custom_vjp
def _settled(apart: Any) -> Any:
    # Unchanged, but their slopes are computed once. XLA's CPU compiler would fuse the slope of a
    # pair (loss, weight, distance) into the gradient of its embeddings, and so compute it again
    # for each of their coordinates: 5 % of the step. It fuses nothing across a sum, hence the sum
    # with zeros.
    return apart


def _settled_forward(apart: Any) -> Any:
    return apart, None


def _settled_backward(_: None, slopes: Any) -> Any:
    return (jnp.sum(jnp.stack([slopes, jnp.zeros_like(slopes)]), axis=0),)


_settled.defvjp(_settled_forward, _settled_backward)


def _shares(value: Any, count: int) -> Any:
    # of a sum, each device's own, (count,)
    if not value.ndim:
        return jnp.full(count, value / count)
    return jnp.sum(jnp.reshape(value, (count, -1)), axis=1)


class _Pace:
    # how many steps to run between two looks at the losses

    def __init__(self) -> None:
        self.steps = FIRST_STEPS

    @contextmanager
    def measure(self, steps: int) -> Iterator[None]:
        started = time.perf_counter()
        yield
        per_step = (time.perf_counter() - started) / steps
        self.steps = max(1, round(SECONDS_PER_LOOK / per_step))


def _shared(
    job: Job, monitor: Monitor, devices: Devices, state: Any, tell: Callable[[], None]
) -> Any:
    # of an epoch, while the variables hold the state, and take what callbacks change
    if not monitor.looks:
        tell()
        return state
    _write(job, state)
    tell()
    return devices.everywhere(_read(job))  # a copy: the loop consumes it


def _statistics(job: Job, positions: Any, embeddings: Any) -> Callable[[], BatchStatistics]:
    return lambda: batch_statistics(np.asarray(embeddings, np.float32), job.labels[positions])


def _read(job: Job) -> Any:
    # Copies: the loop consumes its state, and the model must stay whole if training fails.
    return tuple([jnp.copy(variable.value) for variable in group] for group in job.variables())


def _restored(state: Any, arrays: Sequence[Any]) -> Any:
    leaves, form = jax.tree.flatten(state)
    renewed = [jnp.asarray(new, old.dtype) for old, new in zip(leaves, arrays, strict=True)]
    return jax.tree.unflatten(form, renewed)


def _write(job: Job, state: Any) -> None:
    for group, values in zip(job.variables(), state, strict=True):
        for variable, value in zip(group, values, strict=True):
            variable.assign(value.addressable_data(0))  # all the rest of Keras knows one device
