import os

import pytest


@pytest.fixture(autouse=True)
def _same_backend(monkeypatch):
    """Restore what --backend changes for the whole process."""
    monkeypatch.setenv("KERAS_BACKEND", os.environ["KERAS_BACKEND"])
