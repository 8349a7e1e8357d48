"""Requests that schemathesis makes of the OpenAPI, good and bad ones; for tests and benchmark."""

from __future__ import annotations

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis.checks import content_type_conformance, response_schema_conformance
from schemathesis.generation import GenerationMode

CHECKS = [content_type_conformance, response_schema_conformance]


def attack(url, examples, token=None):
    """Send so many requests of each kind to each operation; return how many there were."""
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    sent = 0
    for result in schema.get_all_operations():
        operation = result.ok()
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

            @seed(1)
            @settings(
                max_examples=examples,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
                phases=[Phase.generate],
            )
            @given(case=operation.as_strategy(generation_mode=mode))
            def send(case):
                nonlocal sent
                sent += 1
                response = case.call(headers=headers, timeout=20)
                # 503 says that something is being computed, or too much asked
                assert response.status_code in {503, *range(200, 500)}, response.text
                case.validate_response(response, checks=CHECKS)

            try:
                send()
            except Exception as error:
                if "Unsatisfiable" not in type(error).__name__:  # nothing to be made wrong
                    raise
    return sent
