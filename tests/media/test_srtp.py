"""SRTP: the RFCs' vectors, every suite both ways, and what a packet that is not authentic must not do."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from media.errors import Unsupported
from media.messages import Open, Rolled, Update, decode, encode
from media.rtcp import SenderReport, SourceDescription, parse, to_bytes
from media.rtp import Packet
from media.sdp import SUITES
from media.srtp import SSRCS_MAX, Protection
from tests.media import srtp_reference
from tests.media.bench import Bench, Sender, duplicated, noise, udp_socket

CM = "AES_CM_128_HMAC_SHA1_80"
MASTER = bytes.fromhex("E1F97A0D3E018BE0D64FA32C06DE4139")  # RFC 3711 B.3
MASTER_SALT = bytes.fromhex("0EC675AD498AFEEBB6960B3AABE6")
GALLIA = bytes.fromhex("8040f17b8041f8d35501a0b2") + b"Gallia est omnis divisa in partes tres"  # RFC 7714 §16


def keys(suite: str = CM) -> dict[str, str]:
    return {"suite": suite, "ours": os.urandom(SUITES[suite]).hex(), "theirs": os.urandom(SUITES[suite]).hex()}


class Peer:
    """The other end: what it sends is encrypted by the reference, what it gets is opened by our own."""

    def __init__(self, agreed: dict[str, str]) -> None:
        self.sender = Sender()
        self.cipher = srtp_reference.Sender(agreed["suite"], bytes.fromhex(agreed["theirs"]))
        self.ours = Protection({**agreed, "ours": agreed["theirs"], "theirs": agreed["ours"]})

    def packet(self, payload: bytes) -> bytes:
        return self.cipher.protect(self.sender.packet(payload))

    def play(self, bench: Bench, audio: bytes) -> None:
        for at in range(0, len(audio), 160):
            bench.send(self.sender, self.packet(audio[at : at + 160]))
            bench.wait()


def test_the_reference_derives_the_keys_of_rfc_3711() -> None:
    expected = {
        (0, 16): "C61E7A93744F39EE10734AFE3FF7A087",
        (2, 14): "30CBBC08863D8C85D49DB34A9AE1",
        (1, 20): "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4",
    }
    for (label, octets), text in expected.items():
        assert srtp_reference.derived(MASTER, MASTER_SALT, label, octets) == bytes.fromhex(text)


def test_the_reference_makes_the_keystream_of_rfc_3711() -> None:
    key, salt = bytes.fromhex("2B7E151628AED2A6ABF7158809CF4F3C"), bytes.fromhex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD")
    assert srtp_reference.keystream(key, salt, 32) == bytes.fromhex(
        "E03EAD0935C95E80E166B16DD92B4EB4D23513162B02D0F72A43A2FE4A5F97AB"
    )


@pytest.mark.parametrize(
    ("octets", "sealed"),
    [
        (
            16,
            "f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833"
            "899d7f27beb16a9152cf765ee4390cce",
        ),
        (
            32,
            "32b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba63799b87b"
            "7aa3db36dfffd6b0f9bb7878d7a76c13",
        ),
    ],
)
def test_the_reference_seals_as_rfc_7714_does(octets: int, sealed: str) -> None:
    header, payload = GALLIA[:12], GALLIA[12:]
    iv = srtp_reference.gcm_iv(b"Quid pro quo", 0x5501A0B2, 0, 0xF17B)
    assert AESGCM(bytes(range(octets))).encrypt(iv, payload, header) == bytes.fromhex(sealed)


@pytest.mark.parametrize("suite", SUITES)
def test_what_the_reference_sends_is_kept_as_it_was_said(suite: str) -> None:
    bench, agreed, audio = Bench(), keys(suite), noise(400)
    peer = Peer(agreed)
    bench.open(sender=peer.sender, srtp=agreed)
    peer.play(bench, audio)  # its sequence number wraps: a rollover is part of it
    facts = bench.close()
    assert b"".join(chunk.frames.payload for chunk in bench.chunks()) == audio
    assert (facts.tally.packets, facts.tally.lost, bench.engine.totals.unauthentic) == (20, 0, 0)


@pytest.mark.parametrize("suite", SUITES)
def test_what_we_send_is_what_the_reference_would(suite: str) -> None:
    agreed = keys(suite)
    ours, theirs = Protection(agreed), srtp_reference.Sender(suite, bytes.fromhex(agreed["ours"]))
    for sequence in (65_534, 65_535, 0, 1):
        packet = Packet(8, sequence, 160 * sequence, 7, noise(20)).to_bytes()
        assert ours.protect(packet) == theirs.protect(packet)


@pytest.mark.parametrize("suite", SUITES)
def test_reports_are_opened_and_answered_under_protection(suite: str) -> None:
    agreed = keys(suite)
    bench, peer, reports = Bench(), Peer(agreed), udp_socket()
    sockets = udp_socket(), udp_socket()
    bench.open(sender=peer.sender, srtp=agreed, sockets=sockets)
    peer.play(bench, noise(40))
    compound = to_bytes((SenderReport(peer.sender.ssrc, 1 << 32, 0, 2, 320), SourceDescription(())))
    reports.sendto(compound, sockets[1].getsockname())  # in the clear: nobody's
    sealed = peer.ours.protect_reports(compound)
    assert compound[8:28] not in sealed
    for _ in range(2):  # the second one is a replay
        reports.sendto(sealed, sockets[1].getsockname())
    bench.wait(1000)
    reports.settimeout(5)
    opened = peer.ours.open_reports(reports.recv(2048))
    assert opened is not None
    assert parse(opened)[0].blocks[0].ssrc == peer.sender.ssrc  # type: ignore[union-attr]  # a receiver report
    reports.setblocking(False)
    with pytest.raises(BlockingIOError):
        reports.recv(2048)
    assert bench.engine.totals.unauthentic == 2


def forged(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize(
    ("wrong", "counter"),
    [
        (forged, "unauthentic"),
        (lambda data: data[:20] + bytes([data[20] ^ 1]) + data[21:], "unauthentic"),
        (lambda data: data[:11], "unauthentic"),
        (lambda data: b"", "unauthentic"),
        (lambda data: bytes([data[0] | 0x0F]) + data[1:], "unauthentic"),  # fifteen sources that it has not
        (lambda data: bytes([data[0] | 0x10]) + data[1:], "unauthentic"),  # an extension that it has not
        (lambda data: Packet(8, 1, 2, 3, noise(20)).to_bytes(), "unauthentic"),  # plain RTP
        (lambda data: data, "replayed"),
    ],
)
def test_a_wrong_packet_is_counted_and_changes_nothing(wrong: object, counter: str) -> None:
    assert callable(wrong)
    bench, agreed, audio = Bench(), keys(), noise(200)
    peer = Peer(agreed)
    bench.open(sender=peer.sender, srtp=agreed)
    for at in range(0, len(audio), 160):
        packet = peer.packet(audio[at : at + 160])
        bench.send(peer.sender, wrong(packet))  # first: it must not use up the real one's place
        bench.send(peer.sender, packet)
        bench.wait()
    facts = bench.close()
    assert b"".join(chunk.frames.payload for chunk in bench.chunks()) == audio
    tally = replace(facts.tally, jitter_us=0)
    assert (tally.packets, tally.lost, tally.duplicate, tally.discarded, tally.foreign) == (10, 0, 0, 0, 0)
    counted = {"unauthentic": bench.engine.totals.unauthentic, "replayed": bench.engine.totals.replayed}
    assert counted == {"unauthentic": 0, "replayed": 0} | {counter: 10}


def test_only_an_authentic_packet_latches() -> None:
    bench, agreed = Bench(), keys()
    peer, stranger = Peer(agreed), Sender()
    bench.open(srtp=agreed, nat=True, networks=("127.0.0.0/8",))
    bench.send(stranger, stranger.packet(noise(20)))
    bench.wait()
    peer.play(bench, noise(60))
    bench.send(stranger, stranger.packet(noise(20)))
    bench.wait()
    facts = bench.close()
    assert (facts.tally.packets, facts.tally.foreign, bench.engine.totals.unauthentic) == (3, 1, 1)


def test_a_wrong_packet_is_no_sign_of_life() -> None:
    bench, agreed = Bench(), keys()
    peer = Peer(agreed)
    bench.open(sender=peer.sender, srtp=agreed, quiet_s=1.0)
    for _ in range(100):
        bench.send(peer.sender, forged(peer.packet(noise(20))))
        bench.wait()
    assert bench.events, "its silence is told"


def update(bench: Bench, peer: Peer, agreed: dict[str, str]) -> None:
    bench.engine.update(Update(1, {8: "PCMA"}, remote=peer.sender.address, srtp=agreed), bench.now_ns)


def test_a_repeated_key_keeps_its_rollover_counter() -> None:
    bench, agreed = Bench(), keys()
    peer = Peer(agreed)
    bench.open(sender=peer.sender, srtp=agreed)
    peer.play(bench, noise(200))
    assert peer.cipher.roc == 1
    update(bench, peer, dict(agreed))
    peer.play(bench, noise(200))
    assert (bench.close().tally.packets, bench.engine.totals.unauthentic) == (20, 0)


def test_another_key_begins_anew_and_the_former_is_heard_until_then() -> None:
    bench, agreed, audio = Bench(), keys(), noise(400)
    peer = Peer(agreed)
    bench.open(sender=peer.sender, srtp=agreed)
    peer.play(bench, audio[:1600])
    next_keys = keys("AEAD_AES_256_GCM")
    update(bench, peer, next_keys)
    peer.play(bench, audio[1600:2400])  # it does not know our answer yet
    old = peer.cipher
    peer.cipher = srtp_reference.Sender("AEAD_AES_256_GCM", bytes.fromhex(next_keys["theirs"]))
    peer.play(bench, audio[2400:])
    bench.send(peer.sender, old.protect(peer.sender.packet(noise(20))))
    bench.wait()
    assert (bench.close().tally.packets, bench.engine.totals.unauthentic) == (20, 1)
    assert b"".join(chunk.frames.payload for chunk in bench.chunks()) == audio


@pytest.mark.parametrize(("continues", "packets"), [(True, 10), (False, 0)])
def test_a_leg_that_takes_over_a_stream_goes_on_with_its_rollover_counter(continues: bool, packets: int) -> None:
    bench, agreed, pair = Bench(), keys(), (udp_socket(), udp_socket())
    peer, origin_ns = Peer(agreed), bench.now_ns
    bench.open(1, peer.sender, srtp=agreed, sockets=duplicated(pair))
    peer.play(bench, noise(200))
    assert peer.cipher.roc == 1
    bench.close(1)
    bench.open(2, peer.sender, srtp=dict(agreed), sockets=duplicated(pair), continues=continues, origin_ns=origin_ns)
    for _ in range(10):
        bench.send(peer.sender, peer.packet(noise(20)), 2)
        bench.wait()
    assert (bench.close(2).tally.packets, bench.engine.totals.unauthentic) == (packets, 10 - packets)


@pytest.mark.parametrize(("told", "packets"), [(True, 20), (False, 0)])
def test_another_worker_goes_on_with_the_rollover_counter_that_it_is_told(told: bool, packets: int) -> None:
    bench, after, agreed, audio = Bench(), Bench(), keys(), noise(800)
    peer, sockets = Peer(agreed), (udp_socket(), udp_socket())
    bench.open(sender=peer.sender, srtp=agreed, sockets=duplicated(sockets))
    peer.play(bench, audio[:3200])  # the sequence number wraps after six packets
    bench.wait(600)
    assert [event for event in bench.events if isinstance(event, Rolled)] == [Rolled(1, peer.sender.ssrc, 1)]
    after.now_ns, counted = bench.now_ns, {"ssrc": str(peer.sender.ssrc), "rollovers": "1"}
    srtp = agreed | counted if told else agreed
    after.open(sender=peer.sender, srtp=srtp, sockets=duplicated(sockets), life=1)
    peer.play(after, audio[3200:])
    after.engine.close(1, after.now_ns)
    assert sum(len(chunk.frames.timestamps) for chunk in after.chunks()) == packets
    assert after.engine.totals.unauthentic == 20 - packets


def test_a_leg_may_become_encrypted_or_plain() -> None:
    bench, agreed, audio = Bench(), keys(), noise(120)
    peer = Peer(agreed)
    bench.open(sender=peer.sender)
    bench.play(peer.sender, audio[:320])
    update(bench, peer, agreed)
    peer.play(bench, audio[320:640])
    update(bench, peer, {})
    bench.play(peer.sender, audio[640:])
    bench.close()
    assert b"".join(chunk.frames.payload for chunk in bench.chunks()) == audio


def test_nothing_is_taken_before_keys_are_agreed_on() -> None:
    bench, agreed = Bench(), keys()
    peer = Peer(agreed)
    bench.open(sender=peer.sender, srtp={"suite": ""})
    peer.play(bench, noise(40))
    bench.play(peer.sender, noise(40))
    update(bench, peer, agreed)
    peer.play(bench, noise(40))
    assert (bench.close().tally.packets, bench.engine.totals.unauthentic) == (2, 4)


def test_sources_of_one_key_are_limited() -> None:
    bench, agreed = Bench(), keys()
    peer = Peer(agreed)
    bench.open(sender=peer.sender, srtp=agreed)
    for ssrc in range(SSRCS_MAX + 8):
        peer.sender.ssrc = ssrc
        peer.cipher = srtp_reference.Sender(CM, bytes.fromhex(agreed["theirs"]))
        bench.send(peer.sender, peer.packet(noise(20)))
        bench.wait()
    bench.close()
    assert bench.engine.totals.unauthentic == 8


@pytest.mark.parametrize(
    "wrong",
    [
        {"suite": "NULL", "ours": "00" * 30, "theirs": "00" * 30},
        {"suite": CM, "ours": "00" * 30},
        {"suite": CM, "ours": "00" * 30, "theirs": "zz"},
        {"suite": CM, "ours": "00" * 30, "theirs": "00" * 29},
    ],
)
def test_keys_that_are_none_are_refused(wrong: dict[str, str]) -> None:
    bench = Bench()
    with pytest.raises(Unsupported) as refused:
        bench.open(srtp=wrong)
    assert "00" not in str(refused.value)
    assert bench.engine.idle


def test_keys_travel_and_do_not_show() -> None:
    agreed = keys()
    for message in (Open(1, {8: "PCMA"}, srtp=agreed), Update(1, {8: "PCMA"}, srtp=agreed)):
        assert decode(encode(message)) == message
        assert agreed["ours"] not in repr(message)
        assert agreed["theirs"] not in repr(message)


def test_plain_legs_beside_encrypted_ones_are_received_as_ever() -> None:
    bench, agreed = Bench(), keys()
    secure, plain = Peer(agreed), Sender(ssrc=5)
    bench.open(1, secure.sender, srtp=agreed)
    bench.open(2, plain)
    audio = noise(200)
    for at in range(0, len(audio), 160):
        bench.send(secure.sender, forged(secure.packet(audio[at : at + 160])), 1)  # moves the others in the arena
        bench.send(plain, plain.packet(audio[at : at + 160]), 2)
        bench.wait()
    assert bench.close(2).tally.packets == 10
    assert b"".join(chunk.frames.payload for chunk in bench.chunks(2)) == audio
