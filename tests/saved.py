"""Fitted estimators of a small size, saved: tests/data/saved.pkl.gz and tests/data/models.

``python tests/saved.py`` writes these files anew; that is right only if what is stored changes on
purpose, and then CHANGELOG says that older files cannot be read. NumPy 1 cannot read what NumPy 2
pickles: write saved.pkl.gz in the oldest cell of tools/matrix.py.
"""

import gzip
import pickle

import numpy as np
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import nkfast as nk
from places import TESTS

FILE = TESTS / "data" / "saved.pkl.gz"
MODELS = TESTS / "data" / "models"  # of nk.save, with data.npz: arguments and results
CHOSEN = ("exact", "classes", "landmarks", "images", "features of few columns", "zca", "powers")


def fitted():
    """Return, by name, an estimator, rows or images, and what its method returns for them."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 5))
    spread = X * np.exp(rng.standard_normal((60, 1)))
    low = rng.standard_normal((60, 2)) @ rng.standard_normal((2, 12))
    low += 0.05 * rng.standard_normal(low.shape)
    many = rng.standard_normal((60, 40))
    images = rng.random((12, 6, 6, 2))
    y = np.sin(X[:, 0]) + 0.1 * rng.standard_normal(60)
    net = nk.mlp(2, "gelu", w_std=1.4, b_std=0.3)
    own = nk.Sequential(nk.Dense(1.2, 0.1), nk.Residual(nk.Tanh(), nk.Dense(0.5)), nk.ReLU())
    conv = nk.Sequential(nk.Conv(), nk.ReLU(), nk.AvgPool((2, 2)), nk.GlobalAvgPool(), nk.Dense())
    seeded = {"random_state": 0}
    cases = {
        "features": (nk.NTKFeatures(net, 48, **seeded), spread, "transform"),
        "features of many columns": (nk.NTKFeatures(net, 64, **seeded), many, "transform"),
        "features of few columns": (nk.NNGPFeatures(own, 40, **seeded), X[:, :3], "transform"),
        "features of low rank": (nk.NTKFeatures(net, 64, **seeded), low, "transform"),
        "oversampled": (nk.NTKFeatures(net, 16, oversampling=2, **seeded), X, "transform"),
        "layerwise": (
            nk.NTKFeatures(own, 16, construction="layerwise", **seeded),
            X,
            "transform",
        ),
        "images": (nk.NTKFeatures(conv, 16, pixel_components=16, **seeded), images, "transform"),
        "landmarks": (nk.Nystroem(net, 10, **seeded), X, "transform"),
        "few rows": (nk.NTKRegressor(net, 80, **seeded), X, "predict"),
        "stream": (nk.NTKRegressor(net, 20, **seeded), X, "predict"),
        "exact": (nk.NTKRegressor(net, method="exact"), X, "predict"),
        "classes": (nk.NTKClassifier(own, 24, **seeded), X, "predict_proba"),
        "zca": (nk.images.ZCA(0.1), images, "transform"),
        "channels": (nk.images.ChannelStandardizer(), images, "transform"),
        "srht": (nk.sketch.SRHT(4, **seeded), X, "transform"),
        "powers": (nk.sketch.PolySketch(3, 8, **seeded), X, "transform"),
    }
    found = {}
    for name, (estimator, data, method) in cases.items():
        target = y > 0 if name == "classes" else y[: len(data)]
        estimator.fit(data, target)
        found[name] = (estimator, data, method, getattr(estimator, method)(data))
    return found


def load():
    """Return what the file holds."""
    with gzip.open(FILE) as file:
        return pickle.load(file)


def models():
    """Return, by name, an estimator for `MODELS`, its method, what that is given and returns."""
    cases = {name: case for name, case in fitted().items() if name in CHOSEN}
    rng = np.random.default_rng(1)
    X, labels = rng.random((40, 3)), np.repeat(["no", "yes"], 20)
    learner = nk.NTKClassifier(n_components=16, random_state=0)
    pipeline = make_pipeline(StandardScaler(), learner).fit(X, labels)
    cases["pipeline"] = (pipeline, X, "predict_proba", pipeline.predict_proba(X))
    return cases


def write_models():
    """Write the files in `MODELS`."""
    MODELS.mkdir(exist_ok=True)
    arrays = {}
    for name, (estimator, data, method, _) in models().items():
        nk.save(estimator, MODELS / f"{name.replace(' ', '_')}.skops")
        arrays[f"{name.replace(' ', '_')} {method}"] = data
        arrays[f"{name.replace(' ', '_')} found"] = getattr(estimator, method)(data)
    np.savez_compressed(MODELS / "data.npz", **arrays)


if __name__ == "__main__":
    with gzip.GzipFile(FILE, "wb", mtime=0) as file:
        pickle.dump(fitted(), file, protocol=5)
    print(f"{FILE}: {FILE.stat().st_size / 1024:.0f} kB")
    write_models()
