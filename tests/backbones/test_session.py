"""ONNX Runtime in this process: without telemetry, and the environment stays as it was."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import os, sys
before = dict(os.environ)
from twinset.backbones.session import runtime
runtime().InferenceSession
assert dict(os.environ) == before
assert "onnxruntime" in sys.modules
"""


@pytest.mark.parametrize("own", [{}, {"ORT_DISABLE_TELEMETRY": "1"}], ids=["default", "user's"])
def test_no_file_appears_in_the_users_folders(tmp_path, own):
    """Of itself it writes a device id and a database there, on Linux and macOS."""
    quiet = {"CI", "TF_BUILD", "GITHUB_ACTIONS", "ORT_RUNNING_UNIT_TESTS"}
    environment = {
        **{key: value for key, value in os.environ.items() if key not in quiet},
        **own,
        "HOME": str(tmp_path),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    subprocess.run([sys.executable, "-c", PROGRAM], env=environment, check=True)
    assert not list(tmp_path.rglob("*"))
