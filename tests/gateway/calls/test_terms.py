"""What a media worker is told of where a peer's reports go."""

from __future__ import annotations

import pytest

from gateway.calls.offer import reports
from media.sdp import parse

OFFER = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\nm=audio 6000 RTP/AVP 0\r\n"


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("", None),
        ("a=rtcp:6100", ("192.0.2.9", 6100)),
        ("a=rtcp:6100 IN IP4 192.0.2.10", ("192.0.2.10", 6100)),
        ("a=rtcp:6000", None),
        ("a=rtcp:0", None),
        ("a=rtcp:99999", None),
        ("a=rtcp:", None),
        ("a=rtcp:six", None),
    ],
)
def test_reports_go_where_rfc_3605_says_and_else_to_the_port_above(line: str, place: tuple[str, int] | None) -> None:
    described = parse(f"{OFFER}{line}\r\n".encode() if line else OFFER.encode())
    assert reports(described, described.media[0]) == place
