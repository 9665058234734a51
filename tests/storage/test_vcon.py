"""A certificate as a vCon: draft-ietf-vcon-vcon-core-03, read by code that shares nothing with what writes it."""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from storage.chain import Entry
from storage.erasure import Target
from storage.errors import DataError, Malformed, NotFound, Refused, Tampered, WrongKey
from storage.evidence import verify_file
from storage.ledger import verify_certificate
from storage.model import CallId, Kind, Secret, TenantId
from storage.recordings import Recordings
from storage.signing import Signer
from storage.vcon import EXTENSION
from tests.storage.stores import ACTOR, GROUND, open_at, stored_call

# What the draft allows where (its JSON schema and, where that says less, its text), of the objects that we write.
TOP = {"vcon", "uuid", "extensions", "critical", "created_at", "updated_at", "subject", "redacted", "amended"}
TOP |= {"parties", "dialog", "analysis", "attachments"}
PARTY = {"tel", "sip", "stir", "mailto", "name", "did", "validation", "gmlpos", "civicaddress", "uuid", "type", "org"}
PARTY |= {"dept"}
RECORDING = {"type", "start", "duration", "parties", "originator", "recording_set", "mediatype", "filename", "body"}
RECORDING |= {"encoding", "url", "content_hash", "session_id", "party_history", "application", "message_id"}
ATTACHMENT = {"purpose", "start", "party", "dialog", "mediatype", "filename", "body", "encoding", "url", "content_hash"}
IDENTITIES = {"tel", "sip", "stir", "mailto", "name", "did", "gmlpos", "civicaddress"}


def decoded(text: str) -> bytes:
    assert "=" not in text
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def opened(signed: dict[str, Any]) -> dict[str, Any]:
    """The vCon in a signed one, as RFC 7515 §5.2 and the draft's signed form say how to read it."""
    assert set(signed) == {"payload", "signatures"} and len(signed["signatures"]) == 1
    (of,) = signed["signatures"]
    assert set(of) == {"header", "protected", "signature"}
    protected = json.loads(decoded(of["protected"]))
    assert not protected.keys() & of["header"].keys()  # RFC 7515 §4: disjoint
    jose = protected | of["header"]
    assert jose["alg"] == "EdDSA" and len(jose["x5c"]) == 1
    certificate = x509.load_der_x509_certificate(base64.b64decode(jose["x5c"][0], validate=True))
    certificate.verify_directly_issued_by(certificate)
    key = certificate.public_key()
    assert isinstance(key, Ed25519PublicKey)
    key.verify(decoded(of["signature"]), f"{of['protected']}.{signed['payload']}".encode())
    vcon: dict[str, Any] = json.loads(decoded(signed["payload"]))
    assert jose["uuid"] == vcon["uuid"]
    return vcon


def check_rules(vcon: dict[str, Any]) -> None:
    """The draft's rules for the unsigned form."""
    assert {"uuid", "created_at"} <= vcon.keys() and vcon["vcon"] == "0.4.0"
    found = uuid.UUID(vcon["uuid"])
    assert (found.version, found.variant, str(found)) == (8, uuid.RFC_4122, vcon["uuid"])
    assert vcon.keys() - TOP <= set(vcon["extensions"]) and "critical" not in vcon
    assert not {"redacted", "amended"} <= vcon.keys()
    assert isinstance(vcon["redacted"]["type"], str) and vcon["redacted"].keys() <= {"type", "uuid"}
    for at in (vcon["created_at"], vcon["updated_at"]):
        assert datetime.fromisoformat(at).tzinfo is not None  # RFC 3339
    for party in vcon["parties"]:
        assert party.keys() <= PARTY and party.get("type") in ("person", "bot", "organization")
    for dialog in vcon["dialog"]:
        assert dialog["type"] == "recording" and dialog.keys() <= RECORDING | set(vcon["extensions"])
        assert datetime.fromisoformat(dialog["start"]).tzinfo is not None
        assert all(0 <= index < len(vcon["parties"]) for index in dialog["parties"])
    for attachment in vcon["attachments"]:
        assert {"start", "party", "dialog"} <= attachment.keys() <= ATTACHMENT
        assert attachment["party"] < len(vcon["parties"]) and attachment["dialog"] < len(vcon["dialog"])
        assert ("body" in attachment) == ("encoding" in attachment) and "url" not in attachment
        assert attachment["encoding"] in ("base64url", "json", "none")


def check_nobody(vcon: dict[str, Any]) -> None:
    """It names nobody, and has no content."""
    assert not any(IDENTITIES & party.keys() for party in vcon["parties"])
    assert not any({"body", "url", "content_hash", "session_id"} & dialog.keys() for dialog in vcon["dialog"])


