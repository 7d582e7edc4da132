"""scikit-learn's meta-estimators over all estimators, under every configuration of outputs."""

from functools import cache

import numpy as np
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import (
    calibration,
    compose,
    ensemble,
    feature_selection,
    inspection,
    multiclass,
    multioutput,
    pipeline,
    semi_supervised,
)
from sklearn import model_selection as ms
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, RANSACRegressor, Ridge
from sklearn.preprocessing import StandardScaler

import nkfast as nk

COLUMNS = list("wxyz")
SHAPE = (2, 2, 1)
IMAGES = nk.Sequential(nk.Conv(), nk.ReLU(), nk.Flatten(), nk.Dense())
SMALL = {"n_components": 8, "alpha": 0.1, "random_state": 0}
RNG = np.random.default_rng(0)
X = RNG.standard_normal((36, 4))
Y = np.column_stack([np.abs(X[:, 0]) + X[:, 1], X[:, 2]])
LABELS = np.array(["a", "b", "c"])[np.arange(36) % 3]
LABELS[X[:, 0] > 0.8] = "a"
SIGNS = (Y > 0.5).astype(int)

CONFIGS = pytest.mark.parametrize("config", ["default", "pandas", "polars"])


def options():
    """Return the parameters of the learners of every kind."""
    wide = nk.NTKFeatures(n_components=48, degree=2)  # more features than rows
    tabled = nk.NNGPFeatures(n_components=8, degree=2).set_output(transform="pandas")
    return [
        SMALL,
        SMALL | {"features": wide, "alpha": "loo"},
        SMALL | {"method": "nystroem", "alpha": "gcv"},
        SMALL | {"method": "exact"},
        SMALL | {"features": tabled},
        SMALL | {"net": IMAGES, "image_shape": SHAPE},
    ]


def maps():
    """Return a transformer of every kind."""
    small = {"n_components": 8, "random_state": 0}
    images = nk.NTKFeatures(IMAGES, image_shape=SHAPE, **small)
    small["degree"] = 2
    return [
        nk.NTKFeatures(**small),
        nk.NNGPFeatures(**small),
        nk.NTKFeatures(construction="layerwise", **small),
        nk.Nystroem(n_components=8, random_state=0),
        images,
        nk.images.FlipAverage(images),
        nk.images.ZCA(),
        nk.images.ChannelStandardizer(image_shape=SHAPE),
    ]


def table(config, values):
    """Return rows as a table of that library, or as they are."""
    if config == "pandas":
        return pytest.importorskip("pandas").DataFrame(values, columns=COLUMNS)
    if config == "polars":
        return pytest.importorskip("polars").DataFrame(values, schema=COLUMNS)
    return values


def predictions(model, rows):
    """Return what a fitted model says of rows, as arrays by the name of the method."""
    methods = ("transform", "predict", "predict_proba", "decision_function")
    return {m: np.asarray(getattr(model, m)(rows)) for m in methods if hasattr(model, m)}


def searched(search, **more):
    return lambda m: search(m, {"alpha": [0.1, 1.0]}, cv=2, error_score="raise", **more)


def of_any_width(model):
    return model.set_params(net=None, image_shape=None)


