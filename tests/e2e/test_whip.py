"""WHIP on a real server: a browser's audio becomes a call like any other, and every status is the RFC's (RFC 9725)."""

from __future__ import annotations

import asyncio
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack

from benchmarks.browsers import LEVEL_ID, Browser, describe
from benchmarks.keytones import dialled
from benchmarks.recorded import EVERYTHING
from gateway.client import Client
from media import framelog
from media.codecs import OPUS, PCMU
from media.codecs.g711 import Samples
from media.ears import halved, narrowed
from media.resample import upsampled
from media.rtp import Packet
from storage.model import ArtefactId
from storage.recordings import Recordings
from tests.e2e.system import System, running, status, until
from tests.media.test_masking_apart import keys_at_any_offset

SESSIONS_MAX = 4
CREDENTIAL = "turn-credential-of-the-test"
PLAIN = {0: "PCMU/8000"}
OFFER = describe("BUV6", "p" * 22, ":".join(["AB"] * 32), PLAIN)  # of a peer that never comes
SDP = "application/sdp"
FRAGMENT = "application/trickle-ice-sdpfrag"
LIMIT_S = 20.0
CONFIG = f"""
[whip]
sessions_max = {SESSIONS_MAX}

[[whip.ice_servers]]
url = "stun:stun.example.net"

[[whip.ice_servers]]
url = "turn:turn.example.net?transport=udp"
username = "user"
credential = "{CREDENTIAL}"

[[tenants]]
name = "acme"
dtmf_inband = "keep"

[[tenants]]
name = "beta"

[[tenants]]
name = "silent"
record = "events"

[[trunks]]
name = "loopback"
tenant = "acme"
sources = ["127.0.0.1/32"]
"""


