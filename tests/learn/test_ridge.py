"""Streamed moments and ridge solutions against their definitions."""

import pickle
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import reference
from nkfast._linalg.moments import Counts, RunningMoments, weighted_mean
from nkfast.learn._ridge._penalty import CRITERIA, GCV_STEPS
from nkfast.learn._ridge._solve import solve_primal
from nkfast.learn._ridge._state import Batch, Stream


def problem(n=60, p=7, k=2, seed=0, offset=0.0):
    rng = np.random.default_rng(seed)
    Z = rng.standard_normal((n, p)) * np.logspace(0, -1, p) + offset
    Y = Z @ rng.standard_normal((p, k)) + 0.3 * rng.standard_normal((n, k)) + 2.0
    return Z, Y, rng.uniform(0.1, 3.0, n)


def moments(Z, Y, weight=None, *, centred=True, blocks=((0, None),)):
    sums = RunningMoments(Z.shape[1], Y.shape[1], centred=centred)
    for start, stop in blocks:
        rows = slice(start, stop)
        sums.add(Z[rows], Y[rows], None if weight is None else weight[rows])
    return sums


def whole(sums):
    """The full symmetric matrix of features' moments."""
    return np.tril(sums.zz) + np.tril(sums.zz, -1).T


# --- moments ---


def test_a_pickle_holds_half_of_the_matrix():
    Z, Y, w = problem(n=300, p=200)
    sums = moments(Z, Y, w)
    size = len(pickle.dumps(sums))
    assert size < 1.1 * 8 * 200 * 201 / 2
    again = pickle.loads(pickle.dumps(sums))
    assert_array_equal(np.tril(again.zz), np.tril(sums.zz))
    again.add(Z, Y, w)
    sums.add(Z, Y, w)
    assert_array_equal(whole(again), whole(sums))


@settings(max_examples=40)
@given(
    cuts=st.lists(st.integers(0, 60), max_size=6),
    weighted=st.booleans(),
    centred=st.booleans(),
    offset=st.sampled_from([0.0, 1e3]),
)
def test_moments_are_their_definition_for_any_blocks(cuts, weighted, centred, offset):
    Z, Y, w = problem(offset=offset)
    weight = w if weighted else np.ones(len(Z))
    edges = [0, *sorted(cuts), len(Z)]
    blocks = list(pairwise(edges))
    sums = moments(Z, Y, w if weighted else None, centred=centred, blocks=blocks)
    mean_z = np.average(Z, axis=0, weights=weight) if centred else 0.0
    mean_y = np.average(Y, axis=0, weights=weight) if centred else 0.0
    A, B = Z - mean_z, Y - mean_y
    assert_allclose(sums.total, weight.sum(), rtol=1e-14)
    assert_allclose(sums.mean_z, np.broadcast_to(mean_z, 7), rtol=1e-14, atol=1e-14)
    assert_allclose(sums.mean_y, np.broadcast_to(mean_y, 2), rtol=1e-14)
    scale = np.sqrt(np.diag(A.T @ (weight[:, None] * A)))
    assert_allclose(
        whole(sums) / np.outer(scale, scale),
        A.T @ (weight[:, None] * A) / np.outer(scale, scale),
        atol=1e-11,
    )
    assert_allclose(sums.zy, A.T @ (weight[:, None] * B), rtol=1e-9, atol=1e-9)
    assert_allclose(sums.yy, np.sum(weight[:, None] * B**2, axis=0), rtol=1e-10)


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_merged_moments_are_those_of_all_rows(centred, weighted, offset):
    Z, Y, w = problem(offset=offset)
    weight = w if weighted else None
    whole_sums = moments(Z, Y, weight, centred=centred)
    parts = [
        moments(Z[rows], Y[rows], weight[rows] if weighted else None, centred=centred)
        for rows in (slice(0, 0), slice(0, 25), slice(25, 26), slice(26, 60), slice(60, 60))
    ]
    before = parts[3].zz.copy()
    for part in parts[1:]:
        parts[0].merge(part)
    assert_array_equal(parts[3].zz, before)
    size = np.sqrt(np.diag(whole_sums.zz))
    difference = whole(parts[0]) - whole(whole_sums)
    assert_allclose(difference / np.outer(size, size), 0, atol=1e-11)
    for name in ("zy", "yy", "mean_z", "mean_y", "total", "log_weights"):
        expected = getattr(whole_sums, name)
        assert_allclose(getattr(parts[0], name), expected, rtol=1e-9, atol=1e-9, err_msg=name)
    expected = vars(whole_sums.counts)
    for name, found in vars(parts[0].counts).items():
        assert_allclose(found, expected[name], rtol=1e-9, atol=1e-9, err_msg=name)


