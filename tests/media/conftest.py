"""What every test of the media package leaves behind: nothing; and that those of the tick run over both twins."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .bench import CORES, Twins, close_sockets

OVER_BOTH = frozenset(
    f"test_{name}" for name in ("engine", "ipv6", "masking", "muxing", "playout", "quiet", "receive", "srtp", "vad")
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Once over the native core, which the tests do not do without, and once over its twin in Python."""
    if metafunc.module.__name__.rpartition(".")[2] in OVER_BOTH:
        metafunc.fixturenames.append("_twin")
        metafunc.parametrize("_twin", CORES, indirect=True)


@pytest.fixture
def _twin(request: pytest.FixtureRequest) -> None:
    Twins.core = CORES[request.param]


@pytest.fixture(autouse=True)
def _sockets_are_closed() -> Iterator[None]:
    yield
    close_sockets()
    Twins.core = CORES["native"]
