"""Who is let in, as which trunk, and what the others are told."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.config import Settings
from gateway.ingest.identity import Identity
from gateway.sip.digest import ha1
from gateway.sip.flow import Flow
from gateway.sip.gate import Granted, Verdict
from gateway.sip.screening import Refusal
from gateway.tenants import Directory
from tests.gateway.sip.bench import counting, packet, request_of
from tests.gateway.sip.test_digest import answered, nonce_of

LOCAL = ("192.0.2.1", 5060)
PRIVATE = ("192.0.2.1", 5070)
PROXY = "203.0.113.5"
USER = {"name": "carrier", "sha256": ha1("SHA-256", "carrier", "callvault", "secret")}
OTHER = {"name": "other", "sha256": ha1("SHA-256", "other", "callvault", "secret")}
TRUNKS: list[dict[str, Any]] = [
    {"name": "network", "sources": ["198.51.100.0/24"]},
    {"name": "narrow", "sources": ["198.51.100.8/29"]},
    {"name": "private", "listener": "lan", "media_networks": ["10.0.0.0/8"]},
    {"name": "signed", "users": [USER], "media_networks": ["10.0.0.0/8"]},
    {"name": "both", "users": [OTHER], "sources": ["192.0.2.64/26"]},
]


def gate(trunks: list[dict[str, Any]] | None = None, **sip: Any) -> Identity:
    """The gate of a configuration with these trunks, all of one tenant."""
    listed = [{"tenant": "default", **trunk} for trunk in (TRUNKS if trunks is None else trunks)]
    lan = {"name": "lan", "address": f"{PRIVATE[0]}:{PRIVATE[1]}"}
    settings = Settings.model_validate({"sip": {"listeners": [lan], **sip}, "trunks": listed})
    made = Identity(settings, Directory(settings), counting())
    made.listeners[PRIVATE] = "lan"
    return made


def asked(
    identity: Identity, source: str, *, local: tuple[str, int] = LOCAL, former: Granted | None = None, extra: str = ""
) -> Verdict:
    """What a request from there gets."""
    return identity.admit(request_of(packet("INVITE", extra=extra)), Flow("udp", local, (source, 5060)), 10.0, former)


def signed(identity: Identity, source: str, *, local: tuple[str, int] = LOCAL, **answer: Any) -> Verdict:
    """The same after a challenge."""
    challenge = asked(identity, "203.0.113.99")
    assert isinstance(challenge, Refusal)
    assert challenge.status == 401
    authorization = f"Authorization: {answered(nonce_of(tuple(challenge.headers)), **answer)}"
    return asked(identity, source, local=local, extra=authorization)


@pytest.mark.parametrize(
    ("source", "local", "trunk"),
    [
        ("198.51.100.1", LOCAL, "network"),
        ("198.51.100.9", LOCAL, "narrow"),
        ("198.51.100.9", PRIVATE, "private"),  # the listener comes before the network
        ("203.0.113.99", PRIVATE, "private"),
    ],
)
def test_listener_comes_first_then_the_narrowest_network(source: str, local: tuple[str, int], trunk: str) -> None:
    assert asked(gate(), source, local=local) == Granted(trunk, source)


@pytest.mark.parametrize("source", ["203.0.113.99", "198.51.100.9"])
def test_a_user_comes_before_everything_else(source: str) -> None:
    assert signed(gate(), source) == Granted("signed", source)
    assert signed(gate(), source, local=PRIVATE) == Granted("signed", source)


def test_wrong_password_is_asked_again_and_counted() -> None:
    identity = gate()
    verdict = signed(identity, "203.0.113.99", password="guess")
    assert isinstance(verdict, Refusal)
    assert verdict.status == 401
    assert not any("stale" in value for _, value in verdict.headers)
    assert identity.counters["digest_failed"] == 1


def test_used_count_is_stale() -> None:
    identity = gate()
    challenge = asked(identity, "203.0.113.99")
    assert isinstance(challenge, Refusal)
    extra = f"Authorization: {answered(nonce_of(tuple(challenge.headers)))}"
    assert isinstance(asked(identity, "203.0.113.99", extra=extra), Granted)
    again = asked(identity, "203.0.113.99", extra=extra)
    assert isinstance(again, Refusal)
    assert all("stale=true" in value for _, value in again.headers)


def test_only_algorithms_that_somebody_has_a_hash_for_are_offered() -> None:
    challenge = asked(gate(), "203.0.113.99")
    assert isinstance(challenge, Refusal)
    assert ["SHA-256" in value for _, value in challenge.headers] == [True]


def test_a_trunk_with_networks_and_users_needs_both() -> None:
    identity = gate()
    challenge = asked(identity, "192.0.2.65")
    assert isinstance(challenge, Refusal)
    assert challenge.status == 401
    assert signed(identity, "192.0.2.65", user="other") == Granted("both", "192.0.2.65")
    assert signed(identity, "203.0.113.99", user="other") == Refusal(403)
    assert identity.counters["refused_user_elsewhere"] == 1


def test_stranger_gets_403_where_no_trunk_asks_for_passwords() -> None:
    identity = gate(TRUNKS[:2])
    assert asked(identity, "203.0.113.99") == Refusal(403)
    assert identity.counters["refused_unknown_source"] == 1


def test_stranger_gets_nothing_if_the_policy_says_so() -> None:
    identity = gate(TRUNKS[:2], unknown="drop", proxies=[f"{PROXY}/32"])
    assert asked(identity, "203.0.113.99") is None
    heard = {
        source: identity.hears(Flow("udp", LOCAL, (source, 5060))) for source in ("203.0.113.99", "198.51.100.1", PROXY)
    }
    assert heard == {"203.0.113.99": False, "198.51.100.1": True, PROXY: True}
    assert gate(TRUNKS, unknown="drop").hears(Flow("udp", LOCAL, ("203.0.113.99", 5060)))  # it may know a password


@pytest.mark.parametrize(
    ("source", "extra", "verdict"),
    [
        (PROXY, "X-Source-Address: 198.51.100.9", Granted("narrow", "198.51.100.9")),
        (PROXY, "X-Source-Address: 203.0.113.99", Refusal(403)),
        (PROXY, "X-Source-Address: nonsense", Refusal(403)),
        (PROXY, "X-Source-Address: 198.51.100.1\nX-Source-Address: 198.51.100.9", Refusal(403)),
        (PROXY, "", Refusal(403)),
        ("198.51.100.1", "X-Source-Address: 198.51.100.9", Granted("network", "198.51.100.1")),
        ("203.0.113.99", "X-Source-Address: 198.51.100.9", Refusal(403)),
    ],
)
def test_header_of_a_listed_proxy_counts_and_nobody_elses(source: str, extra: str, verdict: Verdict) -> None:
    assert asked(gate(TRUNKS[:2], proxies=[f"{PROXY}/32"]), source, extra=extra) == verdict


def test_request_inside_a_dialog_comes_from_its_trunk() -> None:
    identity = gate()
    former = Granted("network", "198.51.100.1")
    assert asked(identity, "198.51.100.1", former=former) == former
    assert asked(identity, "198.51.100.2", former=former) == Granted("network", "198.51.100.2")
    assert asked(identity, "198.51.100.9", former=former) == Refusal(403)
    assert identity.counters["refused_other_trunk"] == 1


def test_signed_trunk_is_asked_again_only_when_it_comes_from_elsewhere() -> None:
    identity = gate()
    former = Granted("signed", "203.0.113.99")
    assert asked(identity, "203.0.113.99", former=former) == former
    elsewhere = asked(identity, "203.0.113.98", former=former)
    assert isinstance(elsewhere, Refusal)
    assert elsewhere.status == 401


def test_our_requests_reach_a_trunks_networks_and_our_proxies() -> None:
    identity = gate(proxies=[f"{PROXY}/32"])
    assert identity.reaches("network", "198.51.100.77")
    assert identity.reaches("signed", PROXY)
    assert not identity.reaches("network", "203.0.113.99")
    assert not identity.reaches("signed", "203.0.113.99")
    assert not identity.reaches("gone", "198.51.100.77")


def test_a_directory_can_be_replaced() -> None:
    identity = gate(TRUNKS[:1])
    assert asked(identity, "198.51.100.9") == Granted("network", "198.51.100.9")
    identity.directory = gate(TRUNKS[:2]).directory
    assert asked(identity, "198.51.100.9") == Granted("narrow", "198.51.100.9")


def test_a_masked_hash_opens_nothing() -> None:
    masked = {"name": "carrier", "sha256": "**********"}
    identity = gate([*TRUNKS[:1], {"name": "signed", "users": [masked], "media_networks": ["10.0.0.0/8"]}])
    assert identity.directory.algorithms == ()
    assert asked(identity, "203.0.113.99") == Refusal(403)
