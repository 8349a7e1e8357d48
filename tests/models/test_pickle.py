"""Models travel: to a copy, to another process, to a machine without their folder."""

import copy
import pickle
import shutil
from dataclasses import replace

import numpy as np
import pytest

import twinset
from twinset.errors import ModelError


@pytest.fixture(scope="module")
def folder(stripes, tmp_path_factory):
    # spaces and letters beyond ASCII, as in the home folders of many
    place = tmp_path_factory.mktemp("Modèles und mehr") / "dernière № 1"
    twinset.fit(stripes, epochs=2, encoder={"units": [8]}, progress=False).save(place)
    twinset.export(place)
    return place


def pickled(model):
    return pickle.loads(pickle.dumps(model))


@pytest.mark.parametrize("engine", ["onnx", "keras"])
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickled])
def test_copies_give_the_same(folder, stripes, engine, copied):
    model = twinset.load_model(folder, engine=engine)
    other = copied(model)
    assert type(other) is type(model)
    for name in ("digest", "dim", "threshold", "preprocessing", "recipe", "history"):
        assert getattr(other, name) == getattr(model, name), name
    np.testing.assert_array_equal(other.embed(stripes), model.embed(stripes))


@pytest.mark.parametrize("engine", ["onnx", "keras"])
def test_another_process_takes_a_model(folder, stripes, engine, other_process):
    model = twinset.load_model(folder, engine=engine)
    found = other_process.apply(model.embed, [stripes.images])
    np.testing.assert_allclose(found, model.embed(stripes), atol=1e-6)


def test_a_pickle_needs_no_folder(folder, stripes, tmp_path):
    place = shutil.copytree(folder, tmp_path / "copy")
    model = twinset.load_model(place)
    data = pickle.dumps(model)
    expected = model.embed(stripes)
    shutil.rmtree(place)
    other = pickled(pickle.loads(data))
    np.testing.assert_array_equal(other.embed(stripes), expected)
    other = replace(other, threshold=twinset.Threshold(0.25, "by hand"))
    assert other.recipe.name == "tutorial"
    assert len(other.history) == 2
    with pytest.raises(ModelError, match="to pickle the model. No such .*load the model again"):
        pickle.dumps(model)


def test_a_pickle_of_a_graph_that_was_replaced(folder, stripes, tmp_path):
    place = shutil.copytree(folder, tmp_path / "copy")
    model = twinset.load_model(place)
    twinset.fit(stripes, epochs=1, encoder={"units": [8]}, seed=5, progress=False).save(place)
    twinset.export(place)
    data = pickle.dumps(model.encoder)
    with pytest.raises(ModelError, match="Received that of another training, which had repl"):
        pickle.loads(data)


def test_a_graph_alone_has_no_recipe(folder):
    model = twinset.load_model(folder / "encoder.onnx")
    assert (model.recipe, model.history) == (None, ())
    whole = twinset.load_model(folder)
    assert whole.recipe == twinset.load_model(folder, engine="keras").recipe
    assert [record.epoch for record in whole.history] == [1, 2]


def test_a_history_that_is_gone_or_cut(folder, tmp_path):
    place = shutil.copytree(folder, tmp_path / "copy")
    (place / "history.csv").write_text("epoch,steps\n1,\n")
    with pytest.raises(ModelError, match="history.csv: expected the history of a training, a row"):
        _ = twinset.load_model(place).history
    (place / "history.csv").unlink()
    with pytest.raises(ModelError, match="history.csv: expected the history .* No such"):
        pickle.dumps(twinset.load_model(place))
