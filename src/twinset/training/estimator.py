"""The face of scikit-learn: a transformer from images or vectors with labels to embeddings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from twinset.data.labelled import Labelled
from twinset.errors import MissingError, without
from twinset.progress import Wanted
from twinset.recipe import Recipe
from twinset.training.fit import fit

_WHY_NOT = without("sklearn", "sklearn", "SiameseTransformer")
if _WHY_NOT and not TYPE_CHECKING:
    # `from twinset import *` names the class in any installation

    def _refuse(cls: type, *_: Any, **__: Any) -> None:
        raise MissingError(_WHY_NOT)

    BaseEstimator = type("BaseEstimator", (), {"__new__": _refuse})
    ClassNamePrefixFeaturesOutMixin, TransformerMixin = type("A", (), {}), type("B", (), {})
else:
    from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
    from sklearn.utils import Tags, check_random_state
    from sklearn.utils.validation import check_is_fitted, validate_data


class SiameseTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """A siamese network as scikit-learn's estimators are: for pipelines, searches and copies.

    It does what `twinset.fit` does. There is no `predict`: a classifier behind it in a pipeline
    has one, and `model_` compares two images.

    Args:
        recipe: as for `twinset.fit`. Defaults to "fast" for images, "head" for vectors.
        settings: fields of the recipe to replace, such as {"epochs": 3, "encoder.units": [64]}.
            Defaults to none.
        random_state: the recipe's seed: a number, or a generator to draw one from. Defaults to the
            recipe's own.
        progress: as for `twinset.fit`. Defaults to False.

    Attributes:
        model_: the trained `SiameseModel`.
        classes_: the names of the classes, in the order of the model's labels.

    Example:
        >>> import numpy as np
        >>> from sklearn.neighbors import KNeighborsClassifier
        >>> from sklearn.pipeline import make_pipeline
        >>> images, labels = np.zeros((16, 4, 4), np.uint8), ["top"] * 8 + ["bottom"] * 8
        >>> images[:8, :2] = images[8:, 2:] = 200
        >>> network = SiameseTransformer(settings={"epochs": 3, "encoder": {"units": [8]}})
        >>> pipeline = make_pipeline(network, KNeighborsClassifier(3)).fit(images, labels)
        >>> pipeline.predict(images[[0, 8]] // 2).tolist()
        ['top', 'bottom']
        >>> network.transform(images).shape, network.model_.compare(images[0], images[8]).same
        ((16, 8), False)
    """

    def __init__(
        self,
        recipe: str | Path | Recipe | None = None,
        *,
        settings: Mapping[str, Any] | None = None,
        random_state: Any = None,
        progress: Wanted = False,
    ) -> None:
        # nothing else: scikit-learn copies an estimator by its arguments
        self.recipe = recipe
        self.settings = settings
        self.random_state = random_state
        self.progress = progress

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803 - scikit-learn's names
        """Train on images or vectors.

        Args:
            X: as the data of `twinset.fit`.
            y: its labels; of judged pairs and `LabelledImages`, none.

        Raises:
            ValueError: as `twinset.fit`, or in scikit-learn's words.
        """
        numbers = _are_numbers(X)
        if numbers:
            X, y = validate_data(self, X, y, ensure_min_samples=2, **_AS_THEY_ARE)  # noqa: N806
        settings = dict(self.settings or {})
        if self.random_state is not None:
            seed = self.random_state
            drawn = not isinstance(seed, int)
            settings["seed"] = check_random_state(seed).randint(2**31 - 1) if drawn else seed
        shape = X.row_shape if isinstance(X, Labelled) else np.shape(X)[1:] if numbers else ()
        recipe = self.recipe or ("head" if len(shape) == 1 else "fast")
        self.model_ = fit(X, y, recipe, progress=self.progress, **settings)
        self.classes_ = np.array(self.model_.class_names)
        self._n_features_out = self.model_.dim
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:  # noqa: N803
        """Embed images or vectors: float32 of shape (n, d), of length 1 by most recipes.

        Args:
            X: many, as `SiameseModel.embed` takes them.

        Raises:
            ValueError: as `SiameseModel.embed`, or in scikit-learn's words.
        """
        check_is_fitted(self)
        if _are_numbers(X):
            X = validate_data(self, X, reset=False, **_AS_THEY_ARE)  # noqa: N806
        return self.model_.embed(X)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        tags.input_tags.three_d_array = True
        return tags


_AS_THEY_ARE: dict[str, Any] = {"allow_nd": True, "dtype": "numeric"}


def _are_numbers(rows: Any) -> bool:
    # what scikit-learn checks; files, pictures and labelled images it does not know
    if isinstance(rows, Labelled | str):
        return False
    listed = isinstance(rows, list | tuple) or (isinstance(rows, np.ndarray) and rows.ndim == 1)
    first: Any = rows[0] if listed and len(rows) else None
    if isinstance(first, str | os.PathLike | Image.Image):
        return False
    several_sizes = np.ndim(first) > 1 and len({np.shape(each) for each in rows}) > 1
    return not several_sizes
