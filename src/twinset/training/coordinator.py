"""What processes tell each other by way of JAX's coordinator, and who of them is lost."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from typing import Any

from twinset.errors import DataError, TrainingError

# A process says each second that it is there, by a thread of its own. One that is silent for so
# long is lost; sooner where a connection to somebody broke as well.
BEAT, SILENT, SILENT_AND_BROKEN = 1.0, 10.0, 4.0
GRACE = 5.0  # for the main thread to end by itself, once somebody is lost
MESSAGES = 1000  # that are kept, though all have read all but the last few


class Coordinator:
    """The place where the processes of a training meet."""

    def __init__(self) -> None:
        import jax
        from jax._src import distributed  # what orbax and flax use, as JAX shows no other door

        self._client: Any = distributed.global_state.client
        self._index, self._count = jax.process_index(), jax.process_count()
        self.messages = 0
        self._lock = threading.Lock()
        self._state: dict[str, Any] = {"beat": 0}
        self.asked = self.left = self._broken = self._taken = False
        self._failure: str | None = None
        self._others: dict[int, tuple[dict[str, Any], float]] = {}
        threading.Thread(target=self._watch, name="processes", daemon=True).start()

    def tell(self, what: dict[str, Any]) -> dict[str, Any]:
        """Tell all; return what they get."""
        text = json.dumps(what)
        self._client.key_value_set(self._key(self.messages), text)
        if self.messages >= MESSAGES:
            self._client.key_value_delete(self._key(self.messages - MESSAGES))
        self.messages += 1
        found: dict[str, Any] = json.loads(text)
        return found

    def hear(self) -> dict[str, Any]:
        """Wait for the next that process 0 tells."""
        while True:
            try:
                # not longer, as Ctrl-C is heeded in between
                text = self._client.blocking_key_value_get(self._key(self.messages), 500)
            except RuntimeError as error:
                if "DEADLINE_EXCEEDED" not in str(error):
                    raise TrainingError(self.who(str(error))) from error
                if self._failure is not None:
                    raise TrainingError(self.who("")) from None
            else:
                self.messages += 1
                found: dict[str, Any] = json.loads(text)
                return found

    def compare(self, mine: dict[str, str]) -> None:
        """Wait for everybody's facts; a DataError tells which differ from these."""
        while True:
            try:
                self._read()  # without waiting for the next beat
            except RuntimeError as error:
                raise TrainingError(self.who(str(error))) from error
            with self._lock:
                states = {place: state for place, (state, _) in self._others.items()}
            known = {i: s["facts"] for i, s in states.items() if s.get("round") == self.messages}
            if len(known) == self._count - 1:
                break
            if self._failure is not None:
                raise TrainingError(self.who(""))
            time.sleep(0.05)
        for place, facts in sorted(known.items()):
            for name in mine:
                if facts.get(name) != mine[name]:
                    raise DataError(
                        f"Expected all processes to train with the same {name}. Process {place} "
                        f"has {facts.get(name)}, process 0 has {mine[name]}: give all the same."
                    )

    def change(self, **state: Any) -> None:
        """Say something of this process, which all others see within a second or two."""
        with self._lock:
            self._state |= state
            text = json.dumps(self._state)
        self._client.key_value_set(f"twinset/state/{self._index}", text, allow_overwrite=True)

    def fail(self, error: BaseException) -> None:
        """Tell the others why this process ends; process 0 waits until they know."""
        self._taken = True
        reason = "it was interrupted" if isinstance(error, KeyboardInterrupt) else str(error)
        with contextlib.suppress(RuntimeError):
            self.change(failed=reason or type(error).__name__)
            last = time.monotonic() + 3
            while self._index == 0 and time.monotonic() < last and not self._all_failed():
                time.sleep(0.1)

    def who(self, error: str) -> str:
        """Wait until it is known who is lost, and say it."""
        self._broken, self._taken = True, True
        last = time.monotonic() + SILENT + GRACE
        while self._failure is None and time.monotonic() < last:
            time.sleep(0.1)
        return self._failure or f"Expected {self._count} processes. One of them ended: {error}"

    def _all_failed(self) -> bool:
        with self._lock:
            failed = [place for place, (state, _) in self._others.items() if "failed" in state]
        return len(failed) >= int(self._count) - 1

    def _key(self, number: int) -> str:
        return f"twinset/told/{number}"

    def _watch(self) -> None:
        failed = None
        while not self.left:
            try:
                self.change(beat=self._state["beat"] + 1)
                self._read()
            except RuntimeError:
                # the coordinator is gone, and process 0 with it, or all are leaving
                return
            if self._failure is not None:
                failed = failed or time.monotonic()
                if not self._taken and time.monotonic() > failed + GRACE:
                    # the main thread waits where no error comes
                    print(f"twinset: {self._failure}", file=sys.stderr, flush=True)  # noqa: T201
                    os._exit(2)
            time.sleep(BEAT)

    def _read(self) -> None:
        found = self._client.key_value_dir_get("twinset/state/")
        self._look({int(key.rsplit("/", 1)[1]): json.loads(text) for key, text in found})

    def _look(self, states: dict[int, dict[str, Any]]) -> None:
        now = time.monotonic()
        for place, state in states.items():
            if place == self._index:
                continue
            before = self._others.get(place)
            if before is None or before[0] != state:
                with self._lock:
                    self._others[place] = state, now
            self.asked = self.asked or bool(state.get("asks"))
            since = now - self._others[place][1]
            limit = SILENT_AND_BROKEN if self._broken else SILENT
            if self._failure is not None:
                continue
            name = f"Expected {self._count} processes. Process {place}"
            if "failed" in state:
                self._failure = f"{name} ended: {state['failed']}"
            elif since > limit:
                self._failure = (
                    f"{name} does not answer any more: it was killed, or its machine cannot be "
                    "reached. Start all again with --resume, which goes on from the last "
                    "checkpoint."
                )
