"""What stands before all routes: who may ask, how much at once, and the headers of all answers."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Collection
from functools import lru_cache

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from twinset.errors import ReplacedError
from twinset.server.limits import Limits
from twinset.server.opening import Current
from twinset.server.problems import Problem, respond
from twinset.server.service import Service
from twinset.server.uploads import ASKED, Asked

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
    """An ASGI application before another one."""

    def __init__(self, app: ASGIApp, current: Current, hosts: Collection[str]) -> None:
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
        start, status, route = time.monotonic(), 0, "other"

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                names = {name for name, _ in message["headers"]}
                own = (each for each in _RAW if each[0] not in names)
                message["headers"] = [*message["headers"], *own]
            await send(message)

        limits = self._current.service.limits
        length = _length(scope, limits)
        self.active += 1
        self.held += length
        try:
            self._check(scope, limits)
            self._current.look()
            service = self._current.service
            asked = Asked(0.0, receive)
            try:
                route = await self._ask(service, scope, asked, receive, sent)
            except ReplacedError:
                if status:
                    raise
                service = await self._current.renew(service)
                route = await self._ask(service, scope, asked, asked.again(), sent)
        except Exception as error:
            if status:  # a part of the answer is gone already
                raise
            told = {**scope, "twinset.service": self._current.service}
            await respond(told, error)(scope, receive, sent)
        finally:
            self.active -= 1
            self.held -= length
            seconds = time.monotonic() - start
            self._current.service.measures.answered(route, status, seconds)

    async def _ask(
        self, service: Service, scope: Scope, asked: Asked, receive: Receive, send: Send
    ) -> str:
        """Let a service answer; return the route, without the prefix."""
        limits = service.limits
        asked.deadline = time.monotonic() + limits.seconds + limits.body_seconds
        ASKED.set(asked)
        # a copy, as it is written to on the way, and may be asked again
        own = {**scope, "twinset.service": service}
        service.users += 1
        try:
            await self._app(own, receive, send)
        finally:
            service.users -= 1
        # some versions of FastAPI leave the prefix out
        return getattr(own.get("route"), "path", "other").removeprefix("/api/v1")

    def _check(self, scope: Scope, limits: Limits) -> None:
        headers = dict(scope["headers"])
        self._check_host(headers.get(b"host", b"").decode("latin-1"))
        path = scope["path"].removeprefix(scope.get("root_path", ""))  # where it is mounted
        if path.startswith(("/health", "/metrics")):
            return  # a server that is full is alive, and whoever watches must see why
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


def _length(scope: Scope, limits: Limits) -> int:
    told = dict(scope["headers"])
    if b"transfer-encoding" in told:  # nobody knows, so as much as it may be
        return limits.request_bytes
    value = told.get(b"content-length", b"0")
    return min(int(value), limits.request_bytes) if value.isdigit() else 0


# few names are asked for, and to read one as an address takes a tenth of a refusal
@lru_cache(1000)
def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
