"""A network that loses, delays, doubles and reorders: facts are what it did, and calls are signalled as the RFCs say.

Every packet's fate is known, so the facts are compared with counts, not with probabilities.
"""

from __future__ import annotations

import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from gateway.client import Client
from media.codecs import PCMA
from media.rtp import Packet
from tests.e2e.handset import Handset
from tests.e2e.impaired import CLIENT, SERVER, Crossing, Impairment, Networks, Wire, enter, impaired, needs_wire
from tests.e2e.judge import RETRANSMISSIONS_MAX, SCENARIOS, Verdict, needs_sipp, sipp
from tests.e2e.softphone import HANG_UP, LIMIT_S, needs_baresip, phone, press
from tests.e2e.system import System, call_from, until

pytestmark = [needs_wire, pytest.mark.alone]

SECONDS = 5
POOR = Impairment(loss=0.05, duplicate=0.03, delay_s=0.02, jitter_s=0.2)
LOSSY = Impairment(loss=0.15, duplicate=0.05, delay_s=0.01, jitter_s=0.02)
CALLS = 30
T1_S = 0.5
CONFIG = f"""
[media]
address = "{SERVER}"

[[tenants]]
name = "default"
transcribe = false

[[trunks]]
name = "beyond"
tenant = "default"
sources = ["{CLIENT}/32"]
"""


@contextmanager
def serving(folder: Path, choose: Callable[[Crossing], Impairment | None]) -> Iterator[tuple[System, Networks, Wire]]:
    """A server at one end of the wire; its API is on its own loopback, as is this thread."""
    (folder / "callvault.toml").write_text(CONFIG)
    with impaired(choose) as (networks, wire):
        system = System(folder, {"CALLVAULT_CONFIG": str(folder / "callvault.toml")})
        system.sip = (SERVER, system.sip[1])
        system.environ["CALLVAULT_SIP__LISTEN"] = f"{SERVER}:{system.sip[1]}"
        system.start()
        try:
            yield system, networks, wire
        finally:
            system.stop()


def beyond(networks: Networks, run: Callable[[], None]) -> None:
    """Do something at the client's end; raises what it raises."""
    raised: list[BaseException] = []

    def there() -> None:
        enter(networks.client)
        try:
            run()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=there)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


def is_audio(crossing: Crossing) -> bool:
    return crossing.to_server and len(crossing.payload) == 172 and crossing.payload[1] & 0x7F == 8


def test_facts_are_what_the_network_did_and_what_arrived_is_kept_once_and_exactly(tmp_path: Path) -> None:
    with serving(tmp_path, lambda crossing: POOR if is_audio(crossing) else None) as (system, networks, wire):
        said = np.random.default_rng(3).normal(0, 6000, SECONDS * 8000).clip(-30_000, 30_000).astype(np.int16)

        def call() -> None:
            with Handset(system.sip, "far", host=CLIENT) as handset:
                handset.say(said)
                time.sleep(0.5)  # for what is still under way

        beyond(networks, call)
        client = system.client()
        found = until(lambda: call_from(client, "far", "stored"))
        facts = client.json(f"/v1/calls/{found['id']}")["tracks"][0]["track"]["facts"]
        heard = np.frombuffer(client.get(f"/v1/calls/{found['id']}/audio?track=0")[44:], "<i2")
    sent = [(Packet.parse(crossing.payload), crossing.came) for crossing in wire.crossings if is_audio(crossing)]
    assert len(sent) == SECONDS * 50
    arrived = sorted(((min(came), packet) for packet, came in sent if came), key=lambda one: one[0])
    first = arrived[0][1].sequence
    numbers = [packet.sequence for _, packet in arrived]
    lost = [packet.sequence for packet, came in sent if not came and first < packet.sequence < max(numbers)]
    overtaken = sum(number < max(numbers[: i + 1]) for i, number in enumerate(numbers))
    assert len(lost) >= 5
    assert overtaken >= 100
    assert (facts["packets"], facts["lost"]) == (len(arrived), len(lost))
    assert facts["duplicate"] == sum(len(came) - 1 for _, came in sent if came)
    assert facts["out_of_order"] == overtaken
    assert (facts["late"], facts["foreign"], facts["discarded"], len(facts["map"])) == (0, 0, 0, 1)
    assert facts["jitter_ms"] == pytest.approx(jitter_ms(arrived), rel=0.1)
    missing_us = sum(end - start for start, end, reason, *_ in facts["gaps"] if reason == "lost")
    assert missing_us == pytest.approx(len(lost) * 20_000, abs=1000)

    start = min(packet.timestamp for _, packet in arrived)
    at = round(facts["map"][0][2] * 8 / 1000)
    kept = np.zeros(len(heard), np.bool_)
    for _, packet in arrived:
        where = at + packet.timestamp - start
        assert np.array_equal(heard[where : where + 160], PCMA.decode(packet.payload))
        kept[where : where + 160] = True
    assert not heard[~kept].any(), "what never came is silence"


