"""Targets: what the store reads of others' making: certificates, manifests, ledgers, policies, a key server's answers.

What is signed is read as it is, and then signed anew by the right key: so it is not the signature alone that holds.
"""

from __future__ import annotations

import base64
import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, delete, select

from storage import jws
from storage.errors import DataError, Erased, Malformed, Unavailable
from storage.evidence import verify_file
from storage.ledger import Ledger, parse_certificate, verify_certificate
from storage.manifest import parse_manifest
from storage.manifest import verify as verify_manifest
from storage.model import Kind, Secret
from storage.policies import due_under
from storage.policy.library import PROFILES, parse_policy, parse_profile
from storage.policy.model import Policy
from storage.policy.reading import as_json
from storage.providers.baohttp import Answer, read_answer
from storage.providers.openbao import OpenBaoProvider
from storage.providers.secretfile import SecretFile
from storage.records import Day
from storage.signing import Signer, canonical, fingerprint_of
from storage.tables import ledger as ledger_table
from storage.vcon import Recorded, make_vcon
from tests.fuzz.target import Target

SIGNER = Signer(Secret(bytes(range(32))))
NOW_S = 1_800_000_000.0
ID = "0123456789abcdef" * 2
LEDGER_LABEL, MANIFEST_LABEL = "callvault ledger v1", "callvault manifest v1"


@cache
def _database() -> Engine:
    engine = create_engine("sqlite://")
    ledger_table.create(engine)
    return engine


def _chain(previous: str, body: object) -> str:
    digest = hashlib.sha256(canonical(body)).digest()
    return hashlib.sha256(LEDGER_LABEL.encode() + bytes.fromhex(previous) + digest).hexdigest()


def _sign_entry(entry: dict[str, Any]) -> None:
    entry["hash"] = _chain(entry["previous"], entry["body"])
    entry["signature"] = SIGNER.sign(LEDGER_LABEL, bytes.fromhex(entry["hash"]))


def _both(data: bytes, sign: Callable[[Any], None], read: Callable[[bytes], Any]) -> Any:
    """Reads it as it is, and then signed anew where that is possible."""
    try:
        document = json.loads(data)
        sign(document)
        signed = json.dumps(document).encode()
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError, Malformed):
        return read(data)
    with suppress(DataError):
        read(data)
    return read(signed)


# Certificates and the ledger.


def _append(kinds: tuple[str, ...]) -> tuple[Any, list[dict[str, Any]]]:
    """The certificate of an intent and a done with these entries in all, and all rows."""
    ledger = Ledger(SIGNER)
    key = {"name": f"{ID}-content-0", "answer": "file: gone", "destroyed_at": "t", "probe_failed_at": "t"}
    facts: dict[str, dict[str, Any]] = {
        "intent": {"target": {"scope": "call", "calls": [ID]}, "ground": "Art. 17", "actor": "test"},
        "done": {"keys": [key], "sanitization": {"tool": "x"}, "exceptions": ["process memory"], "finality": "unknown"},
    }
    with _database().begin() as connection:
        connection.execute(delete(ledger_table))
        names = {"erasure": ID, "tenant": ID}
        seqs = [ledger.append(connection, kind, NOW_S, names | facts.get(kind, {})) for kind in kinds]
        certificate = ledger.certificate(connection, seqs[0], seqs[-1])
        rows = [dict(row._mapping) for row in connection.execute(select(ledger_table).order_by(ledger_table.c.seq))]
    return certificate, rows


def _sign_certificate(document: Any) -> None:
    first, last = document["entries"]
    _sign_entry(first)
    reached = first["hash"]
    for digest in document["between"]:
        joined = bytes.fromhex(reached) + bytes.fromhex(digest)
        reached = hashlib.sha256(LEDGER_LABEL.encode() + joined).hexdigest()
    last["previous"] = reached
    _sign_entry(last)


def _certificate(data: bytes) -> list[str]:
    fingerprint = fingerprint_of(SIGNER.public_key)
    found: list[str] = _both(
        data, _sign_certificate, lambda text: verify_certificate(parse_certificate(text), fingerprint)
    )
    return found


