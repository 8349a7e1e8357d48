"""Work on an encoder that only another of Keras' back ends can do, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import keras

from twinset.errors import ModelError


def under(
    backend: str, script: str, encoder: keras.Model, image_shape: Sequence[int], suffix: str
) -> bytes:
    """Run a script on a saved encoder under another back end.

    Args:
        backend: its name, as KERAS_BACKEND takes it.
        script: of Python; sys.argv holds the path of the encoder, that of the file to write, and
            the image's shape.
        encoder: is saved for it.
        image_shape: (h, w) or (h, w, 3).
        suffix: of that file, such as ".onnx".

    Returns:
        The content of the file that the script wrote.

    Raises:
        ModelError: the script failed, with the last line that it said.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "encoder.keras", Path(folder) / f"made{suffix}"
        encoder.save(source)
        command = [sys.executable, "-c", script, str(source), str(target), *map(str, image_shape)]
        environment = {
            **os.environ,
            "KERAS_BACKEND": backend,
            "JAX_PLATFORMS": "cpu",
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise ModelError(f"with {backend}, in a process of its own: {last}")
        return target.read_bytes()
