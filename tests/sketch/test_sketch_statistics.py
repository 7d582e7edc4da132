"""Sketches against the theorems: means, variances and errors of embeddings.

Every mean is held against its exact value and every variance against the one in the docstrings, at
five standard errors and with fixed seeds: some 60 comparisons, of which right sketches fail one
with a chance of 4e-5 (60 times 6e-7). Means alone would let a scale that is wrong by 2 % pass; it
shows on basis vectors, whose norms every sketch keeps to rounding. What missing signs do is tried.
"""

import numpy as np
import pytest
import scipy.sparse as sp

from nkfast.sketch import (
    OSNAP,
    SRHT,
    CountSketch,
    PolySketch,
    TensorSketch,
    TensorSRHT,
    _linear,
    _program,
    _tensor,
)

Z = 5.0
# Neither orthogonal nor parallel, with most of the mass in few features, so that every term of a
# variance weighs.
X = np.array([2.0, -1.0, 0.5, 0.0, 1.0, 0.25])
Y = np.array([1.0, 1.0, -1.0, 0.5, 0.5, 0.0])


def pair_variance(x, y):
    """Variance of sum_ij e_i e_j x_i y_j over random signs e: m times that of many sketches."""
    return (x @ x) * (y @ y) + (x @ y) ** 2 - 2 * np.sum(x**2 * y**2)


def assert_moments(estimates, mean, variance):
    """The sample has this mean and this variance; a variance of zero means no spread at all."""
    if variance == 0:
        assert np.allclose(estimates, mean, rtol=1e-12)
        return
    n = len(estimates)
    assert abs(np.mean(estimates) - mean) <= Z * np.sqrt(variance / n)
    squares = (estimates - mean) ** 2
    assert abs(np.mean(squares) - variance) <= Z * np.std(squares) / np.sqrt(n)


def slots(x, n):
    """CSR rows with x in a place of its own in each: hashed independently in one sketch."""
    d = len(x)
    arrays = np.tile(x, n), np.arange(n * d), np.arange(n + 1) * d
    return sp.csr_array(arrays, shape=(n, n * d))


def independent_estimates(sketch, x, y, n=20000):
    """<S x, S y> for n independent draws of a hashing sketch."""
    Sx = sketch.fit_transform(slots(x, n))
    return np.sum(Sx * sketch.transform(slots(y, n)), axis=1)


def estimates_by_seed(draw, n):
    """draw(random_state) -> (t(x), t(y)); their inner products for n seeds."""
    rng = np.random.RandomState(0)
    return np.array([float(np.dot(*draw(rng))) for _ in range(n)])


@pytest.mark.parametrize("m", [1, 4, 7])
def test_count_sketch(m):
    estimates = independent_estimates(CountSketch(m, random_state=0), X, Y)
    assert_moments(estimates, X @ Y, pair_variance(X, Y) / m)


