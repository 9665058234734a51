"""Trunks as they are addressed: media over IPv6 beside IPv4, and audio that shares its port with its reports."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gateway.caller import Track, place_call
from media.codecs import g711
from media.codecs.g711 import Samples
from media.rtcp import SHARED_TYPES, ReceiverReport, Report, parse
from tests.e2e.judge import SCENARIOS, needs_sipp, sipp
from tests.e2e.softphone import HANG_UP, LIMIT_S, needs_baresip, phone, press
from tests.e2e.system import System, call_from, free_port, until
from tests.e2e.test_call import heard, tone
from tests.e2e.test_encrypted import as_spoken
from tests.e2e.wire import Datagram, datagrams, needs_root

SIX = "::1"
CONFIG = """
[[sip.listeners]]
name = "four"
address = "127.0.0.1:{port}"

[[tenants]]
name = "default"

[[trunks]]
name = "near"
tenant = "default"
sources = ["::1/128", "127.0.0.1/32"]

[[trunks]]
name = "softphones"
tenant = "default"
listener = "four"
media_networks = ["0.0.0.0/0"]  # a softphone names whatever address its machine has
nat = true
"""


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("addresses")
    six, four = free_port(), free_port()
    (folder / "callvault.toml").write_text(CONFIG.format(port=four))
    environ = {"CALLVAULT_CONFIG": str(folder / "callvault.toml"), "CALLVAULT_SIP__LISTEN": f"[{SIX}]:{six}"}
    started = System(folder, environ | {"CALLVAULT_MEDIA__ADDRESS6": SIX})
    started.sip = ("127.0.0.1", four)
    started.environ["SIX"] = str(six)
    started.start()
    try:
        yield started
    finally:
        started.stop()


def six(system: System) -> tuple[str, int]:
    return SIX, int(system.environ["SIX"])


def kept(system: System, user: str, track: int = 0) -> Samples:
    """What was stored of a track, without the silence around it."""
    call = until(lambda: call_from(system.client(), user, "stored"), LIMIT_S)["id"]
    return trimmed(heard(system.client(), call, track))


def trimmed(samples: Samples) -> Samples:
    first, last = np.flatnonzero(samples)[[0, -1]]
    return samples[first : last + 1]


@pytest.mark.parametrize(("user", "mux"), [("parted", False), ("shared", True)])
def test_audio_over_ipv6_is_what_was_sent(system: System, user: str, mux: bool) -> None:
    tracks = [Track(tone(1.5, seed)) for seed in (931, 932)]
    result = asyncio.run(place_call(six(system), tracks, from_user=user, mux=mux))
    for number, payload in enumerate(result.payloads):
        assert np.array_equal(kept(system, user, number), trimmed(g711.decode_alaw(payload)))


def test_an_offer_that_is_left_to_us_is_made_over_ipv6_too(system: System) -> None:
    placed = place_call(six(system), [Track(tone(0.5, 935))], from_user="offerless", offerless=True)
    (payload,) = asyncio.run(placed).payloads
    assert np.array_equal(kept(system, "offerless"), trimmed(g711.decode_alaw(payload)))


@needs_sipp
def test_sipp_is_recorded_over_ipv6(system: System, tmp_path: Path) -> None:
    spoken = g711.encode_alaw(tone(1.0, 933))
    (tmp_path / "spoken.alaw").write_bytes(spoken)
    verdict = sipp(six(system)[1], tmp_path, ["-sf", str(SCENARIOS / "over_ipv6.xml"), "-mi", SIX], 1, host=SIX)
    assert (verdict.successful, verdict.failed) == (1, 0)
    assert np.array_equal(kept(system, "six"), trimmed(g711.decode_alaw(spoken)))


@needs_baresip
@needs_root
def test_a_softphone_that_shares_its_port_is_recorded_and_told_so_on_it(system: System, tmp_path: Path) -> None:
    spoken = tone(30.0, 934)
    dial = f"sip:service@{system.sip[0]}:{system.sip[1]}"
    log = tmp_path / "log"
    with datagrams() as wire, phone(tmp_path, dial, spoken=spoken, further="rtcp_mux yes\n") as process:
        until(lambda: call_from(system.client(), "softphone", "live"), LIMIT_S)
        theirs, ours = map(int, re.findall(r"^m=audio (\d+) ", log.read_text(errors="replace"), re.MULTILINE))
        until(lambda: reports(wire, theirs, ours) and reports(wire, ours, theirs))
        press(process, HANG_UP)
        samples = kept(system, "softphone")
    assert "RTP/RTCP multiplexing enabled" in log.read_text(errors="replace")
    told, *_ = reports(wire, ours, theirs)
    assert isinstance(told[0], ReceiverReport)
    assert told[0].blocks[0].packets_lost == 0
    parted = {(theirs + 1, ours + 1), (ours + 1, theirs + 1), (theirs + 1, ours), (ours, theirs + 1)}
    assert not [seen for seen in wire if (seen.source_port, seen.target_port) in parted]
    assert len(samples) > 8000
    assert as_spoken(samples, spoken)


def reports(wire: list[Datagram], source: int, target: int) -> list[tuple[Report, ...]]:
    """The RTCP between two ports."""
    seen = [one.payload for one in wire if (one.source_port, one.target_port) == (source, target)]
    return [parse(payload) for payload in seen if payload[1] in SHARED_TYPES]
