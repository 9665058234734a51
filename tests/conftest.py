"""What every run says of itself."""

from __future__ import annotations

import pytest

from tests.bothdatabases import IN_EFFECT


def pytest_report_header(config: pytest.Config) -> str:
    """At the head of a run."""
    return IN_EFFECT


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """At the end of a quiet one (`-q`), which has no head."""
    if config.get_verbosity() < 0:
        terminalreporter.write_line(IN_EFFECT)