@dataclass(frozen=True)
class Answer:
    """What the server said."""

    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes
    links: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Whip:
    """The endpoint, with a tenant's token."""

    url: str
    token: str

    def ask(self, method: str, path: str = "", body: bytes | None = None, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token:
            named["Authorization"] = f"Bearer {self.token}"
        request = urllib.request.Request(f"{self.url}{path}", body, named, method=method)
        try:
            with urllib.request.urlopen(request, timeout=LIMIT_S) as response:
                return self._read(response.status, response)
        except urllib.error.HTTPError as error:
            with error:
                return self._read(error.code, error)

    def post(self, offer: bytes, name: str = "") -> Answer:
        return self.ask("POST", f"/v1/whip?call={name}" if name else "/v1/whip", offer, Content_Type=SDP)

    def delete(self, session: str) -> Answer:
        return self.ask("DELETE", session)

    @staticmethod
    def _read(code: int, response: Any) -> Answer:
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Answer(code, headers, response.read(), response.headers.get_all("link") or [])


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("whip")
    (folder / "callvault.toml").write_text(CONFIG)
    with running(folder, CALLVAULT_CONFIG=str(folder / "callvault.toml")) as started:
        yield started


def whip(system: System, tenant: str = "acme", role: str = "whip") -> Whip:
    client = system.client(tenant, role)
    return Whip(client.url, client.token)


def noise_of(ms: int) -> Samples:
    return np.random.default_rng(ms).normal(0, 1500, ms * 8).astype(np.int16)


def noise(ms: int, seed: int) -> bytes:
    samples = np.random.default_rng(seed).normal(0, 5000, ms * 8).clip(-30000, 30000).astype(np.int16)
    return PCMU.encode(samples)


async def say(browser: Browser, audio: bytes, ssrc: int = 0xCAFE) -> None:
    """Send G.711 in its own pace, with the audio level beside it."""
    for number in range(len(audio) // 160):
        payload = audio[160 * number : 160 * (number + 1)]
        level = (0xBEDE, bytes([LEVEL_ID << 4, 20, 0, 0]))
        browser.send(Packet(0, number, 160 * number, ssrc, payload, extension=level).to_bytes())
        await asyncio.sleep(0.02)


async def joined(whip: Whip, name: str = "") -> tuple[Browser, Answer]:
    """A browser that has connected, and the answer to its offer."""
    browser = Browser()
    answer = await asyncio.to_thread(whip.post, browser.offer(PLAIN), name)
    assert answer.status == 201, answer.body
    assert await browser.connect(answer.body) == "connected"
    return browser, answer


def ended(client: Client, call: str, *states: str) -> dict[str, Any]:
    """The call, once it is over."""

    def look() -> dict[str, Any] | None:
        if status(client, f"/v1/calls/{call}") == 404:  # it is being written
            return None
        found: dict[str, Any] = client.json(f"/v1/calls/{call}")
        return found if found["state"] in (states or ("stored", "interrupted", "no_media", "not_recorded")) else None

    return until(look)


def heard(client: Client, call: str, track: int) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    return np.frombuffer(client.get(f"/v1/calls/{call}/audio?track={track}")[44:], "<i2")


def test_what_a_browser_sends_is_recorded_bit_for_bit_until_it_deletes_its_session(system: System) -> None:
    sent = noise(1500, 1)

    async def call() -> Answer:
        browser, answer = await joined(whip(system))
        await say(browser, sent)
        assert (await asyncio.to_thread(whip(system).delete, answer.headers["location"])).status == 200
        async with asyncio.timeout(LIMIT_S):
            while browser.state != "closed":
                await asyncio.sleep(0.01)
        browser.vanish()
        return answer

    answer = asyncio.run(call())
    assert answer.headers["content-type"] == SDP
    assert answer.headers["etag"].strip('"')
    assert answer.headers["accept-patch"] == FRAGMENT
    assert answer.links == [
        '<stun:stun.example.net>; rel="ice-server"',
        '<turn:turn.example.net?transport=udp>; rel="ice-server"; username="user"; '
        f'credential="{CREDENTIAL}"; credential-type="password"',
    ]
    client = system.client("acme")
    found = ended(client, answer.headers["callvault-call"])
    assert found["state"] == "stored"
    told = {name: found["detail"][name] for name in ("signalling", "media", "encrypted_in_transit", "why")}
    assert told == {"signalling": "whip", "media": "webrtc", "encrypted_in_transit": True, "why": "hung up"}
    (track,) = found["tracks"]
    facts = track["track"]["facts"]
    assert (facts["packets"], facts["lost"], facts["foreign"], facts["discarded"]) == (75, 0, 0, 0)
    assert facts["jitter_ms"] < 20  # by the stamps of the network's packets
    decoded, samples = PCMU.decode(sent), heard(client, found["id"], 0)
    at = round(facts["map"][0][2] * 8 / 1000)
    assert np.array_equal(samples[at : at + len(decoded)], decoded)


def test_two_sessions_of_one_call_are_its_two_tracks_and_a_third_is_refused(system: System) -> None:
    said = [noise(1000, 2), noise(1000, 3)]

    async def call() -> str:
        endpoint = whip(system)
        near, first = await joined(endpoint, "conversation-7")
        far, second = await joined(endpoint, "conversation-7")
        assert first.headers["callvault-call"] == second.headers["callvault-call"]
        third = await asyncio.to_thread(endpoint.post, near.offer(PLAIN), "conversation-7")
        assert third.status == 409
        await asyncio.gather(say(near, said[0], 1), say(far, said[1], 2))
        await near.close()  # one leaves, the other goes on
        await asyncio.sleep(0.2)
        await say(far, noise(200, 4), 3)
        await far.close()
        return first.headers["callvault-call"]

    number = asyncio.run(call())
    client = system.client("acme")
    found = ended(client, number)
    assert found["detail"]["why"] == "the peer has gone"
    assert len(found["tracks"]) == 2
    for index, audio in enumerate(said):
        facts = found["tracks"][index]["track"]["facts"]
        at, decoded = round(facts["map"][0][2] * 8 / 1000), PCMU.decode(audio)
        assert np.array_equal(heard(client, number, index)[at : at + len(decoded)], decoded)
    assert found["tracks"][1]["track"]["facts"]["packets"] == 60


def test_opus_is_kept_as_it_came_with_the_silence_that_its_sender_left_out(system: System) -> None:
    samples = np.random.default_rng(8).normal(0, 3000, OPUS.sample_hz).astype(np.int16)
    payloads = OPUS.packets(samples, 20)

    async def call() -> str:
        browser = Browser()
        answer = await asyncio.to_thread(
            whip(system).post, browser.offer(says="useinbandfec=1;usedtx=1;sprop-stereo=1")
        )
        assert b"useinbandfec=1;usedtx=1;stereo=1" in answer.body
        await browser.connect(answer.body)
        for number, payload in enumerate(payloads):
            ticks = 960 * (number if number < 20 else number + 15)  # 300 ms of silence after the twentieth
            level = (0xBEDE, bytes([LEVEL_ID << 4, 20, 0, 0]))
            browser.send(Packet(111, number, ticks, 0xCAFE, payload, number == 20, extension=level).to_bytes())
            await asyncio.sleep(0.32 if number == 19 else 0.02)
        await browser.close()
        return answer.headers["callvault-call"]

    found = ended(system.client("acme"), asyncio.run(call()))
    (track,) = found["tracks"]
    facts = track["track"]["facts"]
    assert (facts["codecs"], facts["packets"], facts["lost"]) == (["opus"], len(payloads), 0)
    assert [reason for *_, reason in facts["gaps"]].count("dtx") == 1
    objects, keys = f"file:{system.data / 'objects'}", f"file:{system.data}-keys"
    with closing(Recordings.open(system.data, keys, objects, node="test")) as recordings:
        stream = recordings.stream(recordings.tenant("acme"), ArtefactId(track["artefact"]))
        chunks = [framelog.decode(raw).frames for raw in stream.read(*EVERYTHING)]
    assert b"".join(chunk.payload for chunk in chunks) == b"".join(payloads)
    assert system.client("acme").get(f"/v1/calls/{found['id']}/audio/opus").startswith(b"OggS")


@pytest.mark.parametrize(("tenant", "repetition"), [("acme", 1), ("beta", 0)])
def test_the_first_codec_is_taken_and_repeats_itself_only_where_keys_tones_are_kept(
    system: System, tenant: str, repetition: int
) -> None:
    answer = whip(system, tenant).post(describe("BUV6", "p" * 22, ":".join(["AB"] * 32)))
    assert b"opus/48000/2" in answer.body
    assert f"useinbandfec={repetition}".encode() in answer.body
    whip(system, tenant).delete(answer.headers["location"])


@pytest.mark.parametrize("tenant", ["acme", "beta"])
def test_keys_tones_in_what_a_browser_sends_are_silenced_unless_the_policy_keeps_them(
    system: System, tenant: str
) -> None:
    line = np.concatenate((noise_of(600), dialled("4929", 80), noise_of(400)))
    payloads = OPUS.packets(upsampled(line, 6), 20)

    async def call() -> str:
        browser = Browser()
        answer = await asyncio.to_thread(whip(system, tenant).post, browser.offer())
        await browser.connect(answer.body)
        for number, payload in enumerate(payloads):
            level = (0xBEDE, bytes([LEVEL_ID << 4, 20, 0, 0]))  # loud: nothing else would have it decoded
            browser.send(Packet(111, number, 960 * number, 0xCAFE, payload, extension=level).to_bytes())
            await asyncio.sleep(0.02)
        await browser.close()
        return answer.headers["callvault-call"]

    client = system.client(tenant)
    found = ended(client, asyncio.run(call()))
    samples = np.frombuffer(client.get(f"/v1/calls/{found['id']}/audio?track=0")[44:], "<i2")
    kept = keys_at_any_offset(halved(narrowed(samples[: len(samples) // 6 * 6], 48_000)))
    assert kept == (set("4929") if tenant == "acme" else set())
    facts = found["tracks"][0]["track"]["facts"]
    assert ("masked" in [reason for *_, reason in facts["gaps"]]) == (tenant == "beta")
    assert (facts["packets"], facts["lost"]) == (len(payloads), 0)


def test_a_client_that_is_not_ours_connects_by_its_own_candidates(system: System) -> None:
    async def call() -> Answer:
        connection = RTCPeerConnection()
        connection.addTransceiver(AudioStreamTrack(), direction="sendonly")
        await connection.setLocalDescription(await connection.createOffer())
        answer = await asyncio.to_thread(whip(system).post, connection.localDescription.sdp.encode())
        await connection.setRemoteDescription(RTCSessionDescription(answer.body.decode(), "answer"))
        async with asyncio.timeout(LIMIT_S):
            while connection.connectionState != "connected":
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.5)
        await connection.close()
        return answer

    found = ended(system.client("acme"), asyncio.run(call()).headers["callvault-call"])
    assert found["tracks"][0]["track"]["facts"]["packets"] > 10


def test_an_offer_that_cannot_be_taken_gets_the_rfcs_status(system: System) -> None:
    endpoint, body = whip(system), OFFER
    video = b"m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\na=rtpmap:96 VP8/90000\r\n"
    for given, expected in (
        (endpoint.ask("POST", "/v1/whip", body, Content_Type="text/plain"), 415),
        (endpoint.post(b"no description"), 400),
        (endpoint.post(body.replace(b"a=ice-pwd", b"a=x")), 400),
        (endpoint.post(body + video), 406),
        (endpoint.post(body.replace(b"sendonly", b"recvonly")), 406),
        (endpoint.post(b"v=0\r\n" * 20_000), 413),
        (endpoint.post(body, "no%20name"), 422),
        (Whip(endpoint.url, "").post(body), 401),
        (Whip(endpoint.url, "wrong").post(body), 401),
        (whip(system, role="agent").post(body), 403),
        (whip(system, role="officer").post(body), 403),
    ):
        assert given.status == expected
        assert given.headers["access-control-allow-origin"] == "*"  # a page can read why
    assert status(system.client("acme", "whip"), "/v1/calls") == 403


def test_the_session_is_patched_by_its_entity_tag_and_never_restarted(system: System) -> None:
    endpoint = whip(system)
    answer = endpoint.post(OFFER)
    session, tag = answer.headers["location"], answer.headers["etag"]
    head = "a=ice-ufrag:BUV6\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\n"
    candidate = (head + "a=candidate:1 1 udp 1 4f0ff0e5.local 61764 typ host\r\n").encode()
    restart = candidate.replace(b"BUV6", b"another")

    def patch(body: bytes, kind: str = FRAGMENT, path: str = session, **headers: str) -> Answer:
        return endpoint.ask("PATCH", path, body, Content_Type=kind, **headers)

    taken = patch(candidate, If_Match=tag)
    assert (taken.status, taken.body, "etag" in taken.headers) == (204, b"", False)
    assert patch(candidate).status == 428
    assert patch(candidate, If_Match='"other"').status == 412
    assert patch(candidate, If_Match="*").status == 412
    assert patch(restart, If_Match="*").status == 422
    assert patch(restart, If_Match=tag).status == 422
    assert patch(candidate, "application/sdp", If_Match=tag).status == 415
    assert patch(b"nothing", If_Match=tag).status == 400
    assert patch(candidate, path="/v1/whip/" + "0" * 32, If_Match=tag).status == 404
    strangers = whip(system, "beta")
    assert strangers.ask("PATCH", session, candidate, Content_Type=FRAGMENT, If_Match=tag).status == 404
    assert strangers.delete(session).status == 404
    for method in ("GET", "HEAD", "PUT", "POST"):
        assert endpoint.ask(method, session).status == 405
    assert endpoint.ask("GET", "/v1/whip").status == 405
    assert endpoint.delete(session).status == 200
    assert endpoint.delete(session).status == 404
    assert ended(system.client("acme"), answer.headers["callvault-call"])["state"] == "no_media"


@pytest.mark.parametrize("path", ["/v1/whip", "/v1/whip/" + "0" * 32])
def test_a_page_may_ask_first(system: System, path: str) -> None:
    endpoint = Whip(whip(system).url, "")
    answer = endpoint.ask("OPTIONS", path, Origin="https://app.example", Access_Control_Request_Method="PATCH")
    assert answer.status == 204
    assert answer.headers["accept-post"] == SDP
    allowed = {name: answer.headers[f"access-control-{name}"] for name in ("allow-methods", "allow-headers")}
    assert allowed == {
        "allow-methods": "POST, PATCH, DELETE, OPTIONS",
        "allow-headers": "Authorization, Content-Type, If-Match",
    }
    exposed = answer.headers["access-control-expose-headers"]
    assert {"Location", "Link", "ETag"} <= set(exposed.split(", "))


def test_more_sessions_than_allowed_are_told_to_come_again(system: System) -> None:
    endpoint = whip(system)
    answers = [endpoint.post(OFFER) for _ in range(SESSIONS_MAX + 1)]
    assert [answer.status for answer in answers] == [201] * SESSIONS_MAX + [503]
    assert int(answers[-1].headers["retry-after"]) > 0
    for answer in answers[:SESSIONS_MAX]:
        endpoint.delete(answer.headers["location"])


def test_of_a_tenant_of_live_events_only_nothing_is_stored(system: System) -> None:
    async def call() -> None:
        browser, _ = await joined(whip(system, "silent"))
        await say(browser, noise(300, 5))
        await browser.close()

    silent = system.client("silent")
    counted = silent.json("/health/counters").get("calls_ended", 0)
    asyncio.run(call())
    until(lambda: silent.json("/health/counters").get("calls_ended", 0) > counted)
    assert silent.json("/v1/calls")["calls"] == []


def test_a_killed_worker_ends_its_calls_keeps_what_came_and_is_started_again(system: System) -> None:
    async def cut_off() -> str:
        browser, answer = await joined(whip(system))
        await say(browser, noise(800, 6))
        os.kill(system.children()["gateway.processes.webrtc"], signal.SIGKILL)
        browser.vanish()
        return answer.headers["callvault-call"]

    found = ended(system.client("acme"), asyncio.run(cut_off()))
    assert (found["state"], found["detail"]["why"]) == ("stored", "the WebRTC worker was lost")
    assert found["tracks"][0]["track"]["facts"]["packets"] >= 38  # but for what the last tick had not handed on

    def again() -> bool:
        answer = whip(system).post(OFFER)
        if answer.status == 201:
            whip(system).delete(answer.headers["location"])
        return answer.status == 201

    until(again)


def test_no_secret_and_no_address_of_a_peer_is_in_the_log(system: System) -> None:
    log = system.log()
    assert "WebRTC worker is gone" in log
    for secret in (CREDENTIAL, "ice-pwd", "typ host", "192.0.2."):
        assert secret not in log
