"""Nothing surprising in the process of who uses twinset, nor outside the folders it is told of."""

import json
import os
import subprocess
import sys

import pytest

import own_process

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, and has the folders of XDG")


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What a process that trained, evaluated, searched and served says of itself."""
    root = tmp_path_factory.mktemp("own")
    (root / "work").mkdir()
    (root / "temporary").mkdir()
    places = {"XDG_CACHE_HOME": str(root / "cache"), "TMPDIR": str(root / "temporary")}
    ours = {
        "KERAS_BACKEND": "jax",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "MPLCONFIGDIR": str(root / "cache"),
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore::RuntimeWarning", own_process.__file__],
        cwd=root / "work",
        env={k: v for k, v in os.environ.items() if not k.startswith("JAX_")} | places | ours,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return root, json.loads(done.stdout), done.stderr


def test_nothing_of_the_process_is_changed(told):
    assert told[1]["changed"] == {}


def test_nothing_is_said_that_nobody_asked_for(told):
    assert told[2] == ""


def test_files_are_written_to_the_folders_that_are_told_of_alone(told):
    root, found, _ = told
    assert any(path.startswith(str(root / "work/run")) for path in found["written"])
    outside = {path for path in found["written"] if not path.startswith(f"{root}/")} - {"/dev/null"}
    assert not {path for path in outside if "__pycache__" not in path}  # Python's own, if it is new


def test_no_socket_leaves_the_machine(told):
    assert told[1]["sockets"]  # it has served
    assert not [each for each in told[1]["sockets"] if "127.0.0.1" not in each]


def test_keras_in_a_fork_says_at_once_that_it_would_hang(told):
    assert told[1]["forked"].startswith("Expected Keras in the process that used it first.")
