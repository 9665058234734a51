"""The ledger is one signed chain; a certificate proves an erasure with nothing but itself and a pinned fingerprint."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, update

from storage.catalogue import Catalogue
from storage.errors import DataError, Malformed, Refused, Tampered, WrongKey
from storage.ledger import Ledger, check_words, parse_certificate, verify_certificate
from storage.model import Secret
from storage.signing import Signer, canonical
from storage.tables import ledger as ledger_table

NOW_S = 1_770_000_000.0
KEY = {
    "name": "k-0",
    "answer": "gone",
    "destroyed_at": "2026-02-02T02:40:00Z",
    "probe_failed_at": "2026-02-02T02:40:00Z",
}
INTENT = {
    "erasure": "e",
    "tenant": "t",
    "target": {"scope": "call", "calls": ["c"]},
    "ground": "request",
    "actor": "officer",
}
DONE = {
    "erasure": "e",
    "tenant": "t",
    "keys": [KEY],
    "sanitization": {"tool": "test"},
    "finality": "unknown",
    "exceptions": ["copies"],
}


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    opened = Catalogue(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(Signer(Secret(b"k" * 32)))


def certificate_of(catalogue: Catalogue, ledger: Ledger, others: int = 2) -> dict[str, Any]:
    """The certificate of an erasure between whose entries stand those of others."""
    with catalogue.writing() as connection:
        ledger.append(connection, "intent", NOW_S, {**INTENT, "erasure": "first"})
        first = ledger.append(connection, "intent", NOW_S, INTENT)
        for number in range(others):
            ledger.append(connection, "intent", NOW_S, {**INTENT, "erasure": f"secret-{number}"})
        last = ledger.append(connection, "done", NOW_S, DONE)
        return ledger.certificate(connection, first, last)


@pytest.mark.parametrize("others", [0, 1, 5])
def test_a_certificate_verifies_from_its_file_alone(catalogue: Catalogue, ledger: Ledger, others: int) -> None:
    text = json.dumps(certificate_of(catalogue, ledger, others), indent=2).encode()
    findings = verify_certificate(parse_certificate(text), ledger.fingerprint)
    assert any("key k-0 destroyed at" in finding and "gone" in finding for finding in findings)
    assert "excepted: copies" in findings
    assert "finality bound of the key provider: unknown" in findings
    assert "no RFC 3161 stamp: the time rests on the operator's word" in findings


def test_a_certificate_shows_nothing_of_other_erasures(catalogue: Catalogue, ledger: Ledger) -> None:
    assert b"secret-" not in canonical(certificate_of(catalogue, ledger))


def test_another_fingerprint_is_refused(catalogue: Catalogue, ledger: Ledger) -> None:
    document = certificate_of(catalogue, ledger)
    with pytest.raises(WrongKey):
        verify_certificate(document, Ledger(Signer(Secret(b"x" * 32))).fingerprint)


def test_a_certificate_signed_anew_by_another_is_refused(catalogue: Catalogue, ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "forger").mkdir()
    other = Catalogue(tmp_path / "forger")
    forged = certificate_of(other, Ledger(Signer(Secret(b"x" * 32))))
    other.close()
    with pytest.raises(WrongKey):
        verify_certificate(forged, ledger.fingerprint)
    forged["public_key"] = certificate_of(catalogue, ledger)["public_key"]
    with pytest.raises(Tampered):
        verify_certificate(forged, ledger.fingerprint)


def test_any_altered_byte_is_found(catalogue: Catalogue, ledger: Ledger) -> None:
    text = canonical(certificate_of(catalogue, ledger))
    for at in range(len(text)):
        for flip in (0x01, 0x20, 0x80):
            altered = text[:at] + bytes([text[at] ^ flip]) + text[at + 1 :]
            with pytest.raises(DataError):
                verify_certificate(parse_certificate(altered), ledger.fingerprint)


def test_a_proof_that_leaves_out_or_adds_an_entry_is_found(catalogue: Catalogue, ledger: Ledger) -> None:
    document = certificate_of(catalogue, ledger)
    between = document["between"]
    for changed in ([], between[1:], between[::-1], [*between, between[0]]):
        with pytest.raises(Tampered):
            verify_certificate({**document, "between": changed}, ledger.fingerprint)


def test_entries_of_two_erasures_make_no_certificate(catalogue: Catalogue, ledger: Ledger) -> None:
    with catalogue.writing() as connection:
        first = ledger.append(connection, "intent", NOW_S, {**INTENT, "erasure": "other"})
        last = ledger.append(connection, "done", NOW_S, DONE)
        document = ledger.certificate(connection, first, last)
    with pytest.raises(Tampered):
        verify_certificate(document, ledger.fingerprint)


def test_two_intents_make_no_certificate(catalogue: Catalogue, ledger: Ledger) -> None:
    with catalogue.writing() as connection:
        first = ledger.append(connection, "intent", NOW_S, INTENT)
        document = ledger.certificate(connection, first, ledger.append(connection, "intent", NOW_S, INTENT))
    with pytest.raises(Malformed):
        verify_certificate(document, ledger.fingerprint)


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b"{}", b'{"format": 1}', b"\xff", b"[" * 100_000, b'{"format":"x","format":"x"}', b" " * (1 << 21)],
)
def test_what_is_no_certificate_is_malformed(text: bytes, ledger: Ledger) -> None:
    with pytest.raises(Malformed):
        verify_certificate(parse_certificate(text), ledger.fingerprint)


@pytest.mark.parametrize("member", ["format", "public_key", "entries", "between"])
@pytest.mark.parametrize("value", [None, 1, "", [], {}, ["x"], [{}, {}], [1, 2]])
def test_a_member_of_another_shape_is_found(catalogue: Catalogue, ledger: Ledger, member: str, value: object) -> None:
    document = {**certificate_of(catalogue, ledger), member: value}
    with pytest.raises(DataError):
        verify_certificate(document, ledger.fingerprint)


def test_the_whole_chain_is_checked(catalogue: Catalogue, ledger: Ledger) -> None:
    certificate_of(catalogue, ledger)
    with catalogue.reading() as connection:
        assert ledger.verify(connection) == 5
        assert ledger.verify(connection, newest=2) == 2


@pytest.mark.parametrize("column", ["body", "previous", "hash", "signature"])
def test_a_changed_entry_breaks_the_chain(catalogue: Catalogue, ledger: Ledger, column: str) -> None:
    certificate_of(catalogue, ledger)
    value = "{}" if column == "body" else "0" * (128 if column == "signature" else 64)
    with catalogue.writing() as connection:
        connection.execute(update(ledger_table).where(ledger_table.c.seq == 3).values({column: value}))
    with catalogue.reading() as connection, pytest.raises(DataError):
        ledger.verify(connection)


@pytest.mark.parametrize("value", ["", "x" * 64, "[]", "null", '{"a":1.5}'])
@pytest.mark.parametrize("column", ["body", "previous", "hash", "signature"])
def test_columns_that_hold_something_else_than_an_entry_are_told(
    catalogue: Catalogue, ledger: Ledger, column: str, value: str
) -> None:
    certificate_of(catalogue, ledger)
    with catalogue.writing() as connection:
        connection.execute(update(ledger_table).where(ledger_table.c.seq == 3).values({column: value}))
    with catalogue.reading() as connection, pytest.raises(DataError):
        ledger.verify(connection)


def test_a_removed_entry_breaks_the_chain(catalogue: Catalogue, ledger: Ledger) -> None:
    certificate_of(catalogue, ledger)
    with catalogue.writing() as connection:
        connection.execute(delete(ledger_table).where(ledger_table.c.seq == 2))
    with catalogue.reading() as connection, pytest.raises(Tampered):
        ledger.verify(connection)


@pytest.mark.parametrize("ground", ["", "x" * 201, "a@b.example", "+31 20 794 0800", "sip:bob", "0207940800", "ü"])
def test_a_ground_that_could_name_a_person_is_refused(ground: str) -> None:
    with pytest.raises(Refused):
        check_words(ground, "officer")
    with pytest.raises(Refused):
        check_words("request", ground)


@pytest.mark.parametrize("words", ["Art. 17(1)(a) GDPR", "request of 2026-11-22", "token:" + "0123456789abcdef" * 2])
def test_a_ground_in_plain_words_is_taken(words: str) -> None:
    check_words(words, words)
