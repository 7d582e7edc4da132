"""What the learners share: fitting by streamed or exact ridge regression, and linear scores."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Literal, Self, TypeVar, cast

import numpy as np
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from nkfast._arrays.blocks import row_blocks
from nkfast._arrays.validation import Array, Rows, as_double
from nkfast._linalg.moments import RunningMoments
from nkfast._progress import Tell, counting
from nkfast.features._base import FeatureMap, feature_array
from nkfast.features._neural import NNGPFeatures, NTKFeatures
from nkfast.features._nystroem import Nystroem
from nkfast.kernels import kernel
from nkfast.networks import Sequential, check_points, warn_of_unpicklable

from ._checkpoint import Checkpoint
from ._checks import checked_network
from ._fitted import Solved
from ._precomputed import Precomputed
from ._ridge._sizes import refuse_kernel, refuse_large_kernel, refuse_rows, refuse_sums
from ._ridge._solve import Alpha, solve_large_kernel
from ._ridge._state import Batch, Large, SampledRows, State, Stream
from ._rows import count, distinct, merged, warn_of_scales, weighty

L = TypeVar("L", bound="NTKLearner")
Method = Literal["sketch", "nystroem", "exact"]

# The exact method holds two or three (n, n) matrices in float64: up to 9.6 GB at this many rows.
# Of more it holds one in the precision of the rows, and gives predictions alone.
EXACT_LIMIT = 20_000
PENALTY_ROWS = 8192  # that choose the penalty then

_SMALL = 2048  # rows; of as many or fewer the feature map sees distinct ones


class NTKLearner(Solved):
    """Ridge regression of one or more columns of targets; what both learners share."""

    _samples_streams: ClassVar[bool] = False  # whether some rows of a stream are kept
    _has_labels: ClassVar[bool] = False  # whether the targets stand for labels

    def __init__(
        self,
        net: Sequential | None = None,
        n_components: int | str = 4096,
        *,
        kernel: str = "ntk",
        method: Method = "sketch",
        features: FeatureMap | Literal["precomputed"] | None = None,
        alpha: Alpha = "gcv",
        fit_intercept: bool = True,
        image_shape: tuple[int, int, int] | None = None,
        random_state: int | np.random.RandomState | None = None,
        block_size: int = 2048,
        verbose: bool | int = False,
    ) -> None:
        self.net = net
        self.n_components = n_components
        self.kernel = kernel
        self.method = method
        self.features = features
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.image_shape = image_shape
        self.random_state = random_state
        self.block_size = block_size
        self.verbose = verbose

    # --- fitting ---

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """Put everything back as it was if the block fails or is interrupted."""
        before = dict(vars(self))
        try:
            yield
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    def _checked(self, X: Any, *, first: bool) -> tuple[Sequential, Rows]:
        """Check the parameters and rows; return the network in use, which set_params cannot reach.

        `first`: the network is a new copy.
        """
        net = checked_network(self)
        net = net if first else self.net_
        shape = self.image_shape
        if shape is None:
            shape = getattr(self.features, "image_shape", None)
        return net, check_points(self, net, X, shape, reset=first)

    def _fit(self, net: Sequential, X: Rows, Y: Array, weight: Array | None, *, flat: bool) -> Self:
        """Fit on checked rows."""
        X, Y, weight = weighty(X, Y, weight)
        self._warn_of_scales(X)
        Y, weight = merged(X, Y, weight, labels=self._has_labels)
        n = X.shape[0] if weight is None else int(np.count_nonzero(weight))
        self._refuse_excess(n)
        self._forget()
        self.net_, self._flat, self._n_targets = net, flat, Y.shape[1]
        self._kernel = self.kernel
        if self.method == "exact":
            self._fitted = self._fit_kernel(*weighty(X, Y, weight))
            return self
        self.features_ = self._fitted_features(net, X)
        refuse_rows(n, self.features_.n_components_, "n_components")
        if n <= self.features_.n_components_:
            X, Y, weight = weighty(X, Y, weight)
            with counting(self.verbose, "fit", n) as tell:
                self._fitted = self._fit_rows(X, Y, weight, tell)
        else:
            with counting(self.verbose, "fit", X.shape[0]) as tell:
                self._fitted = self._fit_sums(X, Y, weight, tell)
                self._solved()  # now
        return self

    def _warn_of_scales(self, X: Rows) -> None:
        if not isinstance(self.features, str):  # of given features scales differ as they should
            warn_of_scales(X)

    def _refuse_excess(self, n: int | None, *, stream: bool = False) -> None:
        """Refuse a fit of n rows, or of a stream that begins with them, if it exceeds the memory.

        A width that is not known yet is looked at after the features' fit.
        """
        if self.method == "exact":
            if n is None or n <= EXACT_LIMIT:
                refuse_kernel(n or 0, "X")
            return
        m = getattr(self if self.features is None else self.features, "n_components", None)
        landmarks = self.method == "nystroem" and self.features is None
        if not isinstance(m, (int, np.integer)) or (landmarks and n is None):
            return
        m = min(int(m), n or 0) if landmarks else int(m)
        if stream or n is None:
            refuse_sums(m, "n_components")
        else:
            refuse_rows(n, m, "n_components")

    def _fit_kernel(self, X: Rows, Y: Array, weight: Array | None) -> State:
        """Solve the dual problem of the exact kernel."""
        warn_of_unpicklable(self.net_)
        if X.shape[0] > EXACT_LIMIT:
            return self._fit_large_kernel(X, Y, weight)
        self.X_fit_ = X.copy()  # the caller may change his own
        self._compiled_points = None
        points, verbose = self._fitted_points, bool(self.verbose)
        K = np.asarray(kernel(self.net_, points, None, self.kernel, progress=verbose))
        return self._solve_batch(K, self.X_fit_, Y, weight, kernel=True)

    def _fit_large_kernel(self, X: Rows, Y: Array, weight: Array | None) -> State:
        """Solve the same in the memory of one matrix, in the precision of the rows."""
        n = X.shape[0]
        refuse_large_kernel(n, X.dtype.itemsize, "X")
        alpha = self.alpha
        if isinstance(alpha, str):
            some = np.sort(np.random.default_rng(0).permutation(n)[:PENALTY_ROWS])
            part = None if weight is None else weight[some]
            Z = X[some]
            K = np.asarray(kernel(self.net_, as_double(Z), None, self.kernel))
            alpha = self._solve_batch(K, Z, Y[some], part, kernel=True).ridge.penalty.alpha
            del K
        fixed = isinstance(X, np.ndarray) and not X.flags.writeable  # a file in memory, say
        self.X_fit_ = X if fixed else X.copy()  # the caller may change his own
        self._compiled_points, self._own_precision = None, True
        points, verbose = self._fitted_points, bool(self.verbose)
        K = np.empty((n, n), X.dtype)
        kernel(self.net_, points, None, self.kernel, out=K, progress=verbose)
        ridge = solve_large_kernel(K, Y, weight, alpha, centred=self.fit_intercept)
        return Large(ridge, n, EXACT_LIMIT)

    def _fit_rows(self, X: Rows, Y: Array, weight: Array | None, tell: Tell) -> State:
        """Solve the dual problem of features."""
        Z = np.empty((X.shape[0], self.features_.n_components_))
        for rows in row_blocks(X.shape[0], self.block_size, X):
            Z[rows] = feature_array(self.features_, X[rows])
            tell(rows.stop - rows.start)
        return self._solve_batch(Z, X.copy(), Y, weight, kernel=False)

    def _fit_sums(self, X: Rows, Y: Array, weight: Array | None, tell: Tell) -> State:
        """Solve the primal problem; leave-one-out, if asked for, is a second pass over the rows."""
        stream = self._sum_up(X, Y, weight, centred=self.fit_intercept, tell=tell)
        rows = self._blocks(X, Y, weight)
        stream.solve_left_out((self._columns(x), y, w) for x, y, w in rows)
        return stream

    def _solve_batch(
        self, F: Array, X: Rows, Y: Array, weight: Array | None, *, kernel: bool
    ) -> Batch:
        centred, tail = self.fit_intercept, 0.0 if kernel else self._tail
        return Batch.solved(F, X, Y, weight, self.alpha, centred=centred, kernel=kernel, tail=tail)

    def _blocks(
        self, X: Rows, Y: Array, weight: Array | None, tell: Tell = lambda _: None
    ) -> Iterator[tuple[Rows, Array, Array | None]]:
        """Yield blocks of the rows that have a weight."""
        for rows in row_blocks(X.shape[0], self.block_size, X):
            block = weighty(X[rows], Y[rows], None if weight is None else weight[rows])
            if len(block[1]):
                yield block
            tell(rows.stop - rows.start)

    @contextmanager
    def _partial(self) -> Iterator[None]:
        """Let a first call that fails leave nothing behind, and a later one its finished blocks."""
        if hasattr(self, "_fitted"):
            yield
            return
        with self._all_or_nothing():
            yield

    def _partial_fit(
        self, net: Sequential, X: Rows, Y: Array, weight: Array | None, *, flat: bool
    ) -> Self:
        """Add checked rows to the running sums; the solution waits until it is asked for."""
        X, Y, weight = weighty(X, Y, weight)
        if len(Y) == 0:
            return self
        with counting(self.verbose, "partial_fit", X.shape[0]) as tell:
            if hasattr(self, "_fitted"):
                stream = self._running_sums()
                self._accumulate(stream, X, Y, weight, tell)
            else:
                self._refuse_excess(X.shape[0], stream=True)
                self._warn_of_scales(X)
                self.features_ = self._fitted_features(net, X)
                self.net_, self._flat, self._n_targets = net, flat, Y.shape[1]
                self._kernel = self.kernel
                stream = self._sum_up(X, Y, weight, centred=self.fit_intercept, tell=tell)
        self._fitted = stream
        return self

    def _fit_blocks(self, blocks: Iterable[Any], resume: Any = None, **options: Any) -> Self:
        """Fit on blocks (X, y) or (X, y, weight) through `partial_fit`."""
        learner = cast(Any, self)
        verbose = self.verbose
        checkpoint = None if resume is None else Checkpoint(resume, self, options)
        with self._refitting(), counting(verbose, "fit_blocks", None) as tell:
            self.verbose = False  # one bar is enough
            for block in blocks:
                if not isinstance(block, (tuple, list)) or len(block) not in (2, 3):
                    raise ValueError(
                        "blocks: expected each to be (X, y) or (X, y, sample_weight), "
                        f"got {_described(block)}"
                    )
                known = checkpoint is not None and checkpoint.knows(block)
                if not (known and hasattr(self, "_fitted")):
                    weight = (*block, None)[2]
                    learner.partial_fit(*block[:2], sample_weight=weight, **options)
                if checkpoint is not None:
                    checkpoint.done(self, block)
                tell(count(block[1]))
            if not hasattr(self, "_fitted"):
                raise ValueError("blocks: expected a row of weight above zero, got none")
            if checkpoint is not None:
                checkpoint.finish(self)
            self.verbose = verbose
        return self

    @contextmanager
    def _refitting(self) -> Iterator[None]:
        """Forget what was learnt before, and solve in the end; or put all back."""
        with self._all_or_nothing():
            self._forget()
            yield
            self._solved()

    def _forget(self) -> None:
        for name in ("features_", "X_fit_", "_fitted", "_compiled_points", "_own_precision"):
            self.__dict__.pop(name, None)

    @property
    def _tail(self) -> float:
        """What features lack of a row's kernel with itself; maps of others do not know."""
        return float(getattr(self.features_, "tail_", 0.0))

    def _new_stream(self, *, centred: bool, seed: Any = 0) -> Stream:
        """Return sums of no rows; `seed` draws the rows that are kept."""
        m = self.features_.n_components_
        refuse_sums(m, "n_components")
        sums = RunningMoments(m, self._n_targets, centred=centred)
        kept = SampledRows(np.random.default_rng(seed)) if self._samples_streams else None
        return Stream(sums, self.alpha, kept, self._tail)

    def _running_sums(self) -> Stream:
        """Return the sums over all rows so far; `fit` made none if it solved the dual problem."""
        if self._is_exact:
            raise ValueError(
                "partial_fit: expected an estimator that is new or was fitted with "
                "method='sketch', got one fitted with method='exact'"
            )
        return self._fitted.stream(self._sum_up)

    def _sum_up(
        self,
        X: Rows,
        Y: Array,
        weight: Array | None,
        *,
        centred: bool,
        tell: Tell = lambda _: None,
    ) -> Stream:
        """Return the sums over these rows."""
        stream = self._new_stream(centred=centred)
        self._accumulate(stream, X, Y, weight, tell)
        return stream

    def _accumulate(
        self, stream: Stream, X: Rows, Y: Array, weight: Array | None, tell: Tell
    ) -> None:
        for block in self._blocks(X, Y, weight, tell):
            stream.add(*block, feature_array(self.features_, block[0]), self.alpha)

    def _fitted_features(self, net: Sequential, X: Rows) -> Any:
        X = distinct(X) if X.shape[0] <= _SMALL else X
        features: Any
        if isinstance(self.features, str):
            features = Precomputed()
        elif self.features is not None:
            features = clone(self.features)
            if features.random_state is None:
                features.random_state = self.random_state
        elif self.method == "nystroem":
            width = min(cast(int, self.n_components), X.shape[0])
            features = Nystroem(net, width, get=self.kernel, random_state=self.random_state)
        else:
            kind = NTKFeatures if self.kernel == "ntk" else NNGPFeatures
            features = kind(net, self.n_components, random_state=self.random_state)
        return features.fit(X)

    # --- predicting ---

    def _points(self, X: Any) -> Rows:
        """Check rows to predict for."""
        check_is_fitted(self)
        return check_points(self, self.net_, X, reset=False)

    def _scores(self, X: Any) -> Array:
        """Return the linear scores, (n, k), in the dtype of `X`."""
        ridge = self._solved()
        X = self._points(X)
        columns = self._columns
        weights = self._fitted.weights(columns.weights)
        out = np.empty((X.shape[0], self._n_targets), X.dtype)
        for rows in row_blocks(X.shape[0], self.block_size, X):
            out[rows] = columns.products(X[rows], weights) + ridge.intercept
        return out


# --- for blocks that are added up elsewhere, as in nkfast.dask ---


@contextmanager
def refitting(learner: NTKLearner) -> Iterator[None]:
    """Let a learner forget what it learnt, and solve in the end; after an error put all back."""
    with learner._refitting():
        yield


def empty_copy(learner: L, seed: Any = 0) -> L:
    """Return a learner with the same feature map, and with sums of no rows.

    `seed` draws the rows that a classifier keeps.
    """
    twin = copy.copy(learner)
    twin._fitted = learner._new_stream(centred=learner.fit_intercept, seed=seed)
    twin.verbose = False
    return twin


def running_sums(learner: NTKLearner) -> Stream:
    """Return the sums over all rows so far; the learner's own, to be added to."""
    return learner._running_sums()


def _described(block: Any) -> str:
    length = f" of length {len(block)}" if isinstance(block, (tuple, list)) else ""
    return f"a {type(block).__name__}{length}"
