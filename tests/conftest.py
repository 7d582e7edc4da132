"""Settings of the test-suite."""

import signal

import pytest
from hypothesis import settings

settings.register_profile("any machine", deadline=None)  # it may be busy
settings.load_profile("any machine")


def pytest_configure() -> None:
    """Let Ctrl-C be tested, too, where the suite itself was started in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def little_memory(monkeypatch):
    """Return a function after which this machine has so many bytes left."""

    def left(size: int) -> None:
        monkeypatch.setattr("nkfast._arrays.memory._SMALL", 0)
        monkeypatch.setattr("nkfast._arrays.memory.available_memory", lambda: size)

    return left
