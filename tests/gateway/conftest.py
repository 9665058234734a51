"""What most tests here begin with: a fresh store in a folder of the test's own, and a tenant of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.model import TenantId
from storage.recordings import Recordings
from tests.gateway.store import opened


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Recordings]:
    with opened(tmp_path) as recordings:
        yield recordings


@pytest.fixture
def tenant(store: Recordings) -> TenantId:
    return store.tenant("acme")
