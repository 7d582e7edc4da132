"""What cannot fit into memory is refused before work begins, and nothing else is."""

import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp

import nkfast as nk
from nkfast import cli
from nkfast._arrays import memory
from nkfast._arrays.rows import inner_products
from nkfast.images import ZCA

NET = nk.mlp(1, b_std=0.1)
RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((60, 5)), RNG.standard_normal(60)
IMAGES = RNG.standard_normal((30, 8, 8, 1))
IMAGE_NET = nk.Sequential(nk.Conv((3, 3)), nk.ReLU(), nk.GlobalAvgPool())


# --- how much there is ---


class Files:
    """The files in which Linux says how much memory there is."""

    def __init__(self, **more):
        self.files = {
            "/proc/meminfo": "MemTotal: 900 kB\nMemAvailable: 600 kB\nSwapFree: 100 kB\nHuge: 0\n",
            "/proc/self/cgroup": "",
            **more,
        }

    def __call__(self, path):
        try:
            return self.files[str(path)].splitlines()
        except KeyError:
            raise FileNotFoundError(path) from None


def group(path, most, used, stat, kind=2):
    names = ("memory.max", "memory.current")
    names = names if kind == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    return {f"{path}/{names[0]}": most, f"{path}/{names[1]}": used, f"{path}/memory.stat": stat}


V2, V1 = "/sys/fs/cgroup", "/sys/fs/cgroup/memory"
STAT = "anon 5\nactive_file 20\ninactive_file 30\n"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 700 * 1024),
        ({"/proc/self/cgroup": "0::/a/b\n", **group(f"{V2}/a/b", "max", "7", STAT)}, 700 * 1024),
        ({"/proc/self/cgroup": "0::/a/b\n", **group(f"{V2}/a/b", "5000", "1000", STAT)}, 4050),
        (
            {
                "/proc/self/cgroup": "0::/a/b\n",
                **group(f"{V2}/a/b", "max", "1000", STAT),
                **group(f"{V2}/a", "3000", "1000", STAT),
            },
            2050,
        ),
        ({"/proc/self/cgroup": "0::/\n", **group(V2, "5000", "1000", STAT)}, 4050),
        ({"/proc/self/cgroup": "0::/outer\n", **group(V2, "5000", "1000", STAT)}, 4050),
        (
            {
                "/proc/self/cgroup": "9:cpu:/x\n4:memory:/x:y\n0::/\n",
                **group(f"{V1}/x:y", "6000", "1000", f"{STAT}total_active_file 40\n", 1),
            },
            5050,
        ),
        (
            {
                "/proc/self/cgroup": "4:cpu,memory:/x\n",
                **group(V1, "6000", "1000", "total_active_file 5\ntotal_inactive_file 6\n", 1),
            },
            5011,
        ),
        ({"/proc/self/cgroup": "0::/a\n", **group(f"{V2}/a", "10", "1000", STAT)}, 0),
    ],
)
def test_what_is_available(files, expected, monkeypatch):
    monkeypatch.setattr(memory, "_lines", Files(**files))
    assert memory.available_memory() == expected


