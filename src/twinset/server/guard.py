"""What stands before all routes: who may ask, how much at once, and the headers of all answers."""

from __future__ import annotations

import ipaddress
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Collection

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from twinset.server.limits import Limits
from twinset.server.problems import Problem, problem_of
from twinset.server.service import DEADLINE, Service

LOG = logging.getLogger("twinset.server")

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; font-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), geolocation=(), microphone=()",
}
_RAW = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
_CLIENTS = 10_000  # whose rate is remembered


class Guard:
    """An ASGI application before another one.

    Args:
        app: that answers.
        current: gives the service that new requests are answered by.
        hosts: names that a request's Host may have; addresses always may. "*" lets all pass.
    """

    def __init__(
        self, app: ASGIApp, current: Callable[[], Service], hosts: Collection[str]
    ) -> None:
        self._app = app
        self._current = current
        self._hosts = {each.lower() for each in hosts}
        self._rates: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self.active = 0
        self.held = 0  # bytes of bodies, as they were announced

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse with a problem."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        service = self._current()
        begun = False

        async def sent(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                names = {name for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(each for each in _RAW if each[0] not in names),
                ]
            await send(message)

        length = _length(scope)
        scope["twinset.service"] = service
        DEADLINE.set(time.monotonic() + service.limits.seconds + service.limits.body_seconds)
        self.active += 1
        self.held += length
        service.users += 1
        try:
            self._check(scope, service.limits)
            await self._app(scope, receive, sent)
        except Exception as error:
            problem = problem_of(error)
            if begun:
                raise
            await problem.response()(scope, receive, sent)
        finally:
            self.active -= 1
            self.held -= length
            service.users -= 1

    def _check(self, scope: Scope, limits: Limits) -> None:
        headers = dict(scope["headers"])
        self._check_host(headers.get(b"host", b"").decode("latin-1"))
        if scope["path"].startswith("/health"):
            return  # a server that is full is alive
        if self.active > limits.requests or self.held > limits.held_bytes:
            raise Problem(
                503,
                "Expected fewer requests at once. The server is full: ask again in 1 s.",
                name="full",
                headers={"Retry-After": "1"},
            )
        if scope["method"] not in ("GET", "HEAD"):
            self._check_rate((scope.get("client") or ("",))[0], limits.rate)

    def _check_host(self, host: str) -> None:
        # A page of another site can let its own name point to this address (DNS rebinding), and
        # then reads as if it were of this server; but its name is in the header.
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        name = name.strip("[]").lower().rstrip(".")
        if "*" in self._hosts or name in self._hosts or _is_address(name):
            return
        raise Problem(
            421,
            f"Expected a request to one of {', '.join(sorted(self._hosts))}. Received one to "
            f"{name[:100]!r}: start the server with --allow-host NAME for this name.",
            name="unknown-host",
        )

    def _check_rate(self, client: str, rate: float) -> None:
        # a bucket that holds what two seconds bring
        now, most = time.monotonic(), 2 * rate
        left, then = self._rates.pop(client, (most, now))
        left = min(most, left + (now - then) * rate)
        allowed = left >= 1
        self._rates[client] = left - allowed, now
        if len(self._rates) > _CLIENTS:
            self._rates.popitem(last=False)
        if not allowed:
            raise Problem(
                429,
                f"Expected at most {rate:g} requests per second from one address: ask again in "
                "1 s.",
                name="too-many",
                headers={"Retry-After": "1"},
            )


def _length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
    return 0


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