@pytest.mark.parametrize(("m", "s"), [(12, 3), (10, 4), (5, 5), (3, 8)])
def test_osnap(m, s):
    """Blocks of components need not be equal, and there are never more of them than components."""
    estimates = independent_estimates(OSNAP(m, s, random_state=0), X, Y)
    s = min(m, s)
    widths = np.diff(np.arange(s + 1) * m // s)
    variance = pair_variance(X, Y) * np.sum(1 / widths) / s**2
    if m % s == 0:
        assert variance == pytest.approx(pair_variance(X, Y) / m)
    assert_moments(estimates, X @ Y, variance)


@pytest.mark.parametrize("m", [1, 3, 8, 11, 16])
def test_srht(m):
    """Without replacement, in complete blocks and a rest; complete blocks are exact."""
    length, rest = 8, m % 8

    def draw(rng):
        return SRHT(m, random_state=rng).fit_transform([X, Y])

    variance = pair_variance(X, Y) * rest * (length - rest) / (m**2 * (length - 1))
    assert_moments(estimates_by_seed(draw, 1500), X @ Y, variance)


def tensor_sketch_variance(x, y, q, m):
    """Exact variance at one power of two m: E (F(w) F(w')) of each factor, by characters of Z_m.

    It is c^2, plus A where w + w' = 0, plus B where w = w'; both hold for 2 w = 0.
    """
    c2, Q = (x @ y) ** 2, np.sum(x**2 * y**2)
    A, B = (x @ x) * (y @ y) - Q, c2 - Q
    both = min(m, 2)
    one = (c2 + A) ** q + (c2 + B) ** q - 2 * c2**q
    return ((m - both) * one + both * ((c2 + A + B) ** q - c2**q)) / m**2


@pytest.mark.parametrize("q", [1, 2, 4])
@pytest.mark.parametrize("m", [1, 2, 8, 12])
@pytest.mark.parametrize(("gamma", "coef0"), [(1.0, 0.0), (0.5, 1.5)])
def test_tensor_sketch(q, m, gamma, coef0):
    x, y = (np.append(np.sqrt(gamma) * v, np.sqrt(coef0)) for v in (X / 2, Y / 2))
    widths = [1 << b for b in range(7) if m >> b & 1]
    variance = sum((w / m) ** 2 * tensor_sketch_variance(x, y, q, w) for w in widths)
    norm = (x @ x) * (y @ y)
    assert len(widths) > 1 or variance <= (2 + 3**q) * norm**q / m
    if coef0 == 0:
        sketch = TensorSketch(q, m, gamma=gamma, coef0=coef0, random_state=0)
        estimates = independent_estimates(sketch, X / 2, Y / 2)
    else:  # all slots would share the constant

        def draw(rng):
            sketch = TensorSketch(q, m, gamma=gamma, coef0=coef0, random_state=rng)
            return sketch.fit_transform([X / 2, Y / 2])

        estimates = estimates_by_seed(draw, 500)
    assert_moments(estimates, (gamma * X @ Y / 4 + coef0) ** q, variance)


def round_correlation(n, m):
    """(m, m) correlations of samples taken in rounds without replacement from n."""
    turn = np.arange(m) // n
    together = turn[:, None] == turn
    return np.where(together, -1 / (n - 1), 0.0) * (1 - np.eye(m)) + np.eye(m)


@pytest.mark.parametrize("m", [1, 3, 8, 11])
def test_tensor_srht(m):
    """Exact: both factors are means over samples that are correlated within a round."""
    La, Lb = 8, 4
    x, x2 = np.array([1.0, 1.0, -1.0, 1.0, 1.0, 0.5]), np.array([1.0, 1.0, 0.5])
    y, y2 = x[::-1], np.ones(3)  # large a and b: how it is sampled shows
    a, b = x @ y, x2 @ y2
    Va, Vb = pair_variance(x, y), pair_variance(x2, y2)
    Ra, Rb = round_correlation(La, m), round_correlation(Lb, m)
    variance = (a**2 * Vb * Rb.sum() + b**2 * Va * Ra.sum() + Va * Vb * (Ra * Rb).sum()) / m**2
    # What the docstring says.
    fa, fb = (m % L * (L - m % L) / (m * (L - 1)) for L in (La, Lb))
    about = (Va * Vb + a**2 * Vb * fb + b**2 * Va * fa) / m
    assert about * (1 - 1e-12) <= variance <= about * La / (La - 1) * (1 + 1e-12)
    assert about <= 8 * (x @ x) * (y @ y) * (x2 @ x2) * (y2 @ y2) / m

    def draw(rng):
        sketch = TensorSRHT(m, random_state=rng).fit([x, y], [x2, y2])
        return sketch.transform_pair([x, y], [x2, y2])

    assert_moments(estimates_by_seed(draw, 1500), a * b, variance)


def chain_bounds(x, y, q, m):
    """Upper bounds of Var <S_l x, S_l y> for l = 1..q, rows that fit, m a power of two.

    Of TensorSRHT with m a multiple of both lengths: Var <= c^2 Var_l + V(x, y) E V(s) r / m with
    r = m / (m - 1), V(s) <= |s|^2 |s'|^2 + <s, s'>^2, and Cauchy-Schwarz for the first of these.
    """
    r = m / (m - 1)
    c, bounds = x @ y, [0.0]
    fourth = np.array([(x @ x) ** 2, (y @ y) ** 2])
    own = np.array([pair_variance(x, x), pair_variance(y, y)])
    second = fourth.copy()  # E |S_l x|^4
    for l in range(1, q):
        moment = np.sqrt(second.prod()) + bounds[-1] + c ** (2 * l)
        bounds.append(c**2 * bounds[-1] + pair_variance(x, y) * moment * r / m)
        second = second * (fourth + 2 * own * r / m)
    return bounds


def test_polysketch():
    q, m, n = 5, 16, 1500
    x, y = X / np.linalg.norm(X), Y / np.linalg.norm(Y)
    rng = np.random.RandomState(0)
    estimates = np.empty((n, q, 2))
    for i in range(n):
        powers = PolySketch(q, m, random_state=rng).fit([x, y]).transform_powers([x, y])
        estimates[i] = [(Z[0] @ Z[1], Z[0] @ Z[0]) for Z in powers]
    for k, z in enumerate((y, x)):
        bounds = chain_bounds(x, z, q, m)
        for l in range(1, q + 1):
            error = estimates[:, l - 1, k] - (x @ z) ** l
            assert abs(error.mean()) <= Z * np.std(error) / np.sqrt(n) + 1e-12
            allowed = Z * np.std(error**2) / np.sqrt(n) + 1e-24
            assert np.mean(error**2) <= bounds[l - 1] + allowed


def test_polysketch_grows_linearly_and_tensor_sketch_exponentially():
    q, m, n = 8, 128, 500
    x = np.full(8, 8**-0.5)
    rng = np.random.RandomState(0)
    norms = np.empty((n, q))
    for i in range(n):
        powers = PolySketch(q, m, random_state=rng).fit([x]).transform_powers([x])
        norms[i] = [Z[0] @ Z[0] for Z in powers]
    variance = np.mean((norms - 1) ** 2, axis=0)
    assert variance[7] <= 1.5 * 7 * variance[1]  # degree 1 is exact here
    assert variance[7] <= 0.1 * tensor_sketch_variance(x, x, q, m)


# --- what these tests can see ---


@pytest.mark.parametrize(
    "sketch",
    [
        *(CountSketch(5), OSNAP(12, 3), OSNAP(10, 4), SRHT(3), SRHT(11), SRHT(16)),
        *(TensorSketch(2, 16), TensorSketch(3, 12), PolySketch(2, 64), PolySketch(5, 32)),
    ],
    ids=str,
)
@pytest.mark.parametrize("d", [6, 8])
def test_basis_vectors_keep_their_norms(sketch, d):
    """Exact for every draw, since all entries of a sketch's columns are equal in size."""
    for seed in range(3):
        S = sketch.set_params(random_state=seed).fit_transform(np.eye(d))
        np.testing.assert_allclose(np.sum(S**2, axis=1), 1, rtol=1e-12)


def test_pairs_of_basis_vectors_keep_their_norms():
    a, b = np.repeat(np.eye(6), 3, axis=0), np.tile(np.eye(3), (6, 1))
    for m in (1, 8, 11):
        S = TensorSRHT(m, random_state=0).fit(a, b).transform_pair(a, b)
        np.testing.assert_allclose(np.sum(S**2, axis=1), 1, rtol=1e-12)


@pytest.mark.parametrize(
    "moments",
    [
        *(lambda: test_count_sketch(7), lambda: test_osnap(12, 3), lambda: test_srht(3)),
        *(lambda: test_tensor_sketch(2, 8, 1.0, 0.0), lambda: test_tensor_sketch(4, 12, 0.5, 1.5)),
        *(lambda: test_tensor_srht(3), test_polysketch),
    ],
    ids=["CountSketch", "OSNAP", "SRHT", "TensorSketch", "constant", "TensorSRHT", "PolySketch"],
)
def test_missing_signs_are_seen(monkeypatch, moments):
    for module in (_linear, _program, _tensor):
        monkeypatch.setattr(module, "random_signs", lambda rng, n: np.ones(n, np.int8))
    with pytest.raises(AssertionError):
        moments()


# --- embeddings of subspaces ---

D, K, M = 1024, 12, 256


def subspace(kind):
    """Orthonormal columns: of a random subspace, or all mass in K features."""
    if kind == "spiky":
        return np.eye(D, K)
    return np.linalg.qr(np.random.default_rng(0).standard_normal((D, K)))[0]


def embedding_errors(sketch, U, n):
    """Spectral and squared Frobenius norms of (S U)^T S U - 1 for n seeds."""
    rng = np.random.RandomState(0)
    errors = np.empty((n, K, K))
    for i in range(n):
        SU = sketch.set_params(random_state=rng).fit_transform(U.T)
        errors[i] = SU @ SU.T - np.eye(K)
    return np.linalg.norm(errors, 2, axis=(1, 2)), np.sum(errors**2, axis=(1, 2))


def edge(m, length):
    """Largest error of k of `length` dimensions under m samples without replacement.

    The outer edge of the Wachter law, and for length >> m that of Marchenko and Pastur.
    """
    return (np.sqrt(1 - K / length) + np.sqrt(K / m * (1 - m / length))) ** 2 - 1


@pytest.mark.parametrize("kind", ["random", "spiky"])
@pytest.mark.parametrize("sketch", [CountSketch(M), OSNAP(M, 4), SRHT(M)], ids=str)
def test_subspace_embedding(sketch, kind):
    U = subspace(kind)
    spectral, frobenius = embedding_errors(sketch, U, 300)
    # E ||.||_F^2 is the sum of all pairs' variances: exact, with the leverage scores |U_j|^2.
    leverage = np.sum(U**2, axis=1)
    fraction = (D - M) / (D - 1) if isinstance(sketch, SRHT) else 1.0
    mean = (K**2 + K - 2 * np.sum(leverage**2)) / M * fraction
    assert abs(frobenius.mean() - mean) <= Z * frobenius.std() / np.sqrt(len(frobenius))
    # E ||.||_2 <= sqrt(E ||.||_F^2), and mixing sketches come near random matrices.
    assert spectral.mean() <= np.sqrt(mean) * 1.001
    if isinstance(sketch, SRHT) or kind == "random":
        length = D if isinstance(sketch, SRHT) else np.inf
        assert np.median(spectral) <= 1.1 * edge(M, length)
        assert spectral.max() <= 1.8 * edge(M, length)


def test_count_sketch_of_spikes_fails_as_birthdays_do():
    """Without a collision it is exact; one collision alone makes a vector vanish."""
    U = subspace("spiky")
    n = 1000
    spectral, _ = embedding_errors(CountSketch(M), U, n)
    alone = np.prod(1 - np.arange(K) / M)
    exact = spectral < 1e-12
    assert np.all(exact | (spectral > 1 - 1e-12))
    assert abs(exact.mean() - alone) <= Z * np.sqrt(alone * (1 - alone) / n)
    better, _ = embedding_errors(OSNAP(M, 8), U, 300)
    assert np.mean(better > 0.9) < 0.01
