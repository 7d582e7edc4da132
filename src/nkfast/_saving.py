"""Model files that run no code when they are loaded, by skops (the extra ``save``).

A file is a zip archive: arrays, a text that says what they belong to, and a stamp. Names in the
text are looked up only if they are trusted, and C++ state is made anew from arrays.
"""

from __future__ import annotations

import importlib
import inspect
import io
import json
import os
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo, is_zipfile

import numpy as np
import scipy.special

from nkfast import activations, features, gp, images, layers, learn, networks, sketch
from nkfast._arrays.files import written_aside
from nkfast._core import __version__

__all__ = ["load", "save"]

_FORMAT = 1  # goes up when older versions could not read new files
_STAMP = "nkfast.json"
_SCHEMA = "schema.json"
_SMALL = 1 << 16  # bytes; larger members are mostly digits that no compression makes shorter
_ROOMS = (activations, features, gp, images, layers, learn, networks, sketch)
_HOW_TO_INSTALL = 'model files need skops: pip install "nkfast[save]"'

# What saved objects of public classes consist of. They keep data, and the core checks what it is
# given; nothing here may do anything but that when it is made.
_PARTS = {
    "nkfast._linalg.moments": "RunningMoments",
    "nkfast.expansion._expansion": "Expansion",
    "nkfast.expansion._radial": "RadialSeries",
    "nkfast.features._layerwise": (
        "ActivationMap Coefficients DenseMap Join LayerwiseMap LayerwiseMap.lost ResidualMap Shape"
    ),
    "nkfast.features._reach": "Reach",
    "nkfast.features.collapsed._allocation": "Allocation",
    "nkfast.features.collapsed._harmonics": "Basis Harmonics",
    "nkfast.features.collapsed._map": "CollapsedMap",
    "nkfast.features.collapsed._split": "Split",
    "nkfast.features.pixels._map": "PixelMap",
    "nkfast.features.pixels._plan": "PixelPlan",
    "nkfast.features.pixels._records": (
        "Hash PixelLook PixelPart PixelChannel TensorProduct Monomials PixelPower HermiteGrid "
        "SharedTangent OwnTangent PixelActivation PixelStage PixelPool HadamardSample PixelOutput"
    ),
    "nkfast.images._whitening": "Covariance Running SpectralMap Whitening",
    "nkfast.learn._precomputed": "Precomputed",
    "nkfast.learn._ridge._penalty": "Penalty",
    "nkfast.learn._ridge._solve": "Penalty Ridge",
    "nkfast.learn._ridge._state": "Batch Large SampledRows Stream",
    "nkfast.networks._recipes": "MLP Myrtle",
    "nkfast.sketch._program": "SketchSteps Step",
    "scipy.sparse._csr": "csr_array csr_matrix",
    "sklearn.gaussian_process._gpc": "_BinaryGaussianProcessClassifierLaplace",
    "sklearn.gaussian_process.kernels": (
        "CompoundKernel ConstantKernel DotProduct ExpSineSquared Exponentiation Matern "
        "PairwiseKernel Product RBF RationalQuadratic Sum WhiteKernel"
    ),
}


