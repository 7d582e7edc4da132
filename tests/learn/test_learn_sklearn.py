"""scikit-learn's own checks of the learners."""

import pytest

import nkfast as nk
from estimator_checks import parametrize_with_checks

LEARNERS = [
    learner(n_components=n_components, alpha=alpha, method=method, random_state=0)
    for learner in (nk.NTKRegressor, nk.NTKClassifier)
    for method in ("sketch", "exact")
    # At 8 components fit takes the primal problem, at 256 the dual one.
    for n_components in ((8, 256) if method == "sketch" else (256,))
    for alpha in ("gcv", 0.1)
]
LEARNERS += [
    nk.NTKRegressor(kernel="nngp", n_components=8, alpha="evidence", random_state=0),
    nk.NTKRegressor(method="nystroem", n_components=256, alpha="loo", random_state=0),
    nk.NTKClassifier(method="nystroem", n_components=8, alpha="loo", random_state=0),
    nk.NTKClassifier(features=nk.NNGPFeatures(n_components=64), alpha="loo", random_state=0),
]


@pytest.mark.filterwarnings("ignore")  # the checks feed what scikit-learn itself warns about
@parametrize_with_checks(LEARNERS)
def test_scikit_learn_check(estimator, check):
    check(estimator)
