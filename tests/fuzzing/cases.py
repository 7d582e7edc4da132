"""One case: which check it is, and what did not hold."""

from __future__ import annotations

import hashlib
import traceback
import warnings
from typing import NamedTuple

import numpy as np

from . import features, images, refusals, rows, sketches
from .draw import Draw, Library

CHECKS = {
    "rows": (rows.check, 36),
    "sketches": (sketches.check, 45),
    "images": (images.check, 4),
    "features": (features.check, 3),
    "refusals": (refusals.check, 12),
}


class Outcome(NamedTuple):
    """What a case called, and what did not hold: an empty string if all did."""

    calls: Library
    wrong: str


def run(seed: int, case: int) -> Outcome:
    """Run a case; everything in it follows from the two numbers."""
    draw, nkfast = Draw(seed, case), Library()
    name = _name(draw)
    wrong = ""
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            CHECKS[name][0](draw, nkfast)
    except AssertionError as error:
        wrong = str(error)
    except ValueError as error:
        # float64 cannot hold these kernels, or not their squares, or float32 not the features
        if any(
            words in str(error)
            for words in (
                "scale the inputs",
                "float64 can hold in all layers",
                "so that float64 can hold",
                "features float32 can hold",
            )
        ):
            nkfast["refused"] += 1
        else:
            wrong = traceback.format_exc(limit=-4)
    except Exception:
        wrong = traceback.format_exc(limit=-4)
    if wrong:
        wrong = f"{name}: {'; '.join(nkfast.notes)}\n  {wrong}\n  {command(seed, case)}"
    return Outcome(nkfast, wrong)


def bits(seed: int, cases: range) -> str:
    """Return a digest of what sketches of these cases give at any SIMD level."""
    found = hashlib.sha256()
    for case in cases:
        if _name(Draw(seed, case)) == "sketches":
            found.update(run(seed, case).calls.bits.digest())
    return found.hexdigest()


def _name(draw: Draw) -> str:
    return str(draw.pick(tuple(CHECKS), [weight for _, weight in CHECKS.values()]))


def command(seed: int, case: int) -> str:
    """Return the command that repeats a case."""
    return f"cd tests && python -m fuzzing --seed {seed} --case {case}"
