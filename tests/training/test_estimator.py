"""`SiameseTransformer` is what scikit-learn expects of an estimator."""

from functools import partial

import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import estimator_checks_generator

import twinset
from twinset.errors import DataError, RecipeError

pytestmark = pytest.mark.any_backend

# in closed form, as each check trains, and what is checked is the same
QUICK = {"head.kind": "lda"}
# check → why it says nothing here
ASIDE = {
    "check_array_api_input": "asks for arrays on other devices, by a switch of SciPy's; it skips"
}
CHECKS = {
    check.func.__name__: partial(check, estimator)
    for estimator, check in estimator_checks_generator(
        twinset.SiameseTransformer("head", settings=QUICK)
    )
}


@pytest.mark.parametrize("name", [name for name in CHECKS if name not in ASIDE])
def test_scikit_learns_own_checks(name):
    CHECKS[name]()


def test_few_checks_are_left_aside():
    assert ASIDE.keys() <= CHECKS.keys()
    assert len(CHECKS) > 40


def test_in_a_search_over_settings(stripes):
    vectors = stripes.images.reshape(60, -1)
    names = np.array(stripes.class_names)[stripes.labels]
    pipeline = make_pipeline(
        twinset.SiameseTransformer("head", settings=QUICK), KNeighborsClassifier(1)
    )
    grid = {"siamesetransformer__settings": [QUICK, {"head.kind": "whitened"}]}
    found = GridSearchCV(pipeline, grid, cv=2).fit(vectors, names)
    assert found.best_score_ > 0.9
    assert set(found.predict(vectors)) == set(stripes.class_names)
    step = found.best_estimator_[0]
    assert step.classes_.tolist() == sorted(stripes.class_names)
    width = step.model_.dim
    assert step.get_feature_names_out().tolist() == [f"siamesetransformer{i}" for i in range(width)]


def test_images_files_and_seeds(stripes, tmp_path):
    quick = {"epochs": 1, "encoder": {"units": [4]}, "augment": {"flip": False}}
    estimator = twinset.SiameseTransformer(settings=quick, random_state=3)
    pictures, labels = [Image.fromarray(image) for image in stripes.images], stripes.labels
    found = [
        clone(estimator).fit(*given).transform(stripes.images)
        for given in ((stripes.images / 255, labels), (pictures, labels), (stripes,))
    ]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    estimator.set_params(random_state=np.random.RandomState(3)).fit(stripes)
    assert 0 < estimator.model_.recipe.seed < 2**31
    pictures[0].save(tmp_path / "a.png")
    assert estimator.transform([tmp_path / "a.png"]).shape == (1, 4)
    assert estimator.model_.recipe.name == "fast"


def test_images_of_several_sizes_and_arrays_of_files(stripes, tmp_path):
    estimator = twinset.SiameseTransformer(settings={"epochs": 1, "encoder": {"units": [4]}})
    images = [
        np.kron(each, np.ones((2, 1 + k % 2), np.uint8)) for k, each in enumerate(stripes.images)
    ]
    files = [tmp_path / f"{k}.png" for k in range(len(images))]
    for image, file in zip(images, files, strict=True):
        Image.fromarray(image).save(file)
    found = [
        clone(estimator).fit(given, stripes.labels).transform(given)
        for given in (images, [Image.fromarray(each) for each in images], np.array(files, str))
    ]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_what_is_wrong_is_said_in_a_sentence(stripes):
    estimator = twinset.SiameseTransformer(settings={"epoch": 1})
    with pytest.raises(RecipeError, match=r"unknown key 'epoch' \(did you mean 'epochs'"):
        estimator.fit(stripes)
    with pytest.raises(DataError, match="Expected LabelledImages to train on, or images"):
        estimator.fit([Image.fromarray(image) for image in stripes.images])
