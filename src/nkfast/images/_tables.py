"""Transformers whose results may be images, which no table can hold."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, cast

from nkfast._sklearn import BaseEstimator, TransformerMixin


class _Wrapped(TransformerMixin):
    def transform(self, X: Any, found: Any) -> Any:  # noqa: ARG002
        return found


# scikit-learn's wrapper of a result that is there already: (estimator, X, result) -> table.
_as_configured: Callable[[Any, Any, Any], Any] = _Wrapped.transform


class ImageTransformer(TransformerMixin, BaseEstimator):
    """Let images stay arrays where `set_output` wants tables: only rows can be tables."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        mixin, own = cast(Any, TransformerMixin), cast(Any, cls)
        own.fit_transform = mixin.fit_transform.__wrapped__  # of what `transform` has wrapped
        if "transform" in vars(cls):
            own.transform = _rows_only(own.transform.__wrapped__)


def _rows_only(method: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a `transform` that returns arrays."""

    @wraps(method)
    def transform(self: Any, X: Any) -> Any:
        found = method(self, X)
        return found if found.ndim > 2 else _as_configured(self, X, found)

    return transform
