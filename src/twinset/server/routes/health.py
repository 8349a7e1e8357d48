"""Whether the server lives, and whether it is ready: for whoever watches over it."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from twinset.server.answers import answer
from twinset.server.service import TheService

router = APIRouter(prefix="/health", tags=["health"])


@router.get("/live", summary="The process answers.")
async def live() -> Response:
    """Tell that the process answers."""
    return answer({"status": "alive"})


@router.get("/ready", summary="Model and index are loaded, and there is room in the queue.")
async def ready(service: TheService) -> Response:
    """Tell whether new requests would be answered."""
    waiting, most = service.batcher.waiting_images, service.limits.queue_images
    if waiting >= most:
        raise service.batcher.full()
    return answer({"status": "ready", "waiting": waiting})