BOTH = {
    "itself": lambda m: m,
    "pipeline": lambda m: pipeline.make_pipeline(StandardScaler(), m),
    "columns": lambda m: pipeline.make_pipeline(
        compose.ColumnTransformer([("s", StandardScaler(), [0, 1])], remainder="passthrough"), m
    ),
    "grid": searched(ms.GridSearchCV),
    "depth": lambda m: ms.GridSearchCV(
        of_any_width(m).set_params(features=None),
        {"net__depth": [1, 2]},
        cv=2,
        error_score="raise",
    ),
    "random": searched(ms.RandomizedSearchCV, n_iter=1, random_state=0),
    "halving": searched(ms.HalvingGridSearchCV, min_resources=18, random_state=0),
    "sequential": lambda m: feature_selection.SequentialFeatureSelector(
        of_any_width(m), n_features_to_select=1, cv=2
    ),
}
REGRESSION = BOTH | {
    "stack": lambda m: ensemble.StackingRegressor(
        [("a", m), ("b", Ridge())], final_estimator=nk.NTKRegressor(**options()[4]), cv=2
    ),
    "vote": lambda m: ensemble.VotingRegressor([("a", m), ("b", Ridge())]),
    "bag": lambda m: ensemble.BaggingRegressor(m, 2, random_state=0),
    "boost": lambda m: ensemble.AdaBoostRegressor(m, n_estimators=2, random_state=0),
    "ransac": lambda m: RANSACRegressor(m, min_samples=20, max_trials=2, random_state=0),
    "target": lambda m: compose.TransformedTargetRegressor(m, transformer=StandardScaler()),
    "frozen": lambda m: FrozenEstimator(clone(m).fit(X, Y[:, 0])),
    "outputs": multioutput.MultiOutputRegressor,
    "chain": lambda m: multioutput.RegressorChain(of_any_width(m)),
}
CLASSIFICATION = BOTH | {
    "stack": lambda m: ensemble.StackingClassifier(
        [("a", m), ("b", LogisticRegression())],
        final_estimator=pipeline.make_pipeline(StandardScaler(), nk.NTKClassifier(**options()[4])),
        cv=2,
    ),
    "vote": lambda m: ensemble.VotingClassifier(
        [("a", m), ("b", LogisticRegression())], voting="soft"
    ),
    "bag": lambda m: ensemble.BaggingClassifier(m, 2, random_state=0),
    "boost": lambda m: ensemble.AdaBoostClassifier(m, n_estimators=2, random_state=0),
    "one to rest": multiclass.OneVsRestClassifier,
    "one to one": multiclass.OneVsOneClassifier,
    "codes": lambda m: multiclass.OutputCodeClassifier(m, random_state=0),
    "calibrated": lambda m: calibration.CalibratedClassifierCV(m, cv=2, ensemble=False),
    "frozen": lambda m: calibration.CalibratedClassifierCV(
        FrozenEstimator(clone(m).fit(X, LABELS)), cv=2
    ),
    "outputs": multioutput.MultiOutputClassifier,
    "chain": lambda m: multioutput.ClassifierChain(of_any_width(m)),
    "self": semi_supervised.SelfTrainingClassifier,
    "threshold": lambda m: ms.FixedThresholdClassifier(m, threshold=0.4),
    "tuned": lambda m: ms.TunedThresholdClassifierCV(m, thresholds=3, cv=2),
}
METAS = [(nk.NTKRegressor, n) for n in REGRESSION] + [(nk.NTKClassifier, n) for n in CLASSIFICATION]

# What scikit-learn's own estimators fail in, too: see docs/learners.md.
LIMITS = {("polars", "target")}
CASES = [(c, *meta) for c in ("pandas", "polars") for meta in METAS if (c, meta[1]) not in LIMITS]


def targets(learner, name):
    if name in ("outputs", "chain"):
        return Y if learner is nk.NTKRegressor else SIGNS
    if name in ("threshold", "tuned"):
        return SIGNS[:, 0]
    if name == "self":
        return np.where(np.arange(36) % 3 == 0, -1, SIGNS[:, 0])
    return Y[:, 0] if learner is nk.NTKRegressor else LABELS


def fitted_predictions(learner, name, kind, rows):
    model = learner(**options()[kind])
    meta = (REGRESSION if learner is nk.NTKRegressor else CLASSIFICATION)[name](model)
    return predictions(meta.fit(rows, targets(learner, name)), rows)


@cache
def expected_predictions(learner, name, kind):
    return fitted_predictions(learner, name, kind, X)


@pytest.mark.parametrize(("config", "learner", "name"), CASES)
@pytest.mark.filterwarnings("ignore:X (has|does not have valid) feature names")  # of StackingX
def test_meta_estimators_of_learners(config, learner, name):
    """From tables to tables the same as from arrays to arrays."""
    place = METAS.index((learner, name))
    n = len(options())
    kinds = range(n) if name == "itself" else [1 + place % (n - 1)]
    for kind in kinds:
        expected = expected_predictions(learner, name, kind)
        rows = X if name == "frozen" else table(config, X)
        with sklearn.config_context(transform_output=config):
            found = fitted_predictions(learner, name, kind, rows)
        assert found.keys() == expected.keys()
        for method, values in found.items():
            if values.dtype.kind == "f":
                assert_allclose(values, expected[method], rtol=1e-9, atol=1e-12, err_msg=method)
            else:
                assert_array_equal(values, expected[method])