def jitter_ms(arrived: list[tuple[float, Packet]]) -> float:
    """RFC 3550 §6.4.1, over the packets that were the newest when they came."""
    jitter = 0.0
    newest, transit = -1, 0.0
    for came, packet in arrived:
        if packet.sequence <= newest:
            continue
        now = came - packet.timestamp / 8000
        if newest >= 0:
            jitter += (abs(now - transit) - jitter) / 16
        newest, transit = packet.sequence, now
    return jitter * 1000


@needs_sipp
def test_signalling_through_loss_ends_every_call_once_and_repeats_its_200_until_the_ack(tmp_path: Path) -> None:
    verdicts: list[Verdict] = []
    with serving(tmp_path, lambda crossing: LOSSY if sip_of(crossing) else None) as (system, networks, wire):
        rate = ["-r", "20", "-d", "300", "-max_retrans", RETRANSMISSIONS_MAX]

        def calls() -> None:
            scenario = ["-sf", str(SCENARIOS / "lossy.xml")]
            verdicts.append(sipp(system.sip[1], tmp_path, scenario, CALLS, *rate, host=CLIENT, to=SERVER))

        beyond(networks, calls)
        client = system.client()
        rows = until(lambda: ended if len(ended := over(client)) >= CALLS else None)
    assert (verdicts[0].successful, verdicts[0].failed) == (CALLS, 0)
    assert len(rows) == CALLS
    messages: dict[str, list[tuple[str, Crossing]]] = defaultdict(list)
    for crossing in wire.crossings:
        if text := sip_of(crossing):
            messages[found_in(text, "Call-ID")].append((text, crossing))
    assert len(messages) == CALLS
    assert verdicts[0].retransmissions > 0
    for exchanged in messages.values():
        judged(exchanged)


def judged(exchanged: list[tuple[str, Crossing]]) -> int:
    """One call's messages, held against RFC 3261 §13.3.1.4 and §17.2; how often our 200 was sent again unasked."""
    oks = [(text, it) for text, it in exchanged if text.startswith("SIP/2.0 200") and cseq(text) == "INVITE"]
    acks = [came for text, it in exchanged if text.startswith("ACK") for came in it.came]
    invites = [came for text, it in exchanged if text.startswith("INVITE") for came in it.came]
    byes = [came for text, it in exchanged if text.startswith("BYE") for came in it.came]
    answered = [it for text, it in exchanged if text.startswith("SIP/2.0 200") and cseq(text) == "BYE"]
    assert len({found_in(text, "To") for text, _ in oks}) == 1, "a repeated INVITE opens no second dialog"
    assert len(answered) == len(byes), "every BYE is answered, also one that comes again"
    ended_at = min(acks + byes)
    own = [it.at for _, it in oks if not any(0 <= it.at - came < 0.1 for came in invites[1:])]
    assert all(at <= ended_at + 0.1 for at in own), "no 200 of our own accord once the ACK is there, or a BYE"
    for number, (before, after) in enumerate(pairwise(own)):
        assert after - before == pytest.approx(T1_S * 2**number, abs=0.2), "T1, doubled each time (§13.3.1.4)"
    return len(own) - 1


@needs_baresip
def test_a_softphone_of_whose_messages_every_first_one_is_lost_is_answered_and_ends(tmp_path: Path) -> None:
    seen: set[tuple[str, str]] = set()

    def first_of_its_kind(crossing: Crossing) -> Impairment | None:
        text = sip_of(crossing)
        if not text or (kind := kind_of(text)) in seen:
            return None
        seen.add(kind)
        return Impairment(loss=1.0)

    with serving(tmp_path, first_of_its_kind) as (system, networks, wire), ExitStack() as stack:
        enter(networks.client)
        dial = f"sip:service@{SERVER}:{system.sip[1]}"
        process = stack.enter_context(phone(tmp_path, dial, host=CLIENT))
        enter(networks.server)
        client = system.client()
        until(lambda: call_from(client, "softphone", "live"))
        time.sleep(2)  # of its tone, and of a 200 that is sent again
        press(process, HANG_UP)
        found = until(lambda: call_from(client, "softphone", "stored"), LIMIT_S)
    assert [kind for kind in ("INVITE", "ACK", "BYE") if (kind, kind) not in seen] == []
    assert {("200", "INVITE"), ("200", "BYE")} <= seen
    assert judged([(text, crossing) for crossing in wire.crossings if (text := sip_of(crossing))]) >= 1
    assert found["state"] == "stored"


def over(client: Client) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = client.json("/v1/calls?limit=100")["calls"]
    return [row for row in rows if row["state"] != "live"]


def sip_of(crossing: Crossing) -> str:
    """A SIP message as text, "" of anything else."""
    if not re.match(rb"[A-Z]+ sip:|SIP/2\.0 ", crossing.payload):
        return ""
    return crossing.payload.decode(errors="replace")


def found_in(text: str, header: str) -> str:
    found = re.search(rf"^{header}: *(.*?)\r$", text, re.M)
    assert found is not None, header
    return found[1]


def kind_of(text: str) -> tuple[str, str]:
    """Method or status, and the method of the transaction."""
    words = text.split(" ", 2)
    return words[1] if text.startswith("SIP") else words[0], cseq(text)


def cseq(text: str) -> str:
    return found_in(text, "CSeq").split()[1]
