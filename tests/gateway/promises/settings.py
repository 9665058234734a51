"""A tenant's settings for tests of its promises."""

from __future__ import annotations

from typing import Any

from gateway.policy import Tenant


def tenant(**settings: Any) -> Tenant:
    return Tenant.model_validate({"name": "acme", **settings})
