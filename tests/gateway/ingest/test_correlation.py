"""Which identifiers are read from a request's headers, as real gateways send them, and what is passed over."""

from __future__ import annotations

import pytest

from gateway.calls.identifiers import Sort
from gateway.ingest.correlation import VALUES_MAX, identifiers_in
from tests.gateway.sip.bench import packet, request_of

LOCAL, REMOTE = "ab30317f1a784dc48ff824d0d3715d86", "47755a9de7794ba387653f2099600ef2"
UCID = "000100014e4a5d6c"


def found(*lines: str, header: str = "") -> list[tuple[Sort, str]]:
    request = request_of(packet("INVITE", extra="\r\n".join(lines)))
    everything = identifiers_in(request, header)
    assert everything[0] == (Sort.CALL_ID, "call-1")
    return list(everything[1:])


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"Session-ID: {LOCAL};remote={REMOTE}", [(Sort.SESSION_ID, LOCAL), (Sort.SESSION_ID, REMOTE)]),
        (f"Session-ID: {LOCAL}; logme; Remote = {REMOTE}", [(Sort.SESSION_ID, LOCAL), (Sort.SESSION_ID, REMOTE)]),
        (f"Session-ID: {LOCAL}", [(Sort.SESSION_ID, LOCAL)]),
        (f"User-to-User: 00FA08{UCID.upper()};encoding=hex", [(Sort.UCID, UCID)]),
        (f"User-to-User: 04C8031234FAFA08{UCID}", [(Sort.UCID, UCID)]),  # what looks like a type is content
        (f"User-to-User: 00FA08{UCID[:-2]}", []),
        (f"User-to-User: 04C803123456FA08{UCID};encoding=hex", [(Sort.UCID, UCID)]),
        (f'User-to-User: "FA08{UCID}";purpose=isdn-uui', [(Sort.UCID, UCID)]),
        (f"User-to-User: 56a390f3;encoding=hex, 00FA08{UCID}", [(Sort.UCID, UCID)]),
        ("User-to-User: hello", []),
        ("User-to-User: 00FA", []),
        ("User-to-User: 00FA07" + "11" * 7, []),
        ("UCID: 00001000011313496428", [(Sort.UCID, "00001000011313496428")]),
        (
            "Cisco-Guid: 2926218497-3574927844-2153654321-0012345678",
            [(Sort.GUID, "2926218497-3574927844-2153654321-0012345678")],
        ),
        ("h323-conf-id: B7A80A6E 3E9211EC 8A4B0242 AC120002", [(Sort.GUID, "B7A80A6E 3E9211EC 8A4B0242 AC120002")]),
        ("X-Order: 4711", []),
    ],
)
def test_identifiers_are_read_as_gateways_send_them(line: str, expected: list[tuple[Sort, str]]) -> None:
    assert found(line) == expected


def test_the_header_of_the_trunks_choice_is_one_too() -> None:
    assert found("X-Order: 4711", "x-order: 4712", header="X-Order") == [(Sort.HEADER, "4711"), (Sort.HEADER, "4712")]


def test_a_flood_of_values_is_bounded_and_equal_ones_count_once() -> None:
    lines = [f"Session-ID: {number:032x}" for number in range(1, 50)]
    assert len(found(*lines)) == VALUES_MAX
    assert len(found(*["UCID: 1"] * 5)) == 1
    assert len(found("User-to-User: " + ",".join(f"00FA08{number:016x}" for number in range(50)))) == VALUES_MAX
    assert len(found(f"Session-ID: {LOCAL}" + f";remote={REMOTE}" * 50)) == 2
