"""Whether the server lives, and whether it is ready: for whoever watches over it."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import PlainTextResponse, Response

from twinset.server.answers import answer
from twinset.server.service import TheService

router = APIRouter(tags=["health"])


@router.get("/health/live", summary="The process answers.")
async def live() -> Response:
    """Tell that the process answers."""
    # neither index nor queue is asked: a server that has much to do must not be killed for it
    return answer({"status": "alive"})


@router.get("/health/ready", summary="Model and index are loaded, and there is room in the queue.")
async def ready(service: TheService) -> Response:
    """Tell whether new requests would be answered."""
    # whoever shares out requests among servers sends none here while the queue is full
    waiting, most = service.batcher.waiting_images, service.limits.queue_images
    if waiting >= most:
        raise service.batcher.full()
    return answer({"status": "ready", "waiting": waiting})


@router.get("/metrics", summary="Counts for Prometheus", response_class=PlainTextResponse)
async def metrics(service: TheService) -> Response:
    """Tell queue, batches, answers and what was refused, in Prometheus' text format."""
    waiting = service.batcher
    text = service.measures.text(
        queue_images=waiting.waiting_images,
        queue_bytes=waiting.waiting_bytes,
        requests_active=service.users,
    )
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")