def save(model: Any, path: Any) -> None:
    """Save an estimator, network, kernel or `Tuning` in a file that runs no code when loaded.

    Parameters
    ----------
    model : object
        Anything public of nkfast, fitted or not, alone or in a pipeline or another estimator of
        scikit-learn. Functions, such as an `Elementwise` has, are saved by their names.
    path : path-like
        The ending ``.skops`` is usual. The file is written aside and renamed: after an error an
        older one is as it was.

    Raises
    ------
    ImportError
        Without skops.
    ValueError
        If a part cannot be saved, such as a lambda, which has no name to be found by.
    OSError
        If the file cannot be written.

    See Also
    --------
    load

    Notes
    -----
    The same model gives the same bytes. Those of later versions of nkfast read the files of earlier
    ones where saved pickles could be read, too.

    Examples
    --------
    >>> import numpy as np, nkfast as nk, pathlib, tempfile
    >>> X = np.random.default_rng(0).standard_normal((50, 3))
    >>> model = nk.NTKRegressor(n_components=64, random_state=0).fit(X, X[:, 0])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     nk.save(model, pathlib.Path(folder) / "model.skops")
    ...     copy = nk.load(pathlib.Path(folder) / "model.skops")
    >>> bool(np.all(copy.predict(X) == model.predict(X)))
    True
    """
    dumps = _skops().dumps
    os.fspath(path)
    try:
        with ZipFile(io.BytesIO(dumps(model))) as found:
            schema = json.loads(found.read(_SCHEMA))
            names = _canonical(schema)
            stamp = {"format": _FORMAT, "nkfast": __version__}
            with written_aside(path) as part, ZipFile(part, "w") as archive:
                _write(archive, _STAMP, json.dumps(stamp).encode())
                _write(archive, _SCHEMA, json.dumps(schema, separators=(",", ":")).encode())
                for old, new in names.items():
                    _write(archive, new, found.read(old))
    except RecursionError:
        raise ValueError(
            "model: expected no part that holds itself in the end, as set_..._request of "
            f"scikit-learn makes one, got {type(model).__name__}"
        ) from None
    except (TypeError, AttributeError) as error:
        raise ValueError(
            f"model: expected parts that can be saved, got in {type(model).__name__}: {error}"
        ) from error


def load(path: Any, *, trusted: Iterable[str | type] = ()) -> Any:
    """Load what `save` saved; no code is run but that of nkfast and of what is trusted.

    Parameters
    ----------
    path : path-like
    trusted : iterable of str or type, optional
        Further types and functions that a file may name, such as ``"mymodule.MyTransformer"``. Of
        themselves trusted are what is public in nkfast, scikit-learn's estimators (those of trees
        not: their arrays could crash the process) and kernels of Gaussian processes, arrays and
        sparse matrices, and ufuncs of NumPy and `scipy.special`. To trust something runs its code.

    Returns
    -------
    object

    Raises
    ------
    ImportError
        Without skops.
    ValueError
        If the file is damaged, of another kind, or of a newer format; and if it names something
        that is not trusted: nothing of it has been imported then.
    OSError
        If it cannot be read.

    See Also
    --------
    save

    Examples
    --------
    >>> import nkfast as nk, pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     nk.save(nk.mlp(2, "gelu"), pathlib.Path(folder) / "net.skops")
    ...     nk.load(pathlib.Path(folder) / "net.skops")
    mlp(depth=2, activation='gelu', w_std=1.4142135623730951, b_std=0.0)
    """
    io_ = _skops()
    names = [trusted] if isinstance(trusted, (str, type)) else list(trusted)
    _check_stamp(path)
    try:
        return io_.load(os.fspath(path), trusted=[*_trusted(), *names])
    except io_.exceptions.UntrustedTypesFoundException:
        known = {name if isinstance(name, str) else _name(name) for name in names}
        unknown = sorted(
            set(io_.get_untrusted_types(file=os.fspath(path))) - set(_trusted()) - known
        )
        raise ValueError(
            f"{path}: expected parts of nkfast and of what it trusts, got {', '.join(unknown)}; "
            f"if you trust the file, and these: nkfast.load(path, trusted={unknown})"
        ) from None
    except (OSError, MemoryError, ImportError):
        raise
    except Exception as error:  # whatever a damaged file leads to
        raise ValueError(
            f"{path}: expected a whole model file of nkfast, got: {error!r}"
        ) from error


def is_model_file(path: Any) -> bool:
    """Return whether a file is one of `save`."""
    if not is_zipfile(path):
        return False
    with ZipFile(path) as archive:
        return _STAMP in archive.namelist()


def refuse_without_skops() -> None:
    """Raise ImportError, saying what to install, if models can be neither saved nor loaded."""
    _skops()


def _skops() -> Any:
    try:
        import skops.io
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] != "skops":
            raise
        raise ImportError(_HOW_TO_INSTALL, name="skops") from None
    return skops.io


@cache
def _trusted() -> tuple[str, ...]:
    """Return the names of what may be in every file."""
    public = {
        _name(thing)
        for room in _ROOMS
        for thing in (getattr(room, key) for key in room.__all__)
        if inspect.isclass(thing)
    }
    parts = {f"{module}.{name}" for module, names in _PARTS.items() for name in names.split()}
    special = {
        f"scipy.special.{key}"
        for key, thing in vars(scipy.special).items()
        if isinstance(thing, np.ufunc)
    }
    return tuple(sorted(public | parts | special))


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__name__}"


