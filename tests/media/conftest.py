"""What every test of the media package leaves behind: nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .bench import close_sockets


@pytest.fixture(autouse=True)
def _sockets_are_closed() -> Iterator[None]:
    yield
    close_sockets()
