"""The card of the model that answers."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response

from twinset.data.labelled import VectorInput
from twinset.server.problems import Problem
from twinset.server.schemas import ModelCard
from twinset.server.service import Service, TheService
from twinset.server.telling import answer, threshold_told

router = APIRouter(tags=["model"])


@router.get("/model", response_model=ModelCard, summary="The model's card")
async def model(service: TheService) -> Response:
    """Tell what model answers: its threshold and whence, its input, what it was trained on."""
    return answer(card(service))


@router.get("/report", response_class=HTMLResponse, summary="The page of the run's evaluation")
async def report(service: TheService) -> Response:
    """Give the evaluation of the run as a page, to be shown in a frame."""
    if service.report is None:
        raise Problem(
            404,
            "Expected a run with a report. This model's folder has none: `twinset evaluate RUN` "
            "writes one.",
            name="no-report",
        )
    return FileResponse(
        service.report,
        media_type="text/html; charset=utf-8",
        headers={
            # its styles and pictures are in it; it runs no script, and is of no origin
            "Content-Security-Policy": "default-src 'none'; img-src data:; style-src "
            "'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'; sandbox",
            "X-Frame-Options": "SAMEORIGIN",
            "Cache-Control": "no-cache",
        },
    )


def card(service: Service) -> dict[str, Any]:
    """Describe the model of a service."""
    model = service.model
    # from the model itself and not from its card: a graph alone has none
    takes_vectors = isinstance(model.preprocessing, VectorInput)
    return {
        "name": service.name,
        "digest": model.digest,
        "distance": "euclidean",
        "dim": model.dim,
        "input": {"kind": "vectors" if takes_vectors else "images", **asdict(model.preprocessing)},
        "threshold": threshold_told(model.threshold),
        "alternatives": [threshold_told(each) for each in model.alternatives],
        "calibrated": model.calibrator is not None,
        "calibrator": None if model.calibrator is None else asdict(model.calibrator),
        "prior": 0.5,
        "class_names": model.class_names,
        "trained_on": asdict(model.trained_on),
        "provenance": [asdict(each) for each in model.provenance],
        "has_index": service.index is not None,
        "has_report": service.report is not None,
        "writable": service.token is not None,
        "limits": asdict(service.limits),
    }


health = APIRouter(tags=["health"])


@health.get("/health/live", summary="The process answers.")
async def live() -> Response:
    """Tell that the process answers."""
    # neither index nor queue is asked: a server that has much to do must not be killed for it
    return answer({"status": "alive"})


@health.get("/health/ready", summary="Model and index are loaded, and there is room in the queue.")
async def ready(service: TheService) -> Response:
    """Tell whether new requests would be answered."""
    # whoever shares out requests among servers sends none here while the queue is full
    waiting, most = service.batcher.waiting_images, service.limits.queue_images
    if waiting >= most:
        raise service.batcher.full()
    return answer({"status": "ready", "waiting": waiting})


@health.get("/metrics", summary="Counts for Prometheus", response_class=PlainTextResponse)
async def metrics(service: TheService) -> Response:
    """Tell queue, batches, answers and what was refused, in Prometheus' text format."""
    waiting = service.batcher
    text = service.measures.text(
        queue_images=waiting.waiting_images,
        queue_bytes=waiting.waiting_bytes,
        requests_active=service.users,
    )
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")