def _certificates() -> list[bytes]:
    found = [json.dumps(_append(kinds)[0]).encode() for kinds in (("intent", "done"), ("intent", "policy", "done"))]
    return [*found, b"[]", b"{}"]


def _sign_vcon(vcon: Any) -> dict[str, Any]:
    for attachment in vcon["attachments"]:
        _sign_certificate(attachment["body"])
    return jws.sign(SIGNER, json.dumps(vcon).encode(), {})


def _vcon(data: bytes) -> list[str]:
    """The inputs are vCons before they are signed, or with their signature."""
    fingerprint = fingerprint_of(SIGNER.public_key)
    try:
        signed = json.dumps(_sign_vcon(json.loads(data))).encode()
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError, Malformed):
        return verify_file(data, fingerprint)
    return verify_file(signed, fingerprint)


def _vcons() -> list[bytes]:
    tracks = [Recorded("a" * 32, "b" * 32, True), Recorded("c" * 32, "d" * 32, False)]
    signed = make_vcon(SIGNER, _append(("intent", "done"))[0], Day("2027-01-15"), tracks, NOW_S)
    payload = signed["payload"]
    bare = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    return [bare, json.dumps(signed).encode(), b'{"payload":"","signatures":[]}']


def _sign_rows(rows: Any) -> None:
    previous = "0" * 64
    for row in rows:
        entry = {"body": json.loads(row["body"]), "previous": previous}
        _sign_entry(entry)
        row |= {name: entry[name] for name in ("previous", "hash", "signature")}
        previous = entry["hash"]


def _ledger(data: bytes) -> int:
    count: int = _both(data, _sign_rows, _verify_rows)
    return count


def _verify_rows(data: bytes) -> int:
    """As they stand in the catalogue: columns of text, and whatever is in them."""
    try:
        found: Any = json.loads(data)
        rows = [{name: str(row[name]) for name in COLUMNS} for row in found]
    except (ValueError, TypeError, LookupError, RecursionError):
        return 0
    if not rows or any("\ud800" <= char <= "\udfff" for row in rows for name in COLUMNS for char in row[name]):
        return 0  # no database stores that
    with _database().begin() as connection:
        connection.execute(delete(ledger_table))
        connection.execute(ledger_table.insert(), [{"seq": n, **row} for n, row in enumerate(rows, 1)])
        return Ledger(SIGNER).verify(connection)


COLUMNS = ("body", "previous", "hash", "signature")


def _ledgers() -> list[bytes]:
    found = [json.dumps(_append(kinds)[1]).encode() for kinds in (("intent",), ("intent", "policy", "done"))]
    return [*found, b"[]"]


# Manifests.


def _sign_manifest(document: Any) -> None:
    statement = {name: value for name, value in document.items() if name != "signature"}
    document["signature"] = SIGNER.sign(MANIFEST_LABEL, canonical(statement))


def _manifest(data: bytes) -> dict[str, Any]:
    found: dict[str, Any] = _both(data, _sign_manifest, _verify_manifest)
    return found


def _verify_manifest(data: bytes) -> dict[str, Any]:
    document = parse_manifest(data)
    verify_manifest(document, SIGNER.public_key)
    return document


def _manifests() -> list[bytes]:
    names = {"format": "callvault manifest v1", "tenant": ID, "call": ID, "day": "2027-01-15"}
    slice_ = {"slice": 0, "object": f"{ID}/{ID}/{ID}", "size": 5, "sha256": "0" * 64, "segment_bytes": 65536}
    artefact = {"artefact": ID, "participant": ID, "kind": "audio", "purpose": "training", "commitment": "0" * 64}
    whole = names | {"artefacts": [artefact | {"interrupted": False, "slices": [slice_]}]}
    document = whole | {"public_key": SIGNER.public_key}
    _sign_manifest(document)
    return [json.dumps(document).encode(), b"[]"]


# Policies.


