"""What decisions make of a model's threshold and probabilities, for one index."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from twinset.decision import Calibrator, Threshold
from twinset.errors import StoreError
from twinset.search.decisions import NEAR, Decision
from twinset.search.store import Store

if TYPE_CHECKING:
    from twinset.metrics.calibration import Recalibration
    from twinset.models.embedder import Embedder

KIND = "calibration"  # of the store's records; the last one counts


class Recalibrating:
    """The part of `Index` that is about its threshold; its other methods are those of `Index`."""

    store: Store
    _given: Any
    _turn: threading.RLock  # of threads that write
    _keeping: threading.RLock  # guards what is read once; held last, and never while writing
    # read once: what others decide meanwhile is seen when the index is opened again
    _calibration: dict[str, Any] | None = None

    @property
    @abstractmethod
    def model(self) -> Embedder:
        """The model."""

    @property
    def threshold(self) -> Threshold:
        """At most this distance is a match: the model's, or as decisions have moved it."""
        own, found = self.model.threshold, self._recalibrated()
        if found is None:
            return own
        rule = f"{own.rule}, moved by {found.pairs:,} decisions"
        # what was promised was promised of the model's own
        return Threshold(found.threshold, rule, data=own.data)

    @property
    def calibrator(self) -> Calibrator | None:
        """Distance to probability of "same": the model's, or as decisions have moved it.

        None without a calibration.
        """
        own, found = self.model.calibrator, self._recalibrated()
        if found is None:
            return own
        return Calibrator(found.slope, found.intercept, f"moved by {found.pairs:,} decisions")

    def _recalibrated(self) -> Recalibration | None:
        held = self._calibration
        if held is None:
            with self._keeping:
                self._calibration = held = (self.store.records(KIND) or [{}])[-1]
        if not held.get("better") or held["own"] != self._own():
            return None
        from twinset.metrics.calibration import Recalibration

        return Recalibration(**{each.name: held[each.name] for each in fields(Recalibration)})

    def _own(self) -> str:
        # a model that is calibrated anew keeps its digest
        return repr((self.model.digest, self.model.threshold.value, self.model.calibrator))

    def _recalibrate(self, decisions: Sequence[Decision]) -> str:
        # Keep what the decisions make of the threshold, and say it in a sentence.
        model = self.store.signature.model
        near = [one for one in decisions if one.why == NEAR and one.model == model]
        held = self.store.records(KIND)[-1:]
        if not near and not held:
            return ""
        try:
            own = self.model.calibrator
        except StoreError:
            if self._given is not None:
                raise
            return "the threshold stays: pass the model for the decisions to move it"
        if own is None:
            return "the threshold stays: the model has no calibration that decisions could move"
        from twinset.metrics.calibration import recalibrate

        at = self.model.threshold.value
        answers = [one.same for one in near]
        found = recalibrate(own, at, [one.distance for one in near], answers)
        told = {"better": False} if found is None else asdict(found)
        self.store.record(KIND, [told | {"own": self._own()}])
        with self._keeping:  # who read the records before this has kept them by now
            self._calibration = None
        if found is None:
            return f"the threshold is the model's, {at:.4f}: no decision near it stands"
        gain = (
            f"by {found.pairs:,} decisions near it: {found.wrong_before:,} contradict the model's "
            f"and {found.wrong_after:,} theirs, at {found.before:.2f} and {found.after:.2f} bits "
            "each, a tenth left out in turn"
        )
        if found.better:
            return f"the threshold moves from {at:.4f} to {found.threshold:.4f} {gain}"
        return f"the threshold stays at {at:.4f}, as no other is clearly better {gain}"