def _check_stamp(path: Any) -> None:
    try:
        with ZipFile(os.fspath(path)) as archive:
            stamp = json.loads(archive.read(_STAMP))
            newer = stamp["format"] > _FORMAT
    except BadZipFile:
        with open(os.fspath(path), "rb") as file:  # noqa: PTH123
            pickled = file.read(1) == b"\x80"
        what = "a pickle, which runs code when joblib.load opens it" if pickled else "another"
        raise ValueError(f"{path}: expected a model file of nkfast.save, got {what}") from None
    except (KeyError, TypeError, ValueError):
        raise ValueError(
            f"{path}: expected a model file of nkfast.save, got another archive"
        ) from None
    if newer:
        raise ValueError(
            f"{path}: expected a model file of format {_FORMAT} or older, got format "
            f"{stamp['format']} of nkfast {stamp.get('nkfast')}; this is nkfast {__version__}"
        )


def _write(archive: ZipFile, name: str, data: bytes) -> None:
    info = ZipInfo(name)  # without the time
    info.compress_type = ZIP_DEFLATED if len(data) < _SMALL or name == _SCHEMA else ZIP_STORED
    archive.writestr(info, data)


# --- what is saved does not depend on addresses, and can be found again ---


def _canonical(schema: dict[str, Any]) -> dict[str, str]:
    """Give objects numbers in their order, in place; return new names of the files of arrays."""
    numbers: dict[int, int] = {}
    files: dict[str, str] = {}
    for node, holder in _nodes(schema, "the model"):
        _check_found(node, holder)
        node["__id__"] = numbers.setdefault(node["__id__"], len(numbers) + 1)
        if isinstance(node.get("file"), str):
            old = node["file"]
            node["file"] = files.setdefault(old, f"{len(files)}{os.path.splitext(old)[1]}")  # noqa: PTH122
        if node["__loader__"] == "DictNode":
            _mend_keys(node, holder)
    return files


def _nodes(part: Any, holder: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield what describes an object, and the name of the nearest one that is no mere container."""
    if isinstance(part, list):
        for item in part:
            yield from _nodes(item, holder)
    elif isinstance(part, dict):
        if isinstance(part.get("__loader__"), str):
            yield part, holder
            if part["__loader__"] == "ObjectNode":
                holder = f"{part['__module__']}.{part['__class__']}"
        for item in part.values():
            yield from _nodes(item, holder)


def _check_found(node: dict[str, Any], holder: str) -> None:
    """Refuse what has no name by which it is found, such as a lambda; name ufuncs publicly."""
    name, module, loader = node["__class__"], node["__module__"], node["__loader__"]
    if loader not in ("FunctionNode", "TypeNode", "ObjectNode"):
        return
    if id(getattr(scipy.special, name, None)) == node["__id__"]:
        node["__module__"] = "scipy.special"  # which module has them differs by version
        return
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError):
        found = None
    if found is None or (loader != "ObjectNode" and id(found) != node["__id__"]):
        raise ValueError(
            f"model: expected functions and classes that have a name at the top level of a module, "
            f"got {module}.{name} in {holder}; pickle and cloudpickle take more"
        )


def _mend_keys(node: dict[str, Any], holder: str) -> None:
    """Make True and False keys 1 and 0, which are equal to them: skops would read True only."""
    kinds, content = node["key_types"]["content"], node["content"]
    for kind, key in zip(kinds, list(content), strict=True):
        name = f"{kind['__module__']}.{kind['__class__']}"
        if name in ("builtins.bool", "numpy.bool", "numpy.bool_"):
            kind.update({"__module__": "builtins", "__class__": "int", "__id__": id(int)})
            content[{"true": "1", "false": "0"}.get(key.lower(), key)] = content.pop(key)
        elif name == "builtins.NoneType":
            raise ValueError(f"model: expected no dict with a key None, got one in {holder}")
        else:
            content[key] = content.pop(key)  # in its place