def _use_policy(policy: Policy) -> None:
    assert parse_policy(canonical(as_json(policy)).decode()) == policy
    for kind in Kind:
        for purpose in (*policy.purposes.allowed, "other"):
            for day in ("2024-02-29", "2026-10-25"):
                due_under(policy, kind, purpose, Day(day))


def _policies() -> list[bytes]:
    folder = resources.files("storage.policy") / "profiles"
    texts = [(folder / f"{name}.toml").read_text() for name in PROFILES]
    lines = [[line for line in text.splitlines() if line and not line.startswith("#")] for text in texts]
    return ["\n".join(found).encode() for found in lines]


# A key server's answers.


class _Script:
    """Gives one prepared answer after the other, whatever is asked."""

    def __init__(self, answers: list[bytes]) -> None:
        self._answers = iter(answers)

    def ask(self, _method: str, _path: str, _body: Mapping[str, object] | None = None) -> Answer:
        status, _, raw = next(self._answers, b"404").partition(b" ")
        return read_answer({b"204": 204, b"400": 400, b"404": 404}.get(status, 200), raw)


@cache
def _token() -> SecretFile:
    path = Path(tempfile.mkdtemp()) / "token"
    path.write_text("s.secret")
    path.chmod(0o600)
    return SecretFile(path, "token")


def _answers(data: bytes) -> object:
    """The first line says what is done, each further one is an answer: a status, and JSON."""
    what, *answers = data.split(b"\n")
    provider = OpenBaoProvider("http://127.0.0.1:1/v1/transit/", _token())
    provider._server = _Script(answers)  # type: ignore[assignment]  # its answers are what this is about
    name = f"{ID}-content-0"
    acts: dict[bytes, Callable[[], object]] = {
        b"create": lambda: provider.create(name),
        b"wrap": lambda: provider.wrap(name, bytes(32), b"use"),
        b"unwrap": lambda: provider.unwrap(name, b"vault:v1:" + b"A" * 80, b"use"),
        b"destroy": lambda: provider.destroy(name),
        b"exists": lambda: provider.exists(name),
        b"check": provider.check,
    }
    return acts.get(what, provider.check)()


def _servers() -> list[bytes]:
    mount = b'200 {"data": {"disable_upsert": true}}'
    key: dict[str, Any] = {"type": "aes256-gcm96", "exportable": False, "allow_plaintext_backup": False}
    key |= {"deletion_allowed": True, "derived": False, "latest_version": 1, "min_decryption_version": 1}
    page = b"200 " + json.dumps({"data": key | {"keys": {"1": 1}, "supports_decryption": True}}).encode()
    sealed = b'200 {"data": {"ciphertext": "vault:v1:' + b"A" * 80 + b'"}}'
    opened = b'200 {"data": {"plaintext": "' + b"A" * 43 + b'="}}'
    no_key = b'400 {"errors": ["encryption key not found"]}'
    return [
        b"\n".join(lines)
        for lines in (
            (b"create", mount, b"204 ", b"204 ", page),
            (b"wrap", mount, page, sealed),
            (b"wrap", mount, page, no_key, b"404 {}", mount),
            (b"unwrap", opened),
            (b"unwrap", no_key, b"404 {}", mount),
            (b"unwrap", b'400 {"errors": ["invalid ciphertext"]}', page),
            (b"destroy", page, b"204 ", b"204 ", b"404 {}", mount),
            (b"exists", b"404 {}", mount),
            (b"check", mount),
        )
    ]


def _nothing(_value: object) -> None:
    """Whoever gets it shows it."""


STORING: tuple[Target[Any], ...] = (
    Target("certificate", _certificate, _nothing, (DataError,), _certificates),
    Target("vcon", _vcon, _nothing, (DataError,), _vcons),
    Target("ledger", _ledger, _nothing, (DataError,), _ledgers),
    Target("manifest", _manifest, _nothing, (DataError,), _manifests),
    Target("policy", lambda data: parse_profile(data, "file"), _use_policy, (Malformed,), _policies),
    Target("key-server", _answers, _nothing, (Unavailable, Erased, DataError), _servers),
)
