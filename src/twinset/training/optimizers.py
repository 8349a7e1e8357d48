"""Optimisers and the schedules of their learning rates, as a recipe describes them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import keras
from keras import ops

from twinset.settings import NotNegative, Positive, Share

MOMENTUM = 0.9


@keras.saving.register_keras_serializable("twinset")
class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises over a warm-up, and then falls to 0.

    With p the share of the steps done and w that of the warm-up: peak · p / w up to w; then, with
    q = (p − w) / (1 − w), peak · (1 + cos πq) / 2 for "cosine" and peak · (1 − q) for "linear".

    Args:
        peak: highest rate, > 0.
        steps: of the whole training.
        shape: "constant", "cosine" or "linear".
        warmup: share of the steps, in [0, 1). Defaults to 0.

    Reference:
        Loshchilov, Hutter (2017), SGDR; Goyal et al. (2017), Accurate, Large Minibatch SGD.

    Example:
        >>> rate = Schedule(1.0, 100, "linear", warmup=0.5)
        >>> [round(float(rate(step)), 2) for step in (0, 25, 50, 75, 100)]
        [0.02, 0.52, 1.0, 0.5, 0.0]
    """

    def __init__(self, peak: float, steps: int, shape: str, warmup: float = 0.0) -> None:
        self.peak, self.steps, self.shape, self.warmup = peak, steps, shape, warmup

    def __call__(self, step: Any) -> Any:
        """Compute the rate of a step, counted from 0."""
        step = ops.cast(step, "float32")
        rising = max(self.warmup * self.steps, 1e-9)
        # the very first step would otherwise have no rate at all
        up = ops.minimum((step + 1) / rising, 1.0) if self.warmup else 1.0
        done = ops.clip((step - rising) / max(self.steps - rising, 1), 0.0, 1.0)
        down: Any = 1.0
        if self.shape == "cosine":
            down = (1 + ops.cos(math.pi * done)) / 2
        elif self.shape == "linear":
            down = 1 - done
        return self.peak * up * down

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return dict(vars(self))


def build(
    steps: int,
    *,
    precision: str = "float32",
    name: Literal["rmsprop", "adam", "adamw", "sgd", "muon"] = "rmsprop",
    learning_rate: Positive = 0.001,
    schedule: Literal["constant", "cosine", "linear"] = "constant",
    warmup: Share = 0.0,
    weight_decay: NotNegative = 0.0,
    epsilon: Positive = 1e-7,
) -> keras.optimizers.Optimizer:
    """Build an optimiser of Keras, with the schedule of its learning rate.

    Args:
        steps: of the whole training, for the schedule.
        precision: of the network. Defaults to "float32".
        name: "rmsprop", "adam", "adamw", "sgd" (with Nesterov momentum 0.9) or "muon", as Keras
            has them. Defaults to "rmsprop".
        learning_rate: step size; with a schedule its highest. Defaults to 0.001.
        schedule: "constant", "cosine" (down to 0) or "linear" (likewise). Defaults to "constant".
        warmup: share of all steps over which the rate first rises from 0. Defaults to 0.
        weight_decay: decoupled; for "adamw", "sgd" and "muon". Defaults to 0.
        epsilon: added to the size of past gradients before dividing by it; not for "sgd".
            Defaults to 1e-7.

    Example:
        >>> type(build(100)).__name__
        'RMSprop'
    """
    constant = schedule == "constant" and not warmup
    settings: dict[str, Any] = {
        "learning_rate": learning_rate
        if constant
        else Schedule(learning_rate, steps, schedule, warmup)
    }
    if name == "sgd":
        settings |= {"momentum": MOMENTUM, "nesterov": True}
    else:
        settings["epsilon"] = epsilon
    if weight_decay:
        settings["weight_decay"] = weight_decay
    kind = {
        "rmsprop": keras.optimizers.RMSprop,
        "adam": keras.optimizers.Adam,
        "adamw": keras.optimizers.AdamW,
        "sgd": keras.optimizers.SGD,
        "muon": keras.optimizers.Muon,
    }[name]
    built = kind(**settings)
    if precision == "mixed_float16":
        # The loss is scaled, since small gradients would become 0: up while all gradients are
        # finite, down after one that is not, whose step is left out.
        return keras.optimizers.LossScaleOptimizer(built, name="loss_scale")
    return built


def inner(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Find the optimiser that makes the steps, inside one that scales losses or by itself."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def loss_scale(optimizer: keras.optimizers.Optimizer, values: Sequence[Any]) -> Any:
    """Find by what an optimiser, of whose variables these are the values, multiplies the loss."""
    if not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return 1.0
    variables = enumerate(optimizer.variables)
    return values[next(i for i, each in variables if each is optimizer.dynamic_scale)]