def as_text(document: object) -> bytes:
    return json.dumps(document).encode()


@dataclass(frozen=True, slots=True)
class Erased:
    """A store with a call that is erased, and its certificate; tests that change nothing share it."""

    store: Recordings
    tenant: TenantId
    call: CallId
    certificate: dict[str, Any]

    def vcon(self) -> dict[str, Any]:
        return self.store.vcon(self.tenant, self.certificate)


@pytest.fixture(scope="module")
def erased(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Erased]:
    with open_at(tmp_path_factory.mktemp("erased")) as store:
        tenant = store.tenant("acme")
        call = stored_call(store, tenant).call
        yield Erased(store, tenant, call, store.erase_call(tenant, call, ground=GROUND, actor=ACTOR))


def test_the_vcon_of_an_erased_call_keeps_the_drafts_rules_and_carries_the_certificate(erased: Erased) -> None:
    store, call, certificate = erased.store, erased.call, erased.certificate
    vcon = opened(json.loads(as_text(erased.vcon())))
    check_rules(vcon)
    check_nobody(vcon)
    assert "uuid" not in vcon["redacted"]  # there is no less redacted version any more
    assert vcon[EXTENSION] == {"call": call, "erasure": certificate["entries"][1]["body"]["erasure"]}
    (dialog,), (attachment,) = vcon["dialog"], vcon["attachments"]
    start = f"{store.call(erased.tenant, call).day}T00:00:00Z"
    assert dialog == {"type": "recording", "start": start, "mediatype": "audio/x-wav", "parties": []}
    assert attachment["body"] == certificate
    assert verify_certificate(attachment["body"], store.fingerprint())


def test_callvault_verifies_it_as_it_does_the_certificate(erased: Erased) -> None:
    store, call = erased.store, erased.call
    plain = verify_file(as_text(erased.certificate), store.fingerprint())
    *findings, filed = verify_file(as_text(erased.vcon()), store.fingerprint())
    assert findings == plain and call in findings[0]
    assert filed.startswith("filed as vCon ") and "0 recordings were kept" in filed
    with pytest.raises(WrongKey):
        verify_file(as_text(erased.vcon()), "0" * 64)


def test_the_same_certificate_has_the_same_uuid(erased: Erased) -> None:
    assert opened(erased.vcon())["uuid"] == opened(erased.vcon())["uuid"]


def test_of_a_part_that_is_erased_each_track_says_what_became_of_it(store: Recordings, tenant: TenantId) -> None:
    call = stored_call(store, tenant)
    gone, *stay = [one.ref for one in call.artefacts if one.ref.kind is Kind.AUDIO]
    certificate = store.erasures.erase(tenant, Target.of_artefacts(call.call, [gone.artefact]), GROUND, ACTOR)
    vcon = opened(store.vcon(tenant, certificate))
    check_rules(vcon)
    check_nobody(vcon)
    said = {dialog[EXTENSION]["artefact"]: dialog[EXTENSION]["state"] for dialog in vcon["dialog"]}
    assert said == {gone.artefact: "erased"} | {ref.artefact: "kept" for ref in stay}
    people = [vcon["parties"][dialog["parties"][0]]["uuid"] for dialog in vcon["dialog"]]
    assert people == [gone.participant, *(ref.participant for ref in stay)]
    findings = verify_file(as_text(store.vcon(tenant, certificate)), store.fingerprint())
    assert f"of the call {len(stay)} recordings were kept" in findings[-1]


def test_of_several_calls_or_of_none_by_name_there_is_no_vcon(store: Recordings, tenant: TenantId) -> None:
    calls = [stored_call(store, tenant).call for _ in range(2)]
    for target in (Target.of_person(calls), Target.of_tenant()):
        certificate = store.erasures.erase(tenant, target, GROUND, ACTOR)
        with pytest.raises(Refused):
            store.vcon(tenant, certificate)


def test_another_tenant_gets_none(erased: Erased) -> None:
    with pytest.raises(NotFound):
        erased.store.vcon(erased.store.tenant("beta"), erased.certificate)


