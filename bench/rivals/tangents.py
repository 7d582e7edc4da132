"""neural-tangents in another process, since it needs packages of its own."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).parent
# Where `make bench` installs it; NKFAST_NEURAL_TANGENTS names another Python that has it.
PYTHON = Path(
    os.environ.get("NKFAST_NEURAL_TANGENTS", HERE.parents[1] / ".venv/neural_tangents/bin/python")
)


class NeuralTangents:
    """NNGP and NTK of dense networks (or, at depth 0, of Myrtle-5), warm."""

    def __init__(
        self,
        x: NDArray[np.float32],
        activation: str,
        depth: int,
        w_std: float,
        b_std: float,
        folder: Path,
        threads: int,
        z: NDArray[np.float32] | None = None,
    ) -> None:
        rows, others, result = folder / "rows.npy", folder / "others.npy", folder / "kernels.npz"
        np.save(rows, x)
        if z is not None:
            np.save(others, z)
        flags = "" if threads > 1 else "--xla_cpu_multi_thread_eigen=false"
        self.process = subprocess.Popen(
            [str(PYTHON), str(HERE / "neural_tangents_worker.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags},
        )
        job = {
            "activation": activation,
            "depth": depth,
            "w_std": w_std,
            "b_std": b_std,
            "rows": str(rows),
            "others": None if z is None else str(others),
            "result": str(result),
        }
        try:
            self.version = self._ask(json.dumps(job))
        except BaseException:
            self.process.communicate()
            raise
        with np.load(result) as kernels:
            self.nngp, self.ntk = kernels["arr_0"], kernels["arr_1"]

    def _ask(self, line: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"neural-tangents ended with exit code {self.process.wait()}")
        return answer.strip()

    def run(self, kind: str) -> float:
        """Compute both kernels once, "plain" or "jit"; return the seconds that took over there."""
        return float(self._ask(kind))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.communicate()
