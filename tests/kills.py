"""Long work that is killed at random moments, and done again: is the result the same, bit for bit?

``python tests/kills.py`` kills each kind of work a hundred times and prints a table; options: the
number of kills, the seed. Besides it kills each at the moments between which a file could be half:
before and after whatever is brought to the disk or renamed.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import skops.io  # noqa: F401  # here, not in each child

import nkfast as nk
from nkfast import cli
from nkfast.kernels import _journal
from nkfast.learn import _checkpoint

_journal._SYNC_SECONDS = 0.0  # after each block
_checkpoint._SAVE_SECONDS = _checkpoint._SHARE = 0.0
RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((28, 8, 8, 3)).astype(np.float32)
ROWS = RNG.standard_normal((600, 6))
LABELS = (np.abs(ROWS).sum(axis=1) > 4.8).astype(int)


def kernel(folder: Path) -> None:
    """Write a kernel into a file, resumed by its journal."""
    nk.myrtle(5).ntk(IMAGES, out=folder / "result", block=4, resume=folder / "journal")


def blocks(folder: Path) -> None:
    """Fit blocks, resumed by their sums; the result is a model file."""
    parts = ((ROWS[i : i + 50], LABELS[i : i + 50]) for i in range(0, len(ROWS), 50))
    model = nk.NTKClassifier(n_components=32, method="nystroem", random_state=0)
    nk.save(model.fit_blocks(parts, [0, 1], resume=folder / "sums"), folder / "result")


def features(folder: Path) -> None:
    """Write features into a file, resumed by its journal."""
    phi = nk.Nystroem(n_components=32, random_state=0).fit(ROWS)
    nk.write_features(folder / "result", phi, ROWS, dtype="float16", block_size=20, resume=True)


def command(folder: Path) -> None:
    """Run ``nkfast fit``, over the file of an older model."""
    table = folder.parent / "rows.csv"
    if not table.exists():
        lines = [
            ",".join(map(repr, [*x.tolist(), int(y)])) for x, y in zip(ROWS, LABELS, strict=True)
        ]
        table.write_text("\n".join(lines) + "\n")
    options = ["--target", "6", "--task", "classification", "--standardize", "--header", "no"]
    options += ["--method", "nystroem"]
    options += ["--components", "32", "--block", "50", "--quiet", "--resume", str(folder / "sums")]
    code = cli.main(["fit", str(table), "--output", str(folder / "result"), *options])
    if code:
        os._exit(code)


WORK = {
    "kernel(out=, resume=)": kernel,
    "fit_blocks(resume=)": blocks,
    "write_features(resume=)": features,
    "nkfast fit --resume": command,
}
OLD = b"what was there before"


class Trial:
    """A kind of work, how long it takes, and what it leaves if nothing disturbs it."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self._work = name, WORK[name]
        self._folder = folder / self._work.__name__
        self._folder.mkdir()
        self.calls = self._counted()
        self.seconds = self._timed()

    def _fresh(self) -> Path:
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        if self._work is command:
            (folder / "result").write_bytes(OLD)
        return folder

    def _begin(self, folder: Path, prepare: Callable[[], None] = lambda: None) -> int:
        sys.stdout.flush()
        if pid := os.fork():
            return pid
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            prepare()
            self._work(folder)
        except BaseException as error:
            print(f"{self.name}: {error!r}", file=sys.stderr)
            os._exit(9)
        os._exit(0)

    def _end(self, folder: Path) -> bool:
        """Do the work to its end; return whether the result is the right one."""
        _, status = os.waitpid(self._begin(folder), 0)
        return status == 0 and self._digest(folder) == self.digest and not leftovers(folder)

    def _digest(self, folder: Path) -> str:
        return hashlib.sha256((folder / "result").read_bytes()).hexdigest()

    def _timed(self) -> float:
        folder = self._fresh()
        start = time.monotonic()
        if not self._end(folder):
            raise RuntimeError(f"{self.name}: undisturbed, it does not give the same twice")
        return time.monotonic() - start

    def _counted(self) -> int:
        """Return how often files are brought to the disk or renamed."""
        folder = self._fresh()
        log = folder.with_suffix(".log")
        os.waitpid(self._begin(folder, lambda: _hook(lambda n: log.write_text(str(n)))), 0)
        self.digest = self._digest(folder)
        return int(log.read_text())

    def killed(self, moment: float) -> tuple[bool, bool]:
        """Kill the work after so many seconds; return whether it was alive, and all was right."""
        folder = self._fresh()
        pid = self._begin(folder)
        time.sleep(moment)
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        return os.WIFSIGNALED(status), self._whole(folder) and self._end(folder)

    def killed_at(self, call: int) -> bool:
        """Kill the work at one of `calls`; return whether all was right."""

        def stop(n: int) -> None:
            if n == call:
                os.kill(os.getpid(), signal.SIGKILL)

        folder = self._fresh()
        _, status = os.waitpid(self._begin(folder, lambda: _hook(stop)), 0)
        return os.WIFSIGNALED(status) and self._whole(folder) and self._end(folder)

    def _whole(self, folder: Path) -> bool:
        """Return whether the file of the result is not half of one."""
        result = folder / "result"
        if self._work is kernel:  # grows in its place: the journal says what is there
            return not result.exists() or np.load(result).shape == (len(IMAGES), len(IMAGES))
        if not result.exists():
            return self._work is not command
        return result.read_bytes() == OLD or self._digest(folder) == self.digest


def _hook(tell: Callable[[int], object]) -> None:
    """Count the moments before and after each `os.fsync` and `os.replace`."""
    n = 0

    def told(plain: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: object) -> None:
            nonlocal n
            tell(n := n + 1)
            plain(*arguments)
            tell(n := n + 1)

        return call

    os.fsync, os.replace = told(os.fsync), told(os.replace)


def leftovers(folder: Path) -> list[Path]:
    """Return files that were written aside and not renamed."""
    return [*folder.glob("*.part")]


def table(kills: int, fixed: int, seed: int) -> Iterator[tuple[str, bool]]:
    """Yield a line for each kind of work, and whether every result was right."""
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        for name in WORK:
            trial = Trial(name, Path(folder))
            right = done = 0
            while done < kills:
                alive, good = trial.killed(rng.uniform(0, trial.seconds))
                right += alive and good
                done += alive or not good
            calls = np.unique(np.linspace(1, trial.calls, fixed).astype(int)) if fixed else []
            at = sum(trial.killed_at(int(call)) for call in calls)
            line = (
                f"| `{name}` | {trial.seconds:.2f} s | {right} of {kills} | {at} of {len(calls)} |"
            )
            yield line, right == kills and at == len(calls)


def main() -> int:
    """Print the table; 1 if a result was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="at random moments (100)")
    parser.add_argument("--fixed", type=int, default=40, help="at most, at chosen moments (40)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(f"kills at random moments of work, seed {options.seed}, and between its steps on files\n")
    print("| work | takes | same bits after random kills | after kills at syncs and renames |")
    print("|---|---|---|---|")
    wrong = 0
    for line, good in table(options.kills, options.fixed, options.seed):
        print(line, flush=True)
        wrong += not good
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
