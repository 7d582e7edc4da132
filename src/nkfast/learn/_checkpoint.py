"""The sums of `fit_blocks` in a file, from which the same call goes on after a crash."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import scipy.sparse as sp
from sklearn.base import BaseEstimator

from nkfast._arrays.files import write_npz, written_aside
from nkfast._arrays.validation import Array
from nkfast._core import __version__
from nkfast.features._base import feature_array
from nkfast.kernels._journal import fingerprint

_FORMAT = "nkfast fit_blocks 1"
_SAVE_SECONDS = 5.0  # at least, between two times that sums are written
_SHARE = 20  # so many times as long as the last time took
_ROWS = 4  # whose features tell whether a feature map is the same
_ALIKE = 1e-5  # relative difference of features that rounding on another machine may make
_DIGEST = 16  # bytes


class Checkpoint:
    """Sums over blocks in a file of plain arrays, written aside and renamed.

    The file says of which computation, and which blocks. The feature map is not in it: the first
    block fits it again. Blocks that the file knows are compared with what it knows, and skipped.

    Parameters
    ----------
    path : path-like
        Begun if there is none.
    learner : NTKRegressor or NTKClassifier
    options : dict
        Further arguments of the fit.
    """

    def __init__(self, path: Any, learner: Any, options: dict[str, Any]) -> None:
        self.path = Path(os.fspath(path))
        if learner.random_state is None and getattr(learner.features, "random_state", None) is None:
            raise ValueError(
                "resume: expected a random_state, with which the first block gives the same "
                "feature map again, got None"
            )
        self._head = {
            "format": _FORMAT,
            "version of nkfast": __version__,
            "class": type(learner).__name__,
            **_described(learner),
            **{name: fingerprint(np.asarray(value)) for name, value in options.items()},
        }
        self._digests: list[bytes] = []
        self._known: list[bytes] = []  # of the file
        self._n_saved = 0
        self._arrays: dict[str, Array] = {}
        self._features: Array | None = None
        self._saved, self._cost = time.monotonic(), 0.0
        if not self.path.absolute().parent.is_dir():
            raise FileNotFoundError(f"resume: no such folder: {self.path.absolute().parent}")
        if self.path.exists() and self.path.stat().st_size:
            self._read()

    def _read(self) -> None:
        try:
            with self.path.open("rb") as file, np.load(file, allow_pickle=False) as found:
                arrays = {name: found[name] for name in found.files}
            head = json.loads(str(arrays.pop("head")))
            if head["format"] != _FORMAT:
                raise ValueError
            digests = arrays.pop("digests").tobytes()
        except (ValueError, TypeError, KeyError, BadZipFile, EOFError):
            raise ValueError(
                f"resume: expected a file of fit_blocks of nkfast in {self.path}, got another"
            ) from None
        names = self._head | head
        if unlike := [name for name in names if head.get(name) != self._head.get(name)]:
            raise ValueError(
                f"resume: {self.path} belongs to another computation: expected the same "
                f"{', '.join(unlike)}; delete it to begin anew"
            )
        self._known = [digests[i : i + _DIGEST] for i in range(0, len(digests), _DIGEST)]
        self._arrays, self._n_saved = arrays, len(self._known)

    def knows(self, block: Any) -> bool:
        """Return whether the next block is in the file; refuse another one in its place."""
        i = len(self._digests)
        self._digests.append(_digest(block))
        if i >= len(self._known):
            return False
        if self._digests[i] != self._known[i]:
            raise ValueError(
                f"resume: {self.path} belongs to another computation: expected the same blocks, "
                f"but block {i} differs; delete it to begin anew"
            )
        return True

    def done(self, learner: Any, block: Any) -> None:
        """Note that a block was added, or is in the file."""
        if not hasattr(learner, "_fitted"):
            return  # no row of weight above zero yet
        if self._features is None:
            some = learner._points(block[0][:_ROWS])
            self._features = np.asarray(feature_array(learner.features_, some))
        if len(self._digests) == len(self._known):
            self._restore(learner)
        elif len(self._digests) > self._n_saved:
            wait = max(_SAVE_SECONDS, _SHARE * self._cost)
            if time.monotonic() - self._saved >= wait:
                self._save(learner)

    def finish(self, learner: Any) -> None:
        """Keep the sums over all blocks."""
        if len(self._digests) < len(self._known):
            raise ValueError(
                f"blocks: expected at least the {len(self._known)} that {self.path} knows, "
                f"got {len(self._digests)}"
            )
        if len(self._digests) > self._n_saved:
            self._save(learner)

    def _restore(self, learner: Any) -> None:
        features, before = self._features, self._arrays.pop("features")
        same = features is not None and features.shape == before.shape
        if not same or np.linalg.norm(features - before) > _ALIKE * np.linalg.norm(before):
            raise ValueError(
                f"resume: {self.path} belongs to another feature map: the first block gives "
                "another one on this machine, or with these libraries; delete it to begin anew"
            )
        learner._fitted.restore(self._arrays)
        self._arrays = {}

    def _save(self, learner: Any) -> None:
        start = time.monotonic()
        digests = np.frombuffer(b"".join(self._digests), np.uint8)
        arrays = learner._fitted.arrays() | {"features": self._features, "digests": digests}
        with written_aside(self.path) as part, part.open("wb") as file:
            write_npz(file, {"head": np.array(json.dumps(self._head)), **arrays})
        self._n_saved = len(self._digests)
        self._saved = time.monotonic()
        self._cost = self._saved - start


def _described(estimator: Any) -> dict[str, Any]:
    """Return what must agree of an estimator's parameters."""
    found: dict[str, Any] = {}
    for name, value in estimator.get_params(deep=False).items():
        if isinstance(value, BaseEstimator):
            found[name] = {"class": type(value).__name__, **_described(value)}
        elif isinstance(value, np.random.RandomState):
            found[name] = fingerprint(*value.get_state())
        elif name not in ("verbose", "n_jobs"):
            found[name] = fingerprint(value)
    return found


def _digest(block: Any) -> bytes:
    return bytes.fromhex(fingerprint(*(_plain(part) for part in block)))


def _plain(part: Any) -> Any:
    """Return an array or CSR matrix with the values of what may be a table or a list."""
    if part is None:
        return None
    if sp.issparse(part):
        return part.tocsr()
    values = np.asarray(part)
    return values.tolist() if values.dtype == object else values  # their repr, not addresses
