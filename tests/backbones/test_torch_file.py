"""PyTorch's old files: tensors are read, whatever else they hold is neither run nor made."""

import io
import os
import pickle

import numpy as np
import pytest

from twinset.backbones.lite0 import MAGIC, VERSION, read_tensors
from twinset.errors import ModelError

MACHINE = {"protocol_version": VERSION, "little_endian": True, "type_sizes": {}}


class Named:
    """What a pickle calls by its name."""

    def __init__(self, name, *arguments):
        self.name, self.arguments = name, arguments


class Tensors(pickle._Pickler):
    """Writes names and storages as PyTorch does, without PyTorch."""

    def persistent_id(self, value):
        if isinstance(value, tuple) and value[:1] == ("storage",):
            return ("storage", Named(f"torch {value[1]}"), *value[2:])
        return None

    def save_named(self, value):
        self.write(b"c" + value.name.replace(" ", "\n").encode() + b"\n")
        if value.arguments:
            self.save(value.arguments)
            self.write(pickle.REDUCE)

    dispatch = {**pickle._Pickler.dispatch, Named: save_named}


def pickled(value):
    out = io.BytesIO()
    Tensors(out, 2).dump(value)
    return out.getvalue()


def tensor(key, shape, strides, count, offset=0, kind="FloatStorage", view=None):
    storage = ("storage", kind, key, "cpu", count, view)
    ordered = Named("collections OrderedDict")
    ordered.arguments = ()
    return Named("torch._utils _rebuild_tensor_v2", storage, offset, shape, strides, False, None)


def content(tensors, storages, *, head=(MAGIC, VERSION, MACHINE)):
    parts = [pickle.dumps(each, 2) for each in head]
    parts += [pickled(tensors), pickle.dumps([key for key, _ in storages], 2)]
    for _, numbers in storages:
        parts += [len(numbers).to_bytes(8, "little"), numbers.tobytes()]
    return b"".join(parts)


def read(tmp_path, data):
    (tmp_path / "weights.pth").write_bytes(data)
    return read_tensors(tmp_path / "weights.pth")


SIX = np.arange(6, dtype="<f4")


def test_tensors_are_read_by_their_strides(tmp_path):
    """Six numbers as 2 × 3, transposed as 3 × 2, from the second one on; and an integer."""
    tensors = {
        "natural": tensor("a", (2, 3), (3, 1), 6),
        "transposed": tensor("a", (3, 2), (1, 3), 6),
        "later": tensor("a", (2,), (2,), 6, offset=1),
        "count": tensor("b", (), (), 1, kind="LongStorage"),
        "none": tensor("a", (0,), (1,), 6),
    }
    found = read(tmp_path, content(tensors, [("b", np.array([7], "<i8")), ("a", SIX)]))
    assert {name: values.tolist() for name, values in found.items()} == {
        "natural": [[0, 1, 2], [3, 4, 5]],
        "transposed": [[0, 3], [1, 4], [2, 5]],
        "later": [1, 3],
        "count": 7,
        "none": [],
    }
    assert found["natural"].dtype == np.float32
    assert found["count"].dtype == np.int64


@pytest.mark.parametrize(
    "name",
    [
        "os system",
        "builtins eval",
        "builtins getattr",
        "subprocess Popen",
        "torch._utils _rebuild_parameter",
        "torch HalfStorage",
        "collections defaultdict",
        "numpy.core.multiarray _reconstruct",
        "collections OrderedDict.fromkeys",
    ],
)
@pytest.mark.parametrize("place", [0, 1, 2, 3, 4])
def test_nothing_else_can_be_named(tmp_path, name, place, monkeypatch):
    """In none of the five pickles, whatever it would have been called with."""
    ran = []
    monkeypatch.setattr(os, "system", ran.append)
    hostile = pickled(Named(name, "echo broken > broken.txt"))
    parts = [pickle.dumps(each, 2) for each in (MAGIC, VERSION, MACHINE, {}, [])]
    parts[place] = hostile
    wanted = name.replace(" ", ".")
    with pytest.raises(ModelError, match=f"nothing else. Received one that asks for {wanted}: "):
        read(tmp_path, b"".join(parts))
    assert not ran


def test_what_can_be_named_can_be_called_with_nothing_harmful(tmp_path):
    """A state for the dictionary is thrown away; a state for a tensor is refused."""
    state = pickled(Named("collections OrderedDict", [("x", tensor("a", (2,), (1,), 2))]))
    with_state = state[:-1] + pickle.dumps({"_metadata": 1}, 2)[2:-1] + pickle.BUILD + b"."
    parts = content({}, [("a", SIX[:2])]).replace(pickled({}), with_state, 1)
    assert read(tmp_path, parts)["x"].tolist() == [0, 1]
    broken = pickled(tensor("a", (2,), (1,), 2))[:-1] + pickle.dumps({"offset": -9}, 2)[2:-1]
    with pytest.raises(ModelError, match="expected weights as PyTorch's old format"):
        read(tmp_path, content({}, []).replace(pickled({}), broken + pickle.BUILD + b".", 1))


@pytest.mark.parametrize(
    ("tensors", "storages", "words"),
    [
        ({"x": tensor("a", (7,), (1,), 6)}, [("a", SIX)], "reaches beyond its 6 numbers"),
        ({"x": tensor("a", (2,), (1,), 6, offset=5)}, [("a", SIX)], "reaches beyond"),
        ({"x": tensor("a", (2,), (-1,), 6)}, [("a", SIX)], "reaches beyond"),
        ({"x": tensor("a", (2,), (1,), 6, offset=-1)}, [("a", SIX)], "reaches beyond"),
        ({"x": tensor("a", (10**9, 10**9), (0, 0), 6)}, [("a", SIX)], "of more than its 6"),
        ({"x": tensor("a", (2,), (1, 1), 6)}, [("a", SIX)], "zip"),
        ({"x": tensor("a", (6,), (1,), 6)}, [("a", SIX[:5])], "5 numbers where 6 are announced"),
        ({"x": tensor("a", (6,), (1,), 6)}, [], "'a'"),
        ({"x": tensor("a", (6,), (1,), 6)}, [("b", SIX)], "'b'"),
        ({"x": 5}, [], "something beside tensors"),
        ([], [], "something beside tensors"),
        ({"x": tensor("a", (6,), (1,), 6, view=("a", 0, 6))}, [("a", SIX)], "a storage belongs"),
        ({"x": tensor("a", (6,), (1,), 6, kind="x")}, [("a", SIX)], "asks for torch.x"),
    ],
)
def test_what_does_not_hold_together_is_refused(tmp_path, tensors, storages, words):
    with pytest.raises(ModelError, match=words):
        read(tmp_path, content(tensors, storages))


def test_other_files_are_refused(tmp_path):
    whole = content({"x": tensor("a", (6,), (1,), 6)}, [("a", SIX)])
    big = {**MACHINE, "little_endian": False}
    for data, words in (
        (b"", "Ran out of input|expected weights"),
        (b"PK\x03\x04", "expected weights"),
        (pickle.dumps(5), "Received another file"),
        (whole[:-1], "expected weights"),
        (whole[:60], "expected weights"),
        (content({}, [], head=(MAGIC, VERSION + 1, MACHINE)), "Received another file"),
        (content({}, [], head=(MAGIC, VERSION, big)), "numbers the other way round"),
    ):
        with pytest.raises(ModelError, match=words):
            read(tmp_path, data)
    with pytest.raises(ModelError, match="No such file"):
        read_tensors(tmp_path / "none.pth")
