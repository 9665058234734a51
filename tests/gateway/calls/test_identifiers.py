"""Two spellings of one identifier are one; what cannot be one finds nothing; a withheld number is found by few."""

from __future__ import annotations

import pytest

from gateway.calls.identifiers import IDENTIFIERS_MAX, VALUE_CHARACTERS_MAX, Identifiers, Sort, wanted, written
from storage.records import Identifier

UUID = "ab30317f1a784dc48ff824d0d3715d86"
GUID = "ae6a9c41d515036480607f3100bc614e"


@pytest.mark.parametrize(
    ("sort", "spellings", "expected"),
    [
        (Sort.CALL_ID, ["a84b4c76e66710@pc33", " a84b4c76e66710@pc33 "], "a84b4c76e66710@pc33"),
        (Sort.SESSION_ID, [UUID, UUID.upper(), "ab30317f-1a78-4dc4-8ff8-24d0d3715d86"], UUID),
        (
            Sort.UCID,
            ["00010001" + "4e4a5d6c", "00FA08000100014E4A5D6C", "fa08000100014e4a5d6c", "00001000011313496428"],
            "000100014e4a5d6c",
        ),
        (
            Sort.GUID,
            [
                "2926222401-3574924132-2153807665-0012345678",
                "AE6A9C41-D5150364-80607F31-BC614E",
                "AE6A9C41 D5150364 80607F31 BC614E",
                "ae6a9c41d515036480607f3100bc614e",
                "AE6A9C41-D515-0364-8060-7F3100BC614E",
            ],
            GUID,
        ),
        (Sort.NUMBER, ["+31201234567", "+31 20 123 45 67", "0031201234567", "+31-20-1234567"], "+31201234567"),
        (Sort.NUMBER, ["112"], "112"),
        (Sort.NUMBER, ["alice"], "alice"),
        (
            Sort.URI,
            ["sip:alice@example.com", "SIPS:alice@EXAMPLE.com:5061;transport=tls", "sip:alice;x=1@example.com?a=b"],
            "sip:alice@example.com",
        ),
        (Sort.URI, ["sip:1@[2001:DB8::1]:5060"], "sip:1@[2001:db8::1]"),
        (Sort.HEADER, ["Order 4711"], "Order 4711"),
    ],
)
def test_spellings_of_one_identifier_are_one(sort: Sort, spellings: list[str], expected: str) -> None:
    assert {written(sort, text) for text in spellings} == {expected}
    assert written(sort, expected) == expected


@pytest.mark.parametrize(
    ("sort", "text"),
    [
        (Sort.CALL_ID, ""),
        (Sort.CALL_ID, "x" * (VALUE_CHARACTERS_MAX + 1)),
        (Sort.CALL_ID, "bytes that are no text \udcff"),
        (Sort.HEADER, "two\nlines"),
        (Sort.SESSION_ID, "0" * 32),  # nil: there is none (RFC 7989 §5)
        (Sort.SESSION_ID, UUID[:-1]),
        (Sort.SESSION_ID, "g" * 32),
        (Sort.UCID, "1234"),
        (Sort.UCID, "99999000011313496428"),
        (Sort.UCID, "00001000019999999999"),
        (Sort.GUID, "4294967296-1-1-1"),
        (Sort.GUID, "0-0-0-0"),
        (Sort.GUID, "1-2-3"),
        (Sort.URI, "tel:+31201234567"),
        (Sort.URI, "sip:example.com"),
        (Sort.URI, "alice@example.com"),
    ],
)
def test_what_is_none_finds_nothing(sort: Sort, text: str) -> None:
    assert written(sort, text) == ""
    assert wanted(sort, text, sees_withheld=True) == []


def test_identifiers_are_handed_out_once() -> None:
    gathered = Identifiers()
    gathered.add(Sort.SIPREC, "hVpd7YQgRW2nD22h7q60JQ==")
    gathered.add(Sort.SIPREC, "hVpd7YQgRW2nD22h7q60JQ==")
    assert gathered.take() == (Identifier("siprec", "hVpd7YQgRW2nD22h7q60JQ=="),)
    gathered.add(Sort.SIPREC, "hVpd7YQgRW2nD22h7q60JQ==")
    gathered.add(Sort.SIPREC, "another")
    assert gathered.take() == (Identifier("siprec", "another"),)
    assert gathered.take() == ()


def test_a_flood_of_identifiers_is_bounded() -> None:
    gathered = Identifiers()
    for number in range(10 * IDENTIFIERS_MAX):
        gathered.add(Sort.SIPREC, str(number))
    assert len(gathered.take()) == IDENTIFIERS_MAX


@pytest.mark.parametrize(
    ("sort", "text"),
    [
        (Sort.NUMBER, "+31201234567"),
        (Sort.URI, "sip:0201234567@carrier.example"),
        (Sort.HEADER, "customer 020-123 45 67"),
        (Sort.CALL_ID, "31201234567-1@10.0.0.1"),
    ],
)
def test_sp_11_a_withheld_number_is_found_only_by_who_may_learn_of_it_wherever_it_stands(sort: Sort, text: str) -> None:
    gathered = Identifiers()
    gathered.add(sort, text, withheld="+31201234567")
    (only,) = gathered.take()
    assert only not in wanted(sort, text, sees_withheld=False)
    assert only in wanted(sort, text, sees_withheld=True)


@pytest.mark.parametrize(
    ("sort", "text", "withheld"),
    [
        (Sort.NUMBER, "+31207654321", "+31201234567"),
        (Sort.HEADER, "4711", "+31201234567"),
        (Sort.HEADER, "4711", "100"),
        (Sort.CALL_ID, "a84b4c76e66710@pc33", "anonymous"),
    ],
)
def test_what_does_not_tell_the_number_is_found_by_everybody(sort: Sort, text: str, withheld: str) -> None:
    gathered = Identifiers()
    gathered.add(sort, text, withheld=withheld)
    assert list(gathered.take()) == wanted(sort, text, sees_withheld=False)