def test_a_large_mean_costs_no_digits():
    """The textbook formula sum z z^T - n mean mean^T would leave nothing at 1e8."""
    Z, Y, w = problem(n=4000, p=5)
    small = moments(Z, Y, w, blocks=[(i, i + 100) for i in range(0, 4000, 100)])
    shifted = Z + 2.0**27  # exact to 2^-26: the data change by 1e-8, the sums by no more
    large = moments(shifted, Y, w, blocks=[(i, i + 100) for i in range(0, 4000, 100)])
    size = np.sqrt(np.outer(np.diag(small.zz), np.diag(small.zz)))
    assert np.max(np.abs(whole(large) - whole(small)) / size) < 1e-7


@pytest.mark.parametrize("weight", [None, np.linspace(0.5, 2, 50_000)])
def test_mean_of_many_equal_rows_is_the_row(weight):
    """A plain sum is off by 1e-12, which would look like signal beside the noise of centring."""
    assert_allclose(weighted_mean(np.full((50_000, 3), 0.1), weight), 0.1, rtol=3e-16)


def test_memory_is_reused_between_blocks():
    Z, Y, _ = problem()
    sums = moments(Z, Y)
    before = sums.zz.ctypes.data
    sums.add(Z, Y)
    assert sums.zz.ctypes.data == before


def test_input_is_not_changed():
    Z, Y, w = problem()
    copies = Z.copy(), Y.copy(), w.copy()
    moments(Z, Y, w)
    for now, before in zip((Z, Y, w), copies, strict=True):
        assert_array_equal(now, before)


def test_float32_blocks_are_summed_in_float64():
    Z, Y, _ = problem(n=5000)
    Z32 = Z.astype(np.float32)
    assert_array_equal(moments(Z32, Y).zz, moments(Z32.astype(float), Y).zz)


@pytest.mark.parametrize("weight", [None, [2.0, 1.0, 5.0, 1.0], [0.5, 1.5, 2.0, 1e-3]])
def test_each_row_is_an_observation(weight):
    weight = None if weight is None else np.array(weight)
    counts = Counts.of(4, weight)
    assert counts.observations == 4
    assert counts.mean == (1 if weight is None else weight.mean())
    Z, Y, _ = problem(n=4)
    streamed = moments(Z, Y, weight, blocks=[(0, 2), (2, 4)]).counts
    assert_allclose(list(vars(streamed).values()), list(vars(counts).values()))


# --- solutions ---


def solve(Z, Y, alpha, weight=None, *, centred=True, form="primal"):
    """The three forms of the same problem, as (coef, intercept, Ridge)."""
    if form == "primal":
        found = solve_primal(moments(Z, Y, weight, centred=centred), alpha)
    else:
        kernel = form == "kernel"
        F = Z @ Z.T if kernel else Z.copy()
        found = Batch.solved(F, Z, Y, weight, alpha, centred=centred, kernel=kernel).ridge
        if kernel:
            return Z.T @ found.coef, found.intercept, found
    return found.coef, found.intercept, found


FORMS = pytest.mark.parametrize("form", ["primal", "dual", "kernel"])


@FORMS
@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("alpha", [1e-3, 0.5, 100.0, 0.0])
@pytest.mark.parametrize("shape", [(60, 7), (9, 20)])
def test_solution_is_that_of_least_squares(form, centred, weighted, alpha, shape):
    Z, Y, w = problem(*shape)
    weight = w if weighted else None
    coef, intercept, found = solve(Z, Y, alpha, weight, centred=centred, form=form)
    expected = reference.ridge(Z, Y, alpha, weight, intercept=centred)
    assert_allclose(coef, expected[0], rtol=1e-7, atol=1e-8)
    assert_allclose(intercept, expected[1], rtol=1e-7, atol=1e-8)
    assert found.penalty.alpha == alpha
    assert found.penalty.alphas is found.penalty.scores is None


@FORMS
@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("shape", [(60, 7), (9, 20), (30, 30)])
def test_gcv_is_its_definition(form, centred, shape):
    Z, Y, _ = problem(*shape)
    _, _, found = solve(Z, Y, "gcv", centred=centred, form=form)
    alphas, scores = found.penalty.alphas, found.penalty.scores_of("gcv")
    assert alphas.shape == scores.shape == (GCV_STEPS,)
    assert np.all(np.diff(alphas) > 0)
    expected = [reference.gcv(Z, Y, a, intercept=centred) for a in alphas]
    # ||Y||^2 less what is explained leaves few digits where all is explained.
    interpolates = form == "primal" and shape[0] < shape[1]
    assert_allclose(scores, expected, rtol=1e-3 if interpolates else 2e-6)
    if found.penalty.judge is None:
        assert found.penalty.alpha == alphas[np.argmin(scores)]
    coef, _, _ = solve(Z, Y, found.penalty.alpha, centred=centred, form=form)
    assert_allclose(solve(Z, Y, "gcv", centred=centred, form=form)[0], coef, rtol=1e-6, atol=1e-8)


