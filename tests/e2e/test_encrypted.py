"""Calls over TLS with SRTP on a real server: exact in the store, noise on the wire, and keys nowhere to be found."""

from __future__ import annotations

import asyncio
import base64
import re
import signal
import ssl
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway.caller import CallFailed, CallResult, Track, place_call
from media.codecs import g711
from media.codecs.g711 import Samples
from media.sdp import SUITES
from tests.e2e.softphone import HANG_UP, LIMIT_S, needs_baresip, phone, press
from tests.e2e.system import System, call_from, free_port, running, until
from tests.e2e.test_call import heard, tone
from tests.e2e.test_kamailio import CONFIGURATION, KAMAILIO, MODULES, proxying
from tests.e2e.wire import needs_root, readable, tapped
from tests.gateway.ingest.authority import Authority

needs_kamailio = pytest.mark.skipif(
    KAMAILIO is None or not (MODULES / "tls.so").exists(),
    reason="NO KAMAILIO WITH TLS: apt-get install kamailio-tls-modules",
)

CM = "AES_CM_128_HMAC_SHA1_80"
PHONE = """sip_cafile	{ca}
sip_verify_server	yes
module	srtp.so
module	aubridge.so
module	sndfile.so
snd_path	{folder}
"""
# Every waveform here is this file's own: other tests' calls are on the same wire, and in the clear.
PROTECTED_BYTES = 12 + 160 + 10  # header, 20 ms of A-law, tag
PROMPT = tone(1.0, 718) // 2
CONFIG = """
[sip]
transports = ["udp", "tcp", "tls"]
tls_port = {port}

[[sip.listeners]]
name = "front"
address = "127.0.0.1:{front}"

[sip.tls]
certificate = "{certificate}"
key = "{key}"
client_ca = "{client_ca}"

[log]
level = "debug"

[[tenants]]
name = "acme"

[[tenants]]
name = "strict"
media_security = "srtp"
emergency = ["7112"]

[[tenants]]
name = "told"
announcement = "{announcement}"

[[trunks]]
name = "near"
tenant = "acme"
sources = ["127.0.0.1/32"]
dialled = {{ "7" = "strict", "8" = "told" }}
media_networks = ["0.0.0.0/0"]  # a softphone names whatever address its machine has
nat = true

[[trunks]]
name = "shown"
tenant = "acme"
tls_names = ["sbc.example.net"]
media_networks = ["127.0.0.0/8"]

[[trunks]]
name = "behind-proxy"
tenant = "acme"
listener = "front"
media_networks = ["127.0.0.0/8"]
srtp_keys_over = "any"
"""
FRONT = """
enable_tls=yes
listen=tls:127.0.0.1:{port}
loadmodule "tls.so"
modparam("tls", "tls_method", "TLSv1.2+")
modparam("tls", "private_key", "{key}")
modparam("tls", "certificate", "{certificate}")
modparam("tls", "ca_list", "{ca}")
modparam("tls", "verify_certificate", 0)
"""


