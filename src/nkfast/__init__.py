from .activations import ReLU
from .layers import Dense, Sequential, mlp