@FORMS
@pytest.mark.parametrize("alpha", [0.3, 0.0])
def test_weights_are_repetitions(form, alpha):
    Z, Y, _ = problem(n=25)
    count = np.arange(25) % 3 + 1
    weighted = solve(Z, Y, alpha, count.astype(float), form=form)
    repeated = solve(np.repeat(Z, count, axis=0), np.repeat(Y, count, axis=0), alpha, form=form)
    assert_allclose(weighted[0], repeated[0], rtol=1e-8)
    assert_allclose(weighted[1], repeated[1], rtol=1e-8)


@FORMS
@pytest.mark.parametrize("alpha", CRITERIA)
@pytest.mark.parametrize("shape", [(60, 7), (30, 40)])
@pytest.mark.parametrize("factor", [1e-100, 0.5, 2.0, 2.0001, 1e100])
def test_the_unit_of_weights_changes_alpha_only(form, alpha, shape, factor):
    if (form, alpha) == ("primal", "loo"):
        return  # needs the rows
    Z, Y, w = problem(*shape)
    one, other = (solve(Z, Y, alpha, c * w, form=form) for c in (1.0, factor))
    assert_allclose(other[0], one[0], rtol=1e-6, atol=1e-8)
    assert_allclose(other[1], one[1], rtol=1e-8, atol=1e-8)
    assert_allclose(other[2].penalty.alpha / factor, one[2].penalty.alpha, rtol=1e-8)


@FORMS
def test_scale_of_features_and_targets(form):
    Z, Y, _ = problem()
    coef, intercept, _ = solve(Z, Y, "gcv", form=form)
    other, moved, _ = solve(1e6 * Z, 1e-3 * Y, "gcv", form=form)
    assert_allclose(other, 1e-9 * coef, rtol=1e-8)
    assert_allclose(moved, 1e-3 * intercept, rtol=1e-8)


# --- what misleads generalised cross-validation ---


def with_near_copies(Z, y, few=3):
    """Few rows, and their targets, are those of others but for a little."""
    Z[:few], y[:few] = Z[few : 2 * few], y[few : 2 * few]
    Z[:few, 0] += 1e-3


@pytest.mark.parametrize("noise", [0.0, 1.0])
@pytest.mark.parametrize("form", ["kernel", "stream"])
def test_few_rows_do_not_mislead_gcv(noise, form):
    """Fitting near copies costs nothing once everything is fitted."""
    rng = np.random.default_rng(0)
    X, points = rng.uniform(-1, 1, (300, 3)), rng.uniform(-1, 1, (200, 3))
    truth = lambda X: np.sin(3 * X[:, :1])  # noqa: E731
    y = truth(X) + noise * rng.standard_normal((300, 1))
    with_near_copies(X, y)

    def kernel(A, B):
        return np.exp(-np.sqrt(np.sum((A[:, None] - B) ** 2, axis=2)))

    Z = np.linalg.cholesky(kernel(X, X))

    def error(alpha):
        if form == "stream":
            found = Stream(moments(Z, y), alpha).ridge
            coef = np.linalg.solve(Z.T, found.coef)
        else:
            found = solve(Z, y, alpha, form="kernel")[2]
            coef = found.coef
        fitted = kernel(points, X) @ coef + found.intercept
        return np.sqrt(np.mean((fitted - truth(points)) ** 2)), found.penalty

    chosen, penalty = error("gcv")
    least = min(error(float(alpha))[0] for alpha in penalty.alphas[::4])
    assert chosen < 1.1 * least
    assert penalty.judge == ("evidence" if form == "stream" else "loo")
    if noise:
        gcv = penalty.scores_of("gcv")
        assert gcv[0] < 0.5 * gcv[-15]  # the false minimum is there
        assert error(float(penalty.alphas[0]))[0] > 1.1 * chosen


def test_gcv_decides_where_half_of_the_degrees_of_freedom_are_left():
    Z, Y, _ = problem(n=60, p=7)
    for form in ("primal", "dual", "kernel"):
        assert solve(Z, Y, "gcv", form=form)[2].penalty.judge is None


def test_leave_one_out_decides_in_its_place_among_the_same_penalties():
    rng = np.random.default_rng(0)
    Z, Y = rng.standard_normal((40, 60)), rng.standard_normal((40, 1))
    with_near_copies(Z, Y)
    penalty = solve(Z, Y, "gcv", form="dual")[2].penalty
    asked = solve(Z, Y, "loo", form="dual")[2].penalty
    assert penalty.judge == "loo"
    assert_allclose(penalty.alphas, asked.alphas, rtol=1e-8)
    assert_allclose(penalty.scores_of("loo"), asked.scores, rtol=1e-5)
    assert_allclose(penalty.alpha, asked.alpha, rtol=1e-8)


