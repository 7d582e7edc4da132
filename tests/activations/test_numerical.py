"""Activations that are known by their function: series, tables, kinks, the user's own."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import nkfast as nk
from activation_cases import bent_sine, unit_clip
from nkfast.activations._complex_steps import is_step
from nkfast.activations._numerical import Numerical, _range, _Ref, _represent, _series


def test_own_function_is_the_named_one():
    p, q = np.random.default_rng(0).uniform(0.3, 3, (2, 300))
    c = np.sqrt(p * q) * np.linspace(-1, 1, 300)
    for own, named in (
        (nk.Elementwise(np.tanh), nk.Tanh()),
        (nk.Elementwise(lambda x: np.maximum(x, 0), (0,)), nk.ReLU()),
        (nk.Elementwise(lambda x: np.clip(x, -1, 1), (1, -1)), nk.HardTanh()),
        (nk.Elementwise(nk.HardSwish(), (-3, 3)), nk.HardSwish()),
        (nk.Elementwise(nk.ELU(), (0,)), nk.ELU()),
    ):
        assert_allclose(own.dual(p, q, c), named.dual(p, q, c), rtol=0, atol=1e-9)
        found, expected = own.dual_derivative(p, q, c), named.dual_derivative(p, q, c)
        assert_allclose(found, expected, rtol=0, atol=1e-8)


def test_own_function_in_networks():
    X = np.random.default_rng(0).standard_normal((20, 5))
    act = nk.Elementwise(unit_clip, (0, 1), name="unit clip")
    assert repr(act) == "Elementwise(name='unit clip')"
    assert "bent_sine" in repr(nk.Elementwise(bent_sine, (0.3,)))
    net = nk.mlp(2, act, 1.3, 0.2)
    again = pickle.loads(pickle.dumps(net))
    assert_array_equal(again.ntk(X), net.ntk(X))
    values = np.linalg.eigvalsh(net.ntk(X))
    assert values[0] > -1e-12 * values[-1]


def jumping(x):
    return np.tanh(x) + (x > 0.3)


@pytest.mark.parametrize("function", [bent_sine, jumping])
def test_many_complex_steps_of_a_function_with_kinks_share_a_series(function):
    """Along the steps rho = 1 and -1 stay."""
    act = nk.Elementwise(function, (0.3,))
    p = np.array([0.6, 0.9])[:, None] * (1 + 0.6e-25j)
    q = np.linspace(0.5, 1.0, 30) * (1 - 0.4e-25j)
    rho = np.linspace(-1, 1, 40)[:, None, None]
    c = np.sqrt(p * q) * (rho + 0.3e-25j * (1 - rho**2))
    many = act._pair(p, q, c)
    few = act._pair(*(x[::13, :, ::15] for x in (p + 0 * c, q + 0 * c, c)))
    for found, expected in zip(many, few, strict=True):
        found = found[::13, :, ::15]
        assert_allclose(found.real, expected.real, rtol=0, atol=1e-6)
        assert_allclose(found.imag / 1e-25, expected.imag / 1e-25, rtol=0, atol=1e-6)
    # Real ones come from tables, which are closer to the integrals of few.
    for found, expected in zip(act._pair(p.real, q.real, c.real), few, strict=True):
        assert_allclose(found[::13, :, ::15], expected.real, rtol=0, atol=1e-11)


def test_kinks_may_lie_on_ends_of_panels_that_stand_still():
    """Where one moves and the other does not, nothing between them may be counted."""
    act = nk.Elementwise(lambda x: np.sin(np.abs(x - 1)), (1,))
    moments = np.array([(1.0, 1.0, 0.0), (1.0, 4.0, 1.0), (1.0, 1.0, -1.0), (0.25, 1.0, 0.5)]).T
    found = act._pair(*(moments * (1 + 1e-25j)))
    ends = [act._pair(*(moments * (1 + step))) for step in (1e-5, -1e-5)]
    for value, above, below in zip(found, *ends, strict=True):
        assert_allclose(value.imag / 1e-25, (above - below) / 2e-5, rtol=0, atol=1e-8)


def test_not_finite_far_out_is_refused():
    with pytest.raises(ValueError, match="fn: expected finite numbers, got inf at"):
        nk.Elementwise(lambda x: np.where(np.abs(x) > 20, np.inf, x)).dual(25.0, 25.0, 1.0)


# --- how the numerical kernels are kept ---


def test_complex_steps_are_known_by_their_size():
    assert is_step(np.arange(3.0), 1e12 * np.array([1, 1 + 1e-25j]))
    assert not is_step(np.arange(3.0), np.array([1, 0.5 + 1e-3j]))


def test_a_range_of_variances_is_shared():
    s = np.array([0.5, 0.9])
    assert _range(s, s) == _range(s * 1.01, s)
    low, high = _range(s, s)
    assert low <= 0.5 < 0.9 <= high
    assert high / low < 4
    assert _range(s, np.array([0.0])) == (0.0, high)
    assert _range(np.zeros(2), np.zeros(2))[0] == 0.0


def test_representations_agree_with_each_other():
    """The series in rho and the table in the angle, where both exist."""
    act = nk.SiLU()
    assert isinstance(act, Numerical)
    series, table = _series(_Ref(act), 0.5, 1.5, 1e-12), None
    from nkfast.activations._interpolation import Norms, Profile, Table

    table = Table(Norms(Profile(act._both, (), 0.5, 1.5)), 1e-12)
    s = np.random.default_rng(0).uniform(0.5, 1.5, (2, 500))
    c = s[0] * s[1] * np.linspace(-1, 1, 500)
    for one, other in zip(series.pair(*s, c), table.pair(*s, c), strict=True):
        assert_allclose(one, other, rtol=0, atol=1e-11)


@pytest.mark.parametrize("act", [nk.ELU(), nk.SiLU()])
def test_points_near_and_at_zero(act):
    s = np.array([0.0, 1e-9, 1e-5, 1e-3, 0.05, 0.7, 2.0])
    left, right = (v.ravel() for v in np.meshgrid(s, s))
    size = [np.sqrt(v) for v in act._direct(s, s, s * s)]
    size = [np.outer(v, v).ravel() + 1e-30 for v in size]
    away = (left > 0) & (right > 0)
    for rho in (-1, -0.5, 0, 0.8, 0.9999, 1):
        c = rho * left * right
        found = _represent(_Ref(act), *_range(s, s), 1e-12).pair(left, right, c)
        for value, expected, scale in zip(found, act._direct(left, right, c), size, strict=True):
            assert np.all(np.abs(value - expected)[away] <= 1e-9 * scale[away])
        assert not found[0][~away].any()  # f(0) = 0
    X = np.outer([0.0, 1e-12, 1e-6, 1.0, 4.0], [0.6, 0.8])
    for kernel, diagonal in zip(
        nk.mlp(2, act, 1.2).kernel(X), nk.mlp(2, act, 1.2).diag(X), strict=True
    ):
        assert np.all(np.isfinite(kernel))
        # All rows are parallel, so that the kernel's blocks have nearly one dimension.
        assert np.all(np.abs(kernel) <= np.sqrt(np.outer(diagonal, diagonal)) * (1 + 1e-9))
        assert not kernel[0].any()


def test_wide_ranges_are_resolved():
    for act in (nk.ELU(), nk.Softsign()):
        _represent(_Ref(act), 0.05, 8.0, 1e-9)
