"""Every control message survives its datagram; nothing else is taken for one."""

from __future__ import annotations

import pytest

from media.datagrams import apart, fitting, together
from media.dtmf import Press
from media.errors import Malformed
from media.messages import (
    MESSAGE_BYTES_MAX,
    Close,
    Drain,
    Ended,
    Load,
    Message,
    Open,
    OpenFailed,
    Pause,
    Paused,
    Play,
    Played,
    Pressed,
    Quiet,
    Ready,
    Release,
    Resume,
    Resumed,
    Speech,
    SpoolFull,
    Start,
    Stats,
    Update,
    decode,
    encode,
)


@pytest.mark.parametrize(
    "message",
    [
        Open(1, {8: "PCMA"}, 101, ("192.0.2.1", 4000), True, ("192.0.2.0/24",), 5, False, {"artefact": "a"}),
        Open(1, {8: "PCMA"}, announce=True, hears=False, quiet_s=0.0),
        Open(2, {0: "PCMU"}),
        Start(1, 10**18),
        Update(1, {8: "PCMA", 0: "PCMU"}, None, False),
        Update(1, {8: "PCMA"}, ("192.0.2.1", 4000)),
        Update(1, {8: "PCMA"}, None, False, 101, False, 14_400.0),
        Load("a" * 64),
        Play(1, "a" * 64),
        Pause(1, 7),
        Resume(1, 8),
        Paused(1, 7, 1_000_000),
        Pressed(1, Press("#", 1_500_000, 160)),
        Resumed(1, 8, 2_000_000),
        Release(1),
        Close(1),
        Drain(),
        Ready(),
        Speech(1, True, 20_000, 10**18, 10**12),
        Played(1, 20_000, 3_000_000, True),
        Quiet(1, 5_000_000),
        Ended(1, {"packets": 3, "map": [[1, 2, 3]]}),
        OpenFailed(1, "why"),
        Stats(1.5, 2.5, 3, 4, 5.0, 6.0, 7, False, 0.25, 8, 9, 10, 11, 12),
        SpoolFull((1, 2)),
    ],
    ids=lambda message: type(message).__name__,
)
def test_what_is_encoded_is_decoded_again(message: Message) -> None:
    assert decode(encode(message)) == message


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'"Drain"',
        b'{"type":"Nothing"}',
        b'{"type":"Pause"}',
        b'{"type":"Pause","leg":1,"order":1,"more":2}',
        b'{"type":"Open","leg":1,"codecs":{"x":"PCMA"}}',
        b'{"type":"Open","leg":1,"codecs":{"8":"PCMA"},"remote":["a"]}',
        b'{"type":"Open","leg":1,"codecs":{"8":"PCMA"},"remote":["a",Infinity]}',
        b" " * (MESSAGE_BYTES_MAX + 1),
    ],
)
def test_anything_else_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        decode(data)


def test_messages_that_fit_travel_together_and_come_apart_again() -> None:
    events: list[Message] = [OpenFailed(leg, "line\nbreak") for leg in range(5)]
    encoded = [encode(event) for event in events]
    size = len(encoded[0])
    assert [fitting(encoded, limit) for limit in (1, size, 2 * size + 2, 5 * size + 4, 5 * size + 5)] == [1, 1, 2, 4, 5]
    assert len(together(encoded[:2])) <= 2 * size + 2
    assert [decode(message) for message in apart(together(encoded))] == events