# --- what is degenerate ---


@FORMS
@pytest.mark.parametrize("alpha", ["gcv", 0.0, 1e-14, 1e-3])
def test_duplicate_columns_share_their_weight(form, alpha):
    Z, Y, _ = problem(p=5)
    coef, _, _ = solve(np.hstack([Z, Z, np.ones((60, 1))]), Y, alpha, form=form)
    assert np.isfinite(coef).all()
    assert_allclose(coef[:5], coef[5:10], rtol=1e-6, atol=1e-9)
    assert_allclose(coef[10], 0, atol=1e-6)  # the constant column is the intercept's business
    if alpha in (0.0, 1e-14):
        assert_allclose(2 * coef[:5], reference.ridge(Z, Y, 0.0)[0], rtol=1e-6)


@FORMS
def test_interpolation_of_least_norm(form):
    Z, Y, _ = problem(n=10, p=40)
    coef, intercept, _ = solve(Z, Y, 0.0, form=form)
    assert_allclose(Z @ coef + intercept, Y, rtol=1e-8)
    assert_allclose(coef, np.linalg.pinv(Z - Z.mean(0)) @ (Y - Y.mean(0)), rtol=1e-7)


@FORMS
@pytest.mark.parametrize("alpha", ["gcv", 0.0, 1.0])
@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize(
    ("Z", "Y"),
    [
        (np.zeros((5, 3)), np.arange(5.0)[:, None]),
        (np.full((5, 3), 7.0), np.arange(5.0)[:, None]),
        (np.full((1000, 2), 0.1), np.arange(1000.0)[:, None]),
        (np.ones((1, 3)), np.ones((1, 2))),
        (np.zeros((1, 1)), np.zeros((1, 1))),
        (np.eye(5), np.zeros((5, 2))),
        (np.eye(5), np.full((5, 1), 4.0)),
        (np.arange(2.0)[:, None], np.arange(2.0)[:, None]),
        (1e-120 * np.eye(4), np.arange(4.0)[:, None]),
        (1e120 * np.eye(4), np.arange(4.0)[:, None]),
    ],
)
def test_poor_problems_have_finite_solutions(form, alpha, centred, Z, Y):
    coef, intercept, found = solve(Z, Y, alpha, centred=centred, form=form)
    assert np.isfinite(coef).all()
    assert np.isfinite(intercept).all()
    assert np.isfinite(found.penalty.alpha)
    if centred and not Z.std(axis=0).any():
        assert_allclose(intercept, Y.mean(axis=0), atol=1e-12)
        assert_allclose(coef, 0, atol=1e-12)
        if alpha == "gcv":  # all score the same
            assert found.penalty.alpha == found.penalty.alphas[-1] == 10.0


@FORMS
def test_noise_free_targets(form):
    Z, _, _ = problem(n=80, p=6)
    truth = np.arange(6.0)[:, None]
    coef, _, _ = solve(Z, Z @ truth + 1, "gcv", form=form)
    assert_allclose(coef, truth, rtol=1e-3, atol=1e-3)


@FORMS
def test_pure_noise_is_shrunk(form):
    rng = np.random.default_rng(0)
    Z, Y = rng.standard_normal((400, 300)), rng.standard_normal((400, 1))
    coef, _, found = solve(Z, Y, "gcv", form=form)
    assert found.penalty.alpha > 1000
    assert np.linalg.norm(coef) < 0.2


@pytest.mark.parametrize("weighted", [True, False])
def test_coefficients_of_a_centred_kernel_sum_to_zero(weighted):
    """Else a large constant in the kernel, as a bias gives, would enter the predictions."""
    Z, Y, w = problem(n=40, p=60)
    weight = w if weighted else None
    found = Batch.solved(Z @ Z.T + 1e3, Z, Y, weight, 1e-6, centred=True, kernel=True).ridge
    assert np.abs(found.coef.sum(axis=0)).max() < 1e-14 * np.abs(found.coef).sum()


# --- streams ---


def test_stream_is_solved_once_and_survives_pickling():
    Z, Y, _ = problem()
    stream = Stream(moments(Z, Y), "gcv")
    copy = pickle.loads(pickle.dumps(stream))  # unsolved
    assert stream.ridge is stream.ridge
    assert_array_equal(copy.ridge.coef, stream.ridge.coef)
    copy = pickle.loads(pickle.dumps(stream))  # solved
    assert_array_equal(copy.ridge.coef, stream.ridge.coef)


def test_solving_leaves_the_sums_alone():
    Z, Y, _ = problem()
    for alpha in ("gcv", 0.0, 1.0):
        sums = moments(Z, Y)
        before = sums.zz.copy(), sums.zy.copy()
        solve_primal(sums, alpha)
        assert_array_equal(sums.zz, before[0])
        assert_array_equal(sums.zy, before[1])
