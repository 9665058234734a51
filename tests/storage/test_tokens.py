"""A token opens its tenant's door until it is revoked; what is stored of it opens none."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.errors import NotFound, Refused
from storage.model import TenantId
from storage.recordings import Recordings
from storage.tokens import Role
from tests.storage.stores import files_below, open_at


@pytest.mark.parametrize("role", Role)
def test_a_token_says_tenant_and_role(store: Recordings, tenant: TenantId, role: Role) -> None:
    bearer = store.tokens.lookup(store.tokens.create(tenant, role, "desk"))
    assert bearer is not None
    assert (bearer.tenant, bearer.role) == (tenant, role)


def test_a_token_that_is_not_ours_says_nothing(store: Recordings, tenant: TenantId) -> None:
    token, other = (store.tokens.create(tenant, Role.AGENT, "desk") for _ in range(2))
    crossed = token[:36] + other[36:]
    last = "A" if token[-1] != "A" else "B"
    for text in (
        "",
        "cv_",
        token[:-1],
        token[:-1] + last,
        crossed,
        token + "x",
        token.upper(),
        f" {token}",
        f"{token}\n",
    ):
        assert store.tokens.lookup(text) is None


def test_a_revoked_token_ends_at_once_also_elsewhere(store: Recordings, tenant: TenantId, tmp_path: Path) -> None:
    token = store.tokens.create(tenant, Role.OFFICER, "desk")
    with open_at(tmp_path) as other:
        bearer = other.tokens.lookup(token)
        assert bearer is not None
        store.tokens.revoke(tenant, bearer.token)
        assert other.tokens.lookup(token) is None


def test_another_tenants_token_is_not_found(store: Recordings, tenant: TenantId) -> None:
    stranger = store.tenant("another")
    token = store.tokens.create(tenant, Role.ADMIN, "desk")
    (record,) = store.tokens.list(tenant)
    assert store.tokens.list(stranger) == []
    with pytest.raises(NotFound):
        store.tokens.revoke(stranger, record.id)
    assert store.tokens.lookup(token) is not None


def test_tokens_are_listed_with_their_labels_and_without_themselves(store: Recordings, tenant: TenantId) -> None:
    token = store.tokens.create(tenant, Role.AGENT, "Désk 3")
    (record,) = store.tokens.list(tenant)
    assert (record.label, record.role, record.revoked) == ("Désk 3", Role.AGENT, False)
    assert token[-43:] not in repr(record)


def test_neither_token_nor_label_is_stored_in_clear(store: Recordings, tenant: TenantId, tmp_path: Path) -> None:
    token = store.tokens.create(tenant, Role.AGENT, "Desk of Alice")
    stored = files_below(tmp_path)
    assert token[-43:].encode() not in stored
    assert b"Alice" not in stored


def test_a_label_over_the_limit_is_refused(store: Recordings, tenant: TenantId) -> None:
    with pytest.raises(Refused):
        store.tokens.create(tenant, Role.AGENT, "x" * 201)
