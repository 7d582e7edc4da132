"""scikit-learn's base classes, with types for what they hand down: it has none of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

Request: TypeAlias = bool | str | None  # of metadata, in set_..._request

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Literal, Self, TypeVar

    import numpy as np
    import sklearn.base
    from numpy.typing import ArrayLike, NDArray
    from sklearn.gaussian_process import kernels

    FloatArray = NDArray[np.floating[Any]]
    Names = NDArray[np.object_]
    F = TypeVar("F")

    class BaseEstimator(sklearn.base.BaseEstimator):  # type: ignore[misc]
        def get_params(self, deep: bool = True) -> dict[str, Any]: ...
        def set_params(self, **params: Any) -> Self: ...
        def get_metadata_routing(self) -> object: ...

    class Scored:
        def score(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float: ...
        def set_fit_request(self, *, sample_weight: Request = ...) -> Self: ...
        def set_score_request(self, *, sample_weight: Request = ...) -> Self: ...

    class RegressorMixin(Scored): ...

    class ClassifierMixin(Scored): ...

    class TransformerMixin:
        def fit_transform(self, X: Any, y: Any = None, **fit_params: Any) -> FloatArray: ...
        def set_output(
            self, *, transform: Literal["default", "pandas", "polars"] | None = None
        ) -> Self: ...

    class OneToOneFeatureMixin:
        def get_feature_names_out(self, input_features: ArrayLike | None = None) -> Names: ...

    class ClassNamePrefixFeaturesOutMixin:
        def get_feature_names_out(self, input_features: ArrayLike | None = None) -> Names: ...

    class MetaEstimatorMixin: ...

    class Kernel(kernels.Kernel):  # type: ignore[misc]
        def get_params(self, deep: bool = True) -> dict[str, Any]: ...
        def set_params(self, **params: Any) -> Self: ...
        def clone_with_theta(self, theta: ArrayLike) -> Self: ...
        @property
        def n_dims(self) -> int: ...
        @property
        def bounds(self) -> NDArray[np.float64]: ...
        @property
        def requires_vector_input(self) -> bool: ...

    def available_if(check: Callable[[Any], object]) -> Callable[[F], F]: ...

else:
    from sklearn.base import (
        BaseEstimator,
        ClassifierMixin,
        ClassNamePrefixFeaturesOutMixin,
        MetaEstimatorMixin,
        OneToOneFeatureMixin,
        RegressorMixin,
        TransformerMixin,
    )
    from sklearn.gaussian_process.kernels import Kernel
    from sklearn.utils.metaestimators import available_if

__all__ = [
    "BaseEstimator",
    "ClassNamePrefixFeaturesOutMixin",
    "ClassifierMixin",
    "Kernel",
    "MetaEstimatorMixin",
    "OneToOneFeatureMixin",
    "RegressorMixin",
    "Request",
    "TransformerMixin",
    "available_if",
]