def test_after_a_change_of_the_ledgers_key_the_chain_of_keys_joins_both(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        call = stored_call(store, tenant).call
        certificate = store.erase_call(tenant, call, ground=GROUND, actor=ACTOR)
        before = store.fingerprint()
        store.safekeeping.change_ledger_key()
    with open_at(tmp_path) as store:
        text = as_text(store.vcon(tenant, certificate))
        changes = [Entry.of(members) for members in store.safekeeping.ledger_key_changes()]
        assert verify_file(text, before, changes) and verify_file(text, store.fingerprint(), changes)
        for pinned in (before, store.fingerprint()):
            with pytest.raises(WrongKey):  # by itself nothing joins the two keys
                verify_file(text, pinned)


def resigned(signed: dict[str, Any], change: Callable[[dict[str, Any]], object], seed: bytes) -> bytes:
    """The vCon changed and signed by this key: what only the key's owner, or a forger with his own, can make."""
    vcon = opened(signed)
    change(vcon)
    key = Signer(Secret(seed))
    (of,) = signed["signatures"]
    payload = base64.urlsafe_b64encode(as_text(vcon)).rstrip(b"=").decode()
    signature = key.sign_bare(f"{of['protected']}.{payload}".encode())
    header = {"x5c": [base64.b64encode(key.certificate()).decode()]}
    text = base64.urlsafe_b64encode(signature).rstrip(b"=").decode()
    return as_text(
        {"payload": payload, "signatures": [{"protected": of["protected"], "header": header, "signature": text}]}
    )


def test_who_signs_with_a_key_of_his_own_is_told_apart(erased: Erased) -> None:
    forged = resigned(erased.vcon(), lambda _vcon: None, b"\x07" * 32)
    with pytest.raises(WrongKey):
        verify_file(forged, erased.store.fingerprint())
    with pytest.raises(WrongKey):  # nor does his own fingerprint help: the certificate in it is another's
        forger = hashlib.sha256(bytes.fromhex(Signer(Secret(b"\x07" * 32)).public_key)).hexdigest()
        verify_file(forged, forger)


CHANGES: list[Callable[[dict[str, Any]], object]] = [
    lambda vcon: vcon.update(uuid="01928e10-193e-8231-b9a2-279e0d16bc46"),
    lambda vcon: vcon.update(created_at="2020-01-01T00:00:00Z"),
    lambda vcon: vcon["redacted"].update(type="nothing much"),
    lambda vcon: vcon[EXTENSION].update(call="0" * 32),
    lambda vcon: vcon["parties"][0].update(org="somebody else"),
    lambda vcon: vcon["attachments"].append(vcon["attachments"][0]),
    lambda vcon: vcon["attachments"][0].update(purpose="nothing"),
    lambda vcon: vcon["attachments"][0]["body"]["entries"][0]["body"].update(ground="none"),
]


def test_even_its_owner_cannot_let_it_say_what_its_certificate_does_not(erased: Erased) -> None:
    seed, signed = erased.store._base.signer._key.private_bytes_raw(), erased.vcon()
    assert verify_file(resigned(signed, lambda _vcon: None, seed), erased.store.fingerprint())
    for change in CHANGES:
        with pytest.raises(Tampered):
            verify_file(resigned(signed, change, seed), erased.store.fingerprint())


def test_one_flipped_bit_is_found_wherever_it_is(erased: Erased) -> None:
    signed = erased.vcon()
    (of,) = signed["signatures"]
    for name, text in (("payload", signed["payload"]), ("signature", of["signature"]), ("protected", of["protected"])):
        for at in range(0, len(text), max(1, len(text) // 20)):
            flipped = text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]
            changed = {**signed, "payload": flipped} if name == "payload" else {**signed}
            if name != "payload":
                changed["signatures"] = [{**of, name: flipped}]
            with pytest.raises(DataError):
                verify_file(as_text(changed), erased.store.fingerprint())


def test_what_is_no_signed_vcon_is_malformed(erased: Erased) -> None:
    signed = erased.vcon()
    (of,) = signed["signatures"]
    rs256 = base64.urlsafe_b64encode(b'{"alg":"RS256"}').rstrip(b"=").decode()
    none = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    for changed in (
        {"payload": signed["payload"]},
        {**signed, "more": 1},
        {**signed, "payload": 1},
        {**signed, "payload": signed["payload"] + "="},
        {**signed, "signatures": []},
        {**signed, "signatures": [of, of]},
        {**signed, "signatures": [{**of, "protected": rs256}]},
        {**signed, "signatures": [{**of, "protected": none, "signature": ""}]},
        {**signed, "signatures": [{**of, "header": {}}]},
        {**signed, "signatures": [{**of, "header": {"x5c": ["AAAA"]}}]},
        {**signed, "signatures": [{**of, "header": {"x5c": ["A" * 5_000]}}]},
    ):
        with pytest.raises(Malformed):
            verify_file(as_text(changed), erased.store.fingerprint())
