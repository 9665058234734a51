"""What most tests here begin with: a fresh store in a folder of the test's own, and a tenant of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.model import TenantId
from storage.recordings import Recordings
from tests.storage.stores import open_at


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Recordings]:
    with open_at(tmp_path) as opened:
        yield opened


@pytest.fixture
def tenant(store: Recordings) -> TenantId:
    return store.tenant("acme")
