"""Features against the theorems: means, variances and embeddings.

Fixed seeds. A right map fails one of the comparisons of a test with the chance that a normal
variable has of passing five deviations, 6e-7; where many entries are looked at, the limit of each
is that for so many (Bonferroni), by Student's t since their deviations are estimated.
"""

import numpy as np
import pytest
import scipy.sparse as sp
from scipy import stats

import nkfast as nk
from nkfast.features.collapsed._noise import NoiseMeans, noise_covariance
from nkfast.sketch import _linear, _program, _tensor

Z = 5.0
CHANCE = 2 * stats.norm.sf(Z)
SEEDS = 40


def limit(tests):
    """Student's t that one of so many means of SEEDS draws passes with chance CHANCE."""
    return stats.t.isf(CHANCE / 2 / tests, SEEDS - 1)


def t_values(draws):
    """Means over their standard errors."""
    return np.mean(draws, axis=0) * np.sqrt(len(draws)) / np.std(draws, axis=0, ddof=1)


def unsketched(phi, X):
    """Return the kernel that a map stands for with no error of a sketch, and all cosines."""
    norms = np.linalg.norm(X, axis=1)
    unit = X / norms[:, None]
    rho = unit @ unit.T
    return phi.expansion_.kernel_of(norms, rho, phi.allocation_.widths > 0), rho, norms


def expected_square(phi, X):
    """Return the mean squared error of the pairs' entries that `fit` expects of the sketches."""
    _, rho, norms = unsketched(phi, X)
    i, j = np.triu_indices(len(X), 1)
    terms, u = phi.expansion_.degrees, phi.expansion_.weights(norms)
    products = u[i] * u[j]
    g = np.array([products[:, terms == l].sum(axis=1) for l in range(terms.max() + 1)])
    energies = np.mean(u**2, axis=0)
    ranks = phi.expansion_.ranks
    means = NoiseMeans(g, rho[i, j], np.full(len(i), 1 / len(i)))
    plan = phi.allocation_
    return noise_covariance(means, plan, terms, ranks, energies, phi.n_components_).sum()


def errors(cls, sketch, X):
    """Return a map, and for each seed the errors of the diagonal and of all pairs."""
    i, j = np.triu_indices(len(X), 1)
    own, pairs = [], []
    for seed in range(SEEDS):
        phi = cls(nk.mlp(1), 300, sketch=sketch, random_state=seed).fit(X)
        features = phi.transform(X)
        error = features @ features.T - unsketched(phi, X)[0]
        own.append(np.diagonal(error))
        pairs.append(error[i, j])
    assert phi.split_ is None
    assert phi.harmonics_ is None
    assert not phi.allocation_.exact.all()
    return phi, np.array(own), np.array(pairs)


def surprise(phi, X, pairs):
    """Return the largest t of the pairs' means, their mean, and their squares, over its limit."""
    squares = np.mean(pairs**2, axis=1) - expected_square(phi, X)
    found = [t_values(pairs), t_values(pairs.mean(axis=1)), t_values(squares)]
    return max(np.abs(t).max() / limit(np.size(t)) for t in found)


def rows():
    """Rows at nearly right angles: there the expected squares are exact but for O(1 / d)."""
    return np.random.default_rng(0).standard_normal((20, 80))


@pytest.mark.parametrize(
    ("cls", "sketch"), [(nk.NTKFeatures, "tensorsrht"), (nk.NNGPFeatures, "tensorsketch")]
)
def test_mean_and_variance(cls, sketch):
    X = rows()
    phi, own, pairs = errors(cls, sketch, X)
    kernel, *_ = unsketched(phi, X)
    # There is no error on the diagonal: whatever scales the features is seen.
    assert np.abs(own).max() < 1e-12 * kernel.max()
    assert surprise(phi, X, pairs) < 1
    # By the pairs alone a scale that is wrong by 2 % would be seen, too.
    assert surprise(phi, X, pairs + (1.02**2 - 1) * kernel[np.triu_indices(len(X), 1)]) > 2


@pytest.mark.parametrize("sketch", ["tensorsrht", "tensorsketch"])
def test_missing_signs_are_seen(monkeypatch, sketch):
    for module in (_linear, _program, _tensor):
        monkeypatch.setattr(module, "random_signs", lambda rng, n: np.ones(n, np.int8))
    X = 0.65 + rows()  # at cosines of 0.3
    phi, _, pairs = errors(nk.NTKFeatures, sketch, X)
    assert surprise(phi, X, pairs) > 1.2


# --- embeddings ---

MAPS = {"ntk": nk.NTKFeatures, "nngp": nk.NNGPFeatures}


def data(kind):
    """Some 500 rows whose columns fall off as those of real data do, or of counts."""
    rng, n, d = np.random.default_rng(0), 504, 48
    scale = np.arange(1, d + 1) ** -0.5
    X = (1 + rng.standard_normal((n, d))) * scale
    match kind:
        case "coherent":  # a few rows are nearly alone in their directions
            X[:8] += 6 * np.eye(8, d)[:, ::-1]
        case "clustered":
            centres = 2 * rng.standard_normal((10, d))
            X = (centres[rng.integers(10, size=n)] + 0.5 * rng.standard_normal((n, d))) * scale
        case "near-duplicates":
            X = np.repeat(X[: n // 2], 2, axis=0) * (1 + 1e-3 * rng.standard_normal((n, d)))
        case "eightfold":
            X = np.repeat(X[: n // 8], 8, axis=0) * (1 + 1e-3 * rng.standard_normal((n, d)))
        case "heavy tails":  # no fourth moment
            X = (1 + rng.standard_t(3, (n, d))) * scale
        case "sparse":
            there = rng.random((n, 400)) < np.minimum(1, 4 / np.arange(1, 401))
            X = sp.csr_array(there * rng.exponential(size=(n, 400)))
    return X


def embedding(kind, get, **options):
    """Return eps of m = 4 s_lambda features at lambda = 0.3 tr K / n.

    The least with (1 - eps) (K + lambda I) <= Z Z^T + lambda I <= (1 + eps) (K + lambda I).
    """
    X, net = data(kind), nk.mlp(1)
    K = net.kernel(X, get=get)
    ridge = 0.3 * np.trace(K) / len(K)
    values, vectors = np.linalg.eigh(K)
    m = int(np.ceil(4 * np.sum(values / (values + ridge))))
    features = MAPS[get](net, m, random_state=0, **options).fit_transform(X)
    root = vectors / np.sqrt(values + ridge)
    return np.linalg.norm(root.T @ (features @ features.T - K) @ root, 2)


KINDS = ["coherent", "clustered", "near-duplicates", "sparse"]


@pytest.mark.parametrize(
    ("kind", "get"), [*((kind, "ntk") for kind in KINDS), ("heavy tails", "nngp")]
)
def test_subspace_embedding(kind, get):
    """A Gaussian matrix with as many rows is at 0.9 to 1.1."""
    assert embedding(kind, get) < 0.5


@pytest.mark.parametrize("kind", ["heavy tails", "eightfold"])
def test_subspace_embedding_of_hard_rows(kind):
    """Where the NTK's high degrees are all of a direction, sketches alone reach 0.5 to 0.7 only.

    A sketch of a degree errs in proportion to the rows' kernels, be they a hundred times the ridge,
    and low rank is not seen by it; four times the features, compressed, see both.
    """
    assert embedding(kind, "ntk", oversampling=4) < 0.2
