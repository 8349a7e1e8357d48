"""The request in hand: by when it must be answered, and how to hear that its client left."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from dataclasses import dataclass

from starlette.types import Message, Receive


@dataclass(eq=False)
class Asked:
    """A request that is being answered."""

    deadline: float  # by time.monotonic
    receive: Receive
    body: bytes | None = None  # once it was read whole

    async def left(self) -> None:
        """Wait until the client hangs up; for ever while a body may come instead."""
        if self.body is None:
            await asyncio.get_running_loop().create_future()
        while (await self.receive())["type"] != "http.disconnect":
            pass

    def again(self) -> Receive:
        """Give what brings the body that was read once more."""
        given = False

        async def received() -> Message:
            nonlocal given
            if given or self.body is None:
                return await self.receive()
            given = True
            return {"type": "http.request", "body": self.body, "more_body": False}

        return received


# A request's own task sets it, so that what is called for it need not hand it on.
ASKED: ContextVar[Asked | None] = ContextVar("twinset-asked", default=None)
