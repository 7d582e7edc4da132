"""Kernel errors at equal width: against the plain construction, and for points of any norm."""

from __future__ import annotations

from typing import Any

import pytest

import nkfast as nk
from accuracy import mean_errors, our_features, standard_digits, unit_digits
from harness import OURS, cpu_model
from nkfast import _core
from rivals.plain import plain_features

WIDTH = 4096


def describe(benchmark: Any, group: str, rival: str, **facts: Any) -> None:
    benchmark.group = group
    benchmark.extra_info.update(
        rival=rival,
        cpu=cpu_model(),
        simd_level=_core.simd_level(),
        threads=nk.get_num_threads(),
        **facts,
    )


@pytest.mark.parametrize("rival", [OURS, "plain"])
@pytest.mark.parametrize(("depth", "share"), [(1, 0.3), (3, 0.6)])
def bench_unit_digits(benchmark: Any, depth: int, share: float, rival: str) -> None:
    """Of unit norm: at most 0.3 (depth 1) and 0.6 (depth 3) of the plain construction's error."""
    x = unit_digits()
    net = nk.mlp(depth)
    features = our_features if rival == OURS else plain_features
    benchmark.pedantic(lambda: features(net, x, WIDTH, 0), rounds=1)
    errors = mean_errors(features, net, x, WIDTH, seeds=3)
    group = f"accuracy, digits of unit norm, depth {depth}"
    describe(benchmark, group, rival, **vars(errors))
    if rival == OURS:
        plain = mean_errors(plain_features, net, x, WIDTH, seeds=3)
        assert errors.frobenius <= share * plain.frobenius


@pytest.mark.parametrize(("width", "limit"), [(1024, 0.1), (4096, 0.06), (16384, 0.04)])
def bench_standard_digits(benchmark: Any, width: int, limit: float) -> None:
    """Norms as they are, with biases."""
    x = standard_digits()
    net = nk.mlp(3, w_std=1.4, b_std=0.1)
    benchmark.pedantic(lambda: our_features(net, x, width, 0), rounds=1)
    errors = mean_errors(our_features, net, x, width, seeds=3)
    describe(benchmark, f"accuracy, standardised digits, width {width}", OURS, **vars(errors))
    assert errors.frobenius <= limit
