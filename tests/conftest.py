"""Settings of the test-suite."""

import signal


def pytest_configure() -> None:
    """Let Ctrl-C be tested, too, where the suite itself was started in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
