"""What estimators take for a network, and points of the kind that it takes."""

from __future__ import annotations

import pickle
import warnings
from multiprocessing import parent_process
from typing import Any, Self, cast

from nkfast._arrays.images import check_image_points
from nkfast._arrays.validation import Rows, check_estimator_rows
from nkfast._sklearn import BaseEstimator
from nkfast.layers import takes_images

from ._recipes import mlp
from ._sequential import Sequential


class NetworkEstimator(BaseEstimator):
    """An estimator whose parameter `net` is a network, or None for ``mlp()``."""

    net: Sequential | None

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name.

        Parameters
        ----------
        **params
            Names as in `get_params`; "net__name" is a parameter of the network, also where `net` is
            None, so that ``mlp()`` takes its place.

        Returns
        -------
        self
        """
        inner = {name: value for name, value in params.items() if name.startswith("net__")}
        if inner and params.get("net", self.net) is None:
            changed = mlp().set_params(**{name[5:]: value for name, value in inner.items()})
            params = {name: value for name, value in params.items() if name not in inner}
            params["net"] = changed
        return super().set_params(**params)


def own_network(net: Any) -> Sequential:
    """Return an own copy of a network, which set_params cannot reach; `mlp` for None."""
    if net is None:
        return mlp()
    check_network(net)
    return cast(Sequential, net.__sklearn_clone__())


def warn_of_unpicklable(net: Sequential) -> None:
    """Warn of a layer that pickle will refuse, before work goes into an estimator that holds it."""
    if parent_process() is not None:  # a worker, where it has arrived
        return
    for i, layer in enumerate(net.layers):
        try:
            pickle.dumps(layer)
        except Exception:  # whatever a function or class of the user's raises
            warnings.warn(
                f"net: layer {i}, {type(layer).__name__}: pickle and joblib.dump will refuse it and"
                " all that is fitted with it; cloudpickle and worker processes (n_jobs=2) take it. "
                "A function defined at the top level of a module, not a lambda, can be pickled",
                UserWarning,
                stacklevel=3,
            )
            return


def check_network(net: Any) -> None:
    """Refuse what is no network."""
    if not isinstance(net, Sequential):
        raise TypeError(f"net: expected a network such as nkfast.mlp(), got {net!r}")


def check_row_network(net: Any) -> None:
    """Refuse what is no network of rows."""
    check_network(net)
    if takes_images(net):
        raise ValueError(f"net: expected a network of rows, got one of images, {net!r}")


def check_points(
    estimator: Any, net: Sequential, X: Any, image_shape: Any = None, *, reset: bool
) -> Rows:
    """Return checked rows or, with a network of images, images (n, height, width, channels)."""
    if takes_images(net):
        X = check_image_points(estimator, X, image_shape, reset=reset)
        return X.reshape(len(X), *estimator.image_shape_)
    if reset:
        estimator.__dict__.pop("image_shape_", None)
    return check_estimator_rows(estimator, X, reset=reset)
