"""What gateway and WebRTC worker say arrives as it was said."""

from __future__ import annotations

import pytest

from media.errors import Malformed
from media.webrtc.messages import (
    MESSAGE_BYTES_MAX,
    Accept,
    Accepted,
    Connected,
    HangUp,
    Message,
    Over,
    Ready,
    Stats,
    decode,
    encode,
)


@pytest.mark.parametrize(
    "message",
    [
        Accept(1, "ufrag", "password", (("sha-256", "AB:CD"), ("sha-512", "EF")), 3),
        HangUp(2),
        Ready(),
        Accepted(3, "ufrag", "password", ("sha-256", "AB:CD")),
        Connected(4),
        Over(5, "the peer has gone"),
        Stats(6, 7, 8),
    ],
)
def test_a_message_is_read_as_it_was_written(message: Message) -> None:
    assert decode(encode(message)) == message


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b'{"type":"Nothing"}',
        b'{"type":"Over"}',
        b'{"type":"Over","session":1,"why":"","more":1}',
        b'{"type":"Accept","session":1,"ufrag":"","password":"","fingerprints":[1]}',
        b'{"type":"Accepted","session":1,"ufrag":"","password":"","fingerprint":"x"}',
        b"[" * MESSAGE_BYTES_MAX,
        b" " * (MESSAGE_BYTES_MAX + 1),
    ],
)
def test_anything_else_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        decode(data)
