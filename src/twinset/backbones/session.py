"""What every graph has: a session that runs it, the names of its ends, whence its weights come."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twinset.cores import cores
from twinset.errors import ModelError, reason, require

# Of the input and the output of a graph.
INPUT, OUTPUT = "images", "embeddings"


def name_of(source: Path | bytes) -> str:
    """Call a graph by its file, for messages."""
    return "the graph" if isinstance(source, bytes) else str(source)


# A name of 1.29 to 1.32, and that of newer ones.
_NO_TELEMETRY = ("ORT_DISABLE_TELEMETRY", "ORT_TELEMETRY_DISABLED")


def runtime() -> Any:
    """Import ONNX Runtime, without its telemetry.

    From 1.29 on it writes a device id and a database to the user's cache while it is imported, and
    sends events to its maker, unless the environment says not to. What the user's environment says
    goes before, and is as it was afterwards.
    """
    ours = dict.fromkeys((name for name in _NO_TELEMETRY if name not in os.environ), "1")
    os.environ.update(ours)
    try:
        import onnxruntime
    finally:
        for name in ours:
            del os.environ[name]
    onnxruntime.disable_telemetry_events()  # which somebody may have imported before
    return onnxruntime


def open_session(graph: Path | bytes) -> Any:
    """Make an `onnxruntime.InferenceSession` on the CPU from a file or its content."""
    name = name_of(graph)
    if isinstance(graph, Path) and not graph.is_file():
        raise ModelError(
            f"{name}: expected an exported encoder. There is no such file: write it with "
            f"`twinset export {graph.parent}`."
        )
    require("onnxruntime", "", "the engine onnx", ModelError)
    onnxruntime = runtime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors alone: they are raised as well
    # its own count is of the machine, of which a container may have two
    options.intra_op_num_threads = cores()
    # Threads that spin while they wait take the cores from whoever decodes the next images: half
    # the throughput of a small encoder, measured.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        if isinstance(graph, Path):
            with graph.open("rb") as file:  # the system's own words, where it may not be read
                # it takes paths as UTF-8 alone
                graph = graph if str(graph).isascii() else file.read()
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - a dozen classes of its own, without a common one
        raise ModelError(
            f"{name}: expected an ONNX graph that ONNX Runtime can run. "
            f"{type(error).__name__}: {reason(error)}"
        ) from None


@dataclass(frozen=True)
class Provenance:
    """What the weights are of, where they were published, under which licence."""

    name: str  # "EfficientNet-Lite0, trained on ImageNet"
    source: str  # an address, or the name of a file
    licence: str  # by its SPDX identifier; "" where it is not known
    sha256: str  # of the file that they were read from
