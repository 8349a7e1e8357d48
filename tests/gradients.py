"""Gradients by the current back end, and by finite differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np


def gradient(function: Callable[[Any], Any], x: np.ndarray) -> np.ndarray:
    """Differentiate a scalar function of a tensor, by the back end's own machinery."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return np.asarray(jax.grad(function)(x))
    if backend == "tensorflow":
        import tensorflow as tf

        tensor = tf.constant(x)
        with tf.GradientTape() as tape:
            tape.watch(tensor)
            value = function(tensor)
        return tape.gradient(value, tensor).numpy()
    import torch

    tensor = torch.tensor(x, requires_grad=True)
    function(tensor).backward()
    return tensor.grad.numpy()


def differences(function: Callable[[Any], Any], x: np.ndarray, step: float = 1e-3) -> np.ndarray:
    """Differentiate by central differences, one coordinate at a time."""
    result = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[index] += step
        down[index] -= step
        result[index] = (float(function(up)) - float(function(down))) / (2 * step)
    return result
