"""Features of rows and weights of any size."""

import numpy as np
import pytest
import scipy.sparse as sp

import nkfast as nk
from feature_cases import normal

NETS = {
    "relu": nk.mlp(2, "relu"),
    "abs": nk.mlp(1, "abs"),
    "square": nk.mlp(1, nk.Monomial(2)),
    "normalised": nk.mlp(2, nk.ExpNormalized()),
}


def make(net, X, construction, **options):
    phi = nk.NTKFeatures(net, 128, degree=4, construction=construction, random_state=0, **options)
    return phi.fit(X)


@pytest.mark.parametrize("construction", ["collapsed", "layerwise"])
@pytest.mark.parametrize("name", NETS)
def test_homogeneous_networks_scale_to_the_bit(name, construction):
    """New rows, and rows to which maps are fitted, in powers of two."""
    net, X = NETS[name], normal(60, 8)
    h = int(net._homogeneity())
    fitted = make(net, X, construction)
    Z = fitted.transform(X)
    for e in (-900, -300, -40, -13, 1, 30, 300, 900):
        if abs(e * h) > 950:
            continue
        Y = np.ldexp(X, e)
        for phi in (fitted, make(net, Y, construction), make(net, sp.csr_array(Y), construction)):
            found = phi.transform(Y)
            # Norms whose squares leave float64 are rounded otherwise; so are sums of sparse rows.
            np.testing.assert_allclose(
                np.ldexp(found, -e * h), Z, rtol=1e-10, atol=1e-12 * np.abs(Z).max()
            )
        if abs(e) < 400:
            assert np.array_equal(make(net, Y, construction).transform(Y), np.ldexp(Z, e * h))
    single = fitted.transform(X.astype(np.float32))
    for e in (-100, 40, 100):
        if abs(e * h) <= 110:
            found = fitted.transform(np.ldexp(X.astype(np.float32), e))
            np.testing.assert_allclose(np.ldexp(found, -e * h), single, atol=1e-5 * np.abs(Z).max())


def test_a_wider_sketch_is_fitted_at_any_scale():
    X = normal(60, 8)
    Z = make(NETS["relu"], X, "collapsed", oversampling=2).transform(X)
    for e in (-400, 400):
        found = make(NETS["relu"], np.ldexp(X, e), "collapsed", oversampling=2)
        Y = found.transform(np.ldexp(X, e))
        np.testing.assert_allclose(np.ldexp(Y @ Y.T, -2 * e), Z @ Z.T, atol=1e-9 * (Z @ Z.T).max())


@pytest.mark.parametrize("construction", ["collapsed", "layerwise"])
def test_what_float64_cannot_hold_is_refused(construction):
    X = normal(40, 8)
    for net, Y in (
        (nk.mlp(2, "erf"), 1e-200 * X),
        (nk.mlp(2, "erf"), 1e200 * X),
        (nk.mlp(2, "relu", b_std=0.3), 1e100 * X),
        (nk.mlp(2, "relu", w_std=1e60), X),
        (nk.mlp(2, "relu", w_std=1e-45), X),
    ):
        with pytest.raises(ValueError, match=r"X: expected rows and weights whose kernel is in"):
            make(net, Y, construction)
    phi = make(NETS["square"], X.astype(np.float32), construction)
    with pytest.raises(ValueError, match="features float32 can hold"):
        phi.transform(X.astype(np.float32) * np.float32(1e30))
