"""What a third party checks offline: certificates, plain or in a vCon, reports of the probe, requests to delete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from storage.chain import Entry
from storage.ledger import parse_certificate, verify_certificate
from storage.notices import NOTICE_FORMAT, verify_notice
from storage.probe import is_report, verify_report
from storage.signing import parse_json
from storage.vcon import VCON_BYTES_MAX, verify_vcon

EVIDENCE_BYTES_MAX = VCON_BYTES_MAX
"""Longer files are refused unread; a vCon holds a certificate and is the longest of them."""


def verify_file(text: bytes, fingerprint: str, key_changes: Sequence[Entry] = ()) -> list[str]:
    """What a file proves, in words; see `verify_certificate`, `verify_vcon`, `verify_report` for what they raise."""
    document = parse_json(text, EVIDENCE_BYTES_MAX)
    if isinstance(document, dict) and "payload" in document:
        return verify_vcon(document, fingerprint, key_changes)
    if isinstance(document, dict) and is_report(document):
        return verify_report(document, fingerprint, key_changes)
    if isinstance(document, dict) and document.get("format") == NOTICE_FORMAT:
        return _notice(verify_notice(text, fingerprint))
    return verify_certificate(parse_certificate(text), fingerprint, key_changes)


def _notice(notice: Mapping[str, Any]) -> list[str]:
    copy = f"request to delete copy {notice['copy']} of tenant {notice['tenant']}, which left at {notice['left_at']}"
    calls = [f"call {call} is erased: {len(of)} artefacts in the copy" for call, of in sorted(notice["calls"].items())]
    return [copy, *calls, notice["asks"]]
