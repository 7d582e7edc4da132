"""The README's example runs as it is printed."""

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_first_python_block_runs(capsys):
    block = re.search(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    lines = block[1].splitlines()
    assert len(lines) <= 12
    exec(compile(block[1], str(README), "exec"), {"__name__": "__readme__"})
    # What a comment behind print() promises is what is printed.
    promised = [line.split("# ")[1] for line in lines if line.startswith("print(")]
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == len(promised) > 0
    for value, words in zip(printed, promised, strict=True):
        low = re.match(r"above ([\d.]+)", words)
        high = re.match(r"below ([\d.]+)", words)
        assert low or high, words
        assert float(value) > float(low[1]) if low else float(value) < float(high[1])