@CONFIGS
@pytest.mark.parametrize("place", range(len(maps())))
def test_meta_estimators_of_transformers(place, config):
    phi = maps()[place]
    width = clone(phi).fit_transform(X).shape[1]
    rows = table(config, X)
    with sklearn.config_context(transform_output=config):
        Z = clone(phi).fit_transform(rows)
        assert type(Z).__module__.partition(".")[0] == {"default": "numpy"}.get(config, config)
        assert_array_equal(Z, clone(phi).fit(rows).transform(rows))
        learner = nk.NTKRegressor(**options()[4])
        both = pipeline.make_union(clone(phi), PCA(4))  # with names of its own
        columns = [("a", clone(phi), [0, 1, 2, 3]), ("b", StandardScaler(), [0])]
        model = pipeline.make_pipeline(StandardScaler(), both, learner).fit(rows, Y)
        assert model[:-1].transform(rows).shape == (36, width + 4)
        assert compose.ColumnTransformer(columns).fit_transform(rows).shape == (36, width + 1)
        search = ms.GridSearchCV(
            pipeline.make_pipeline(clone(phi), Ridge()), {"ridge__alpha": [1, 2]}, cv=2
        )
        assert np.all(np.isfinite(search.fit(rows, Y).cv_results_["mean_test_score"]))
        predicted = model.predict(rows)
    with sklearn.config_context(transform_output="polars" if config == "pandas" else "pandas"):
        own = clone(phi).set_output(transform=config).fit_transform(rows)  # before the global one
    assert_allclose(np.asarray(own), clone(phi).fit_transform(X), rtol=1e-9, atol=1e-12)
    assert type(own) is type(Z)
    assert_allclose(predicted, clone(model).fit(X, Y).predict(X), rtol=1e-7, atol=1e-9)


@CONFIGS
@pytest.mark.filterwarnings("ignore:X does not have valid feature names")  # polars, inspected
def test_inspection_and_validation(config):
    rows, labels = table(config, X), SIGNS[:, 0]
    for learner in (nk.NTKRegressor(**options()[4]), nk.NTKClassifier(**options()[2])):
        with sklearn.config_context(transform_output=config):
            model = clone(learner).fit(rows, labels)
            found = inspection.permutation_importance(model, rows, labels, n_repeats=2)
            assert found.importances_mean.shape == (4,)
            assert ms.cross_val_predict(learner, rows, labels, cv=2).shape == (36,)
            scores = ms.cross_validate(learner, rows, labels, cv=2, error_score="raise")
            assert len(scores["test_score"]) == 2
            sizes = ms.learning_curve(learner, rows, labels, cv=2, train_sizes=[0.8])[0]
            assert sizes.tolist() == [14]
            ms.validation_curve(learner, rows, labels, param_name="alpha", param_range=[1], cv=2)


@CONFIGS
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tables_keep_their_dtype(config, dtype):
    rows = table(config, X.astype(dtype))
    for phi in maps():
        assert np.asarray(phi.set_output(transform=config).fit_transform(rows)).dtype == dtype
    for kind in (2, 3):
        model = nk.NTKRegressor(**options()[kind]).fit(rows, Y)
        assert model.predict(rows).dtype == dtype
        assert model.predict(table(config, X.astype(int))).dtype == np.float64


@CONFIGS
def test_images_stay_arrays(config):
    x = np.random.default_rng(1).standard_normal((12, 4, 5, 2))
    average = nk.images.FlipAverage(nk.images.ChannelStandardizer())
    for phi in (nk.images.ZCA(), nk.images.ChannelStandardizer(), average):
        expected = clone(phi).fit_transform(x)
        with sklearn.config_context(transform_output=config):
            assert_array_equal(clone(phi).fit_transform(x), expected)
            assert_array_equal(clone(phi).fit(x).transform(x), expected)
            flat = clone(phi).fit(x).transform(x.reshape(12, -1))
        assert_array_equal(np.asarray(flat), expected.reshape(12, -1))


# --- columns that are no columns ---


@pytest.mark.parametrize("learner", [nk.NTKRegressor, nk.NTKClassifier])
def test_weights_of_features_select_no_columns(learner):
    x = np.random.default_rng(0).standard_normal((100, 40))
    y = x[:, 31] if learner is nk.NTKRegressor else x[:, 31] > 0
    model = learner(n_components=30, random_state=0)
    for select in (feature_selection.RFE, feature_selection.SelectFromModel):
        with pytest.raises(ValueError, match="should have `coef_`"):
            select(model).fit(x, y).get_support()
        with pytest.raises(AttributeError, match="coef_: weighs features of the kernel, not col"):
            select(model, importance_getter="coef_").fit(x, y).get_support()
    fitted = model.fit(x, y)
    assert np.atleast_2d(fitted.coef_).shape == (1, 30)
    chosen = feature_selection.SelectFromModel(
        fitted,
        prefit=True,
        max_features=1,
        importance_getter=lambda m: (
            inspection.permutation_importance(m, x, y, n_repeats=1, random_state=0).importances_mean
        ),
    )
    assert chosen.fit(x, y).get_support(indices=True).tolist() == [31]