@dataclass
class Encrypted:
    """A server that listens over TLS too."""

    system: System
    authority: Authority
    address: tuple[str, int]
    front: tuple[str, int]

    def place(self, user: str, to: str, *, tls: bool = True, srtp: str = "", **more: Any) -> CallResult:
        context = ssl.create_default_context(cafile=str(self.authority.ca)) if tls else None
        if context is not None and (certificate := more.pop("certificate", None)):
            context.load_cert_chain(*certificate)
        target = more.pop("target", self.address if tls else self.system.sip)
        tracks = more.pop("tracks", [Track(tone(1.0, 713))])
        placed = place_call(target, tracks, from_user=user, to_user=to, secure=context, srtp=srtp, **more)
        return asyncio.run(placed)

    def row(self, user: str, tenant: str = "acme") -> dict[str, Any]:
        client = self.system.client(tenant)
        return until(lambda: call_from(client, user, "stored", "not_recorded"))

    def way(self, user: str, tenant: str = "acme") -> tuple[Any, ...]:
        """How a call came in, as the API tells it."""
        detail = self.row(user, tenant)["detail"]
        return tuple(detail[name] for name in ("signalling", "media", "suites", "encrypted_in_transit"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Encrypted]:
    folder = tmp_path_factory.mktemp("encrypted")
    authority = Authority(folder)
    announcement = folder / "announcement.wav"
    write_wav(announcement, PROMPT)
    port, front = free_port(), free_port()
    config = folder / "callvault.toml"
    config.write_text(CONFIG.format(port=port, front=front, announcement=announcement, **authority.settings()))
    with running(folder, CALLVAULT_CONFIG=str(config)) as started:
        yield Encrypted(started, authority, ("127.0.0.1", port), ("127.0.0.1", front))


def write_wav(path: Path, samples: Samples) -> None:
    with wave.open(str(path), "wb") as clip:
        clip.setnchannels(1)
        clip.setsampwidth(2)
        clip.setframerate(8000)
        clip.writeframes(samples.astype("<i2").tobytes())


def found_in(samples: Samples, audio: bytes) -> bool:
    """Whether a download has all of this A-law, sample for sample, and silence around it."""
    sent = g711.decode_alaw(audio)
    starts = np.flatnonzero(samples == sent[0])
    exact = [start for start in starts if np.array_equal(samples[start : start + len(sent)], sent)]
    return bool(exact) and not samples[: exact[0]].any() and not samples[exact[0] + len(sent) :].any()


@needs_root
@pytest.mark.parametrize("suite", SUITES)
def test_an_encrypted_call_is_exact_in_the_store_and_noise_on_the_wire(server: Encrypted, suite: str) -> None:
    tracks = [Track(tone(1.5, 711)), Track(tone(1.5, 712))]
    with tapped() as wire:
        result = server.place(suite.lower(), "100", srtp=suite, tracks=tracks)
    row = server.row(suite.lower())
    client = server.system.client("acme")
    for track, audio in enumerate(result.payloads):
        assert found_in(heard(client, row["id"], track), audio)
        assert readable(wire, audio) == 0
    assert server.way(suite.lower()) == ("tls", "srtp", [suite], True)
    assert len(wire) >= 150, "the wire was looked at"


@needs_root
def test_a_plain_call_can_be_read_on_the_wire(server: Encrypted) -> None:
    with tapped() as wire:
        result = server.place("plain", "100", tls=False)
    assert readable(wire, result.payloads[0]) >= 50
    assert server.way("plain") == ("udp", "rtp", [], False)


@pytest.mark.parametrize(
    ("user", "to", "tls", "srtp", "status"),
    [
        ("in-the-clear", "100", False, CM, 488),  # keys that anybody could have read
        ("too-plain", "700", True, "", 488),
        ("plain-everywhere", "700", False, "", 488),
    ],
)
def test_what_is_not_safe_enough_is_refused(
    server: Encrypted, user: str, to: str, tls: bool, srtp: str, status: int
) -> None:
    with pytest.raises(CallFailed) as refused:
        server.place(user, to, tls=tls, srtp=srtp)
    assert refused.value.status == status


def test_how_a_call_came_in_is_kept(server: Encrypted) -> None:
    certificate = server.authority.issue("sbc", dns=["sbc.example.net"])
    server.place("strict", "700", srtp=CM)
    server.place("emergency", "7112", tls=False)
    server.place("tls-only", "100")
    server.place("offerless", "100", offerless=True)
    server.place("behind-proxy", "100", tls=False, srtp=CM, target=server.front)
    server.place("shown", "100", srtp=CM, local_address="127.0.0.3", certificate=certificate)
    assert server.way("strict", "strict") == ("tls", "srtp", [CM], True)
    assert server.way("emergency", "strict") == ("udp", "rtp", [], False)
    assert server.way("tls-only") == ("tls", "rtp", [], False)
    assert server.way("offerless") == ("tls", "rtp", [], False)
    assert server.way("behind-proxy") == ("udp", "srtp", [CM], False)
    assert server.way("shown") == ("tls", "srtp", [CM], True)
    assert server.row("shown")["detail"]["trunk"] == "shown"


@needs_baresip
@needs_root
def test_a_softphone_is_heard_and_hears_and_its_keys_are_nowhere(server: Encrypted, tmp_path: Path) -> None:
    client = server.system.client("told")
    spoken = tone(30.0, 717)
    further = PHONE.format(ca=server.authority.ca, folder=tmp_path)
    dial = f"sip:800@127.0.0.1:{server.address[1]};transport=tls"
    account = ";transport=tls>;mediaenc=srtp-mand"
    with tapped() as wire, phone(tmp_path, dial, spoken=spoken, account=account, further=further) as process:
        until(lambda: call_from(client, "softphone", "live"), LIMIT_S)
        until(lambda: sum(len(payload) == PROTECTED_BYTES for payload in wire) > 350, LIMIT_S)
        press(process, HANG_UP)
        row = until(lambda: call_from(client, "softphone", "stored"), LIMIT_S)
    assert row["detail"]["media"] == "srtp"
    assert row["detail"]["encrypted_in_transit"] is True
    samples = heard(client, row["id"], 0)
    kept = samples[slice(*np.flatnonzero(samples)[[0, -1]])]
    assert len(kept) > 8000
    assert as_spoken(kept, spoken)
    assert readable(wire, g711.encode_alaw(kept)) == 0
    [dumped] = tmp_path.glob("dump-*-dec.wav")
    assert alike(dumped, PROMPT) > 0.95
    told = re.findall(rb"inline:([A-Za-z0-9+/=]+)", (tmp_path / "log").read_bytes())
    assert len(set(told)) >= 2, "its keys and ours"
    hidden = [form for key in told for form in (key, base64.b64decode(key), base64.b64decode(key).hex().encode())]
    for file in server.system.folder.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert not any(form in content for form in hidden), file.name


@needs_kamailio
@pytest.mark.parametrize(
    ("way", "trunk", "came"),
    [("tls", "shown", ("tls", "srtp", [CM], True)), ("tcp", "behind-proxy", ("tcp", "srtp", [CM], False))],
)
def test_a_proxy_takes_tls_and_passes_keys_on(
    server: Encrypted, tmp_path: Path, way: str, trunk: str, came: tuple[Any, ...]
) -> None:
    certificate, key = server.authority.issue("proxy", dns=["sbc.example.net"], ip="127.0.0.1")
    port, plain = free_port(), free_port()
    secure = FRONT.format(port=port, certificate=certificate, key=key, ca=server.authority.ca)
    behind = server.address[1] if way == "tls" else server.front[1]
    configuration = CONFIGURATION.format(
        host="127.0.0.1", port=plain, modules=MODULES, behind=behind, way=way, secure=secure
    )
    with proxying(tmp_path, configuration, port):
        result = server.place(f"proxied-{way}", "100", srtp=CM, target=("127.0.0.1", port))
    row = server.row(f"proxied-{way}")
    assert found_in(heard(server.system.client("acme"), row["id"], 0), result.payloads[0])
    assert (row["detail"]["trunk"], row["detail"]["why"], server.way(f"proxied-{way}")) == (trunk, "bye", came)


def as_spoken(kept: Samples, spoken: Samples) -> bool:
    """Whether a recording is the A-law of a stretch of this, sample for sample: never off by more than a step of it."""
    correlation = np.correlate(spoken.astype(np.float64), kept[:8000].astype(np.float64), "valid")
    start = int(np.argmax(correlation))
    said = spoken[start : start + len(kept)].astype(np.int32)
    return bool(np.all(np.abs(said - kept) <= 8 + np.abs(said) // 16))


def alike(path: Path, prompt: Samples) -> float:
    """How well a prompt is found in what a softphone heard: the greatest correlation, 1 for the same."""
    samples = np.frombuffer(path.read_bytes()[44:], "<i2").astype(np.float64)
    middle = prompt[2000:6000].astype(np.float64)
    norms = np.sqrt(np.convolve(samples**2, np.ones(len(middle)), "valid")) * np.linalg.norm(middle)
    return float(np.max(np.correlate(samples, middle, "valid") / np.maximum(norms, 1.0)))


def test_a_reload_brings_another_certificate_or_is_refused(server: Encrypted) -> None:
    server.authority.issue("server", ip="127.0.0.1", days=-1)
    reload(server, "configuration refused")
    server.place("before", "100", srtp=CM)
    server.authority.issue("server", dns=["moved.example.net"])
    reload(server, "configuration reloaded")
    with pytest.raises(ssl.SSLCertVerificationError):
        server.place("moved", "100", srtp=CM)
    server.authority.issue("server", ip="127.0.0.1")
    reload(server, "configuration reloaded")
    server.place("again", "100", srtp=CM)
    assert server.way("again") == ("tls", "srtp", [CM], True)


def reload(server: Encrypted, told: str) -> None:
    """SIGHUP, and wait for what is said of it."""
    before = server.system.log().count(told)
    assert server.system.process is not None
    server.system.process.send_signal(signal.SIGHUP)
    until(lambda: server.system.log().count(told) > before)
