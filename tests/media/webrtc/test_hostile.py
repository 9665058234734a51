"""Whatever a client posts is read or refused: no other error, and nothing that grows."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from media.errors import MediaError
from media.sdp import parse
from media.tap import tapped
from media.webrtc.answer import Ours, write_answer
from media.webrtc.fragment import read_fragment
from media.webrtc.offer import read_offer

from .offers import CHROMIUM, SHA_256

OURS = Ours("192.0.2.10", 20_000, "ours", "p" * 22, ("sha-256", SHA_256))
LINES = CHROMIUM.splitlines()

junk = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=40)
line = st.sampled_from(LINES)
mutated = st.builds(lambda text, at, more: text[: at % (len(text) + 1)] + more, line, st.integers(0, 200), junk)


@given(st.lists(st.one_of(line, line, line, mutated, junk), max_size=len(LINES) * 2))
def test_any_lines_are_an_offer_or_refused(lines: list[str]) -> None:
    with suppress(MediaError):
        answer = write_answer(read_offer(parse("\r\n".join(lines).encode())), OURS, origin_id=1)
        parse(answer)


@given(st.integers(0, len(LINES) - 1), mutated)
def test_an_offer_with_one_line_amiss_is_an_offer_or_refused(at: int, instead: str) -> None:
    lines = [*LINES[:at], instead, *LINES[at + 1 :]]
    with suppress(MediaError):
        parse(write_answer(read_offer(parse("\r\n".join(lines).encode())), OURS, origin_id=1))


@given(st.one_of(st.binary(max_size=300), st.lists(st.one_of(mutated, junk)).map(lambda ls: "\n".join(ls).encode())))
def test_any_octets_are_a_fragment_or_refused(body: bytes) -> None:
    with suppress(MediaError):
        read_fragment(body)


@given(st.binary(max_size=80), st.integers(0, 15))
def test_any_octets_are_tapped_or_refused(packet: bytes, level_id: int) -> None:
    with suppress(MediaError):
        tapped(packet, 1, level_id)
        tapped(b"\x90" + packet[1:], 1, level_id)
