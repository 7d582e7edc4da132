"""The parameters of the learners, checked."""

from __future__ import annotations

from typing import Any

import numpy as np

from nkfast._arrays.validation import (
    check_choice,
    check_count,
    check_real,
    check_verbose,
    check_width,
)
from nkfast.features import FeatureMap
from nkfast.kernels import NAMES
from nkfast.networks import Sequential, own_network

from ._ridge._penalty import CRITERIA

METHODS = ("sketch", "nystroem", "exact")


def checked_network(learner: Any) -> Sequential:
    """Check a learner's parameters; return a copy of its network, which set_params cannot reach."""
    check_choice(learner.method, "method", METHODS)
    check_choice(learner.kernel, "kernel", NAMES)
    net = learner.net
    if learner.features is not None:
        net = _network_of_features(learner)
    own = own_network(net)
    if learner.method == "nystroem" and learner.features is None:
        check_count(learner.n_components, "n_components", low=1)
    else:
        check_width(learner.n_components)
    check_count(learner.block_size, "block_size", low=1)
    if isinstance(learner.alpha, str):
        if learner.alpha not in CRITERIA:
            names = ", ".join(map(repr, CRITERIA))
            raise ValueError(
                f"alpha: expected a number >= 0 or one of {names}, got {learner.alpha!r}"
            )
    else:
        check_real(learner.alpha, "alpha", low=0)
    if not isinstance(learner.fit_intercept, (bool, np.bool_)):
        raise TypeError(f"fit_intercept: expected True or False, got {learner.fit_intercept!r}")
    check_verbose(learner.verbose)
    return own


def _network_of_features(learner: Any) -> Sequential | None:
    features: Any = learner.features
    if isinstance(features, str):
        check_choice(features, "features", ("precomputed",))
    elif not isinstance(features, FeatureMap):
        raise TypeError(
            "features: expected NTKFeatures, NNGPFeatures or Nystroem, 'precomputed' or None, "
            f"got {features!r}"
        )
    if learner.net is not None:
        raise ValueError(
            f"net: expected None beside features, which have their own network, got {learner.net}"
        )
    if learner.method == "exact":
        raise ValueError(f"features: expected None with method='exact', got {features!r}")
    return None if isinstance(features, str) else features.net
