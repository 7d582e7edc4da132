"""Probabilities from linear scores: softmax with a slope found on leave-one-out scores."""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq
from scipy.special import softmax

from nkfast._arrays.validation import Array

_DECADES = 4.0  # of the slope, to either side of the reciprocal of the scores' spread


def logits(scores: Array) -> Array:
    """Return one score for each class, (n, n_classes); of two classes only one is given."""
    return np.hstack([-scores, scores]) if scores.shape[1] == 1 else scores


def probabilities(scores: Array, slope: float) -> Array:
    """Return softmax(slope * scores), (n, n_classes)."""
    return np.asarray(softmax(slope * logits(scores), axis=1))


def best_slope(scores: Array, targets: Array, weight: Array | None) -> float:
    """Return the slope of the least cross-entropy of `scores` (n, k) with `targets` (n, k).

    These are signs, or means of the signs of repeated rows.

    As in Platt's calibration each true label has the probability 1 - eps, here with
    eps = 1 / (n + 2), so that the slope is finite where the scores separate the classes.

    References
    ----------
    Platt, "Probabilistic outputs for support vector machines", 1999. Guo, Pleiss, Sun & Weinberger,
    "On calibration of modern neural networks", ICML 2017.
    """
    scores, truth = logits(scores), (1 + logits(targets)) / 2
    n, k = scores.shape
    share = np.full(n, 1 / n) if weight is None else weight / weight.sum()
    eps = 1 / (n + 2)
    target = share[:, None] * ((1 - eps) * truth + eps / k)
    spread = float(np.ptp(scores, axis=1) @ share)
    if spread == 0:
        return 0.0

    def derivative(log_slope: float) -> float:  # ascending, since cross-entropy is convex
        P = softmax(np.exp(log_slope) * scores, axis=1)
        return float(np.vdot(share[:, None] * P - target, scores))

    low = -float(np.log(spread)) - _DECADES * np.log(10)
    high = low + 2 * _DECADES * np.log(10)
    if derivative(low) >= 0:
        return float(np.exp(low))
    if derivative(high) <= 0:
        return float(np.exp(high))
    return float(np.exp(brentq(derivative, low, high, xtol=1e-13)))
