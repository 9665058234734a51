"""Technical and organisational measures (Art. 32 GDPR) as the configuration has them in effect: lines by their names.

Each function tells what one heading of the annex says; a line is a name, whose words stand in `record.*.toml`, and what
is filled in. What cannot be switched off is told without a condition, since tests of its own hold it; everything else
hangs on the setting that brings it about, and a weaker setting is told as what it is.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from gateway.addresses import parse_address
from gateway.config import Settings
from gateway.policy import Tenant, Trunk
from storage.policy.model import Policy

Line = tuple[str, Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class Live:
    """What is in effect for one tenant: settings, policy, and what only the store knows: when a backup was last made,
    and one was last restored (UTC; "": never)."""

    settings: Settings
    tenant: Tenant
    policy: Policy
    backup: str = ""
    restored: str = ""


def encryption(live: Live) -> Iterator[Line]:
    """Pseudonymisation and encryption (Art. 32(1)(a))."""
    settings, tenant = live.settings, live.tenant
    yield "sealed", {}
    yield "ids", {}
    yield _keys(tenant.keys or settings.keys_url)
    yield ("keys_own" if tenant.keys else "keys_shared"), {}
    finality = dict(parse_qsl(urlsplit(tenant.keys or settings.keys_url).query)).get("finality", "")
    yield ("finality", {"term": finality}) if finality else ("finality_unknown", {})
    yield _way("objects", settings.objects_url)
    yield _catalogue(settings.store.catalogue)
    yield ("queue_embedded", {}) if settings.queue.url == "embedded" else _way("queue", settings.queue.url)
    ways = {way for _, way, _ in settings.sip.places()}
    yield ("sip_tls" if ways == {"tls"} else "sip_both" if "tls" in ways else "sip_clear"), {}
    yield ("media_srtp" if tenant.media_security == "srtp" else "media_any"), {}
    loose = [trunk.name for trunk in _trunks(live) if trunk.srtp_keys_over == "any"]
    yield ("srtp_keys_any", {"trunks": ", ".join(loose)}) if loose else ("srtp_keys_tls", {})
    host = parse_address(settings.http.listen)[0]
    yield ("api_here" if ipaddress.ip_address(host).is_loopback else "api_open"), {"address": host}
    if settings.whip.sessions_max:
        yield "browsers", {}
    if tenant.stores and tenant.transcribe:
        yield ("redacted_rules" if settings.transcription.names_model == "off" else "redacted_names"), {}
    if tenant.stores:
        yield f"tones_{tenant.dtmf_inband}", {}


def confidentiality(live: Live) -> Iterator[Line]:
    """Confidentiality (Art. 32(1)(b))."""
    settings, tenant = live.settings, live.tenant
    yield "roles", {}
    yield "apart", {}
    for trunk in _trunks(live):
        yield f"trunk_{_known_by(trunk)}", {"trunk": trunk.name}
    yield f"unknown_{settings.sip.unknown}", {}
    if settings.sip.proxies:
        yield "proxies", {"networks": ", ".join(settings.sip.proxies)}
    yield "metrics", {"networks": ", ".join(settings.http.metrics_networks)}
    for one in tenant.destinations:
        yield ("egress_sealed" if one.key else "egress_open"), {"name": one.name}
    if not tenant.destinations:
        yield "egress_none", {}
    yield "logs", {"level": settings.log.level}


def integrity(live: Live) -> Iterator[Line]:
    """Integrity (Art. 32(1)(b))."""
    yield "ledger", {}
    url = live.settings.witness_url
    yield ("witness_here", {}) if urlsplit(url).scheme == "file" else _way("witness", url)


def availability(live: Live) -> Iterator[Line]:
    """Availability and resilience (Art. 32(1)(b))."""
    settings, tenant = live.settings, live.tenant
    yield "workers", {"count": settings.media.workers}
    if tenant.stores:
        yield "spool", {"size": settings.store.spool_limit_mib}
        yield f"full_{tenant.when_full}", {}
        held = {"stream": settings.store.held_stream_mib, "total": settings.store.held_total_mib}
        yield ("keys_away_hold", held) if tenant.when_keys_away == "hold" else ("keys_away_refuse", {})
    yield "emergency", {"numbers": ", ".join(tenant.emergency) or "urn:service:sos"}


def restoring(live: Live) -> Iterator[Line]:
    """Restoring access after an incident (Art. 32(1)(c)): from the ledger, so that a backup nobody makes is told."""
    yield ("backup_at", {"at": live.backup}) if live.backup else ("backup_none", {})
    yield ("restored_at", {"at": live.restored}) if live.restored else ("restored_none", {})


def testing(_live: Live) -> Iterator[Line]:
    """Testing and assessing regularly (Art. 32(1)(d))."""
    yield "checks", {}


HEADINGS: Mapping[str, Callable[[Live], Iterator[Line]]] = {
    "encryption": encryption,
    "confidentiality": confidentiality,
    "integrity": integrity,
    "availability": availability,
    "restoring": restoring,
    "testing": testing,
}
"""The annex's headings, by the order of the article."""


def _trunks(live: Live) -> list[Trunk]:
    """Those on which the tenant's calls come."""
    name = live.tenant.name
    return [trunk for trunk in live.settings.trunks if name in (trunk.tenant, *trunk.dialled.values())]


def _known_by(trunk: Trunk) -> str:
    """What a trunk proves who it is by; what is weakest last."""
    if trunk.tls_names:
        return "certificate"
    return "digest" if trunk.users else "sources" if trunk.placed else "listener"


def _keys(url: str) -> Line:
    scheme = urlsplit(url).scheme
    return {"pkcs11": "keys_pkcs11", "openbao": "keys_openbao", "openbao+http": "keys_openbao_clear"}.get(
        scheme, "keys_file"
    ), {}


def _way(what: str, url: str) -> Line:
    parts = urlsplit(url)
    if parts.scheme == "file":
        return f"{what}_here", {}
    return (f"{what}_tls" if parts.scheme in ("s3", "tls") else f"{what}_clear"), {"host": parts.hostname or "-"}


def _catalogue(url: str) -> Line:
    """As the store connects: a server elsewhere is checked unless its URL says otherwise (storage/databases)."""
    if not url:
        return "catalogue_here", {}
    parts = urlsplit(url)
    host, mode = parts.hostname or "", dict(parse_qsl(parts.query)).get("sslmode", "")
    if not mode and host in ("", "localhost", "127.0.0.1", "::1"):
        return "catalogue_local", {}
    filled = {"host": host or "-", "mode": mode or "verify-full"}
    if mode == "disable":
        return "catalogue_clear", filled
    return ("catalogue_tls" if mode in ("", "verify-full", "verify-ca") else "catalogue_unverified"), filled