def test_what_this_machine_has():
    here = memory.available_memory()
    assert 2**20 < here < 2**47
    memory.refuse_bytes(here // 2, "x", "half of it")
    with pytest.raises(ValueError, match=r"^x: expected what fits into memory, got all: [\d,]+ by"):
        memory.refuse_bytes(2 * here, "x", "all")


def test_other_systems_say_what_they_have(monkeypatch):
    monkeypatch.setattr(memory, "_lines", Files(**{"/proc/meminfo": ""}))
    monkeypatch.setattr(memory.os, "sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 3}.get)
    assert memory.available_memory() == 12288


@pytest.mark.parametrize(("limit", "left"), [("unlimited", []), ("500000", [500_000 - 3 * 4096])])
def test_the_limit_of_the_address_space_counts(limit, left, monkeypatch):
    """As set by ulimit -v; what is in use is no longer there."""
    limits = f"Limit  Soft  Hard\nMax address space  {limit}  unlimited  bytes\n"
    files = {"/proc/self/limits": limits, "/proc/self/statm": "3 2 1 1 0 1 0\n"}
    monkeypatch.setattr(memory, "_lines", Files(**files))
    monkeypatch.setattr(memory.os, "sysconf", {"SC_PAGE_SIZE": 4096}.get)
    assert list(memory._of_address_space()) == left
    assert memory.available_memory() == min([700 * 1024, *left])


def test_little_is_taken_without_a_look(monkeypatch):
    def look():
        raise AssertionError

    monkeypatch.setattr(memory, "available_memory", look)
    NET.ntk(X)
    nk.NTKRegressor(NET, 32).fit(X, Y)


# --- who refuses ---


def csr(d, n=40, seed=0):
    rng = np.random.default_rng(seed)
    indices = np.sort(rng.choice(min(d, 50), (n, 4)), axis=1).astype(np.int64)
    indices = indices * (d // min(d, 50))
    starts = np.arange(0, 4 * n + 1, 4)
    X = sp.csr_array((rng.standard_normal(4 * n), indices.ravel(), starts), shape=(n, d))
    X.sum_duplicates()
    return X


CASES = {
    "fit": ("n_components", lambda m: nk.NTKRegressor(NET, m).fit(X, Y), (16, 900)),
    "few rows": ("n_components", lambda m: nk.NTKRegressor(NET, m).fit(X, Y), (64, 1500)),
    "classes": ("n_components", lambda m: nk.NTKClassifier(NET, m).fit(X, Y > 0), (16, 900)),
    "stream": ("n_components", lambda m: nk.NTKRegressor(NET, m).partial_fit(X, Y), (16, 300)),
    "blocks": ("n_components", lambda m: nk.NTKRegressor(NET, m).fit_blocks([(X, Y)]), (16, 300)),
    "landmarks": (
        "n_components",
        lambda m: nk.NTKRegressor(NET, m, method="nystroem").fit(X, Y),
        (8, 59),
    ),
    "given features": (
        "n_components",
        lambda m: nk.NTKRegressor(features=nk.NTKFeatures(NET, m)).partial_fit(X, Y),
        (16, 300),
    ),
    "exact": ("X", lambda n: nk.NTKRegressor(NET, method="exact").fit(X[:n], Y[:n]), (10, 60)),
    "tuning": (
        "n_rows",
        lambda n: nk.tune_network(X, Y, NET, {"w_std": [1]}, n_rows=n),
        (10, 60),
    ),
    "features": ("n_components", lambda m: nk.NTKFeatures(NET, m).fit(X), (64, 1000)),
    "layerwise": (
        "n_components",
        lambda m: nk.NTKFeatures(NET, m, construction="layerwise").fit(X),
        (4, 1000),
    ),
    "columns": ("X", lambda d: nk.NTKFeatures(NET, 16).fit(csr(d)), (100, 10**12)),
    "oversampling": (
        "oversampling",
        lambda k: nk.NTKFeatures(NET, 8, oversampling=k).fit(X),
        (2, 30),
    ),
    "Nystroem": ("n_components", lambda m: nk.Nystroem(NET, m).fit(X), (8, 60)),
    "transform": (
        "X",
        lambda n: nk.NTKFeatures(NET, 16).fit(X).transform(np.ones((n, 5))),
        (10, 1000),
    ),
    "Nystroem's transform": (
        "X",
        lambda n: nk.Nystroem(NET, 16).fit(X).transform(np.ones((n, 5))),
        (10, 1000),
    ),
    "kernel": ("X", NET.ntk, (X, np.tile(X, (2, 1)))),
    "two kernels": ("X", NET.kernel, (X[:10], X)),
    "GP": ("X", nk.gp.NeuralKernel(NET), (X, np.tile(X, (2, 1)))),
    "GP's gradient": (
        "X",
        lambda X: nk.gp.NeuralKernel(NET)(X, eval_gradient=True),
        (X[:10], X[:50]),
    ),
    "draws": (
        "n_samples",
        lambda n: nk.NTKRegressor(NET, 16).fit(X, Y).sample_y(X[:5], n),
        (2, 10**4),
    ),
    "images": ("X", IMAGE_NET.diag, (IMAGES[:10], np.tile(IMAGES, (5, 1, 1, 1)))),
    "sketch": ("n_components", lambda m: nk.sketch.SRHT(m).fit(X), (16, 10**6)),
    "pixels": (
        "pixel_components",
        lambda m: nk.NTKFeatures(IMAGE_NET, 16, pixel_components=m).fit(IMAGES),
        (8, 512),
    ),
    "ZCA": ("X", lambda n: ZCA().fit(IMAGES[:, :n, :n]), (2, 8)),
}


@pytest.mark.parametrize("case", CASES)
def test_the_parameter_is_named_and_what_fits_is_not_refused(case, little_memory):
    name, call, (small, large) = CASES[case]
    little_memory({"pixels": 120_000, "few rows": 100_000}.get(case, 32_000))
    call(small)
    words = rf"(^|: ){name}: expected what fits into memory, got .*: [\d,]+ bytes \(\S+ GiB\), of"
    with pytest.raises(ValueError, match=words):
        call(large)


@pytest.mark.parametrize(
    ("case", "size"),
    [
        *[("landmarks", 59), ("exact", 60), ("tuning", 60), ("Nystroem", 60)],
        *[("GP's gradient", X), ("ZCA", 8), ("images", IMAGES)],
    ],
)
def test_what_fits_is_not_refused(case, size, little_memory):
    """Asked for is at most what is taken; and more is, by the core, which is not traced."""
    call = CASES[case][1]
    tracemalloc.start()
    call(size)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    little_memory(peak)
    call(size)


def test_nothing_is_done_before(little_memory, monkeypatch):
    def worked(*_, **__):
        raise AssertionError

    monkeypatch.setattr(nk.NTKFeatures, "fit", worked)
    monkeypatch.setattr(nk.Nystroem, "fit", worked)
    little_memory(8 << 30)
    rows, y = RNG.standard_normal((50_000, 5)), np.zeros(50_000)
    for model in (
        nk.NTKRegressor(n_components=40_000),
        nk.NTKRegressor(n_components=40_000, method="nystroem"),
        nk.NTKRegressor(features=nk.Nystroem(n_components=40_000)),
    ):
        with pytest.raises(ValueError, match="n_components: expected what fits into memory"):
            model.fit(rows, y)
        if model.method == "sketch":
            with pytest.raises(ValueError, match="n_components: expected what fits into memory"):
                model.partial_fit(X, Y)
        assert not hasattr(model, "features_")


def test_rows_that_fit_as_rows_but_not_as_sums(little_memory):
    model = nk.NTKRegressor(NET, 100).fit(X[:20], Y[:20])
    little_memory(32_000)
    with pytest.raises(ValueError, match="n_components: expected what fits into memory"):
        model.partial_fit(X, Y)


def test_a_refused_fit_leaves_the_learner_as_it_was(little_memory):
    model = nk.NTKRegressor(NET, 16, random_state=0).fit(X, Y)
    before = model.predict(X)
    little_memory(24_000)
    with pytest.raises(ValueError, match="n_components: expected what fits into memory"):
        model.set_params(n_components=900).fit(X, Y)
    np.testing.assert_array_equal(model.predict(X), before)


def test_dask_asks_before_it_reads(little_memory):
    da = pytest.importorskip("dask.array")
    import nkfast.dask

    def read(_):
        raise AssertionError

    rows = da.zeros((100, 5), chunks=(50, 5)).map_blocks(read, dtype=float, meta=np.zeros((0, 0)))
    y = da.zeros(100, chunks=50).map_blocks(read, dtype=float, meta=np.zeros(0))
    little_memory(10_000)
    for learner in (nk.NTKRegressor, nk.NTKClassifier):
        with pytest.raises(ValueError, match="n_components: expected what fits into memory"):
            nkfast.dask.fit(learner(NET, 100), rows, y)


def test_the_command_asks_before_it_reads(little_memory, tmp_path, monkeypatch, capsys):
    np.savez(tmp_path / "rows.npz", X=X, y=Y)
    fit = ["fit", str(tmp_path / "rows.npz"), "--output", str(tmp_path / "m"), "--quiet"]

    def worked(*_):
        raise AssertionError

    monkeypatch.setattr("nkfast.cli._learn.survey", worked)
    little_memory(60)
    assert cli.main([*fit, "--components", "2", "--standardize"]) == cli.FAILED
    assert "--components: expected what fits into memory" in capsys.readouterr().err
    little_memory(100)
    assert cli.main([*fit, "--components", "1", "--standardize"]) == cli.FAILED
    assert "--standardize: expected what fits into memory" in capsys.readouterr().err


# --- rows of billions of columns ---


@pytest.mark.parametrize("d", [4, 1000, 3 * 10**9])
def test_products_of_wide_rows(d):
    def pairs(d):
        a, b = csr(d), csr(d, seed=1)
        return [(a, b), (a, a), (a[:0], b), (0 * a, b), (a, b[:3, :])]

    for wide, narrow in zip(pairs(d), pairs(min(d, 50)), strict=True):
        expected = narrow[0].toarray() @ narrow[1].toarray().T
        np.testing.assert_allclose(inner_products(*wide), expected, rtol=1e-13, atol=1e-14)


def test_kernels_of_billions_of_columns_take_memory_of_the_entries():
    wide, y = csr(3 * 10**9), Y[:40]
    used = np.unique(wide.indices)
    narrow = sp.csr_array(
        (wide.data, np.searchsorted(used, wide.indices), wide.indptr), shape=(40, len(used))
    )
    narrow = narrow * (len(used) / wide.shape[1]) ** 0.5  # kernels divide by the columns
    tracemalloc.start()
    for method in ("exact", "nystroem"):
        model = nk.NTKRegressor(NET, 20, method=method, alpha=0.1, random_state=0)
        found = model.fit(wide, y).predict(wide[:10])
        expected = model.fit(narrow, y).predict(narrow[:10])
        if method == "exact":
            np.testing.assert_allclose(found, expected, rtol=1e-9)
        assert found.shape == (10,)
    nk.gp.NeuralKernel(NET)(wide, eval_gradient=True)
    nk.tune_network(wide, y, NET, {"w_std": [1]})
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()
    for learner in (nk.NTKRegressor(NET, 64), nk.NTKRegressor(NET, 64, alpha=1)):
        with pytest.raises(
            ValueError, match="X: expected what fits into memory, got tables of 3000"
        ):
            learner.fit(wide, y)
