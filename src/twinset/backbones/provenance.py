"""Where weights come from that somebody else trained; light, as every card of a model has it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Provenance:
    """What the weights are of, where they were published, under which licence.

    Args:
        name: "EfficientNet-Lite0, trained on ImageNet".
        source: an address, or the name of a file.
        licence: by its SPDX identifier; "" where it is not known.
        sha256: of the file that they were read from.
    """

    name: str
    source: str
    licence: str
    sha256: str
