"""Every activation with its derivative and its kinks, written out a second time."""

import math

import numpy as np
from scipy.special import expit, ndtr

import nkfast as nk

SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
LIKE = 1 / 2.4020563531719796


def density(x):
    return np.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def bell(a, b, x):
    """The derivative of a erf(b x)."""
    return 2 * a * b / math.sqrt(math.pi) * np.exp(-((b * x) ** 2))


def mish_slope(x):
    t = np.tanh(np.logaddexp(0, x))
    return t + x * (1 - t * t) * expit(x)


def shifted(x):
    return np.clip(x - 0.5, -1, 1)


def unit_clip(x):
    return np.clip(x, 0, 1)


def bent_sine(x):
    return np.sin(np.abs(x - 0.3))


def shrunk_tanh(x):
    return np.tanh(np.sign(x) * np.maximum(np.abs(x) - 0.5, 0))


def step_cosine(x):
    return np.where(x > 0, np.cos(x), -1.0)


def inside(x, a, b):
    return ((x > a) & (x < b)) * 1.0


# name: (activation, derivative off the jumps, kinks)
CASES = {
    "relu": (nk.ReLU(), lambda x: inside(x, 0, np.inf), (0.0,)),
    "leaky_relu": (nk.LeakyReLU(0.1), lambda x: np.where(x > 0, 1, 0.1), (0.0,)),
    "ab_relu": (nk.ABReLU(-0.3, 1.2), lambda x: np.where(x > 0, 1.2, -0.3), (0.0,)),
    "abs": (nk.Abs(), np.sign, (0.0,)),
    "sign": (nk.Sign(), np.zeros_like, (0.0,)),
    "step": (nk.RectifiedMonomial(0), np.zeros_like, (0.0,)),
    "rectified_linear": (nk.RectifiedMonomial(1), lambda x: inside(x, 0, np.inf), (0.0,)),
    "rectified_square": (nk.RectifiedMonomial(2), lambda x: 2 * np.maximum(x, 0), (0.0,)),
    "rectified_cube": (nk.RectifiedMonomial(3), lambda x: 3 * np.maximum(x, 0) ** 2, (0.0,)),
    "erf": (nk.Erf(0.7, 1.3, 0.2), lambda x: bell(0.7, 1.3, x), ()),
    "sigmoid_like": (nk.SigmoidLike(), lambda x: bell(0.5, LIKE, x), ()),
    "gelu": (nk.GELU(), lambda x: ndtr(x) + x * density(x), ()),
    "sin": (nk.Sin(0.8, 1.5, 0.4), lambda x: 1.2 * np.cos(1.5 * x + 0.4), ()),
    "cos": (nk.Cos(), lambda x: -np.sin(x), ()),
    "rbf": (nk.RBF(0.7), lambda x: 2.8**0.5 * np.cos(1.4**0.5 * x + np.pi / 4), ()),
    "exp": (nk.Exp(1.0, 0.2), lambda x: 0.2 * np.exp(0.2 * x), ()),
    "gaussian": (nk.Gaussian(1.0, -0.4), lambda x: -0.8 * x * np.exp(-0.4 * x * x), ()),
    "gabor": (nk.Gabor(), lambda x: np.exp(-x * x) * (np.cos(x) - 2 * x * np.sin(x)), ()),
    "square": (nk.Monomial(2), lambda x: 2 * x, ()),
    "cube": (nk.Monomial(3), lambda x: 3 * x * x, ()),
    "polynomial": (nk.Polynomial([0.1, 0.5, 0.3]), lambda x: 0.5 + 0.6 * x, ()),
    "hermite": (nk.Hermite(3), lambda x: (3 * x * x - 3) / 6**0.5, ()),
    "tanh": (nk.Tanh(), lambda x: 1 / np.cosh(x) ** 2, ()),
    "sigmoid": (nk.Sigmoid(), lambda x: expit(x) * expit(-x), ()),
    "softplus": (nk.Softplus(2.0), lambda x: expit(2 * x), ()),
    "silu": (nk.SiLU(), lambda x: expit(x) + x * expit(x) * expit(-x), ()),
    "mish": (nk.Mish(), mish_slope, ()),
    "elu": (nk.ELU(0.7), lambda x: np.where(x > 0, 1, 0.7 * np.exp(np.minimum(x, 0))), (0.0,)),
    "selu": (
        nk.SELU(),
        lambda x: SELU_SCALE * np.where(x > 0, 1, SELU_ALPHA * np.exp(np.minimum(x, 0))),
        (0.0,),
    ),
    "celu": (nk.CELU(1.5), lambda x: np.where(x > 0, 1, np.exp(np.minimum(x, 0) / 1.5)), (0.0,)),
    "softsign": (nk.Softsign(), lambda x: 1 / (1 + np.abs(x)) ** 2, (0.0,)),
    "hard_tanh": (nk.HardTanh(), lambda x: inside(x, -1, 1), (-1.0, 1.0)),
    "hard_sigmoid": (nk.HardSigmoid(), lambda x: inside(x, -3, 3) / 6, (-3.0, 3.0)),
    "hard_swish": (
        nk.HardSwish(),
        lambda x: np.where(x > 3, 1, np.where(x < -3, 0, x / 3 + 0.5)),
        (-3.0, 3.0),
    ),
    "relu6": (nk.ReLU6(), lambda x: inside(x, 0, 6), (0.0, 6.0)),
    "own shifted hard_tanh": (
        nk.Elementwise(shifted, (-0.5, 1.5)),
        lambda x: inside(x, -0.5, 1.5),
        (-0.5, 1.5),
    ),
    "own unit clip": (nk.Elementwise(unit_clip, (0, 1)), lambda x: inside(x, 0, 1), (0.0, 1.0)),
    "own tanh": (nk.Elementwise(np.tanh), lambda x: 1 / np.cosh(x) ** 2, ()),
    "own bent sine": (
        nk.Elementwise(bent_sine, (0.3,)),
        lambda x: np.cos(np.abs(x - 0.3)) * np.sign(x - 0.3),
        (0.3,),
    ),
    "own shrunk tanh": (
        nk.Elementwise(shrunk_tanh, (-0.5, 0.5)),
        lambda x: np.where(np.abs(x) > 0.5, 1 / np.cosh(np.maximum(np.abs(x) - 0.5, 0)) ** 2, 0),
        (-0.5, 0.5),
    ),
    # Jumps: the derivative counts off them only.
    "own step cosine": (
        nk.Elementwise(step_cosine, (0,)),
        lambda x: np.where(x > 0, -np.sin(x), 0),
        (0.0,),
    ),
}
SMOOTH = {name for name, (_, _, kinks) in CASES.items() if not kinks}
JUMPS = {"sign", "step", "own step cosine"}
NAMED = {name for name, (act, _, _) in CASES.items() if not isinstance(act, nk.Elementwise)}
